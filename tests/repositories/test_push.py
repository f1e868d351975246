"""A push to the Hub makes one commit, or is refused."""

import json
import os

import pytest

from detrex_hub.errors import (
    ArchitectureError,
    CheckpointError,
    ConfigError,
    HubError,
    UsageError,
    VerificationError,
)
from detrex_hub.repositories import push
from tests.hub_server import contents, converted_folder

FILES = ("model.safetensors", "config.json", "conversion.json", "README.md")


def held(hub, repo_id, revision="main"):
    commit = hub.repository(repo_id).find(revision)
    return {path: blob.content for path, blob in commit.files.items() if path[0] != "."}


def test_a_push_is_one_commit_of_the_four_files(hub, login, folder):
    login("alice")
    (folder / "notes.txt").write_text("not to be pushed")
    (folder / "model.pth").write_bytes(b"of an earlier conversion")
    result = push(folder, "alice/r18")
    expected = {name: (folder / name).read_bytes() for name in FILES}
    expected["README.md"] = expected["README.md"].replace(b"detrex/r18", b"alice/r18")
    assert held(hub, "alice/r18") == expected
    assert hub.commits("alice/r18") == ["Upload resnet weights converted by detrex-hub"]
    assert result.changed == FILES
    assert (result.created, result.dry_run, result.pull_request) == (True, False, None)
    assert (result.license, result.non_commercial) == ("bsd-3-clause", False)
    assert result.commit == hub.repository("alice/r18").refs["main"]
    assert result.url == f"{hub.url}/alice/r18"
    assert not hub.repository("alice/r18").private


def test_the_same_content_makes_no_second_commit(hub, login, folder):
    login("alice")
    first = push(folder)
    again = push(folder)
    assert (again.changed, again.created, again.commit) == ((), False, first.commit)
    assert len(hub.commits("alice/r18")) == 1
    assert len(hub.storage.seen("PUT")) == 1


def test_only_what_changed_is_committed(hub, login, folder):
    login("alice")
    push(folder)
    hub.storage.forget()
    converted_folder(folder, card=(folder / "README.md").read_text() + "\nmore\n")
    result = push(folder, message="Say more")
    assert result.changed == ("README.md",)
    assert hub.commits("alice/r18")[1:] == ["Say more"]
    assert not hub.storage.log, "unchanged weights were moved over the network"


def test_other_files_stay(hub, login, folder):
    login("alice")
    hub.put("alice/r18", {"demo.png": b"png", "model.pth": b"theirs"})
    push(folder)
    assert held(hub, "alice/r18").keys() == {*FILES, "demo.png", "model.pth"}


def test_large_files_are_uploaded_in_parts(hub, login, tmp_path):
    login("alice")
    hub.part_size = 1000
    big = converted_folder(tmp_path / "big", os.urandom(3500))
    push(big)
    weights = (big / "model.safetensors").read_bytes()
    assert hub.repository("alice/big").file("model.safetensors") == weights
    assert len(hub.storage.seen("PUT", "/objects/*/[0-9]")) == 4


def test_the_client_does_not_hash_the_files_again(hub, login, folder, monkeypatch):
    from huggingface_hub import lfs

    def hashed_again(file):
        raise AssertionError("every byte is read twice before the upload")

    monkeypatch.setattr(lfs, "sha_fileobj", hashed_again)
    login("alice")
    assert push(folder, "alice/r18").changed


def test_the_bytes_that_were_pushed_are_read_back(hub, login, folder):
    login("alice")
    result = push(folder)
    for name in FILES:
        assert hub.seen("GET", f"/alice/r18/resolve/{result.commit}/{name}")
    assert len(hub.storage.seen("GET")) == 1


@pytest.mark.parametrize(
    ("given", "namespace", "variable", "expected"),
    [
        (None, None, None, "alice/r18"),
        ("other", None, None, "alice/other"),
        ("lab/other", None, None, "lab/other"),
        (None, "lab", None, "lab/r18"),
        (None, None, "lab", "lab/r18"),
        (None, "alice", "lab", "alice/r18"),
        ("alice/r18", None, "lab", "alice/r18"),
    ],
)
def test_the_destination_follows_from_the_arguments(
    hub, login, folder, monkeypatch, given, namespace, variable, expected
):
    login("alice", organizations=("lab",))
    if variable is not None:
        monkeypatch.setenv("DETREX_HUB_NAMESPACE", variable)
    assert push(folder, given, namespace=namespace, dry_run=True).repo_id == expected


def test_a_new_repository_can_be_private(hub, login, folder):
    login("alice")
    push(folder, private=True)
    assert hub.repository("alice/r18").private
    assert push(folder, private=True).changed == ()


def test_a_private_push_to_a_public_repository_is_refused(hub, login, folder):
    login("alice")
    hub.create("alice/r18")
    with pytest.raises(HubError, match="exists and is public"):
        push(folder, private=True)
    assert hub.commits("alice/r18") == []


def test_a_pull_request_on_the_repository_of_another_user(hub, login, folder):
    hub.put("detrex/r18", {"README.md": b"# theirs"})
    login("alice")
    result = push(folder, "detrex/r18", create_pr=True)
    assert (result.pull_request, result.url) == (1, f"{hub.url}/detrex/r18/discussions/1")
    assert held(hub, "detrex/r18", "refs/pr/1").keys() == set(FILES)
    assert held(hub, "detrex/r18") == {"README.md": b"# theirs"}
    again = push(folder, "detrex/r18", create_pr=True)
    assert (again.pull_request, again.commit) == (1, result.commit)
    assert len(hub.repository("detrex/r18").pull_requests) == 1


def test_a_new_pull_request_replaces_a_closed_one(hub, login, folder):
    hub.create("detrex/r18")
    login("alice")
    push(folder, "detrex/r18", create_pr=True)
    hub.repository("detrex/r18").pull_requests[0].status = "closed"
    assert push(folder, "detrex/r18", create_pr=True).pull_request == 2


def test_a_pull_request_needs_a_repository(hub, login, folder):
    login("alice")
    with pytest.raises(HubError, match=r"does not exist.*Push without --create-pr"):
        push(folder, create_pr=True)
    assert not hub.repositories


def test_a_dry_run_changes_nothing(hub, login, folder):
    login("alice")
    result = push(folder, dry_run=True)
    assert (result.changed, result.created, result.dry_run) == (FILES, True, True)
    assert not hub.repositories
    push(folder)
    converted_folder(folder, b"other weights")
    result = push(folder, dry_run=True)
    assert result.changed == ("model.safetensors", "config.json")
    assert len(hub.commits("alice/r18")) == 1
    assert push(folder, "alice/r18", create_pr=True, dry_run=True).changed == result.changed
    assert not hub.repository("alice/r18").pull_requests


def test_a_moved_repository_is_followed(hub, login, folder):
    login("alice")
    hub.create("alice/old")
    hub.move("alice/old", "alice/new")
    assert push(folder, "alice/old").repo_id == "alice/new"
    assert len(hub.commits("alice/new")) == 1


# refusals


def test_a_push_without_a_token_is_refused(hub, folder):
    for arguments in ({}, {"repo_id": "detrex/r18"}):
        with pytest.raises(
            HubError, match=r"a push needs a token, and you have none.*hf auth login"
        ):
            push(folder, **arguments)
    assert not hub.repositories


def test_an_unknown_token_is_refused(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_unknown0000000000000000000000000000")
    with pytest.raises(HubError, match=r"does not accept your token.*hf auth login"):
        push(folder)


def test_a_read_only_token_is_refused(hub, login, folder):
    login("alice", "read")
    with pytest.raises(HubError, match=r"may not write there.*hf auth login"):
        push(folder)
    hub.create("alice/r18")
    with pytest.raises(HubError, match="may not write there"):
        push(folder)
    assert not hub.storage.log


def test_the_repository_of_another_user_is_refused(hub, login, folder):
    hub.create("detrex/r18")
    login("alice")
    with pytest.raises(HubError, match=r"may not write there.*--create-pr.*--namespace"):
        push(folder, "detrex/r18")
    with pytest.raises(HubError, match="detrex/new: your token may not write there"):
        push(folder, "detrex/new")
    assert not hub.storage.log
    assert hub.repositories.keys() == {"detrex/r18"}


def test_the_private_repository_of_another_user_is_refused(hub, login, folder):
    hub.create("detrex/r18", private=True)
    login("alice")
    with pytest.raises(HubError, match="may not write there"):
        push(folder, "detrex/r18")


@pytest.mark.parametrize(
    ("front", "complaint"),
    [
        ("license: bsd3", '"license" must be one of'),
        ("license: mit\nmodel-index: [{name: r18}]", 'results" must be an array'),
    ],
)
def test_a_card_that_the_hub_rejects_is_refused(hub, login, tmp_path, front, complaint):
    login("alice")
    folder = converted_folder(tmp_path / "r18", card=f"---\n{front}\n---\n")
    with pytest.raises(HubError, match=r"does not accept the card: .*") as caught:
        push(folder)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not hub.repositories
    assert not hub.storage.log


def test_a_card_without_valid_metadata_is_not_sent(hub, login, tmp_path):
    login("alice")
    folder = converted_folder(tmp_path / "r18", card="---\nlicense: [unclosed\n---\n")
    for to in (None, tmp_path / "hub"):
        with pytest.raises(ConfigError, match=r"README\.md: its metadata is not valid YAML"):
            push(folder, to=to)
    assert not hub.seen("POST")
    assert not (tmp_path / "hub").exists()


def test_synthetic_weights_stay_off_the_hub(hub, login, tmp_path):
    login("alice")
    folder = converted_folder(tmp_path / "r18", synthetic=True)
    with hub.quiet(), pytest.raises(HubError, match=r"--to DIR.*--allow-synthetic"):
        push(folder)
    assert push(folder, to=tmp_path / "hub").changed == FILES
    assert push(folder, allow_synthetic=True).changed == FILES


@pytest.mark.parametrize("name", FILES)
def test_an_incomplete_folder_is_refused(hub, login, folder, name):
    login("alice")
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    with hub.quiet(), pytest.raises(HubError, match=f"has no {name}"):
        push(folder)
    (folder.parent / "elsewhere").write_bytes(content)
    (folder / name).symlink_to(folder.parent / "elsewhere")
    with hub.quiet(), pytest.raises(HubError, match=f"{name} is a symbolic link"):
        push(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    with hub.quiet(), pytest.raises(HubError, match=f"{name} is .*, not a regular file"):
        push(folder)


def test_weights_that_config_json_does_not_describe_are_refused(hub, login, folder):
    login("alice")
    (folder / "model.safetensors").write_bytes(b"others")
    with hub.quiet(), pytest.raises(VerificationError, match=r"is not the file that config.json"):
        push(folder)


def test_an_invalid_config_is_refused(hub, login, folder):
    login("alice")
    document = json.loads((folder / "config.json").read_text())
    document["checkpoint"]["file"] = "../../.ssh/id_rsa"
    (folder / "config.json").write_text(json.dumps(document))
    with hub.quiet(), pytest.raises(ConfigError, match=r"checkpoint.file"):
        push(folder)


@pytest.mark.parametrize(
    "arguments",
    [
        {"repo_id": "../r18"},
        {"repo_id": "a/b/c"},
        {"repo_id": "alice/r 18"},
        {"repo_id": "alice/.."},
        {"repo_id": "alice/r18", "namespace": "bob"},
        {"namespace": "a/b"},
        {"namespace": ".."},
        {"to": "hub", "private": True},
        {"to": "hub", "create_pr": True},
    ],
)
def test_contradictory_arguments_are_refused(hub, login, folder, arguments):
    login("alice")
    with hub.quiet(), pytest.raises(UsageError):
        push(folder, **arguments)


def test_a_missing_folder_is_refused(hub, tmp_path):
    with pytest.raises(HubError, match=r"is not a folder\..*: detrex-hub list$"):
        push(tmp_path / "absent")
    with pytest.raises(HubError, match=r"is not a folder\..*: detrex-hub convert r101_v2$"):
        push(tmp_path / "r101_v2")


def test_offline_a_push_is_refused(hub, login, folder, monkeypatch):
    from huggingface_hub import constants

    login("alice")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub.quiet(), pytest.raises(HubError, match=r"HF_HUB_OFFLINE forbids pushing.*--to DIR"):
        push(folder)


def test_requests_name_the_library(hub, login, folder):
    login("alice")
    push(folder)
    agents = {request.headers["User-Agent"].split(";")[0] for request in hub.log}
    assert len(agents) == 1
    assert agents.pop().startswith("detrex-hub/")


def test_pushed_files_equal_those_of_the_folder(hub, login, folder):
    before = contents(folder)
    login("alice")
    push(folder)
    assert contents(folder) == before


def test_a_failed_xet_transfer_says_how_to_disable_xet(hub, login, folder, monkeypatch):
    from huggingface_hub import constants

    login("alice")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(HubError, match="HF_HUB_DISABLE_XET=1"):
        push(folder)
    assert hub.seen("GET", "*/xet-write-token/main")
    assert hub.commits("alice/r18") == []


def test_a_folder_that_load_refuses_is_not_pushed(hub, login, folder, tmp_path):
    login("alice")
    before = json.loads((folder / "config.json").read_text())
    refused = [
        (
            {"overrides": before["overrides"] | {"lazy": {"model.backbone.freeze_at": 2}}},
            ConfigError,
        ),
        ({"hyper_parameters": {"depth": 51}}, ArchitectureError),
        ({"checkpoint": before["checkpoint"] | {"ties": {"a": "b"}}}, CheckpointError),
        ({"checkpoint": before["checkpoint"] | {"ties": {"a": "a"}}}, ConfigError),
    ]
    for change, refusal in refused:
        (folder / "config.json").write_text(json.dumps(before | change))
        with pytest.raises(refusal):
            push(folder)
        with pytest.raises(refusal):
            push(folder, to=tmp_path / "hub")
    assert not hub.repositories
    assert not (tmp_path / "hub").exists()
