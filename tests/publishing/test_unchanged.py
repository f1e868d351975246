"""The records of a published repository show whether publishing it again would change it."""

import pytest
from msgspec.structs import replace

from detrex_hub import catalogue, conversion
from detrex_hub.catalogue.entry import Result
from detrex_hub.conversion import description
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.publishing.unchanged import changes
from detrex_hub.records import ConversionRecord
from detrex_hub.repositories import push
from detrex_hub.repositories.client import Client
from tests import tiny
from tests.hub_server import Mirror

FILES = ("model.safetensors", "config.json", "conversion.json", "README.md")


@pytest.fixture(params=[False, True], ids=["real", "synthetic"])
def published(hub, login, tmp_path, request):
    """`published(title="Other")` lists the changes of a published conversion for a changed
    entry."""
    login("alice")
    content = tiny.original(tmp_path / "tiny.pth").read_bytes()
    with Mirror() as mirror:
        url = mirror.add("tiny.pth", content)
        path = tiny.catalogue(tmp_path / "tiny.toml", url, content)
        entry = catalogue.load_entries([path])["tiny"]
        options = {"synthetic": request.param, "extra_catalogues": [path]}
        folder = conversion.convert("tiny", tmp_path / "tiny", **options).folder
        push(folder, "alice/tiny", allow_synthetic=True)
    there = Client("alice/tiny").read()
    record = ConversionRecord.load(folder / "conversion.json")

    def _published(*, files=there.files, facts=None, synthetic=request.param, **about):
        options = ConversionOptions(synthetic=synthetic, facts=facts or {})
        held = replace(there, files=files)
        return "; ".join(changes(replace(entry, **about), options, held, record))

    _published.source, _published.files = entry.sources[0], there.files
    _published.record, _published.synthetic = record, request.param
    return _published


def test_the_same_publication_is_no_change(published, monkeypatch):
    assert published() == ""
    # another version of this package writes the same files except its version number
    monkeypatch.setattr(description, "__version__", "99")
    assert published() == ""


def test_files_that_would_differ_are_named(published):
    assert published(title="Another title") == "README.md would differ"
    assert published(license="apache-2.0") == "README.md would differ"
    assert "conversion.json" in published(facts={"image_format": "BGR"})
    assert published(base_config="other.py") == "README.md and config.json would differ"
    assert "conversion.json" in published(architecture="resnet")
    for name in FILES:
        others = {one: digest for one, digest in published.files.items() if one != name}
        assert name in published(files=others)
        assert name in published(files={**others, name: "0" * 64})


def test_a_changed_mapper_is_a_change(published, monkeypatch):
    monkeypatch.setattr(conversion.Conversion, "mapper_sha256", "0" * 64)
    assert published() == "conversion.json would differ"


def test_synthetic_weights_do_not_count_as_the_weights(published):
    assert published(synthetic=not published.synthetic).startswith("it holds")


def test_pins_of_catalogue_and_lock_are_compared(published):
    source = published.source
    for other in (
        {"sha256": "0" * 64},
        {"sha256": None, "sha256_prefix": "0" * 8},
        {"size": 5},
        {"url": "https://example.org/tiny.pth"},
        {"layout": "timm"},
    ):
        said = published(sources=(replace(source, **other),))
        assert ("another original" in said) is not published.synthetic
    assert published(sources=(replace(source, sha256=None),)) == ""
    known = published.record.result.sha256
    assert published(result=Result(sha256=known)) == ""
    assert bool(published(result=Result(sha256="0" * 64))) is not published.synthetic
