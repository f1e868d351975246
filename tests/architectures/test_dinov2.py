from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from detrex_hub.architectures.base import IMAGENET_RGB
from detrex_hub.architectures.dinov2 import DINOv2
from detrex_hub.architectures.plain_vit import usual_windows
from detrex_hub.architectures.recognise import recognise
from detrex_hub.errors import ArchitectureError, MappingError
from detrex_hub.specs import TensorSpec
from tests import reference
from tests.architectures.backbones import State, comes_out_as_measured, read

SMALL = DINOv2(
    embed_dim=384,
    depth=12,
    num_heads=6,
    patch_size=14,
    pretrain_img_size=518,
    img_size=1036,
    window_block_indexes=usual_windows(12),
)
BASE = replace(SMALL, embed_dim=768, num_heads=12)
NAMES = reference.names("dinov2_", "hf_dinov2_", "timm_vit_")


def expected(name: str) -> DINOv2:
    made = BASE if "vitb" in name else SMALL
    if name.endswith("_p16"):
        made = replace(made.repatched(16), img_size=1024)
    # timm added the class token's position to the token itself
    return replace(made, pretrain_use_cls_token=not (name.startswith("timm") and "reg4" in name))


def facts_of(name: str) -> dict[str, Any]:
    return {"patch_size": 16} if name.endswith("_p16") else {}


@pytest.mark.parametrize("name", NAMES)
def test_comes_out_as_measured(name: str) -> None:
    made, layout, plan = comes_out_as_measured(name, facts_of(name))
    assert made == expected(name)
    assert (
        layout
        == {"dinov2": "original", "hf": "transformers", "timm": "timm"}[name.partition("_")[0]]
    )
    stated = reference.load(name).about["config"]["constructor"]
    assert made.img_size == stated["img_size"]
    assert {name: stated[name] for name in made.arguments()} == made.arguments()
    # every layer that a layer scale follows, weight and bias
    scaled = [key for key, move in plan.computed.items() if "patch" not in key]
    assert len(scaled) == 2 * 2 * made.depth
    assert DINOv2.from_hyper_parameters(made.hyper_parameters()) == made


def test_patches_of_14_pixels_are_resampled_only_on_request() -> None:
    made, _, plan = comes_out_as_measured("dinov2_vitb14")
    assert plan.specs["patch_embed.proj.weight"].shape == (768, 3, 14, 14)
    assert made.build(IMAGENET_RGB) is None
    assert any("--fact patch_size=16" in note for note in made.notes())


def test_the_pretraining_image_size_follows_from_the_positions() -> None:
    # with the default 224 the positions stay random, because their shape does not fit
    for name, size in (("dinov2_vitb14", 518), ("dinov2_vits14_p16", 592)):
        made, _ = read(reference.load(name).source, facts_of(name))
        lazy = made.overrides(IMAGENET_RGB).lazy
        assert lazy["model.backbone.net.pretrain_img_size"] == size
    made, _ = read(reference.load("timm_vit_small_patch14_reg4_dinov2").source)
    lazy = made.overrides(IMAGENET_RGB).lazy
    assert lazy["model.backbone.net.pretrain_use_cls_token"] is False


def test_folded_layer_scales_cannot_be_exported() -> None:
    made, layout, plan = comes_out_as_measured("dinov2_vits14_p16", {"patch_size": 16})
    with pytest.raises(MappingError, match=r"by scale_rows.*by pinv_last2|by pinv_last2") as error:
        made.plan_export(plan.specs, layout)
    assert "scale_rows" in str(error.value)


def in_training(specs: State, chunks: int | None) -> State:
    found: State = {"dino_head.mlp.0.weight": TensorSpec("F32", (8, 8))}
    for key, spec in specs.items():
        if chunks and key.startswith("blocks."):
            number = int(key.split(".")[1])
            key = key.replace("blocks.", f"blocks.{number * chunks // 12}.", 1)
        found[f"backbone.{key}"] = spec
    return found


@pytest.mark.parametrize(("chunks", "layout"), [(None, "training"), (4, "training_chunks")])
def test_training_checkpoints_with_grouped_blocks_are_read(chunks: int | None, layout: str) -> None:
    source = reference.load("dinov2_vits14_p16").source
    specs = in_training(source, chunks)
    made, found = read(specs)
    assert (made, found) == (SMALL, layout)
    plan = made.plan(specs, layout)
    assert plan.specs == made.plan(source, "original").specs
    group = "2.7" if chunks else "7"
    assert plan.moves["blocks.7.mlp.fc2.bias"].sources == (
        f"backbone.blocks.{group}.mlp.fc2.bias",
        f"backbone.blocks.{group}.ls2.gamma",
    )


@pytest.mark.parametrize(
    ("prefix", "layout"),
    [
        ("dinov2.", "transformers_classifier"),
        ("dinov2_with_registers.", "transformers_registers_classifier"),
    ],
)
def test_the_backbone_of_a_transformers_classifier_is_converted(prefix: str, layout: str) -> None:
    source = reference.load("hf_dinov2_vits14").source
    specs = {prefix + key: spec for key, spec in source.items()}
    specs["classifier.weight"] = TensorSpec("F32", (1000, 768))
    made, found = read(specs)
    assert (made, found) == (SMALL, layout)
    assert made.plan(specs, layout).specs == made.plan(source, "transformers").specs


@pytest.mark.parametrize(
    "key", ["blocks.0.mlp.w12.weight", "dinov2.encoder.layer.0.mlp.weights_in.weight"]
)
def test_the_giant_is_refused_with_the_reason(key: str) -> None:
    specs = {**reference.load("dinov2_vitb14").source, key: TensorSpec("F32", (8192, 1536))}
    with pytest.raises(ArchitectureError, match=r"DINOv2-g, .* gated \(SwiGLU\)"):
        read(specs)


def test_timms_giant_is_recognised_by_its_shapes() -> None:
    specs = dict(reference.load("timm_vit_small_patch14_dinov2").source)
    for block in range(12):
        specs[f"blocks.{block}.mlp.fc2.weight"] = TensorSpec("F32", (384, 768))
    with pytest.raises(ArchitectureError, match="DINOv2-g"):
        read(specs)


def test_layer_scales_distinguish_dinov2_from_other_vits() -> None:
    assert recognise(reference.load("vit_base_mae_timm").source).architecture.name == "vit_mae"
    assert recognise(reference.load("hf_vit_mae_base").source).architecture.name == "vit_mae"
    specs = dict(reference.load("timm_vit_small_patch14_dinov2").source)
    specs["patch_embed.proj.weight"] = TensorSpec("F32", (384, 3, 16, 16))
    with pytest.raises(ArchitectureError, match="no known architecture"):
        recognise(specs)
