"""`built_in.outlines.json` matches the architectures."""

from msgspec.structs import replace

from detrex_hub import card, catalogue
from detrex_hub.catalogue.outlines import BUILT_IN_OUTLINES, outline, work_out, write_outlines

ENTRIES = catalogue.load_entries()


def test_the_outline_file_matches_the_architectures(tmp_path):
    path = tmp_path / "outlines.json"
    write_outlines(path)
    assert path.read_bytes() == BUILT_IN_OUTLINES.read_bytes(), (
        "run: make cards (or: python -m detrex_hub.card), and commit built_in.outlines.json"
    )


def test_known_models_have_the_published_sizes():
    known = {
        "r50_v1": ("ResNet-50", 23.6),
        "detr_r50_dc5": ("ResNet-50-DC5", 41.6),
        "swin_large_patch4_window12_384_22k": ("Swin-L", 195.7),
        "convnext_tiny_1k_224_ema": ("ConvNeXt-T", 27.8),
    }
    for name, (backbone, millions) in known.items():
        found = outline(ENTRIES[name])
        assert found is not None
        assert (found.backbone, round(found.parameters / 1e6, 1)) == (backbone, millions)


def test_a_card_and_the_outline_count_the_same_parameters():
    for name in ("r101_v2", "swin_tiny_patch4_window7_224", "dino_r50_4scale_12ep"):
        found = outline(ENTRIES[name])
        assert f"{found.parameters / 1e6:,.1f} M in " in card.render_for(ENTRIES[name])


def test_an_entry_that_replaces_a_built_in_one_has_its_own_outline():
    entry = ENTRIES["r50_v1"]
    deeper = replace(entry, hyper_parameters={"depth": 101})
    assert outline(deeper) == work_out(deeper)
    assert outline(deeper).backbone == "ResNet-101"


def test_an_entry_without_hyper_parameters_has_none():
    assert outline(replace(ENTRIES["r50_v1"], hyper_parameters={})) is None
    assert outline(replace(ENTRIES["r50_v1"], hyper_parameters={"depth": 7})) is None
