"""`export` writes weights under the original's names, or says why that is impossible."""

from pathlib import Path

import pytest
import torch

from detrex_hub.architectures import architecture, architectures
from detrex_hub.architectures.recognise import recognise
from detrex_hub.comparison import diff
from detrex_hub.conversion import convert
from detrex_hub.errors import ArchitectureError, MappingError, UsageError, VerificationError
from detrex_hub.exporting import export
from tests import reference
from tests.architectures.test_variants import DETECTORS, TRANSFORMERS, facts_of
from tests.checkpoint_files import save, tensors

# a DETR on a ResNet-18
SMALL = {
    "backbone": "resnet",
    "backbone_depth": 18,
    "num_queries": 100,
    "num_classes": 80,
    "classes_cut_from": 92,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "embed_dim": 32,
    "feedforward_dim": 16,
}
# DINO's label embedding has a row that detrex's lacks
DINO = reference.names("dino_")
BACK = [name for name in (*DETECTORS, *TRANSFORMERS) if name not in DINO]
# one of each architecture, and each layout of transformers
FILES = [
    *reference.names("anchor_detr_r50_dc5", "conditional_detr_r50_dc5", "dab_detr_r50_3pat"),
    *reference.names("deformable_detr_r50_two", "detr_r50_learned", "dn_detr", "h_deformable"),
    *reference.names("hf_dab", "hf_deformable_detr_r50_refine", "hf_detr_r50_no_timm"),
]


def rows_of(plan, source):
    """The rows of each target key as `(source key, row)`."""
    found = {}
    for key, move in plan.moves.items():
        found[key] = []
        for piece in move.pieces:
            rows = source[piece.key]
            ranges = ((0, len(rows)),) if piece.rows is None else piece.rows
            for start, stop in ranges:
                found[key] += rows[start:stop]
    return found | {alias: found[stored] for alias, stored in plan.ties.items()}


@pytest.mark.parametrize("name", BACK)
def test_every_row_returns_to_its_place(name):
    variant = reference.load(name)
    recognised = recognise(variant.source)
    facts = {"classes": "keep", **facts_of(name)}
    made = recognised.architecture.read(variant.source, recognised.layout, facts)
    there = made.plan(variant.source, recognised.layout)
    back = made.plan_export(there.specs, recognised.layout)

    stored = {key: group[0] for group in variant.tied_sources for key in group}
    named = {
        key: [(stored.get(key, key), row) for row in range((spec.shape or (1,))[0])]
        for key, spec in variant.source.items()
    }
    kept = {key: rows for key, rows in named.items() if key not in variant.dropped}
    assert rows_of(back, rows_of(there, named)) == kept
    assert back.specs == {key: variant.source[key] for key in kept}


@pytest.mark.parametrize("name", DINO)
def test_dinos_label_embedding_cannot_be_exported(name):
    variant = reference.load(name)
    made = architectures()["dino"].read(variant.source, "original", {"classes": "keep"})
    with pytest.raises(MappingError, match=r"label_enc.weight holds 91 of 92 rows") as caught:
        made.plan_export(made.plan(variant.source, "original").specs, "original")
    assert "does not have them" in str(caught.value)
    assert "--classes keep" not in str(caught.value)


def original(name, folder):
    variant = reference.load(name)
    state = tensors(variant.source, variant.tied_sources)
    return save(folder / f"{name}.pth", state, "model"), state


@pytest.mark.parametrize("name", FILES)
def test_a_detector_with_all_rows_converts_in_both_directions(tmp_path, name):
    variant = reference.load(name)
    path, state = original(name, tmp_path)
    facts = {"classes": "keep", **facts_of(name)}
    done = convert(path, tmp_path / "there", facts=facts)
    back = export(done.folder, tmp_path / "back.pth", layout=done.conversion.layout)
    found = diff(path, back.path)
    assert set(found.only_left) == set(back.absent) == set(variant.dropped)
    assert set(found.same) == set(state) - set(variant.dropped)
    assert not (found.renamed or found.different or found.only_right)
    written = torch.load(back.path, weights_only=True)
    if not name.startswith("hf_"):
        written = written["model"]
    for group in variant.tied_sources:
        assert len({written[key].data_ptr() for key in group if key in written}) == 1


def test_a_backbone_is_exported_to_torchvision(tmp_path, original):
    del original
    state = tensors(reference.load("resnet50_cls").source)
    path = save(tmp_path / "resnet50.pth", state)
    whole = convert(path, tmp_path / "whole", facts={"keep_classifier": True}).folder
    back = export(whole, tmp_path / "back.pth", layout="torchvision")
    assert diff(path, back.path).equal
    assert torch.load(back.path, weights_only=True).keys() == state.keys()

    part = convert(path, tmp_path / "part").folder
    back = export(part, tmp_path / "part.safetensors", layout="torchvision")
    found = diff(path, back.path)
    assert set(found.only_left) == set(back.absent)
    assert back.absent["fc.weight"] == "ImageNet classifier"
    assert set(found.same) | set(found.only_left) == set(state)


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224", "convnext_tiny_timm"])
def test_layout_original_means_the_layout_of_the_authors(tmp_path, name):
    path = save(tmp_path / "original.pth", tensors(reference.load(name).source))
    done = convert(path, tmp_path / "there")
    layout = next(iter(architectures()[done.conversion.architecture.name].layouts))
    assert export(done.folder, tmp_path / "back.pth").layout == layout
    again = export(done.folder, tmp_path / "again.pth", layout=done.conversion.layout)
    assert set(diff(path, again.path).same) == set(reference.load(name).source) - set(again.absent)


def test_the_refusal_names_rows_that_were_cut(tmp_path, detector):
    folder = convert(detector, tmp_path / "there").folder
    with pytest.raises(MappingError) as caught:
        export(folder, tmp_path / "back.pth")
    assert "class_embed.* holds 80 of 91 rows (coco80)" in str(caught.value)
    assert "--classes keep" in str(caught.value)
    assert not (tmp_path / "back.pth").exists()


def test_the_refusal_names_every_cut_head(tmp_path):
    path, _ = original("deformable_detr_r50_two_stage", tmp_path)
    with pytest.raises(MappingError) as caught:
        export(convert(path, tmp_path / "there").folder, tmp_path / "back.pth")
    text = str(caught.value)
    assert "class_embed.{0..5}.*, transformer.decoder.class_embed.{0..5}.* holds 80" in text
    assert (
        "class_embed.6.*, transformer.decoder.class_embed.6.* holds 80 of 91 rows (first80)" in text
    )


def test_a_checkpoint_in_detrex_names_needs_no_folder(tmp_path):
    # 20 custom classes, trained with detrex
    path, _ = original("deformable_detr_r50_refine", tmp_path)
    single = convert(path, tmp_path / "model_final.pth").path
    back = export(single, tmp_path / "back.pth")
    state = torch.load(back.path, weights_only=True)["model"]
    assert state["class_embed.0.weight"].shape == (80, 256)
    again = convert(back.path, tmp_path / "again.pth").path
    assert diff(single, again).equal


def test_a_file_without_detrex_names_is_not_exported(tmp_path, detector):
    with pytest.raises(UsageError, match="only weights with detrex's names"):
        export(detector, tmp_path / "back.pth")


def test_a_false_tie_is_refused(tmp_path):
    path, _ = original("deformable_detr_r50_refine", tmp_path)
    single = convert(path, tmp_path / "model_final.pth").path
    whole = torch.load(single, weights_only=True)
    whole["model"]["transformer.decoder.bbox_embed.0.layers.0.bias"] = torch.ones(256)
    torch.save(whole, single)
    with pytest.raises(VerificationError, match="one tensor for both"):
        export(single, tmp_path / "back.pth")
    del whole["model"]["neck.convs.0.conv.bias"]
    torch.save(whole, single)
    with pytest.raises(ArchitectureError, match=r"neck.convs.0.conv.bias"):
        export(single, tmp_path / "back.pth")


def test_an_invalid_target_is_refused(tmp_path, original):
    folder = convert(original, tmp_path / "r18").folder
    with pytest.raises(UsageError, match="--to torchvision"):
        export(folder, layout="panoptic")
    with pytest.raises(UsageError, match="no pickles"):
        export(folder, tmp_path / "back.pkl")
    with pytest.raises(UsageError, match="is a folder"):
        export(folder, tmp_path)
    with pytest.raises(UsageError, match="is the source of the weights"):
        export(folder, folder / "model.safetensors")


def test_the_command_writes_a_file_or_names_the_layouts(cli, original):
    assert cli("convert", original, "-o", "r18").code == 0
    done = cli("export", "r18", "--to", "torchvision")
    assert done.code == 0
    assert "resnet18-f37072fd-torchvision.pth" in done.out
    assert "fc.*  x2  ImageNet classifier" in done.out
    document = cli("export", "r18", "-o", "b.safetensors", "--json").document
    assert document["layout"] == "torchvision"
    assert document["tensors"] == 100
    assert document["absent"]["fc.bias"] == "ImageNet classifier"
    refused = cli("export", "r18", "--to", "caffe")
    assert refused.code == 2
    said = "Error: resnet cannot be written in the layout 'caffe'. Choose one: --to torchvision or "
    assert refused.err.startswith(said)
    assert refused.err.count("\n") == 1


def test_the_command_writes_a_folder_for_transformers(cli, tmp_path):
    specs, _ = architecture("detr").from_hyper_parameters(SMALL).original()
    path = save(tmp_path / "detr.pth", tensors(specs), "model")
    assert cli("convert", path, "-o", "detr").code == 0
    done = cli("export", "detr", "--to", "transformers")
    assert done.code == 0
    assert "80, COCO" in done.out
    assert "detr-transformers/config.json" in {str(p) for p in Path().glob("*/config.json")}
    document = cli("export", "detr", "--to", "transformers", "-o", "out", "--json").document
    assert (document["layout"], document["labels"][0]) == ("transformers", "person")
    Path("two.txt").write_text("cat\ndog\n")
    refused = cli("export", "detr", "--to", "transformers", "--classes-from", "two.txt")
    assert refused.code == 2
    assert "2 names" in refused.err
    assert refused.err.count("\n") == 1


def test_a_model_that_transformers_lacks_is_refused_in_one_line(cli, tmp_path):
    path, _ = original("dino_r50_4scale", tmp_path)
    single = convert(path, tmp_path / "dino.safetensors").path
    refused = cli("export", single, "--to", "transformers")
    assert refused.code == 1
    assert refused.err.startswith("Error: transformers has no model for dino: the queries of")
    assert "--to original" in refused.err
    assert refused.err.count("\n") == 1
