"""Exported folders have a card, are pushed, and their card and the source's link to each other."""

import json

import pytest
import yaml

from detrex_hub.architectures import architecture
from detrex_hub.card import linked, linked_to
from detrex_hub.conversion import convert
from detrex_hub.errors import HubError, UsageError
from detrex_hub.exporting import export
from detrex_hub.repositories import PushOptions, push
from detrex_hub.verification import verify
from tests import tiny
from tests.checkpoint_files import save, tensors
from tests.exporting.test_folder import DETR


@pytest.fixture
def detr(tmp_path):
    specs, _ = architecture("detr").from_hyper_parameters(DETR).original()
    path = save(tmp_path / "small_detr.pth", tensors(specs), "model")
    return convert(path, tmp_path / "small_detr").folder


def head(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_card_shows_how_to_open_the_folder_and_what_differs(detr, tmp_path):
    text = (export(detr, tmp_path / "out", layout="transformers").path / "README.md").read_text()
    assert head(text)["library_name"] == "transformers"
    assert head(text)["pipeline_tag"] == "object-detection"
    assert 'pipeline("object-detection", model="./out")' in text
    assert "pip install transformers torch timm" in text
    assert "Classes: 80 (COCO)" in text
    assert "prints at most 100 detections" in text
    assert "detrex-hub export ./small_detr --to transformers" in text
    assert "license" not in head(text)


def test_the_card_of_a_backbone_names_no_classes(tmp_path):
    folder = convert(tiny.original(tmp_path / "tiny.pth"), tmp_path / "tiny").folder
    text = (export(folder, tmp_path / "out", layout="timm").path / "README.md").read_text()
    assert head(text)["library_name"] == "timm"
    assert 'timm.create_model("local-dir:./out", pretrained=True, features_only=True)' in text
    assert "Classes" not in text
    text = (export(folder, tmp_path / "o", layout="transformers").path / "README.md").read_text()
    assert 'ConvNextBackbone.from_pretrained("./o")' in text


def test_the_card_of_detrex_shows_how_transformers_opens_it(detr, tmp_path):
    text = (detr / "README.md").read_text()
    assert "detrex-hub export detrex/small_detr --to transformers" in text
    assert 'model="./small_detr-transformers"' in text
    assert "In transformers" not in (_bgr(tmp_path) / "README.md").read_text()


def _bgr(tmp_path):
    return convert(
        tmp_path / "small_detr.pth", tmp_path / "bgr", facts={"image_format": "BGR"}
    ).folder


def test_a_pushed_folder_and_its_source_link_to_each_other(hub, login, detr, tmp_path):
    login("alice")
    push(detr, "alice/small_detr", license="apache-2.0")
    done = export(
        "alice/small_detr",
        tmp_path / "out",
        layout="transformers",
        push_to="alice/small_detr-transformers",
    )
    there = hub.repository("alice/small_detr-transformers")
    card = there.file("README.md").decode()
    assert head(card)["base_model"] == "alice/small_detr"
    assert head(card)["license"] == "apache-2.0"
    assert 'model="alice/small_detr-transformers"' in card
    assert "https://huggingface.co/alice/small_detr)" in card
    assert json.loads(there.file("config.json"))["id2label"]["0"] == "person"
    ours = hub.repository("alice/small_detr").file("README.md").decode()
    assert linked_to(ours) == "alice/small_detr-transformers"
    assert not any("does not link" in note for note in done.notes)
    # the link does not count as an edit by hand
    checks = verify("alice/small_detr", repeat=False).checks
    (proven,) = [one for one in checks if one.name == "card"]
    assert "edited" not in proven.detail

    commits = hub.commits("alice/small_detr"), hub.commits("alice/small_detr-transformers")
    again = export(
        "alice/small_detr",
        tmp_path / "out",
        layout="transformers",
        push_to="alice/small_detr-transformers",
    )
    assert again.pushed.changed == ()
    assert commits == (
        hub.commits("alice/small_detr"),
        hub.commits("alice/small_detr-transformers"),
    )


def test_a_card_that_cannot_be_written_is_reported(hub, login, detr, tmp_path):
    login("alice")
    push(detr, "alice/small_detr", license="apache-2.0")
    login("bob")
    done = export(
        "alice/small_detr", tmp_path / "out", layout="transformers", push_to="bob/small_detr"
    )
    assert done.pushed.repo_id == "bob/small_detr"
    assert any("alice/small_detr does not link to bob/small_detr" in note for note in done.notes)


def test_a_converted_folder_gets_the_link_too(hub, login, detr, tmp_path):
    login("alice")
    export(
        detr,
        tmp_path / "out",
        layout="transformers",
        push_to="alice/hf",
        push=PushOptions(license="mit"),
    )
    assert linked_to((detr / "README.md").read_text()) == "alice/hf"


@pytest.mark.parametrize(
    ("push_to", "error", "why"),
    [("alice/hf", HubError, "no licence is stated"), ("nonsense", UsageError, "not the name of a")],
)
def test_a_push_is_refused_before_anything_is_written(
    hub, login, detr, tmp_path, push_to, error, why
):
    login("alice")
    with pytest.raises(error, match=why):
        export(detr, tmp_path / "out", layout="transformers", push_to=push_to)
    assert not (tmp_path / "out").exists()


def test_an_export_does_not_replace_the_weights_for_detrex(hub, login, detr, tmp_path):
    login("alice")
    push(detr, "alice/small_detr", license="apache-2.0")
    with pytest.raises(HubError, match="which an export would replace"):
        export(
            "alice/small_detr", tmp_path / "o", layout="transformers", push_to="alice/small_detr"
        )


def test_a_link_is_replaced_instead_of_repeated():
    card = "# x\n\n## In transformers\n\n```bash\n"
    once = linked(card, "alice/one")
    assert linked(once, "alice/one") == once
    twice = linked(once, "alice/two")
    assert linked_to(twice) == "alice/two"
    assert "alice/one" not in twice
    assert linked_to(linked("# edited by hand\n", "a/b")) == "a/b"
    assert linked_to(card) is None
    with pytest.raises(UsageError):
        linked(card, "../x")
