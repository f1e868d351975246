from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from detrex_hub.architectures.base import IMAGENET_RGB, BackboneCall
from detrex_hub.architectures.internimage import InternImage
from detrex_hub.errors import ArchitectureError, UsageError
from detrex_hub.specs import TensorSpec
from tests import reference
from tests.architectures.backbones import comes_out_as_measured, parameters, read, reads_back

TINY = InternImage(channels=64, depths=(4, 4, 18, 4), groups=(4, 8, 16, 32))
SMALL = InternImage(
    channels=80,
    depths=(4, 4, 21, 4),
    groups=(5, 10, 20, 40),
    layer_scale=True,
    post_norm=True,
)
BASE = replace(SMALL, channels=112, groups=(7, 14, 28, 56))
LARGE = replace(
    SMALL, channels=160, depths=(5, 5, 22, 5), groups=(10, 20, 40, 80), offset_scale=2.0
)
XLARGE = replace(LARGE, channels=192, depths=(5, 5, 24, 5), groups=(12, 24, 48, 96))
HUGE = InternImage(
    channels=320,
    depths=(6, 6, 32, 6),
    groups=(10, 20, 40, 80),
    dw_kernel_size=5,
    res_post_norm=True,
    center_feature_scale=True,
    level2_post_norm_block_ids=(5, 11, 17, 23, 29),
)
BY_LETTER = {"t": TINY, "s": SMALL, "l": LARGE}


@pytest.mark.parametrize("name", reference.names("internimage_"))
def test_comes_out_as_measured(name: str) -> None:
    made, layout, plan = comes_out_as_measured(name)
    assert (made, layout) == (BY_LETTER[name.split("_")[1]], "original")
    stated = {**InternImage.defaults, **reference.load(name).about["config"]["constructor"]}
    arguments = made.arguments()
    # our own 1.0: the weights overwrite it, or it changes nothing without weights
    assert arguments.pop("layer_scale") == 1.0
    assert {name: stated[name] for name in arguments} == arguments
    assert {key.partition(".")[0] for key in plan.dropped} == {"conv_head", "head"}


# the sizes of the original's configs, and its README's millions of parameters, with 1000 classes
@pytest.mark.parametrize(
    ("made", "millions"),
    [(TINY, 30), (SMALL, 50), (BASE, 97), (LARGE, 223), (XLARGE, 335), (HUGE, 1080)],
)
def test_all_published_sizes_have_the_published_parameter_count(
    made: InternImage, millions: int
) -> None:
    assert parameters(reads_back(made)) / 1e6 == pytest.approx(millions, rel=0.01)


def test_a_model_without_gammas_in_its_weights_sets_them_to_one() -> None:
    given = TINY.set_by_model()
    assert given == {key for key in TINY.target() if key.endswith(("gamma1", "gamma2"))}
    assert len(given) == 2 * sum(TINY.depths)
    assert not SMALL.set_by_model()
    assert TINY.overrides(IMAGENET_RGB).lazy["model.backbone.layer_scale"] == 1.0


def test_offsets_have_the_scale_of_the_published_weights_by_default() -> None:
    specs, _ = LARGE.original()
    assert read(specs)[0].overrides(IMAGENET_RGB).lazy["model.backbone.offset_scale"] == 2.0
    made, _ = read(specs, {"offset_scale": 1})
    assert made == replace(LARGE, offset_scale=1.0)
    assert made.overrides(IMAGENET_RGB).lazy_if_present["model.backbone.offset_scale"] == 1.0
    for wrong in (0, -1.0, True, "two"):
        with pytest.raises(UsageError, match="offset_scale should be a number above 0"):
            read(specs, {"offset_scale": wrong})


def test_the_huge_model_is_built_without_gammas() -> None:
    # detrex's block skips its extra norms if it has gammas
    overrides = HUGE.overrides(IMAGENET_RGB)
    assert overrides.lazy_remove == ("model.backbone.layer_scale",)
    assert overrides.lazy["model.backbone.level2_post_norm_block_ids"] == [5, 11, 17, 23, 29]
    assert not [key for key in HUGE.target() if "gamma" in key]
    assert "layer_scale" not in HUGE.build(IMAGENET_RGB).kwargs


def test_shapes_do_not_show_which_blocks_end_in_a_norm() -> None:
    specs, _ = HUGE.original()
    made, _ = read(specs, {"level2_post_norm_block_ids": [1, 2, 3, 4, 5]})
    assert made.level2_post_norm_block_ids == (1, 2, 3, 4, 5)
    with pytest.raises(UsageError, match="has 2 blocks, but the shapes show 5"):
        read(specs, {"level2_post_norm_block_ids": [1, 2]})


def test_detrex_files_are_checked_strictly_too() -> None:
    variant = reference.load("internimage_s_1k_224")
    made, layout = read(variant.target)
    assert (made, layout) == (SMALL, "detrex")
    assert made.plan(variant.target, layout).specs == variant.target
    lacking = {k: s for k, s in variant.target.items() if k != "levels.3.blocks.1.gamma2"}
    with pytest.raises(ArchitectureError, match=r"missing: levels\.3\.blocks\.1\.gamma2"):
        made.plan(lacking, layout)


def test_goes_back_to_the_original() -> None:
    variant = reference.load("internimage_t_1k_224")
    made, _, plan = comes_out_as_measured("internimage_t_1k_224")
    kept = {key: spec for key, spec in variant.source.items() if key not in variant.dropped}
    assert made.plan_export(plan.specs, "original").specs == kept


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"levels.1.blocks.0.dcn.mask.weight": TensorSpec("F32", (73, 128))}, "not 9 a group"),
        ({"levels.2.blocks.5.norm1.0.weight": None}, "n is 0, 1, 2, 3, 4, 6"),
        ({"levels.0.blocks.0.mlp.fc1.weight": TensorSpec("F32", (256,))}, "2 dimensions"),
    ],
)
def test_refusals_name_what_is_wrong(changes: dict[str, Any], why: str) -> None:
    specs: dict[str, Any] = {**TINY.original()[0], **changes}
    with pytest.raises(ArchitectureError, match=why):
        read({key: spec for key, spec in specs.items() if spec is not None})


def test_builds_what_the_real_configs_build() -> None:
    assert LARGE.build(IMAGENET_RGB) == BackboneCall(
        "detrex.modeling.backbone.internimage.InternImage",
        {
            "channels": 160,
            "depths": [5, 5, 22, 5],
            "groups": [10, 20, 40, 80],
            "offset_scale": 2.0,
            "post_norm": True,
            "layer_scale": 1.0,
            "drop_path_rate": 0.0,
            "out_indices": [1, 2, 3],
        },
        channels={"p1": 320, "p2": 640, "p3": 1280},
    )


@st.composite
def internimages(draw: st.DrawFn) -> InternImage:
    depths = tuple(draw(st.integers(1, 3)) for _ in range(4))
    base = draw(st.integers(1, 4))
    return InternImage(
        channels=base * 4 * draw(st.integers(1, 8)),
        depths=depths,
        groups=tuple(base * 2**stage for stage in range(4)),
        mlp_ratio=draw(st.sampled_from([4.0, 2.0])),
        layer_scale=draw(st.booleans()),
        offset_scale=draw(st.sampled_from([1.0, 2.0])),
        post_norm=draw(st.booleans()),
        dw_kernel_size=draw(st.sampled_from([3, 5])),
    )


@given(internimages())
def test_any_legal_size_reads_back(made: InternImage) -> None:
    reads_back(made, {"offset_scale": made.offset_scale})
