"""The catalogue has all backbones, and each matches its name."""

from __future__ import annotations

import re

import pytest

from detrex_hub import catalogue
from detrex_hub.architectures import architecture
from detrex_hub.configs.settings import check_overrides
from detrex_hub.conversion import prepare
from detrex_hub.originals.conversion_options import ConversionOptions
from tests.architectures.backbones import parameters

FAMILIES = (
    "swin",
    "convnext",
    "focalnet",
    "internimage",
    "mae",
    "eva02",
    "dinov2",
    "detectron2",
    "torchvision_resnet",
)
ENTRIES = {name: e for name, e in catalogue.load_entries().items() if e.family in FAMILIES}

# the backbones in detrex's configs and on its page of backbones to download (e244e6c)
_NAMED = """
swin_tiny_patch4_window7_224 swin_small_patch4_window7_224 swin_base_patch4_window7_224
swin_base_patch4_window12_384 swin_base_patch4_window7_224_22k swin_base_patch4_window12_384_22k
swin_large_patch4_window7_224_22k swin_large_patch4_window12_384_22k
swin_base_patch4_window7_224_22kto1k swin_base_patch4_window12_384_22kto1k
swin_large_patch4_window7_224_22kto1k swin_large_patch4_window12_384_22kto1k
swin_tiny_patch4_window7_224_22k swin_small_patch4_window7_224_22k
swin_tiny_patch4_window7_224_22kto1k_finetune swin_small_patch4_window7_224_22kto1k_finetune
convnext_tiny_22k_1k_384 convnext_small_22k_1k_384 convnext_base_22k_1k_384
convnext_large_22k_1k_384 mae_pretrain_vit_base mae_pretrain_vit_large mae_pretrain_vit_huge
focalnet_tiny_lrf focalnet_small_lrf focalnet_base_lrf focalnet_large_lrf_384
focalnet_large_lrf_384_fl4 focalnet_xlarge_lrf_384 focalnet_xlarge_lrf_384_fl4
focalnet_huge_lrf_224 focalnet_huge_lrf_224_fl4 internimage_t_1k_224 internimage_s_1k_224
internimage_b_1k_224 internimage_l_22kto1k_384 eva02_L_pt_m38m_p14to16 eva02_B_pt_in21k_p14to16
"""
NAMED = _NAMED.split()

# millions of parameters of the backbone, without heads, by a part of the name
MILLIONS = {
    "swin": {"tiny": 27.5, "small": 48.8, "base": 86.7, "large": 195.0},
    "convnext": {"tiny": 27.8, "small": 49.5, "base": 87.6, "large": 196.2},
    "focalnet": {"tiny": 27.8, "small": 49.4, "base": 87.4, "_large": 205, "xlarge": 363}
    | {"huge": 683},
    "internimage": {"_t_": 28.9, "_s_": 48.7, "_b_": 95.7, "_l_": 217, "_xl_": 328, "_h_": 1060},
    "mae": {"base": 85.8, "large": 303.3, "huge": 630.8},
    "eva02": {"_B_": 85.7, "_L_": 303.2},
    "dinov2": {"vits": 22.1, "vitb": 86.6, "vitl": 304.4},
    "detectron2": {"r50": 23.5, "r101": 42.6},
    "torchvision_resnet": {"r50": 23.5, "r101": 42.6},
}


def test_every_file_that_detrex_names_is_there():
    assert set(NAMED) <= ENTRIES.keys()
    for name in NAMED:
        assert name in {re.sub(r"\.pth?$", "", one.file) for one in ENTRIES[name].sources}


@pytest.mark.parametrize("name", ENTRIES)
def test_each_entry_is_planned_from_its_catalogue_fields(name):
    entry = ENTRIES[name]
    with prepare(name, ConversionOptions(synthetic=True)) as planned:
        made = planned.architecture
        assert made.name == entry.architecture
        assert {k: made.hyper_parameters()[k] for k in entry.hyper_parameters} == dict(
            entry.hyper_parameters
        )
        assert planned.layout == entry.sources[0].layout
        check_overrides(planned.overrides, made.paths(), where=name)
        (millions,) = [n for part, n in MILLIONS[entry.family].items() if part in name]
        assert parameters(planned.plan.specs) / 1e6 == pytest.approx(millions, rel=0.02)
        facts = {k: v for k, v in entry.facts.items() if k in type(made).facts}
        for fact, value in facts.items():
            found = made.hyper_parameters().get(fact, planned.preprocessing.get(fact))
            assert found == value, fact
        for key in ("image_format", "pixel_mean", "pixel_std"):
            assert planned.preprocessing[key] == entry.facts[key]


@pytest.mark.parametrize("name", [n for n, e in ENTRIES.items() if e.family == "swin"])
def test_windows_and_sizes_match_the_name(name):
    window, size = map(int, re.search(r"window(\d+)_(\d+)", name).groups())
    hyper = ENTRIES[name].hyper_parameters
    assert (hyper["window_size"], hyper["pretrain_img_size"]) == (window, size)


def test_only_the_large_four_level_focalnet_normalises_its_modulator():
    normalised = [n for n, e in ENTRIES.items() if e.facts.get("normalize_modulator")]
    assert normalised == ["focalnet_large_lrf_384_fl4"]
    with prepare(*normalised, ConversionOptions(synthetic=True)) as planned:
        assert planned.overrides.lazy["model.backbone.normalize_modulator"] is True


def test_msras_resnets_need_caffes_image_settings():
    for name in ("r50_msra", "r101_msra"):
        with prepare(name, ConversionOptions(synthetic=True)) as planned:
            lazy = planned.overrides.lazy
        assert lazy["model.pixel_mean"] == [103.53, 116.28, 123.675]
        assert lazy["model.pixel_std"] == [1.0, 1.0, 1.0]
        assert lazy["dataloader.train.mapper.img_format"] == "BGR"
        assert lazy["model.backbone.stages.stride_in_1x1"] is True
    with prepare("r50_detectron2", ConversionOptions(synthetic=True)) as planned:
        assert planned.overrides.lazy["dataloader.train.mapper.img_format"] == "RGB"
        assert planned.overrides.lazy["model.backbone.stages.stride_in_1x1"] is False


def test_dinov2_is_resampled_and_its_positions_fit_the_config():
    with prepare("dinov2_vitb14_reg4_p14to16", ConversionOptions(synthetic=True)) as planned:
        lazy, plan = planned.overrides.lazy, planned.plan
    assert lazy["model.backbone.net.pretrain_img_size"] == 592
    (piece,) = plan.moves["patch_embed.proj.weight"].pieces
    assert piece.operation.name == "pinv_last2"


def test_non_commercial_weights_have_a_non_commercial_licence():
    forbidden = {name for name, entry in ENTRIES.items() if entry.non_commercial}
    assert forbidden == {name for name in ENTRIES if name.startswith("mae_")}
    assert all(ENTRIES[name].license == "cc-by-nc-4.0" for name in forbidden)
    assert {e.license for e in ENTRIES.values()} == {
        "apache-2.0",
        "bsd-3-clause",
        "cc-by-nc-4.0",
        "cc-by-sa-3.0",
        "mit",
    }


def test_a_dead_link_has_another_source():
    for name, entry in ENTRIES.items():
        if entry.family in ("swin", "convnext"):
            assert any(one.layout == "timm" for one in entry.sources), name
        for one in entry.sources:
            assert one.layout in architecture(entry.architecture).layouts


def test_figures_link_to_their_page():
    for entry in ENTRIES.values():
        pages = (entry.homepage, "https://pytorch.org/vision/")
        assert all(one.source.startswith(pages) for one in entry.metrics)
    # a classifier of ImageNet-22k has another accuracy than the one fine-tuned from it
    assert not ENTRIES["swin_base_patch4_window7_224_22k"].metrics


def test_only_its_content_identifies_a_file_as_an_original(tmp_path):
    known = ENTRIES["swin_tiny_patch4_window7_224"].sources[0]
    path = tmp_path / "any.name"
    path.write_bytes(b"")
    asked = []

    def sha256(digest):
        def hashed():
            asked.append(digest)
            return digest

        return hashed

    # neither its name nor its size matches an original, so it is not hashed
    assert catalogue.of_file(path, sha256(known.sha256)) == ()
    assert asked == []
    named = path.rename(tmp_path / "resnet50-0676ba61.pth")
    assert catalogue.of_file(named, sha256("f" * 64)) == ()
    source = catalogue.load_entries()["r50_v1"].sources[0]
    digest = (source.sha256 or source.sha256_prefix).ljust(64, "0")
    names = [entry.name for entry in catalogue.of_file(named, sha256(digest))]
    assert names == ["r50_v1", "r50_v1_torchvision"]
    assert [entry.name for entry in catalogue.of_name(named)] == names
    # a file of the same size with another name
    sized = tmp_path / "mine.pth"
    with sized.open("wb") as file:
        file.truncate(known.size)
    found = catalogue.of_file(sized, sha256(known.sha256))
    assert [entry.name for entry in found] == ["swin_tiny_patch4_window7_224"]


@pytest.mark.parametrize("folder", ["MSRA", "torchvision"])
def test_the_name_of_a_folder_does_not_identify_a_file(tmp_path, folder):
    path = tmp_path / folder / "R-50.pkl"
    path.parent.mkdir()
    path.write_bytes(b"")
    assert catalogue.of_file(path, lambda: "f" * 64) == ()
    assert {entry.name for entry in catalogue.of_name(path)} == {"r50_msra", "r50_detectron2"}
