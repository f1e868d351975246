from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from detrex_hub.architectures.base import IMAGENET_RGB, BackboneCall
from detrex_hub.architectures.convnext import ConvNeXt
from detrex_hub.errors import ArchitectureError
from detrex_hub.mapping import Rename, plan
from detrex_hub.specs import TensorSpec
from tests import reference
from tests.architectures.backbones import comes_out_as_measured, parameters, read, reads_back

TINY = ConvNeXt(depths=(3, 3, 9, 3), dims=(96, 192, 384, 768))
SMALL = replace(TINY, depths=(3, 3, 27, 3))
BASE = replace(SMALL, dims=(128, 256, 512, 1024))
LARGE = replace(SMALL, dims=(192, 384, 768, 1536))
BY_SIZE = {"tiny": TINY, "base": BASE}


@pytest.mark.parametrize("name", reference.names("convnext_"))
def test_comes_out_as_measured(name: str) -> None:
    made, layout, plan = comes_out_as_measured(name)
    assert made == BY_SIZE[name.split("_")[1]]
    assert layout == ("timm" if name.endswith("timm") else "original")
    stated = reference.load(name).about["config"]["constructor"]
    assert {name: stated[name] for name in made.arguments()} == made.arguments()
    assert not [key for key in plan.moves if key.startswith("norm")]
    assert (
        "not an output norm" in plan.dropped["head.norm.bias" if layout == "timm" else "norm.bias"]
    )


def test_transformers_comes_out_as_measured_and_goes_back() -> None:
    variant = reference.load("hf_convnext_tiny")
    made, layout, plan = comes_out_as_measured("hf_convnext_tiny")
    assert (made, layout) == (TINY, "transformers")
    back = made.plan_export(plan.specs, layout)
    assert back.specs == {k: s for k, s in variant.source.items() if k not in variant.dropped}

    whole = {f"convnext.{key}": spec for key, spec in variant.source.items()}
    whole |= {"classifier.weight": TensorSpec("F32", (1000, 768))}
    made, layout = read(whole)
    assert (made, layout) == (TINY, "transformers_classifier")
    assert made.plan(whole, layout).specs == plan.specs

    norms = {f"hidden_states_norms.stage{i + 1}": width for i, width in enumerate(TINY.dims)}
    backbone = {k: s for k, s in variant.source.items() if not k.startswith("layernorm.")} | {
        f"{name}.{parameter}": TensorSpec("F32", (width,))
        for name, width in norms.items()
        for parameter in ("weight", "bias")
    }
    made, layout = read(backbone)
    assert made == replace(TINY, output_norms=(1, 2, 3))
    plan = made.plan(backbone, layout)
    assert plan.moves["norm3.weight"].sources == ("hidden_states_norms.stage4.weight",)
    assert "hidden_states_norms.stage1.bias" in plan.dropped


def test_shapes_alone_cannot_tell_the_final_norm_from_an_output_norm() -> None:
    source = reference.load("convnext_tiny_22k_1k_384").source
    wrong = [rule for rule in TINY.rules("original") if rule.source != "norm.*"]
    TINY.prove(plan([*wrong, Rename("norm.*", "norm3.*")], source, mapper="wrong").specs)


# millions of parameters with 1000 classes: ConvNeXt's README
@pytest.mark.parametrize(
    ("made", "millions"), [(TINY, 28.6), (SMALL, 50.2), (BASE, 88.6), (LARGE, 197.8)]
)
def test_all_published_sizes_have_the_published_parameter_count(
    made: ConvNeXt, millions: float
) -> None:
    assert round(parameters(reads_back(made)) / 1e6, 1) == millions


def test_detrex_files_keep_their_output_norms() -> None:
    variant = reference.load("convnext_tiny_22k_1k_384")
    made, layout = read(variant.target)
    assert (made, layout) == (replace(TINY, output_norms=(1, 2, 3)), "detrex")
    assert made.target() == variant.target
    assert made.plan(variant.target, layout).specs == variant.target
    lacking = {key: spec for key, spec in variant.target.items() if key != "norm1.weight"}
    with pytest.raises(ArchitectureError, match=r"missing: norm1\.weight"):
        made.plan(lacking, layout)


def test_goes_back_to_both_layouts() -> None:
    names = {"convnext_tiny_22k_1k_384": "original", "convnext_tiny_timm": "timm"}
    for name, layout in names.items():
        variant = reference.load(name)
        made, _, plan = comes_out_as_measured(name)
        back = made.plan_export(plan.specs, layout)
        kept = {key: spec for key, spec in variant.source.items() if key not in variant.dropped}
        assert back.specs == kept


def changed(**changes: TensorSpec | None) -> dict[str, TensorSpec]:
    specs: dict[str, Any] = {**TINY.original()[0], **changes}
    return {key: spec for key, spec in specs.items() if spec is not None}


@pytest.mark.parametrize(
    "key",
    [
        "stages.0.0.grn.gamma",
        "stages.0.blocks.0.mlp.grn.weight",
        "convnextv2.encoder.stages.0.layers.0.grn.weight",
    ],
)
def test_version_2_is_refused_with_the_reason(key: str) -> None:
    specs = changed(**{key: TensorSpec("F32", (1, 1, 1, 384))})
    with pytest.raises(ArchitectureError, match=r"ConvNeXt V2 .* which detrex does not have"):
        read(specs)


def test_a_missing_stage_is_refused() -> None:
    specs = {key: spec for key, spec in changed().items() if not key.startswith("stages.3")}
    with pytest.raises(ArchitectureError, match="it has 3 stages, but detrex's has 4"):
        read(specs)


def test_a_missing_block_is_refused() -> None:
    specs = changed(**{"stages.2.4.dwconv.weight": None})
    with pytest.raises(ArchitectureError, match="n is 0, 1, 2, 3, 5"):
        read(specs)


def test_overrides_and_the_built_backbone_agree() -> None:
    overrides = LARGE.overrides(IMAGENET_RGB)
    assert overrides.lazy["model.backbone.depths"] == [3, 3, 27, 3]
    assert overrides.lazy["model.backbone.dims"] == [192, 384, 768, 1536]
    assert "model.backbone.layer_scale_init_value" not in overrides.lazy
    assert overrides.lazy_if_present["model.backbone.layer_scale_init_value"] > 0
    assert overrides.lazy_if_present["model.neck.input_shapes.p1.channels"] == 384
    assert LARGE.build(IMAGENET_RGB) == BackboneCall(
        "detrex.modeling.backbone.convnext.ConvNeXt",
        {"depths": [3, 3, 27, 3], "dims": [192, 384, 768, 1536], "out_indices": [1, 2, 3]},
        channels={"p1": 384, "p2": 768, "p3": 1536},
    )


def test_without_layer_scale_the_model_is_built_without_it() -> None:
    made = replace(TINY, layer_scale=False)
    assert not [key for key in made.target() if key.endswith("gamma")]
    assert made.overrides(IMAGENET_RGB).lazy["model.backbone.layer_scale_init_value"] == 0


convnexts = st.builds(
    ConvNeXt,
    depths=st.tuples(*[st.integers(1, 4)] * 4),
    dims=st.tuples(*[st.integers(1, 200)] * 4),
    layer_scale=st.booleans(),
)


@given(convnexts)
def test_any_legal_size_reads_back(made: ConvNeXt) -> None:
    reads_back(made)


@given(convnexts, st.sets(st.integers(0, 3), min_size=1))
def test_any_legal_size_of_detrex_reads_back(made: ConvNeXt, stages: set[int]) -> None:
    made = replace(made, output_norms=tuple(sorted(stages)))
    assert read(made.target()) == (made, "detrex")
