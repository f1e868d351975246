"""Focus-DETR: distinguished from DINO, one head with fourteen names, and its config overrides."""

import pytest
import torch

from detrex_hub import catalogue
from detrex_hub.architectures import architecture
from detrex_hub.architectures.recognise import recognise
from detrex_hub.catalogue import models
from detrex_hub.conversion import convert
from detrex_hub.errors import ArchitectureError, DetrexHubError, MappingError, UsageError
from detrex_hub.exporting import export

KIND = architecture("focus_detr")
SMALL = {
    "backbone": "resnet",
    "backbone_depth": 18,
    "num_queries": 30,
    "num_classes": 4,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "embed_dim": 32,
    "feedforward_dim": 8,
    "neck_inputs": 3,
    "feature_levels": 4,
}


def test_focus_detr_and_dino_are_never_confused():
    specs = KIND.from_hyper_parameters(SMALL).target()
    assert recognise(specs).architecture is KIND
    with pytest.raises(ArchitectureError, match="layout detrex of dino") as caught:
        recognise(specs, among=[architecture("dino")])
    assert caught.value.hint.startswith("Try: --arch focus_detr")
    rest = {key: spec for key, spec in specs.items() if "enc_mask_predictor" not in key}
    with pytest.raises(ArchitectureError, match="dino"):
        recognise(rest)
    with pytest.raises(MappingError, match="no rule"):
        dino = architecture("dino")
        dino.read(rest, "detrex", {}).plan(rest, "detrex")


def test_the_encoder_head_has_fourteen_names_of_which_a_file_may_have_one():
    made = KIND.from_hyper_parameters({**SMALL, "encoder_layers": 6, "decoder_layers": 6})
    (group,) = (group for group in made.ties() if "class_embed.6.weight" in group)
    assert len(group) == 14
    target = made.target()
    once = {key: spec for key, spec in target.items() if key not in group[1:]}
    plan = made.plan(once, "detrex")
    assert plan.specs.keys() == target.keys()
    assert {plan.ties[key] for key in group[1:]} == {group[0]}


def test_the_number_of_encoder_layers_chooses_the_encoder_head():
    made = KIND.from_hyper_parameters(SMALL)
    (group,) = (group for group in made.ties() if "class_embed.2.weight" in group)
    assert "enhance_MCSP_layerlist.1.weight" in group
    assert "transformer.encoder.enhance_MCSP.0.weight" in group
    assert "class_embed.3.weight" not in group


def test_more_encoder_layers_than_decoder_layers_are_refused():
    # detrex raises an IndexError
    with pytest.raises(ArchitectureError, match="4 encoder layers and 3 decoder layers"):
        KIND.from_hyper_parameters({**SMALL, "encoder_layers": 4})


def test_heads_and_labels_are_prepared_for_other_classes():
    specs = KIND.from_hyper_parameters(SMALL).target()
    made = KIND.read(specs, "detrex", {"num_classes": 2})
    found = made.plan(specs, "detrex").specs
    for name in ("label_enc", "enhance_MCSP_layerlist.1", "class_embed.3"):
        assert found[f"{name}.weight"].shape == (2, 32)


def test_copies_of_a_head_that_differ_are_refused(tmp_path):
    state = zeros()
    state["transformer.encoder.enhance_MCSP.1.weight"] += 1
    torch.save({"model": state}, tmp_path / "model_final.pth")
    with pytest.raises(DetrexHubError, match=r"enhance_MCSP\.1\.weight"):
        convert(tmp_path / "model_final.pth", tmp_path / "out")


def test_the_r101_config_gets_the_depth_of_the_file():
    # detrex's focus_detr_r101_4scale_36ep.py builds an R-50
    entry = catalogue.find_entry("focus_detr_r101_4scale_36ep")
    made = models.model_of(entry)
    lazy = made.overrides(dict(entry.facts)).lazy
    assert lazy["model.backbone.stages.depth"] == 101
    assert lazy["model.position_embedding.temperature"] == 20
    assert lazy["model.position_embedding.offset"] == 0


def test_focus_detr_is_not_exported(tmp_path):
    torch.save({"model": zeros()}, tmp_path / "model_final.pth")
    folder = convert(tmp_path / "model_final.pth", tmp_path / "out").folder
    with pytest.raises(UsageError, match="only in detrex's own layout"):
        export(folder, tmp_path / "there.pth")


def zeros():
    target = KIND.from_hyper_parameters(SMALL).target()
    return {key: torch.zeros(spec.shape) for key, spec in target.items()}
