"""Links are followed only inside a folder's content."""

import pytest

from detrex_hub.errors import HubError
from detrex_hub.folder_files import find_file

COMMIT = "a" * 40


@pytest.fixture
def cache(tmp_path):
    """A cache of the Hub with one repository and one file, ``name``."""
    repository = tmp_path / "cache" / "models--me--r"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (snapshot, repository / "blobs", tmp_path / "cache" / "blobs" / "ab"):
        folder.mkdir(parents=True)
    (repository / "blobs" / "1").write_text("content")
    (snapshot / "name").symlink_to("../../blobs/1")
    return snapshot


def test_files_are_found(tmp_path):
    (tmp_path / "name").write_text("content")
    (tmp_path / "link").symlink_to("name")
    assert find_file(tmp_path, "name") == tmp_path / "name"
    assert find_file(tmp_path, "link") == tmp_path / "link"
    assert find_file(tmp_path, "other") is None


def test_links_of_a_snapshot_into_its_repository_and_shared_blobs_are_followed(cache):
    assert find_file(cache, "name") == cache / "name"
    # huggingface_hub 2 stores content of several repositories here
    (cache.parents[2] / "blobs" / "ab" / "abc").write_text("shared")
    (cache.parents[1] / "blobs" / "2").symlink_to("../../blobs/ab/abc")
    (cache / "shared").symlink_to("../../blobs/2")
    assert find_file(cache, "shared") == cache / "shared"


def test_a_link_to_a_snapshot_is_a_snapshot(cache, tmp_path):
    (tmp_path / "weights").symlink_to(cache)
    assert find_file(tmp_path / "weights", "name") is not None


@pytest.mark.parametrize(
    "to", ["../../../../secret", "../../../models--me--other/blobs/1", "../../refs/main", "/secret"]
)
def test_other_links_of_a_snapshot_are_refused(cache, tmp_path, to):
    for path in ("secret", "cache/models--me--other/blobs/1", "cache/models--me--r/refs/main"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("secret")
    (cache / "link").symlink_to(to if to != "/secret" else tmp_path / "secret")
    with pytest.raises(HubError, match="outside of the repository"):
        find_file(cache, "link")
    # also not through a second link
    (cache.parents[1] / "blobs" / "3").symlink_to(tmp_path / "secret")
    (cache / "detour").symlink_to("../../blobs/3")
    with pytest.raises(HubError, match="outside of the repository"):
        find_file(cache, "detour")


@pytest.mark.parametrize("name", ["snapshots/main", "other/" + COMMIT])
def test_such_links_are_refused_in_folders_outside_the_cache(tmp_path, name):
    folder = tmp_path / "models--me--r" / name
    folder.mkdir(parents=True)
    (tmp_path / "models--me--r" / "blobs").mkdir()
    (tmp_path / "models--me--r" / "blobs" / "1").write_text("content")
    (folder / "name").symlink_to("../../blobs/1")
    with pytest.raises(HubError, match="outside of the repository"):
        find_file(folder, "name")


def test_broken_and_circular_links_are_refused(tmp_path):
    (tmp_path / "nothing").symlink_to("none")
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    for name in ("nothing", "one"):
        with pytest.raises(HubError):
            find_file(tmp_path, name)
