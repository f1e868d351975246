"""`from_hub` prepares weights for other classes."""

import json

import pytest
import torch
from omegaconf import OmegaConf

from detrex_hub import from_hub, overrides
from detrex_hub.architectures import architecture, coco
from detrex_hub.conversion import convert
from detrex_hub.errors import ArchitectureError, ConfigError, UsageError
from detrex_hub.verification import verify
from tests import tiny
from tests.checkpoint_files import save, tensors
from tests.numerics import detr

NAMES = ["zebra", "our own class", "person"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A converted DETR with COCO's 80 classes."""
    place = tmp_path_factory.mktemp("detr")
    made = architecture("detr").from_hyper_parameters(detr.HYPER_PARAMETERS)
    path = save(place / "detr.pth", tensors(made.original()[0]), "model")
    return convert(path, place / "detr", facts={"image_format": "RGB"}).folder


@pytest.fixture
def model(folder):
    """The node ``model`` of a config that fits these weights."""
    cfg = OmegaConf.create({"model": {"_target_": "projects.detr.modeling.DETR"}})
    for path, value in overrides(folder).items():
        OmegaConf.update(cfg, path, value, force_add=True)
    cfg.model.backbone._target_ = "detectron2.modeling.backbone.ResNet"
    cfg.model.criterion.num_classes = "${..num_classes}"
    return cfg.model


def head(path):
    return torch.load(path, weights_only=True)["model"]["class_embed.weight"]


def test_the_heads_are_prepared_and_the_config_is_set(hub, folder, model):
    path = from_hub(folder, model=model, num_classes=5)
    assert head(path).shape[0] == 6
    assert (model.num_classes, model.criterion.num_classes) == (5, 5)


def test_classes_of_coco_keep_their_rows(hub, folder, model, caplog):
    whole, rows = head(from_hub(folder)), head(from_hub(folder, model=model, classes=NAMES))
    assert model.num_classes == 3
    assert torch.equal(rows[0], whole[coco.NAMES.index("zebra")])
    assert torch.equal(rows[2], whole[coco.NAMES.index("person")])
    assert torch.equal(rows[3], whole[80])
    assert "2 keep their rows" in caplog.text
    assert "our own class" in caplog.text


def test_names_are_read_from_a_file(hub, folder, model, tmp_path):
    (tmp_path / "names.json").write_text(json.dumps(NAMES))
    assert from_hub(folder, classes=tmp_path / "names.json") == from_hub(folder, classes=NAMES)


def test_each_choice_is_made_once_and_has_a_file_of_its_own(hub, folder):
    paths = {
        "whole": from_hub(folder),
        "five": from_hub(folder, num_classes=5),
        "seed": from_hub(folder, num_classes=5, seed=1),
        "names": from_hub(folder, classes=NAMES),
    }
    assert len(set(paths.values())) == len(paths)
    (folder / "model.safetensors").rename(folder / "away")
    try:
        assert from_hub(folder, num_classes=5) == paths["five"]
    finally:
        (folder / "away").rename(folder / "model.safetensors")


def test_an_assumed_fact_stays_assumed(hub, folder, model):
    assert overrides(folder)["model.transformer.encoder.num_heads"] == 8
    model.transformer.encoder.num_heads = 4
    from_hub(folder, model=model, num_classes=5)
    assert model.transformer.encoder.num_heads == 4


def test_a_refused_config_keeps_its_classes(hub, folder, model):
    del model.transformer
    with pytest.raises(ConfigError):
        from_hub(folder, model=model, num_classes=5)
    assert model.num_classes == 80


def test_names_and_number_may_not_contradict_each_other(hub, folder):
    with pytest.raises(UsageError, match="3 names for 4 classes"):
        from_hub(folder, num_classes=4, classes=NAMES)


# a name of the catalogue

_ENTRY = """
[weights.tiny_detr]
architecture = "detr"
layout = "original"
title = "A tiny DETR"
license = "mit"
url = "https://example.org/detr.pth"
hyper_parameters = {{ num_classes = {}, classes_cut_from = 92 }}
facts = {{ image_format = "RGB" }}
metrics = {{ "box AP" = 42.0 }}
evaluation = {{ task = "object-detection", dataset = "COCO", unit = "%", source = "https://e.org" }}
"""


@pytest.fixture
def named(hub, tmp_path):
    """Converts ``tiny_detr``, for which the catalogue states the given number of classes."""
    made = architecture("detr").from_hyper_parameters(detr.HYPER_PARAMETERS)
    original = save(tmp_path / "detr.pth", tensors(made.original()[0]), "model")

    def convert_named(classes=80, **facts):
        (tmp_path / "my.toml").write_text(_ENTRY.format(classes))
        return convert(
            "tiny_detr",
            tmp_path / "tiny_detr",
            facts=facts,
            source=str(original),
            extra_catalogues=[tmp_path / "my.toml"],
        )

    return convert_named


@pytest.mark.parametrize(
    ("facts", "count"), [({"num_classes": 5}, 5), ({"class_names": NAMES}, 3), ({}, 80)]
)
def test_a_name_of_the_catalogue_takes_other_classes(named, tmp_path, facts, count):
    made = named(**facts)
    assert made.conversion.architecture.hyper_parameters()["num_classes"] == count
    text = made.documents["README.md"]
    # accuracy measured with COCO's classes does not hold for others
    assert ("box AP" in text) == (count == 80)
    assert "license: mit" in text
    found = verify(made.folder, repeat=False, extra_catalogues=[tmp_path / "my.toml"])
    assert not [one.but for one in found.checks if one.but]


def test_a_file_with_other_classes_than_its_entry_is_still_refused(named):
    with pytest.raises(ArchitectureError, match="num_classes 80 instead of 81"):
        named(81, num_classes=5)


def test_classes_for_a_backbone_are_refused(hub, tmp_path):
    made = convert(tiny.original(tmp_path / "tiny.pth"), tmp_path / "tiny")
    with pytest.raises(ArchitectureError, match="no class heads"):
        from_hub(made.folder, num_classes=5)
