from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from detrex_hub.architectures.base import IMAGENET_RGB, BackboneCall
from detrex_hub.architectures.recognise import recognise
from detrex_hub.architectures.swin import Swin
from detrex_hub.errors import ArchitectureError, MappingError
from detrex_hub.mapping import Drop, Rename, plan
from detrex_hub.specs import TensorSpec
from tests import reference
from tests.architectures.backbones import (
    State,
    comes_out_as_measured,
    parameters,
    read,
    reads_back,
)

TINY = Swin(
    embed_dim=96,
    depths=(2, 2, 6, 2),
    num_heads=(3, 6, 12, 24),
    window_size=7,
    pretrain_img_size=224,
)
SMALL = replace(TINY, depths=(2, 2, 18, 2))
BASE = replace(SMALL, embed_dim=128, num_heads=(4, 8, 16, 32))
LARGE = replace(SMALL, embed_dim=192, num_heads=(6, 12, 24, 48))
BY_SIZE = {"tiny": TINY, "small": SMALL, "base": BASE, "large": LARGE}

HEAD = {"norm.weight", "norm.bias", "head.weight", "head.bias"}


def at_384(swin: Swin) -> Swin:
    return replace(swin, window_size=12, pretrain_img_size=384)


RESAMPLED = [name for name in reference.names("swin_") if "_to_window" in name]
ORIGINAL = [name for name in reference.names("swin_") if name not in RESAMPLED]


@pytest.mark.parametrize("name", ORIGINAL)
def test_comes_out_as_measured(name: str) -> None:
    made, layout, _ = comes_out_as_measured(name)
    expected = BY_SIZE[name.split("_")[1]]
    if "window12" in name:
        expected = at_384(expected)
    if name.endswith("timm"):
        expected = replace(expected, position_index=False)
    assert made == expected
    assert layout == ("timm" if name.endswith("timm") else "original")
    assert_arguments_are_the_measured(name, made)


def assert_arguments_are_the_measured(name: str, made: Swin) -> None:
    stated = reference.load(name).about["config"]["constructor"]
    stated = {**Swin.defaults, **stated}
    arguments = made.arguments()
    assert {name: stated[name] for name in arguments} == arguments


@pytest.mark.parametrize(
    ("name", "layout", "norms"),
    [
        ("hf_swin_tiny_patch4_window7_224", "transformers", ()),
        ("hf_swin_backbone_tiny", "transformers", (1, 2, 3)),
        ("mmdet_swin_tiny", "mmdet", (1, 2, 3)),
        ("mmpretrain_swin_tiny", "mmpretrain", ()),
    ],
)
def test_other_libraries_come_out_as_measured(
    name: str, layout: str, norms: tuple[int, ...]
) -> None:
    made, found, plan = comes_out_as_measured(name)
    assert found == layout
    assert made == replace(TINY, output_norms=norms)
    assert_arguments_are_the_measured(name, made)
    # the export also restores the order of the patches in the merging layers
    variant = reference.load(name)
    back = made.plan_export(plan.specs, layout)
    assert back.specs == {k: s for k, s in variant.source.items() if k not in variant.dropped}


@pytest.mark.parametrize("name", RESAMPLED)
def test_a_requested_window_size_comes_out_as_measured(name: str) -> None:
    window = int(name.rpartition("window")[2])
    made, layout, plan = comes_out_as_measured(name, {"window_size": window})
    assert isinstance(made, Swin)
    assert (made.window_size, made.source_window) == (window, {7: 12, 12: 7}[window])
    assert_arguments_are_the_measured(name, made)
    with pytest.raises(MappingError, match="by bicubic_table"):
        made.plan_export(plan.specs, layout)
    assert Swin.from_hyper_parameters(made.hyper_parameters()) == made
    source, _ = made.original()
    assert made.plan(source, "original").specs == plan.specs

    assert "were resampled from windows" in made.notes()[-1]
    # the same window changes nothing, and neither does no request
    source_window = made.source_window
    for facts in ({}, {"window_size": source_window}):
        same, _ = read(reference.load(name).source, facts)
        assert (same.window_size, same.source_window) == (source_window, None)
    geometric, _ = read(
        reference.load(name).source, {"window_size": window, "table_resampling": "geometric"}
    )
    moves = geometric.plan(reference.load(name).source, layout).computed
    assert {piece.operation.name for move in moves.values() for piece in move.pieces} == {
        "geometric_table"
    }


def below(prefix: str, specs: State, *others: str) -> State:
    """A whole model's state dict: a backbone's below a prefix, and other parts beside it."""
    return {prefix + key: spec for key, spec in specs.items()} | {
        key: TensorSpec("F32", (8, 8)) for key in others
    }


@pytest.mark.parametrize(
    ("name", "prefix", "others", "layout"),
    [
        (
            "hf_swin_tiny_patch4_window7_224",
            "swin.",
            ("classifier.weight", "classifier.bias"),
            "transformers_classifier",
        ),
        ("mmdet_swin_tiny", "backbone.", ("neck.convs.0.conv.weight",), "mmdet_detector"),
        ("mmpretrain_swin_tiny", "backbone.", ("head.fc.weight",), "mmpretrain_classifier"),
    ],
)
def test_the_backbone_of_a_whole_model_is_converted(
    name: str, prefix: str, others: tuple[str, ...], layout: str
) -> None:
    variant = reference.load(name)
    alone, _ = read(variant.source)
    specs = below(prefix, variant.source, *others)
    made, found = read(specs)
    assert (made, found) == (alone, layout)
    plan = made.plan(specs, layout)
    assert plan.specs == alone.plan(variant.source, layout.partition("_")[0]).specs
    assert plan.dropped.keys() >= set(others)


def test_norm3_of_a_detector_is_an_output_norm_and_that_of_a_classifier_is_not() -> None:
    # same key, same shape
    source = reference.load("mmpretrain_swin_tiny").source
    classifier = below("backbone.", source, "head.fc.weight")
    made, layout = read(classifier)
    assert layout == "mmpretrain_classifier"
    assert "norm3.weight" not in made.plan(classifier, layout).moves
    detector = below("backbone.", source, "bbox_head.fc_cls.weight")
    made, layout = read(detector)
    assert (layout, made.output_norms) == ("mmdet_detector", (3,))
    assert made.plan(detector, layout).moves["norm3.weight"].sources == ("backbone.norm3.weight",)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("mmdet_swin_tiny", "norm0.weight"),
        ("hf_swin_backbone_tiny", "hidden_states_norms.stage1.weight"),
    ],
)
def test_the_norm_of_the_first_stage_is_dropped(name: str, key: str) -> None:
    specs = {**reference.load(name).source, key: TensorSpec("F32", (96,))}
    made, layout = read(specs)
    assert "stride 4" in made.plan(specs, layout).dropped[key]
    assert made.output_norms == (1, 2, 3)


@pytest.mark.parametrize("name", ORIGINAL)
def test_the_final_norm_becomes_no_output_norm(name: str) -> None:
    variant = reference.load(name)
    _, _, plan = comes_out_as_measured(name)
    assert "norm before the ImageNet classifier" in plan.dropped["norm.weight"]
    assert not [key for key in plan.moves if key.startswith("norm")]
    sources = {piece.key for move in plan.moves.values() for piece in move.pieces}
    assert sources.isdisjoint(HEAD)
    # the shapes would fit
    assert variant.source["norm.weight"] == variant.target["norm3.weight"]


def test_shapes_alone_cannot_tell_the_final_norm_from_an_output_norm() -> None:
    source = reference.load("swin_tiny_patch4_window7_224").source
    wrong = [rule for rule in TINY.rules("original") if rule.source != "norm.*"]
    TINY.prove(plan([*wrong, Rename("norm.*", "norm3.*")], source, mapper="wrong").specs)


# millions of parameters with 1000 classes: Swin Transformer's README
@pytest.mark.parametrize(
    ("made", "millions"),
    [(TINY, 28), (SMALL, 50), (BASE, 88), (at_384(BASE), 88), (LARGE, 197), (at_384(LARGE), 197)],
)
def test_all_published_sizes_have_the_published_parameter_count(made: Swin, millions: int) -> None:
    specs = reads_back(made)
    weights = {key: spec for key, spec in specs.items() if "attn_mask" not in key}
    assert round(parameters(weights) / 1e6) == millions


def test_attention_masks_exist_only_for_shifted_windows() -> None:
    specs, _ = at_384(TINY).original()
    masks = {key: spec.shape for key, spec in specs.items() if key.endswith("attn_mask")}
    assert masks == {
        "layers.0.blocks.1.attn_mask": (64, 144, 144),
        "layers.1.blocks.1.attn_mask": (16, 144, 144),
        "layers.2.blocks.1.attn_mask": (4, 144, 144),
        "layers.2.blocks.3.attn_mask": (4, 144, 144),
        "layers.2.blocks.5.attn_mask": (4, 144, 144),
    }


def test_tensors_that_newer_timm_computes_are_dropped_from_old_files() -> None:
    new = dict(reference.load("swin_tiny_timm").source)
    old = new | {
        key: spec
        for key, spec in reference.load("swin_tiny_patch4_window7_224").source.items()
        if key.endswith(("relative_position_index", "attn_mask"))
    }
    old["head.weight"], old["head.bias"] = old.pop("head.fc.weight"), old.pop("head.fc.bias")
    made, layout = read(old)
    assert (made, layout) == (TINY, "timm")
    plan = made.plan(old, layout)
    assert "layers.0.blocks.0.attn.relative_position_index" in plan.moves
    assert {key for key in plan.dropped if key.endswith("attn_mask")} == {
        key for key in old if key.endswith("attn_mask")
    }
    assert plan.dropped.keys() >= HEAD


def test_downsampling_keys_distinguish_timm_from_the_original() -> None:
    assert recognise(reference.load("swin_tiny_timm").source).layout == "timm"
    variant = reference.load("swin_tiny_patch4_window7_224")
    recognised = recognise(variant.source)
    assert (recognised.architecture, recognised.layout) == (Swin, "original")
    assert "layers.0.downsample.reduction.weight" in recognised.because


def test_detrex_files_keep_their_output_norms() -> None:
    variant = reference.load("swin_tiny_patch4_window7_224")
    made, layout = read(variant.target)
    assert layout == "detrex"
    assert made == replace(TINY, output_norms=(1, 2, 3))
    assert made.target() == variant.target
    assert not made.set_by_model()
    assert made.plan(variant.target, layout).specs == variant.target

    lacking = {key: spec for key, spec in variant.target.items() if key != "norm2.bias"}
    with pytest.raises(ArchitectureError, match=r"missing: norm2\.bias"):
        made.plan(lacking, layout)


def test_goes_back_to_both_layouts() -> None:
    for name, layout in (("swin_tiny_patch4_window7_224", "original"), ("swin_tiny_timm", "timm")):
        variant = reference.load(name)
        made, _, plan = comes_out_as_measured(name)
        back = made.plan_export(plan.specs, layout)
        kept = {key: spec for key, spec in variant.source.items() if key not in variant.dropped}
        assert back.specs == kept


@pytest.mark.parametrize(
    "key",
    [
        "layers.0.blocks.0.attn.logit_scale",
        "swinv2.encoder.layers.0.blocks.0.attention.self.logit_scale",
        "backbone.stages.0.blocks.0.attn.w_msa.logit_scale",
    ],
)
def test_version_2_is_refused_with_the_reason(key: str) -> None:
    specs = {**reference.load("swin_tiny_timm").source, key: TensorSpec("F32", (3, 1, 1))}
    with pytest.raises(ArchitectureError, match=r"Swin Transformer V2 .* neither detrex nor"):
        read(specs)
    with pytest.raises(ArchitectureError, match="Swin Transformer V2"):
        recognise(specs, among=[Swin])


def changed(**changes: TensorSpec | None) -> dict[str, TensorSpec]:
    specs: dict[str, Any] = {**TINY.original()[0], **changes}
    return {key: spec for key, spec in specs.items() if spec is not None}


TABLE = "layers.{}.blocks.0.attn.relative_position_bias_table"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({TABLE.format(2): TensorSpec("F32", (27**2, 12))}, r"windows of \[7, 7, 14, 7\]"),
        ({TABLE.format(1): TensorSpec("F32", (170, 6))}, "not fit a square window"),
        ({TABLE.format(1): TensorSpec("F32", (169,))}, "should have 2 dimensions"),
        ({TABLE.format(3): None}, r"no key layers\.3\.blocks\.0\.attn"),
        ({"layers.2.blocks.3.norm1.weight": None}, "without gaps, but n is 0, 1, 2, 4, 5"),
        ({"absolute_pos_embed": TensorSpec("F32", (1, 3136, 96))}, "absolute position embedding"),
        ({"patch_embed.proj.weight": TensorSpec("F32", (96, 3, 4, 0))}, "4 dimensions"),
    ],
)
def test_refusals_name_what_is_wrong(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ArchitectureError, match=why):
        read(changed(**changes))


def test_wrong_shapes_are_reported_before_a_tensor_is_read() -> None:
    specs = changed(**{"layers.1.blocks.1.mlp.fc2.weight": TensorSpec("F32", (192, 767))})
    made, layout = read(specs)
    with pytest.raises(ArchitectureError, match=r"layers\.1\.blocks\.1\.mlp\.fc2\.weight is F32"):
        made.plan(specs, layout)


def test_an_absolute_position_embedding_of_detrex_is_read() -> None:
    made = replace(TINY, ape=True, pretrain_img_size=256, window_size=8, output_norms=(0, 3))
    target = made.target()
    assert target["absolute_pos_embed"].shape == (1, 96, 64, 64)
    assert read(target) == (made, "detrex")
    assert made.overrides(IMAGENET_RGB).lazy["model.backbone.ape"] is True


def test_overrides_are_set_if_the_class_has_other_defaults() -> None:
    tiny = TINY.overrides(IMAGENET_RGB)
    assert tiny.lazy["model.backbone.embed_dim"] == 96
    assert tiny.lazy["model.backbone.depths"] == [2, 2, 6, 2]
    assert tiny.lazy["model.backbone.num_heads"] == [3, 6, 12, 24]
    assert tiny.lazy["model.pixel_mean"] == [123.675, 116.28, 103.53]
    assert "model.backbone.window_size" not in tiny.lazy
    assert tiny.lazy_if_present["model.backbone.window_size"] == 7
    assert tiny.lazy_if_present["model.neck.input_shapes.p3.channels"] == 768

    base = at_384(BASE).overrides(IMAGENET_RGB)
    assert base.lazy["model.backbone.window_size"] == 12
    assert base.lazy["model.backbone.pretrain_img_size"] == 384
    assert base.lazy_if_present["model.backbone.ape"] is False


def test_builds_what_the_real_configs_build() -> None:
    assert at_384(LARGE).build(IMAGENET_RGB, (0, 1, 2, 3)) == BackboneCall(
        "detectron2.modeling.backbone.swin.SwinTransformer",
        {
            "pretrain_img_size": 384,
            "embed_dim": 192,
            "depths": [2, 2, 18, 2],
            "num_heads": [6, 12, 24, 48],
            "window_size": 12,
            "out_indices": [0, 1, 2, 3],
        },
        channels={"p0": 192, "p1": 384, "p2": 768, "p3": 1536},
    )
    call = TINY.build(IMAGENET_RGB, (3,))
    assert call.channels == {"p3": 768}
    assert call.kwargs["drop_path_rate"] == 0.1


@st.composite
def swins(draw: st.DrawFn) -> Swin:
    depths = draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    window = draw(st.integers(2, 9))
    patch = draw(st.sampled_from([2, 4]))
    # only masks show an image size with several windows in the last stage
    windows = draw(st.integers(1, 3)) if max(depths[:1]) > 1 else 1
    return Swin(
        embed_dim=8 * draw(st.integers(1, 24)),
        depths=tuple(depths),
        num_heads=tuple(draw(st.integers(1, 48)) for _ in depths),
        window_size=window,
        pretrain_img_size=patch * windows * (window << len(depths) - 1),
        patch_size=patch,
        mlp_ratio=draw(st.sampled_from([4.0, 2.0, 2.5])),
        qkv_bias=draw(st.booleans()),
        patch_norm=draw(st.booleans()),
        position_index=draw(st.booleans()),
    )


@given(swins())
def test_any_legal_size_reads_back(made: Swin) -> None:
    specs = reads_back(made)
    for rule in made.rules("original"):
        assert isinstance(rule, Drop | Rename)
    stored = {key: spec for key, spec in specs.items() if "attn_mask" not in key}
    assert parameters(stored) > 0


@given(swins(), st.sets(st.integers(0, 1), min_size=1))
def test_any_legal_size_of_detrex_reads_back(made: Swin, stages: set[int]) -> None:
    usual = made.patch_size * (made.window_size << len(made.depths) - 1)
    made = replace(
        made, output_norms=tuple(sorted(stages)), pretrain_img_size=usual, position_index=True
    )
    assert read(made.target()) == (made, "detrex")
