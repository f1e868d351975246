"""Valid names of repositories, revisions and files are accepted, and others are refused."""

import pytest

from detrex_hub.errors import UsageError
from detrex_hub.repositories import names


def refused(function, text):
    with pytest.raises(UsageError) as caught:
        function(text)
    assert repr(text[:120]) in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    ["detrex/r101_v2", "a/b", "A-b.c_d/E-f.g_h", "_/_", "0/1", f"{'o' * 47}/{'n' * 48}"],
)
def test_a_valid_repository_name_is_accepted(text):
    assert names.is_repo_id(text)
    assert names.repo_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "r101_v2",
        "a/b/c",
        "/b",
        "a/",
        "./b",
        "../b",
        "a/..",
        "a/b..c",
        "a/b--c",
        "-a/b",
        "a-/b",
        ".a/b",
        "a/b.",
        "a/b.git",
        "a/b c",
        "a/b\n",
        "a/é",
        "a/b@main",
        f"{'o' * 48}/{'n' * 48}",
        "x" * 10_000,
    ],
)
def test_a_malformed_repository_name_is_refused(text):
    assert not names.is_repo_id(text)
    refused(names.repo_id, text)


@pytest.mark.parametrize(
    "text",
    ["main", "v1.0", "refs/pr/3", "feature/x-1_2+3", "-", "+", "a" * 200, "0f" * 20],
)
def test_a_valid_revision_is_accepted(text):
    assert names.revision(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "/", "a/", "/a", "a//b", "..", "a/../b", "a..b", ".a", "a/.b", "a b", "a\n", "a" * 201],
)
def test_a_revision_that_git_rejects_is_refused(text):
    refused(names.revision, text)


def test_a_full_commit_hash_always_means_the_same_files():
    assert names.is_commit("0123456789abcdef" * 2 + "01234567")
    for text in ("main", "a" * 39, "a" * 41, "A" * 40, "g" * 40, "a" * 40 + "\n"):
        assert not names.is_commit(text)


@pytest.mark.parametrize("text", ["config.json", "a/b.pth", "_a-b+c.d", "a" * 400])
def test_a_valid_file_name_is_accepted(text):
    assert names.file_name(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "/etc/passwd", "../a", "a/../b", ".hidden", "a//b", "a/", "a b", "a\\b", "a\n", "a" * 401],
)
def test_a_path_out_of_the_repository_is_refused(text):
    refused(names.file_name, text)


@pytest.mark.parametrize(
    ("text", "given", "parts"),
    [
        ("a/b", None, ("a/b", None)),
        ("a/b@v1", None, ("a/b", "v1")),
        ("a/b", "v1", ("a/b", "v1")),
        ("a/b@v1", "v1", ("a/b", "v1")),
        ("a/b@refs/pr/1", None, ("a/b", "refs/pr/1")),
    ],
)
def test_a_name_is_split_from_its_revision(text, given, parts):
    assert names.split(text, given) == parts


@pytest.mark.parametrize(
    ("text", "given"), [("a/b@v1", "v2"), ("a/b@v1", ""), ("a/b@", "v1"), ("a/b@v1", "v10")]
)
def test_two_different_revisions_are_refused(text, given):
    with pytest.raises(
        UsageError, match=f"{text} and the revision '{given}' contradict each other"
    ):
        names.split(text, given)


@pytest.mark.parametrize(("text", "given"), [("a/b@", None), ("a/b@..", None), ("a/b", "")])
def test_a_malformed_revision_is_refused(text, given):
    with pytest.raises(UsageError, match="is not a revision"):
        names.split(text, given)
