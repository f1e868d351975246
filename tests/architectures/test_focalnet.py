from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from detrex_hub.architectures.base import IMAGENET_RGB, BackboneCall
from detrex_hub.architectures.focalnet import FocalNet
from detrex_hub.errors import ArchitectureError, UsageError
from detrex_hub.mapping import Rename, plan
from detrex_hub.specs import TensorSpec
from tests import reference
from tests.architectures.backbones import comes_out_as_measured, parameters, read, reads_back

TINY = FocalNet(
    embed_dim=96, depths=(2, 2, 6, 2), focal_levels=(3, 3, 3, 3), focal_windows=(3, 3, 3, 3)
)
SMALL = replace(TINY, depths=(2, 2, 18, 2))
BASE = replace(SMALL, embed_dim=128)
LARGE = replace(
    SMALL,
    embed_dim=192,
    focal_windows=(5, 5, 5, 5),
    use_conv_embed=True,
    use_layerscale=True,
    use_postln=True,
)
FOUR = {"focal_levels": (4, 4, 4, 4), "focal_windows": (3, 3, 3, 3)}
LARGE_FL4 = replace(LARGE, **FOUR, normalize_modulator=True)
XLARGE = replace(LARGE, embed_dim=256)
XLARGE_FL4 = replace(XLARGE, **FOUR)
HUGE = replace(LARGE, embed_dim=352, focal_windows=(3, 3, 3, 3), use_postln_in_modulation=True)
HUGE_FL4 = replace(HUGE, **FOUR)
BY_SIZE = {"tiny": TINY, "base": BASE, "large": LARGE}


@pytest.mark.parametrize("name", reference.names("focalnet_"))
def test_comes_out_as_measured(name: str) -> None:
    made, layout, plan = comes_out_as_measured(name)
    assert layout == "original"
    assert made == BY_SIZE[name.split("_")[1]]
    about = reference.load(name).about
    stated = {**FocalNet.defaults, **about["config"]["constructor"]}
    assert {name: stated[name] for name in made.arguments()} == made.arguments()
    told = {name: about["original_arguments"].get(name) for name in made.arguments()}
    assert {k: v for k, v in told.items() if v is not None}.items() <= made.arguments().items()
    assert not [key for key in plan.moves if key.startswith("norm")]
    assert "not an output norm" in plan.dropped["norm.weight"]


def test_shapes_alone_cannot_tell_the_final_norm_from_an_output_norm() -> None:
    source = reference.load("focalnet_tiny_lrf").source
    wrong = [rule for rule in TINY.rules("original") if rule.source != "norm.*"]
    TINY.prove(plan([*wrong, Rename("norm.*", "norm3.*")], source, mapper="wrong").specs)


# the sizes of the original's configs, and its README's millions of parameters, with 1000 classes
@pytest.mark.parametrize(
    ("made", "millions"),
    [
        (replace(TINY, focal_levels=(2, 2, 2, 2)), 28.4),
        (TINY, 28.6),
        (SMALL, 50.3),
        (BASE, 88.7),
        (LARGE, 207),
        (LARGE_FL4, 207),
        (XLARGE, 366),
        (XLARGE_FL4, 366),
        (HUGE, 687),
        (HUGE_FL4, 689),
    ],
)
def test_all_published_sizes_have_the_published_parameter_count(
    made: FocalNet, millions: float
) -> None:
    assert round(parameters(reads_back(made)) / 1e6, 0 if millions > 100 else 1) == millions


def test_an_isotropic_focalnet_has_one_stage() -> None:
    made = FocalNet(
        embed_dim=768,
        depths=(12,),
        focal_levels=(3,),
        focal_windows=(3,),
        patch_size=16,
        use_layerscale=True,
        use_postln=True,
    )
    assert round(parameters(reads_back(made)) / 1e6, 1) == 87.2
    assert made.overrides(IMAGENET_RGB).lazy["model.backbone.patch_size"] == 16


def test_normalize_modulator_is_assumed_for_the_published_large_model_with_four_levels() -> None:
    specs, _ = LARGE_FL4.original()
    made, _ = read(specs)
    assert made == LARGE_FL4
    assert made.overrides(IMAGENET_RGB).lazy["model.backbone.normalize_modulator"] is True
    assert any("normalize_modulator=True" in note for note in made.notes())

    made, _ = read(specs, {"normalize_modulator": False})
    assert made == replace(LARGE_FL4, normalize_modulator=False)
    overrides = made.overrides(IMAGENET_RGB)
    assert overrides.lazy_if_present["model.backbone.normalize_modulator"] is False
    assert not made.notes()


def test_a_model_with_layer_scale_has_post_norm_by_default() -> None:
    specs, _ = LARGE.original()
    made, _ = read(specs)
    assert made.overrides(IMAGENET_RGB).lazy["model.backbone.use_postln"] is True
    assert read(specs, {"use_postln": False})[0] == replace(LARGE, use_postln=False)
    assert TINY.overrides(IMAGENET_RGB).lazy_if_present["model.backbone.use_postln"] is False


def test_a_fact_that_is_not_a_flag_is_refused() -> None:
    with pytest.raises(UsageError, match="use_postln should be true or false, not 'yes'"):
        read(TINY.original()[0], {"use_postln": "yes"})


def test_detrex_files_keep_their_output_norms() -> None:
    variant = reference.load("focalnet_large_lrf_384")
    made, layout = read(variant.target)
    assert (made, layout) == (replace(LARGE, output_norms=(1, 2, 3)), "detrex")
    assert made.target() == variant.target
    assert made.plan(variant.target, layout).specs == variant.target


def test_goes_back_to_the_original() -> None:
    variant = reference.load("focalnet_large_lrf_384")
    made, _, plan = comes_out_as_measured("focalnet_large_lrf_384")
    kept = {key: spec for key, spec in variant.source.items() if key not in variant.dropped}
    assert made.plan_export(plan.specs, "original").specs == kept


def test_the_error_names_a_missing_level() -> None:
    specs: dict[str, Any] = dict(TINY.original()[0])
    del specs["layers.1.blocks.1.modulation.focal_layers.2.0.weight"]
    made, layout = read(specs)
    with pytest.raises(ArchitectureError, match=r"missing: layers\.1\.blocks\.1\.modulation\.foc"):
        made.plan(specs, layout)
    specs["layers.1.blocks.0.modulation.focal_layers.5.0.weight"] = TensorSpec(
        "F32", (192, 1, 3, 3)
    )
    with pytest.raises(ArchitectureError, match="n is 0, 1, 2, 5"):
        read(specs)


def test_builds_what_the_real_configs_build() -> None:
    assert LARGE.build(IMAGENET_RGB) == BackboneCall(
        "detrex.modeling.backbone.focalnet.FocalNet",
        {
            "embed_dim": 192,
            "depths": [2, 2, 18, 2],
            "focal_levels": [3, 3, 3, 3],
            "focal_windows": [5, 5, 5, 5],
            "use_conv_embed": True,
            "use_postln": True,
            "use_layerscale": True,
            "out_indices": [1, 2, 3],
        },
        channels={"p1": 384, "p2": 768, "p3": 1536},
    )
    assert TINY.build(IMAGENET_RGB).kwargs["drop_path_rate"] == 0.1


@st.composite
def focalnets(draw: st.DrawFn) -> FocalNet:
    stages = draw(st.integers(1, 4))

    def each(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(values) for _ in range(stages))

    embeds = draw(st.booleans())
    return FocalNet(
        embed_dim=8 * draw(st.integers(1, 30)),
        depths=each(st.integers(1, 3)),
        focal_levels=each(st.integers(1, 4)),
        focal_windows=each(st.sampled_from([3, 5, 7])),
        patch_size=4 if embeds else draw(st.sampled_from([2, 4, 8, 16])),
        mlp_ratio=draw(st.sampled_from([4.0, 2.0])),
        patch_norm=draw(st.booleans()),
        use_conv_embed=embeds,
        use_layerscale=draw(st.booleans()),
        use_postln=draw(st.booleans()),
        use_postln_in_modulation=draw(st.booleans()),
        normalize_modulator=draw(st.booleans()),
    )


def told(made: FocalNet) -> dict[str, bool]:
    return {name: getattr(made, name) for name in FocalNet.facts}


@given(focalnets())
def test_any_legal_size_reads_back(made: FocalNet) -> None:
    reads_back(made, told(made))


@given(focalnets())
def test_any_legal_size_of_detrex_reads_back(made: FocalNet) -> None:
    made = replace(made, output_norms=(0,))
    assert read(made.target(), told(made)) == (made, "detrex")
