"""Cards have pictures, and `verify` draws them again."""

import shutil

import pytest

from detrex_hub import convert, push, verify
from detrex_hub.errors import VerificationError
from tests import tiny
from tests.pictures.test_png import decoded


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    place = tmp_path_factory.mktemp("pictures")
    return convert(tiny.original(place / "tiny.pth"), place / "tiny").folder


@pytest.fixture
def copy(backbone, tmp_path):
    return shutil.copytree(backbone, tmp_path / "tiny")


def pictures(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".png")


def detail(folder):
    return {one.name: one.detail for one in verify(folder).checks}.get("pictures")


def test_a_backbone_shows_its_first_layer(backbone):
    assert pictures(backbone) == ["filters.png"]
    width, height, _, _ = decoded((backbone / "filters.png").read_bytes())
    assert width == height > 100
    assert "![The filters of the first layer](filters.png)" in (backbone / "README.md").read_text()


def test_a_detector_and_seeded_numbers_show_none(tmp_path):
    made = convert(tiny.detector(tmp_path / "tiny.pth"), tmp_path / "detector").folder
    assert pictures(made) == []
    assert "filters.png" not in (made / "README.md").read_text()
    seeded = convert("r18_v1", tmp_path / "seeded", synthetic=True).folder
    assert pictures(seeded) == []


TABLE = """
[weights.mine]
architecture = "convnext"
layout = "original"
title = "Mine"
license = "mit"
url = "https://example.org/mine.pth"
hyper_parameters = { depths = [1, 1, 1, 1], dims = [8, 16, 24, 32] }
facts = { image_format = "RGB" }
metrics = { "acc@1" = 50 }

[weights.mine.evaluation]
task = "image-classification"
dataset = "ImageNet-1k"
unit = "%"
source = "https://example.org/mine"
"""


def test_an_entry_is_plotted_with_its_family(tmp_path):
    (tmp_path / "my.toml").write_text(TABLE)
    theirs = [tmp_path / "my.toml"]
    original = str(tiny.original(tmp_path / "tiny.pth"))
    made = convert("mine", tmp_path / "made", source=original, extra_catalogues=theirs).folder
    assert pictures(made) == ["accuracy.png", "filters.png"]
    text = (made / "README.md").read_text()
    assert "![Accuracy against parameters](accuracy.png)" in text
    assert "acc@1 on ImageNet-1k against the number of parameters" in text
    found = verify(made, repeat=False, extra_catalogues=theirs)
    details = {one.name: one.detail for one in found.checks}
    assert details["pictures"] == "filters.png and accuracy.png, drawn again: the same bytes"
    # differs from the picture of the present catalogue
    (made / "accuracy.png").write_bytes((made / "filters.png").read_bytes())
    found = verify(made, repeat=False, extra_catalogues=theirs)
    assert found.summary.endswith("its accuracy.png is not the one that the catalogue gives")


def test_verify_draws_the_first_layer_again(copy):
    assert detail(copy) == "filters.png, drawn again: the same bytes"
    content = bytearray((copy / "filters.png").read_bytes())
    content[-20] ^= 1
    (copy / "filters.png").write_bytes(content)
    with pytest.raises(VerificationError, match="does not show the first layer of these weights"):
        verify(copy)


def test_a_repository_of_an_earlier_version_has_no_pictures(copy):
    (copy / "filters.png").unlink()
    assert detail(copy) is None
    assert "edited by hand" in {one.name: one.detail for one in verify(copy).checks}["card"]


def test_a_picture_that_is_too_large_is_not_pushed(copy, tmp_path):
    (copy / "filters.png").write_bytes(bytes(2**20 + 1))
    with pytest.raises(Exception, match=r"filters\.png"):
        push(copy, "alice/tiny", to=tmp_path / "hub")


def test_pictures_are_pushed_and_come_back(copy, tmp_path):
    result = push(copy, "alice/tiny", to=tmp_path / "hub")
    assert "filters.png" in result.changed
    there = tmp_path / "hub" / "alice" / "tiny"
    assert (there / "filters.png").read_bytes() == (copy / "filters.png").read_bytes()
    assert push(copy, "alice/tiny", to=tmp_path / "hub").changed == ()
    assert detail(there) == "filters.png, drawn again: the same bytes"
