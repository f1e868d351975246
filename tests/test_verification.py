"""`verify` finds every change after a conversion."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest

from detrex_hub.conversion import convert
from detrex_hub.errors import (
    ConfigError,
    DetrexHubError,
    HubError,
    SourceError,
    VerificationError,
)
from detrex_hub.verification import verify
from tests import reference
from tests.checkpoint_files import save, tensors
from tests.hub_server import Mirror

WEIGHTS, CONFIG, CONVERSION = "model.safetensors", "config.json", "conversion.json"


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A converted synthetic ResNet-18."""
    return convert("r18_v1", tmp_path_factory.mktemp("made") / "r18_v1", synthetic=True).folder


@pytest.fixture
def copy(converted, tmp_path):
    """A folder of links to it. Tests replace its files and never write into them."""
    folder = tmp_path / "r18_v1"
    folder.mkdir()
    for path in converted.iterdir():
        os.link(path, folder / path.name)
    return folder


def replace(path, content):
    path.unlink()
    path.write_bytes(content)


def change(folder, file, *where, to):
    """Set one value of a record. ``to`` may be a function of the old value."""
    document = json.loads((folder / file).read_text())
    inner = document
    for step in where[:-1]:
        inner = inner[step]
    inner[where[-1]] = to(inner[where[-1]]) if callable(to) else to
    replace(folder / file, json.dumps(document).encode())


def refused(folder):
    with pytest.raises(DetrexHubError) as caught:
        verify(folder)
    line = str(caught.value)
    assert "\n" not in line
    return caught.value


def test_an_unchanged_folder_passes(copy):
    names = [check.name for check in verify(copy).checks]
    assert names[:4] == ["bytes", "state dict", "plan", "description"]


@pytest.mark.parametrize("place", [0, 8, 5000, -1], ids=["length", "header", "tensor", "last"])
def test_a_flipped_byte_is_found(copy, place):
    content = bytearray((copy / WEIGHTS).read_bytes())
    content[place] ^= 1
    replace(copy / WEIGHTS, content)
    assert "sha256" in str(refused(copy))


def test_other_weights_with_matching_records_are_found(copy):
    """Both records match a file whose first tensor was changed."""
    content = bytearray((copy / WEIGHTS).read_bytes())
    content[-1] ^= 1
    replace(copy / WEIGHTS, content)
    digest = hashlib.sha256(content).hexdigest()
    change(copy, CONFIG, "checkpoint", "sha256", to=digest)
    change(copy, CONVERSION, "result", "sha256", to=digest)
    assert "repeated" in str(refused(copy))


def rewrite(copy, edit):
    """Change the tensors, and adapt the records."""
    from safetensors.torch import load_file, save_file

    state = load_file(copy / WEIGHTS)
    edit(state)
    (copy / WEIGHTS).unlink()
    save_file(state, copy / WEIGHTS)
    content = (copy / WEIGHTS).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    change(copy, CONFIG, "checkpoint", "sha256", to=digest)
    change(copy, CONVERSION, "result", "sha256", to=digest)
    change(copy, CONVERSION, "result", "size", to=len(content))
    change(copy, CONVERSION, "result", "tensors", to=len(state))
    change(
        copy,
        CONVERSION,
        "result",
        "parameters",
        to=sum(tensor.numel() for tensor in state.values()),
    )


def test_an_extra_key_is_found(copy):
    rewrite(copy, lambda state: state.update(extra=state["stem.conv1.weight"].clone()))
    assert "extra" in str(refused(copy))


def test_a_missing_key_is_found(copy):
    rewrite(copy, lambda state: state.pop("stem.conv1.weight"))
    assert "stem.conv1.weight" in str(refused(copy))


def test_another_shape_is_found(copy):
    key = "stem.conv1.weight"
    rewrite(copy, lambda state: state.update({key: state[key][:, :2].contiguous()}))
    assert key in str(refused(copy))


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, CONVERSION])
def test_a_missing_file_is_refused(copy, name):
    (copy / name).unlink()
    error = refused(copy)
    assert isinstance(error, HubError)
    assert name in str(error)


def test_a_link_out_of_the_folder_is_refused(copy, tmp_path):
    shutil.move(copy / WEIGHTS, tmp_path / "elsewhere")
    (copy / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in str(refused(copy))


OTHER = "0" * 64


@pytest.mark.parametrize(
    ("where", "to"),
    [
        (("checkpoint", "sha256"), OTHER),
        (("checkpoint", "file"), "model.pth"),
        (("checkpoint", "ties"), {"stem.conv1.bias": "stem.conv1.weight"}),
        (("checkpoint", "ties"), {"stem.conv1.bias": "nowhere"}),
        (("checkpoint", "author"), "Caffe2"),
        (("checkpoint", "matching_heuristics"), False),
        (("checkpoint", "set_by_model"), ["stem.conv1.weight"]),
        (("hyper_parameters", "depth"), 34),
        (("hyper_parameters", "depth"), 10**9),
        (("architecture",), "swin"),
        (("architecture",), "no_such_one"),
        (("preprocessing", "pixel_mean"), [0.0, 0.0, 0.0]),
        (("preprocessing", "image_format"), "BGR"),
        (("overrides", "lazy", "model.pixel_mean"), [0.0, 0.0, 0.0]),
        (("overrides", "yacs", "MODEL.PIXEL_MEAN"), [0.0, 0.0, 0.0]),
        (("overrides", "lazy_remove"), ["model.backbone"]),
        (("synthetic",), False),
        (("base_config",), "somewhere/else.py"),
        (("format_version",), 2),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else str(value)[:12],
)
def test_a_changed_config_is_found(copy, where, to):
    change(copy, CONFIG, *where, to=to)
    refused(copy)


def first(values):
    return dict(list(values.items())[1:])


@pytest.mark.parametrize(
    ("where", "to"),
    [
        (("result", "sha256"), OTHER),
        (("result", "size"), 1),
        (("result", "tensors"), 1),
        (("result", "parameters"), 1),
        (("result", "file"), "model.pth"),
        (("plan", "moves"), first),
        (("plan", "moves", "stem.conv1.weight"), ["layer1.0.conv1.weight"]),
        (("plan", "dropped"), first),
        (("plan", "dropped", "fc.weight"), "because"),
        (("plan", "ties"), {"a": "b"}),
        (("plan", "mapper"), "another"),
        (("plan", "mapper_sha256"), OTHER),
        (("plan", "source_tensors"), first),
        (("plan", "source_tensors", "conv1.weight"), ["F32", [64, 3, 7, 8]]),
        (("plan", "source_tensors", "conv1.weight"), ["F32", [2**41]]),
        (("plan", "source_tensors", "conv1.weight"), ["F32", [-1]]),
        (("plan", "source_tensors", "conv1.weight"), "os.system"),
        (("proof", "tensors_compared"), 1),
        (("proof", "bytes_compared"), 1),
        (("facts", "image_format"), "BGR"),
        (("facts",), {}),
        (("architecture",), "swin"),
        (("source", "layout"), "timm"),
        (("source", "layout"), "nonsense"),
        (("source", "sha256"), OTHER),
        (("synthetic",), False),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else str(value)[:12],
)
def test_a_changed_record_is_found(copy, where, to):
    change(copy, CONVERSION, *where, to=to)
    refused(copy)


@pytest.mark.parametrize("file", [CONFIG, CONVERSION])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a": NaN}',
        b'{"a": 1' + b"0" * 5000 + b"}",
    ],
    ids=["empty", "list", "null", "no text", "nested", "NaN", "digits"],
)
def test_a_file_that_is_not_a_record_is_refused(copy, file, content):
    replace(copy / file, content)
    assert isinstance(refused(copy), (ConfigError, VerificationError))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("license: bsd-3-clause", "license: mit"),
        ("license: bsd-3-clause", "license : mit"),
        ("license: bsd-3-clause", "license: [bsd-3-clause, mit]"),
        ("license: bsd-3-clause\n", ""),
        ("license: bsd-3-clause", "license: bsd-3-clause\nlicense: mit"),
        ("library_name: detrex", "library_name: torch"),
        ("library_name: detrex", "library_name: detrex\nbase_model: alice/better"),
        ("---\n", "- - -\n"),
        ("library_name: detrex", "library_name: !!python/object/apply:os.system [ls]"),
    ],
)
def test_a_card_that_contradicts_the_records_is_refused(copy, old, new):
    text = (copy / "README.md").read_text()
    assert old in text
    replace(copy / "README.md", text.replace(old, new).encode())
    assert "README.md" in str(refused(copy))


def details(verification):
    return {check.name: check.detail for check in verification.checks}


def test_an_edited_card_is_reported(copy):
    found = verify(copy)
    assert "matches the records" in details(found)["card"]
    assert found.summary == f"{copy} is what it claims to be"
    text = (copy / "README.md").read_text()
    replace(copy / "README.md", (text + "Buy more at example.org\n").encode())
    found = verify(copy)
    assert "edited by hand" in details(found)["card"]
    assert found.summary == (f"{copy} is what it claims to be; its card does not match the records")


def test_a_card_that_is_not_text_is_refused(copy):
    replace(copy / "README.md", b"\xff\xfe")
    assert "README.md" in str(refused(copy))


def test_a_missing_card_does_not_fail(copy):
    (copy / "README.md").unlink()
    assert "card" not in details(verify(copy))


def test_the_conversion_is_repeated_by_default(copy):
    assert verify(copy).repeated
    found = verify(copy, repeat=False)
    assert not found.repeated
    assert found.not_repeated == "it was not asked for"
    assert "original" not in details(found)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    state = tensors(reference.load("resnet18").source)
    return save(tmp_path_factory.mktemp("source") / "r18.pth", state)


@pytest.mark.parametrize("format", ["safetensors", "pth", "pkl"])
def test_a_conversion_of_a_local_file_is_repeated_from_that_file(source, tmp_path, format):
    folder = convert(source, tmp_path / "out", format=format).folder
    alone = verify(folder)
    assert not alone.repeated
    assert "'r18.pth'" in alone.not_repeated
    assert "--source" in alone.not_repeated
    repeated = verify(folder, source=str(source))
    assert repeated.repeated
    (original,) = [one.detail for one in repeated.checks if one.name == "original"]
    # a local file is not downloaded
    assert original.startswith("read again ")


def test_another_original_is_found(source, tmp_path):
    folder = convert(source, tmp_path / "out").folder
    state = tensors(reference.load("resnet18").source)
    state["bn1.weight"] += 1
    other = save(tmp_path / "other.pth", state)
    with pytest.raises(VerificationError, match="the original has the sha256"):
        verify(folder, source=str(other))
    # the publisher did not record the original
    change(folder, CONVERSION, "source", "sha256", to=None)
    with pytest.raises(VerificationError, match="gave other weights"):
        verify(folder, source=str(other))


ENTRY = """
[weights.r18]
architecture = "resnet"
layout = "torchvision"
title = "ResNet-18"
license = "bsd-3-clause"
url = "{url}"
sha256 = "{sha256}"
hyper_parameters = {{ depth = 18 }}
facts = {{ image_format = "RGB" }}
"""


def test_the_original_comes_from_the_catalogue_and_not_from_the_record(
    hub, source, tmp_path, monkeypatch
):
    with Mirror() as mirror, Mirror() as theirs:
        content = source.read_bytes()
        url = mirror.add("r18.pth", content)
        path = tmp_path / "my.toml"
        path.write_text(ENTRY.format(url=url, sha256=hashlib.sha256(content).hexdigest()))
        folder = convert("r18", tmp_path / "r18", extra_catalogues=[path]).folder
        change(folder, CONVERSION, "source", "url", to=theirs.add("r18.pth", content))

        assert "no catalogue" in verify(folder).not_repeated
        found = verify(folder, extra_catalogues=[path])
        assert found.repeated
        assert "the sha256 in the catalogue" in details(found)["original"]
        assert theirs.log == []

        change(folder, CONVERSION, "facts", "image_format", to="BGR")
        change(folder, CONFIG, "preprocessing", "image_format", to="BGR")
        with pytest.raises(VerificationError):
            verify(folder, extra_catalogues=[path])

        # without the original nothing is reported as verified
        mirror.files.clear()
        folder = convert("r18", tmp_path / "r18", extra_catalogues=[path]).folder
        monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "empty"))
        with pytest.raises(SourceError, match="--no-source"):
            verify(folder, extra_catalogues=[path])
        assert verify(folder, extra_catalogues=[path], repeat=False).checks


ALIASES = "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        (f"a: &a [x]\n{ALIASES}", "it has an alias"),
        ("license: mit\nlicense: mit", "it has a name twice"),
        ("x: " + "y" * 2**14, "more than 16384 characters"),
        ("[" * 10_000, "not valid YAML"),
        ("? [a, b]\n: c", "not valid YAML"),
        ("- license", "not a YAML mapping"),
        ("a: \x00", "not valid YAML"),
    ],
    ids=lambda value: value[:12],
)
def test_metadata_that_no_card_needs_is_refused(copy, metadata, says):
    replace(copy / "README.md", f"---\n{metadata}\n---\n\n# A card\n".encode())
    line = str(refused(copy))
    assert "README.md: its metadata" in line
    assert says in line


@pytest.mark.parametrize(
    "tag", ["int ''", "float x", "bool x", "timestamp x", "binary x", "null x"]
)
def test_tags_in_metadata_mean_nothing(copy, tag):
    text = (copy / "README.md").read_text()
    replace(copy / "README.md", text.replace("---\n", f"---\nx: !!{tag}\n", 1).encode())
    assert "edited by hand" in details(verify(copy))["card"]


def test_a_card_is_read_up_to_its_limit_in_bytes(copy):
    # 1.5 MB in half that number of characters
    replace(copy / "README.md", ("---\n---\n" + "ä" * 750_000).encode())
    assert "README.md is larger than 1 MiB" in str(refused(copy))


@pytest.mark.parametrize("url", ["http://[::", "https://[x]/a", "//[", "file://[", "hf://", ""])
def test_a_malformed_address_is_refused_in_one_line(copy, url):
    change(copy, CONVERSION, "source", "url", to=url)
    change(copy, CONVERSION, "synthetic", to=False)
    change(copy, CONFIG, "synthetic", to=False)
    # not a name of the catalogue
    change(copy, CONVERSION, "name", to="mine")
    try:
        verify(copy, repeat=False)
    except DetrexHubError as error:
        assert "\n" not in str(error)
