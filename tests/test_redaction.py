"""Shown text holds no secret and no memory address."""

import json
import sys

import pytest

from detrex_hub import messages
from detrex_hub.errors import HubError
from detrex_hub.redaction import (
    public_url,
    redacted,
    visible,
    visible_json,
    without_addresses,
)

SECRET = "hush"
SHOWN = {
    "a password": f"https://me:{SECRET}@example.org/api",
    "a password with an at sign": f"https://me:@{SECRET}@example.org/api",
    "a user that is a token": f"https://{SECRET}@example.org/api",
    "a bearer": f"Authorization: Bearer {SECRET}",
    "Azure": f"https://example.org/x?sv=2024&sig={SECRET}&se=2026",
    "CloudFront": f"https://example.org/x?Expires=1&Policy={SECRET}&Key-Pair-Id={SECRET}",
    "Amazon": f"https://example.org/x?X-Amz-Credential={SECRET}&X-Amz-Security-Token={SECRET}",
    "Amazon's date": f"https://example.org/x?X-Amz-Date={SECRET}&X-Amz-Expires={SECRET}",
    "Google": f"https://example.org/x?X-Goog-Signature={SECRET}",
    "a parameter of any other name": f"https://example.org/x?client_secret={SECRET}&auth={SECRET}",
    "an address in an address": f"https://example.org/x?to=https%3A%2F%2Fy%2Fz%3Fsig%3D{SECRET}%26a",
}


@pytest.mark.parametrize("text", SHOWN.values(), ids=SHOWN)
def test_secrets_are_removed(text):
    assert SECRET not in redacted(text)
    assert SECRET not in redacted(f"b'{text}'")
    error = HubError(f"it answers {text}", hint=f"See {text}")
    assert SECRET not in f"{error} {error.message} {error.hint}"


def test_text_without_secrets_is_kept():
    for text in (
        "https://example.org/x?revision=main&design=1",
        "See https://example.org, or ask me@example.org",
        "the key backbone.signature=3",
        "a signed tokenizer",
        "XXXX",
    ):
        assert redacted(text) == text


def test_a_public_address_has_no_secrets():
    assert (
        public_url(f"https://me:{SECRET}@example.org/x?sig={SECRET}#y") == "https://example.org/x"
    )
    assert public_url(f"https://[{SECRET}") == "https://…"
    assert public_url(f"https://[{SECRET}://") == "https://…"
    assert public_url(f"https://a@b:{SECRET}@example.org:8080/x") == "https://example.org:8080/x"


@pytest.mark.parametrize(
    "variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN"]
)
def test_a_token_of_any_form_in_the_environment_is_removed(monkeypatch, variable):
    monkeypatch.setenv(variable, f" {SECRET}\n")
    assert redacted(f"it says {SECRET}, {SECRET}!") == "it says ***, ***!"
    monkeypatch.setenv(variable, "key")
    assert redacted("the key") == "the key"


def test_a_token_stored_by_the_client_is_removed(monkeypatch):
    from huggingface_hub.utils import _auth

    monkeypatch.setattr(_auth, "get_token", lambda: SECRET)
    assert redacted(f"it says {SECRET}") == "it says ***"
    monkeypatch.setattr(_auth, "get_token", lambda: None)
    assert redacted(f"it says {SECRET}, XXXX") == f"it says {SECRET}, XXXX"


def test_the_client_is_not_imported_to_find_a_token(monkeypatch):
    monkeypatch.delitem(sys.modules, "huggingface_hub.utils._auth", raising=False)
    assert redacted("nothing to hide, XXXX") == "nothing to hide, XXXX"
    assert "huggingface_hub.utils._auth" not in sys.modules


def test_no_token_is_requested_for_a_trusted_publisher(monkeypatch):
    from huggingface_hub.utils import _auth

    monkeypatch.setattr(_auth, "get_token", lambda: SECRET)
    monkeypatch.setenv("HF_OIDC_RESOURCE", "lab/tiny")
    assert redacted(f"it says {SECRET}, XXXX") == f"it says {SECRET}, XXXX"


def test_only_the_secret_is_replaced():
    assert redacted(f"https://me:{SECRET}@example.org/x?a=1&sig={SECRET}&b=2") == (
        "https://***@example.org/x?a=1&***&b=2"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, and é", "plain, and é"),
        ("a\ttab stays", "a\ttab stays"),
        ("a\tred \x1b[31m and\nmore", "a\tred \\x1b[31m and\\nmore"),
        ("turned \u202e round, \ud800 alone", "turned \\u202e round, \\ud800 alone"),
    ],
)
def test_terminal_control_characters_are_escaped(text, shown):
    assert visible(text) == shown


def test_visible_json_parses_to_the_same_document():
    said = {"red": "\x7f \x1b[31m", "turned \u202e": ["é", "\x9b", "plain"]}
    document = json.dumps(said, ensure_ascii=False, indent=2)
    shown = visible_json(document)
    assert json.loads(shown) == said
    assert "é" in shown
    assert all(line.isprintable() for line in shown.split("\n"))
    assert shown.count("\n") == document.count("\n")
    assert visible_json('{\n  "a": 1\n}') == '{\n  "a": 1\n}'


class Stem:
    pass


def test_objects_are_shown_without_their_memory_address(caplog):
    for value in (Stem(), Stem, Stem().__init__, lambda: 1, len, iter([])):
        error = HubError(f"{value} is not a path", hint=f"Not {value!r}")
        assert " at 0x" not in f"{error} {error.message} {error.hint}"
    assert without_addresses(f"model.stem: {Stem()} -> 3").endswith("Stem object -> 3")
    messages.log(f"model.stem: {Stem()} -> 3")
    assert " at 0x" not in caplog.text


@pytest.mark.parametrize("text", ["?key", "<a>", "://a", "?sig%3D", "<a at 0x", "Bearer "])
def test_the_time_for_hostile_text_grows_linearly(text):
    """With quadratic time, ten times the length takes a hundred times as long."""
    without_addresses(redacted(text * 300_000))
