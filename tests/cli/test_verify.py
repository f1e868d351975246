"""`detrex-hub verify` reports only what it has proven."""

import pytest

from tests import tiny
from tests.cli.test_commands import one_line
from tests.hub_server import Mirror

CLAIM = "is what it claims to be"


@pytest.fixture
def published(cli, hub, login, tmp_path):
    """A converted repository on the Hub, whose original is on a mirror that a catalogue names."""
    content = tiny.original(tmp_path / "tiny.pth").read_bytes()
    with Mirror() as mirror:
        url = mirror.add("tiny.pth", content)
        known = tiny.catalogue(tmp_path / "my.toml", url, content)
        login("alice")
        assert cli("convert", "tiny", "-o", "made", "--catalogue", known).code == 0
        assert cli("push", "made", "alice/tiny").code == 0
        yield "alice/tiny", known, mirror


def test_a_repository_is_converted_again_from_its_original(cli, published):
    repo, known, _ = published
    done = cli("verify", repo, "--catalogue", known)
    assert done.code == 0
    assert "the same model.safetensors" in done.out
    assert done.out.splitlines()[-1].endswith(CLAIM)
    document = cli("verify", repo, "--catalogue", known, "--json").document
    assert document["summary"] == f"{repo} {CLAIM}"
    assert document["repeated"] is True
    assert len(document["revision"]) == 40


def test_an_original_that_cannot_be_downloaded_is_refused(cli, published, tmp_path):
    repo, known, mirror = published
    mirror.files.clear()
    for kept in (tmp_path / "hf-home").rglob("tiny.pth"):
        kept.unlink()
    done = cli("verify", repo, "--catalogue", known)
    assert done.code == 1
    assert CLAIM not in done.out + done.err
    assert f"detrex-hub verify {repo}" in one_line(done)
    assert "--no-source" in done.err


@pytest.mark.parametrize("options", [[], ["--no-source"]])
def test_records_alone_do_not_prove_the_weights(cli, published, options):
    done = cli("verify", published[0], *options)
    assert done.code == 0
    assert CLAIM not in done.out
    assert "the conversion was not repeated" in done.out
    # the card has the catalogue's data
    assert done.out.splitlines()[-1].endswith(
        "agrees with its own records; its card does not match the records without a catalogue"
    )


def test_numerics_without_an_original_are_refused(cli, published):
    done = cli("verify", published[0], "--numerics")
    assert done.code == 2
    assert "--numerics needs the original" in one_line(done, 2)
    assert CLAIM not in done.out


def test_numerics_of_a_repository(cli, published):
    from tests.torchvision_operators import declare

    declare()
    done = cli("verify", published[0], "--catalogue", published[1], "--numerics")
    assert done.code == 0
    assert "max |Δ| in float64" in done.out
    assert done.out.splitlines()[-1].endswith(CLAIM)
