"""Folders for transformers have the right files and lose nothing, or the export is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from detrex_hub.architectures import architecture, coco
from detrex_hub.comparison import diff
from detrex_hub.conversion import convert
from detrex_hub.errors import ArchitectureError, DetrexHubError, UsageError
from detrex_hub.exporting import export
from tests.checkpoint_files import save, tensors

# ResNet-18 is the smallest backbone of both
DETR = {
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
FILES = {"config.json", "preprocessor_config.json", "model.safetensors"}


def made(name, **hyper_parameters):
    return architecture(name).from_hyper_parameters({**DETR, **hyper_parameters})


@pytest.fixture(scope="module")
def detr(tmp_path_factory):
    """A converted DETR, whose head was cut to COCO's classes."""
    place = tmp_path_factory.mktemp("detr")
    specs, _ = made("detr").original()
    path = save(place / "detr.pth", tensors(specs), "model")
    return convert(path, place / "detr").folder


def config_of(done, name="config.json"):
    return json.loads((done.path / name).read_text())


def test_a_cut_head_is_exported_unchanged(detr, tmp_path):
    done = export(detr, tmp_path / "out", layout="transformers")
    assert {path.name for path in done.path.iterdir()} >= FILES
    config = config_of(done)
    assert config["id2label"] == {str(row): name for row, name in enumerate(coco.NAMES)}
    assert config["label2id"]["toothbrush"] == 79
    assert "num_labels" not in config
    assert config["backbone"] == "resnet18"
    assert config_of(done, "preprocessor_config.json")["format"] == "coco_detection"
    weights = load_file(done.path / "model.safetensors")
    assert weights["class_labels_classifier.weight"].shape == (81, 32)
    ours = load_file(detr / "model.safetensors")
    assert torch.equal(weights["class_labels_classifier.weight"], ours["class_embed.weight"])
    # nothing states the 8 heads, which the original has
    assert "num_heads" in done.assumed


@pytest.mark.parametrize("layout", ["transformers", "transformers_no_timm"])
def test_export_and_conversion_give_the_same_bytes(detr, tmp_path, layout):
    done = export(detr, tmp_path / "out", layout=layout)
    back = convert(done.path / "model.safetensors", tmp_path / "back").folder
    found = diff(detr / "model.safetensors", back / "model.safetensors")
    assert found.equal
    one, other = (p / "model.safetensors" for p in (detr, back))
    assert one.read_bytes() == other.read_bytes()


def test_the_same_export_has_the_same_bytes(detr, tmp_path):
    one, other = (export(detr, tmp_path / n / "out", layout="transformers").path for n in "ab")
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_a_single_file_holds_a_cut_head_too(detr, tmp_path):
    done = export(detr, tmp_path / "detr.safetensors", layout="transformers")
    assert load_file(done.path)["class_labels_classifier.bias"].shape == (81,)
    with pytest.raises(UsageError, match="single file has no place for class names"):
        export(detr, tmp_path / "x.pth", layout="transformers", class_names=["a"])


def trained(name, folder, **hyper_parameters):
    """A checkpoint in detrex's names, as training writes it."""
    model = made(name, classes_cut_from=None, **hyper_parameters)
    specs = {k: s for k, s in model.target().items() if k not in model.set_by_model()}
    state = tensors(specs)
    for group in model.ties():
        for key in group[1:]:
            state[key] = state[group[0]]
    path = folder / "model_final.pth"
    torch.save({"model": state, "iteration": 89999}, path)
    return path


def test_classes_of_a_training_are_named_by_the_user_or_by_numbers(tmp_path):
    path = trained("detr", tmp_path, num_classes=3)
    done = export(path, tmp_path / "out", layout="transformers")
    assert list(config_of(done)["id2label"].values()) == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert any("--classes-from" in note for note in done.notes)
    # facts that keys do not show are assumed, and reported as assumed
    assert done.assumed["num_heads"] == 8
    assert any("num_heads=8" in note for note in done.notes)
    named = export(
        path,
        tmp_path / "named",
        layout="transformers",
        class_names=["cat", "dog", "owl"],
        facts={"num_heads": "4"},
    )
    assert config_of(named)["id2label"] == {"0": "cat", "1": "dog", "2": "owl"}
    assert config_of(named)["encoder_attention_heads"] == 4
    assert "num_heads" not in named.assumed
    with pytest.raises(UsageError, match="2 names, but the class heads have 3 rows"):
        export(path, tmp_path / "x", layout="transformers", class_names=["cat", "dog"])


def test_class_names_of_a_conversion_are_recorded(detr, tmp_path):
    specs, _ = made("detr").original()
    path = save(tmp_path / "detr.pth", tensors(specs), "model")
    folder = convert(path, tmp_path / "own", facts={"class_names": ["zebra", "unicorn"]}).folder
    done = export(folder, tmp_path / "out", layout="transformers")
    assert config_of(done)["id2label"] == {"0": "zebra", "1": "unicorn"}
    assert done.labels.known


def test_whole_heads_have_class_names_at_their_category_ids(tmp_path):
    specs, _ = made("detr").original()
    path = save(tmp_path / "detr.pth", tensors(specs), "model")
    folder = convert(path, tmp_path / "whole", facts={"classes": "keep"}).folder
    names = config_of(export(folder, tmp_path / "out", layout="transformers"))["id2label"]
    assert len(names) == 91
    assert (names["0"], names["1"], names["12"], names["90"]) == (
        "N/A",
        "person",
        "N/A",
        "toothbrush",
    )


def test_a_fact_that_contradicts_the_records_is_refused(detr, tmp_path):
    known = convert(detr / "model.safetensors", tmp_path / "k", facts={"num_heads": 8}).folder
    with pytest.raises(UsageError, match="num_heads of model is 8, not 4"):
        export(known, tmp_path / "out", layout="transformers", facts={"num_heads": "4"})


def test_dn_detr_becomes_a_dab_detr_with_one_pattern(tmp_path):
    path = trained("dn_detr", tmp_path, embed_dim=256, num_classes=5)
    done = export(path, tmp_path / "out", layout="transformers")
    assert config_of(done)["model_type"] == "dab-detr"
    assert config_of(done)["num_patterns"] == 1
    labels = torch.load(path, weights_only=True)["model"]
    unknown = labels["denoising_generator.label_encoder.weight"][5]
    pattern = load_file(done.path / "model.safetensors")["model.patterns.weight"]
    assert torch.equal(pattern, torch.cat([unknown, torch.zeros(1)])[None])


def test_a_folder_of_the_user_is_not_replaced(detr, tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="not an exported folder"):
        export(detr, place, layout="transformers")
    with pytest.raises(UsageError, match="not an exported folder"):
        export(detr, detr, layout="transformers")
    assert (place / "thesis.tex").read_text() == "x"
    # another project's repository with the same file names
    saved = tmp_path / "saved"
    saved.mkdir()
    for name in (*FILES, "README.md"):
        (saved / name).write_text("theirs")
    with pytest.raises(UsageError, match="not an exported folder") as refused:
        export(detr, saved, layout="transformers")
    assert refused.value.choices == ("-o saved_exported",)
    assert {path.read_text() for path in saved.iterdir()} == {"theirs"}
    out = tmp_path / "out"
    first = export(detr, out, layout="transformers")
    again = export(detr, out, layout="transformers")
    assert first.sha256 == again.sha256


def test_images_in_bgr_are_refused_before_anything_is_written(tmp_path):
    specs, _ = made("detr").original()
    path = save(tmp_path / "detr.pth", tensors(specs), "model")
    folder = convert(path, tmp_path / "bgr", facts={"image_format": "BGR"}).folder
    with pytest.raises(ArchitectureError, match="need BGR images"):
        export(folder, tmp_path / "out", layout="transformers")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("record", "path", "value", "why"),
    [
        ("config.json", ("preprocessing", "pixel_mean"), "x", "no valid pixel_mean"),
        ("config.json", ("preprocessing", "image_format"), None, "no valid image_format"),
        ("conversion.json", ("facts", "class_names"), 5, None),
        ("conversion.json", ("facts", "class_names"), [1] * 80, None),
    ],
)
def test_an_untrusted_record_is_refused_or_ignored(detr, tmp_path, record, path, value, why):
    folder = tmp_path / "theirs"
    shutil.copytree(detr, folder)
    document = json.loads((folder / record).read_text())
    document[path[0]][path[1]] = value
    (folder / record).write_text(json.dumps(document))
    if why is None:
        assert export(folder, tmp_path / "o", layout="transformers").labels.names == coco.NAMES
        return
    with pytest.raises(DetrexHubError) as caught:
        export(folder, tmp_path / "o", layout="transformers")
    assert not (tmp_path / "o").exists()
    assert why in str(caught.value) or path[1] in str(caught.value)
