from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from detrex_hub.architectures.base import IMAGENET_RGB, BackboneCall, Call
from detrex_hub.architectures.plain_vit import usual_windows
from detrex_hub.architectures.vit_mae import ViTMAE
from detrex_hub.errors import ArchitectureError, UsageError
from detrex_hub.specs import TensorSpec
from tests import reference
from tests.architectures.backbones import comes_out_as_measured, parameters, read, reads_back

BASE = ViTMAE(embed_dim=768, depth=12, num_heads=12, window_block_indexes=usual_windows(12))
LARGE = ViTMAE(embed_dim=1024, depth=24, num_heads=16, window_block_indexes=usual_windows(24))
HUGE = ViTMAE(
    embed_dim=1280, depth=32, num_heads=16, patch_size=14, window_block_indexes=usual_windows(32)
)
VARIANTS = ["mae_pretrain_vit_base", "vit_base_mae_timm"]


@pytest.mark.parametrize("name", VARIANTS)
def test_comes_out_as_measured(name: str) -> None:
    made, layout, plan = comes_out_as_measured(name)
    # timm keeps the original's names
    assert (made, layout) == (BASE, "original")
    stated = reference.load(name).about["config"]["constructor"]
    stated = {**ViTMAE.defaults, **stated}
    assert {name: stated[name] for name in made.arguments()} == made.arguments()
    assert "final norm" in plan.dropped["norm.weight"]
    assert "class token" in plan.dropped["cls_token"]


def test_transformers_comes_out_as_measured_and_goes_back() -> None:
    variant = reference.load("hf_vit_mae_base")
    made, layout, plan = comes_out_as_measured("hf_vit_mae_base")
    assert (made, layout) == (BASE, "transformers")
    back = made.plan_export(plan.specs, layout)
    assert back.specs == {k: s for k, s in variant.source.items() if k not in variant.dropped}
    # transformers' config has another eps than the original, which a note says
    assert any("layer_norm_eps" in note for note in made.notes_on(layout))
    assert not any("layer_norm_eps" in note for note in made.notes_on("original"))

    whole = {f"vit.{key}": spec for key, spec in variant.source.items()}
    whole["decoder.decoder_pos_embed"] = TensorSpec("F32", (1, 197, 512))
    made, layout = read(whole)
    assert (made, layout) == (BASE, "transformers_whole")
    assert made.plan(whole, layout).specs == plan.specs


def test_patches_are_resampled_on_request_and_positions_stay() -> None:
    specs, _ = HUGE.original()
    assert read(specs)[0] == HUGE
    made, layout = read(specs, {"patch_size": 16})
    assert isinstance(made, ViTMAE)
    assert (made.patch_size, made.source_patch_size, made.pretrain_img_size) == (16, 14, 256)
    plan = made.plan(specs, layout)
    assert [*plan.computed] == ["patch_embed.proj.weight"]
    assert plan.specs["pos_embed"] == specs["pos_embed"]
    assert ViTMAE.from_hyper_parameters(made.hyper_parameters()) == made
    assert "resampled from 14 to 16 pixels" in made.notes()[-1]
    assert read(specs, {"patch_size": 14})[0] == HUGE
    assert not any("resampled from" in note for note in HUGE.notes())


# millions of parameters without the classifier: Dosovitskiy et al. 2021, table 1
@pytest.mark.parametrize(("made", "millions"), [(BASE, 86), (LARGE, 303), (HUGE, 631)])
def test_all_published_sizes_have_the_published_parameter_count(
    made: ViTMAE, millions: int
) -> None:
    assert round(parameters(reads_back(made)) / 1e6) == millions


def test_the_configs_leave_out_the_last_block_of_each_fourth() -> None:
    stated = reference.load("mae_pretrain_vit_base").about["config"]["constructor"]
    assert usual_windows(12) == tuple(stated["window_block_indexes"])
    assert set(range(24)) - set(usual_windows(24)) == {5, 11, 17, 23}
    assert set(range(32)) - set(usual_windows(32)) == {7, 15, 23, 31}
    assert usual_windows(2) == ()


def test_the_decoder_of_the_pretraining_is_dropped() -> None:
    specs: dict[str, TensorSpec] = dict(BASE.original()[0])
    for key in ("mask_token", "decoder_pos_embed", "decoder_embed.weight", "decoder_pred.bias"):
        specs[key] = TensorSpec("F32", (512,))
    specs["decoder_blocks.7.attn.qkv.weight"] = TensorSpec("F32", (1536, 512))
    made, layout = read(specs)
    assert made == BASE
    assert "decoder" in made.plan(specs, layout).dropped["decoder_blocks.7.attn.qkv.weight"]


def test_detrex_files_keep_their_relative_positions() -> None:
    target = dict(reference.load("mae_pretrain_vit_base").target)
    made, layout = read(target)
    assert (made, layout) == (replace(BASE, relative_positions=True), "detrex")
    assert made.target() == target
    assert not made.set_by_model()
    del target["blocks.3.attn.rel_pos_w"]
    with pytest.raises(ArchitectureError, match=r"no key for the rule|missing: blocks\.3"):
        made.plan(target, layout)


def test_relative_positions_show_the_sizes_of_images_and_windows() -> None:
    made = replace(
        BASE,
        relative_positions=True,
        num_heads=6,
        img_size=512,
        window_size=8,
        window_block_indexes=(0, 2, 4, 6, 8, 10),
    )
    assert read(made.target()) == (made, "detrex")


def changed(**changes: TensorSpec | None) -> dict[str, TensorSpec]:
    specs: dict[str, Any] = {**BASE.original()[0], **changes}
    return {key: spec for key, spec in specs.items() if spec is not None}


def test_shapes_do_not_show_the_heads() -> None:
    specs = changed()
    assert read(specs, {"num_heads": 6})[0] == replace(BASE, num_heads=6)
    with pytest.raises(ArchitectureError, match="7 heads do not divide its 768 channels"):
        read(specs, {"num_heads": 7})
    with pytest.raises(UsageError, match=r"num_heads should be an integer .*'True'"):
        read(specs, {"num_heads": True})
    odd = replace(BASE, embed_dim=100, num_heads=4)
    with pytest.raises(ArchitectureError, match="Set --fact num_heads=N"):
        read(odd.original()[0])
    assert read(odd.original()[0], {"num_heads": 4})[0] == odd
    shown = replace(BASE, relative_positions=True).target()
    with pytest.raises(UsageError, match="the shapes show 12"):
        read(shown, {"num_heads": 6})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pos_embed": TensorSpec("F32", (1, 199, 768))}, "199 positions, which do not fit"),
        ({"pos_embed": TensorSpec("F32", (197, 768))}, "should have 3 dimensions"),
        ({"blocks.4.norm1.weight": None}, "n is 0, 1, 2, 3, 5"),
        ({"blocks.0.ls1.gamma": TensorSpec("F32", (768,))}, r"it has blocks\.0\.ls1\.gamma"),
    ],
)
def test_refusals_name_what_is_wrong(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ArchitectureError, match=why):
        read(changed(**changes))


def test_overrides_apply_below_the_pyramid() -> None:
    overrides = LARGE.overrides(IMAGENET_RGB)
    assert overrides.lazy["model.backbone.net.embed_dim"] == 1024
    assert overrides.lazy["model.backbone.net.depth"] == 24
    assert overrides.lazy["model.backbone.net.num_heads"] == 16
    assert overrides.lazy_if_present["model.backbone.net.pretrain_img_size"] == 224
    assert HUGE.overrides(IMAGENET_RGB).lazy["model.backbone.net.patch_size"] == 14


def test_builds_what_the_real_configs_build() -> None:
    norm = Call("torch.nn.LayerNorm", {"eps": 1e-6}, partial=True)
    net = {
        "embed_dim": 1024,
        "depth": 24,
        "num_heads": 16,
        "drop_path_rate": 0.4,
        "img_size": 1024,
        "window_size": 14,
        "window_block_indexes": [i for i in range(24) if i not in (5, 11, 17, 23)],
        "norm_layer": norm,
        "use_rel_pos": True,
    }
    assert LARGE.build(IMAGENET_RGB, (1, 2, 3)) == BackboneCall(
        "detectron2.modeling.backbone.vit.SimpleFeaturePyramid",
        {
            "net": Call("detectron2.modeling.backbone.vit.ViT", net),
            "in_feature": "last_feat",
            "out_channels": 256,
            "scale_factors": [2.0, 1.0, 0.5],
            "norm": "LN",
            "square_pad": 1024,
        },
        channels={"p3": 256, "p4": 256, "p5": 256},
    )
    # the pyramid names its maps after their strides, which are powers of two
    assert HUGE.build(IMAGENET_RGB) is None
    assert any("patches are 14 pixels wide" in note for note in HUGE.notes())


@st.composite
def vits(draw: st.DrawFn) -> ViTMAE:
    heads = draw(st.integers(1, 8))
    depth = draw(st.integers(1, 9))
    patch = draw(st.sampled_from([8, 14, 16]))
    return ViTMAE(
        embed_dim=8 * heads * draw(st.integers(1, 9)),
        depth=depth,
        num_heads=heads,
        patch_size=patch,
        mlp_ratio=draw(st.sampled_from([4.0, 3.0, 2.5])),
        qkv_bias=draw(st.booleans()),
        pretrain_img_size=patch * draw(st.integers(2, 30)),
        pretrain_use_cls_token=draw(st.booleans()),
        window_block_indexes=usual_windows(depth),
    )


@given(vits())
def test_any_legal_size_reads_back(made: ViTMAE) -> None:
    reads_back(made, {"num_heads": made.num_heads})
