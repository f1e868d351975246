"""A name of the catalogue works whether it is published or not."""

import errno
import fcntl
import hashlib
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from msgspec.structs import replace

from detrex_hub import card, from_hub, load_state_dict, local_conversions, overrides
from detrex_hub.catalogue import find_entry
from detrex_hub.catalogue.entry import Result
from detrex_hub.conversion import convert
from detrex_hub.errors import (
    ConfigError,
    DetrexHubError,
    HubError,
    MissingRepositoryError,
    SourceError,
    UsageError,
    VerificationError,
)
from detrex_hub.locking import FileLock
from detrex_hub.originals.sources import in_cache as cached_originals
from detrex_hub.repositories import Repository, converted, push
from detrex_hub.resolving import card_of, default_namespace, exists, folder_of, resolve
from tests import tiny
from tests.hub_server import Fault, Mirror, converted_folder
from tests.repositories.test_progress import Recorder

REPO = f"detrex/{tiny.NAME}"


@pytest.fixture
def original(tmp_path):
    return tiny.original(tmp_path / "tiny.pth").read_bytes()


@pytest.fixture
def mirror():
    with Mirror() as mirror:
        yield mirror


@pytest.fixture
def entry(hub, mirror, original, tmp_path, monkeypatch):
    """An unpublished entry, with its original on a local server."""
    path = tiny.catalogue(tmp_path / "mine.toml", mirror.add("tiny.pth", original), original)
    monkeypatch.setenv("DETREX_HUB_CATALOGUE", str(path))
    return find_entry(tiny.NAME)


@pytest.fixture
def publish(hub, login, entry, tmp_path):
    """Push the conversion of the entry, as its publisher would."""

    def publish(repo_id=REPO, **options):
        login("alice", organizations=("detrex",))
        folder = convert(tiny.NAME, tmp_path / "published" / tiny.NAME).folder
        return push(folder, repo_id, **options)

    return publish


@pytest.mark.parametrize("name", [tiny.NAME, REPO, f"hf://{REPO}"])
def test_an_unpublished_name_is_converted_on_this_machine(entry, mirror, name, caplog):
    resolved = resolve(name)
    assert resolved.commit is None
    assert resolved.name == name.removeprefix("hf://")
    assert len(mirror.seen("GET")) == 1
    assert (
        f"{REPO} is not published (not found, or private): converted on this machine from "
        f"{mirror.url}/tiny.pth"
    ) in caplog.messages


def test_a_second_use_makes_no_request(entry, hub, mirror):
    path = from_hub(tiny.NAME)
    hub.forget()
    mirror.forget()
    assert from_hub(REPO) == path
    assert not hub.seen()
    assert not mirror.seen()


def test_every_function_takes_the_name(entry):
    assert overrides(tiny.NAME)["model.backbone.dims"] == tiny.HYPER_PARAMETERS["dims"]
    assert load_state_dict(f"hf://{REPO}")


def test_the_published_repository_has_the_same_bytes(entry, publish, hub):
    here = resolve(tiny.NAME)
    publish()
    published = Repository.open(REPO)
    for file in ("config.json", "conversion.json", "README.md", "model.safetensors"):
        assert here.file(file).read_bytes() == published.file(file).read_bytes(), file


def test_a_published_repository_is_used(entry, publish, mirror):
    commit = publish().commit
    mirror.forget()
    assert resolve(tiny.NAME).commit == commit
    assert not mirror.seen()


def test_the_hub_is_not_asked_again_once_the_weights_are_here(entry, publish, hub):
    publish()
    found = resolve(tiny.NAME)
    hub.forget()
    assert resolve(tiny.NAME).commit == found.commit
    assert hub.seen()
    found.weights()
    hub.forget()
    assert resolve(tiny.NAME).commit == found.commit
    assert not hub.seen()


@pytest.mark.parametrize("name", [tiny.NAME, "alice/other"])
@pytest.mark.parametrize("how", ["in the name", "as an argument"])
def test_a_revision_can_be_named(entry, publish, hub, tmp_path, name, how):
    repo_id = REPO if name == tiny.NAME else name
    first = publish(repo_id).commit
    (tmp_path / "published" / tiny.NAME / "README.md").open("a").write("More.\n")
    second = push(tmp_path / "published" / tiny.NAME, repo_id).commit
    assert resolve(name).commit == second != first
    if how == "in the name":
        found = resolve(f"{name}@{first}")
        assert found.name == f"{name}@{first}"
    else:
        found = resolve(name, revision=first)
    assert found.commit == first


def test_the_owner_of_the_catalogues_names_can_be_another(entry, mirror, monkeypatch):
    assert default_namespace() == "detrex"
    monkeypatch.setenv("DETREX_HUB_NAMESPACE", "lab")
    assert default_namespace() == "lab"
    card = resolve(f"lab/{tiny.NAME}").card.read_text()
    assert f'from_hub("lab/{tiny.NAME}"' in card
    with pytest.raises(HubError, match="does not exist"):
        resolve(REPO)


def test_a_folder_of_another_name_than_weights_is_opened(entry, tmp_path, monkeypatch):
    made = resolve(tiny.NAME).folder
    monkeypatch.chdir(tmp_path)
    for name in ("mine", tiny.NAME):
        shutil.copytree(made, tmp_path / name)
    assert resolve("mine").folder == Path("mine")
    assert resolve(f"./{tiny.NAME}").folder == Path(tiny.NAME)
    assert resolve(tiny.NAME).folder == made
    with pytest.raises(UsageError, match="no weights named"):
        resolve("nothing")


def test_names_of_further_catalogues_are_known(entry, tmp_path, monkeypatch):
    more = [Path(os.environ["DETREX_HUB_CATALOGUE"])]
    monkeypatch.delenv("DETREX_HUB_CATALOGUE")
    with pytest.raises(UsageError, match="no weights named"):
        resolve(tiny.NAME)
    made = resolve(tiny.NAME, extra_catalogues=more).folder
    shutil.copytree(made, tmp_path / "here" / tiny.NAME)
    monkeypatch.chdir(tmp_path / "here")
    assert resolve(tiny.NAME).folder == Path(tiny.NAME)
    assert resolve(tiny.NAME, extra_catalogues=more).folder == made
    shutil.rmtree(made)
    assert resolve(REPO, extra_catalogues=more).folder == made


@pytest.mark.parametrize("links", [True, False], ids=["linked", "copied"])
def test_weights_published_later_are_not_downloaded_again(entry, publish, hub, monkeypatch, links):
    here = resolve(tiny.NAME).weights()
    publish()
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "other disk")))
    hub.forget()
    published = resolve(f"{tiny.NAME}@main").weights()
    assert not [one for one in hub.seen("GET") if one.path.endswith("model.safetensors")]
    assert published != here
    assert published.read_bytes() == here.read_bytes()
    assert published.samefile(here) == links


def test_a_damaged_conversion_does_not_replace_the_published_weights(entry, publish, hub):
    here = resolve(tiny.NAME).weights()
    publish()
    whole = here.read_bytes()
    here.write_bytes(whole[:-1] + b"x")
    assert resolve(f"{tiny.NAME}@main").weights().read_bytes() == whole


def test_a_folder_below_the_root_comes_first(entry, publish, tmp_path, monkeypatch):
    push(resolve(tiny.NAME).folder, REPO, to=tmp_path / "hub")
    publish()
    monkeypatch.setenv("DETREX_HUB_ROOT", str(tmp_path / "hub"))
    assert resolve(tiny.NAME).folder == tmp_path / "hub" / REPO


def test_a_cached_repository_that_was_changed_is_looked_up_on_the_hub(entry, publish, tmp_path):
    publish()
    found = resolve(tiny.NAME)
    found.weights()
    (tmp_path / "published" / tiny.NAME / "README.md").open("a").write("More.\n")
    second = push(tmp_path / "published" / tiny.NAME, REPO).commit
    assert resolve(tiny.NAME).commit == found.commit
    os.utime(found.file("config.json"), ns=(0, 0))
    assert resolve(tiny.NAME).commit == second


@pytest.mark.parametrize("fault", [Fault.status(503), Fault.cut_before()], ids=["503", "cut"])
def test_an_unreachable_hub_is_skipped(entry, hub, naps, fault, caplog):
    hub.inject("GET", "*", fault, times=None)
    hub.inject("HEAD", "*", fault, times=None)
    assert resolve(tiny.NAME).commit is None
    said = f"{REPO} could not be looked up on the Hub: converted on this machine from"
    assert [message for message in caplog.messages if message.startswith(said)]


def test_the_original_is_removed_once_the_conversion_is_proven(entry):
    resolve(tiny.NAME)
    assert not [*Path(constants.HF_ASSETS_CACHE).rglob("tiny.pth")]


@pytest.mark.parametrize(
    ("variable", "argument", "stays"),
    [("0", None, False), ("1", None, True), ("1", False, False), ("0", True, True)],
)
def test_the_original_is_kept_on_request(entry, monkeypatch, variable, argument, stays):
    monkeypatch.setenv("DETREX_HUB_KEEP_ORIGINALS", variable)
    resolve(tiny.NAME, keep_original=argument)
    assert bool([*Path(constants.HF_ASSETS_CACHE).rglob("tiny.pth")]) == stays


# names that are never converted


def test_a_name_of_another_owner_is_never_converted(entry, mirror):
    with pytest.raises(HubError, match="does not exist"):
        resolve(f"alice/{tiny.NAME}")
    assert not mirror.seen()


def test_a_name_with_a_revision_is_never_converted(entry, mirror):
    with pytest.raises(HubError, match="does not exist"):
        resolve(f"{tiny.NAME}@main")
    assert not mirror.seen()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_repository_is_never_converted(entry, publish, hub, mirror, status):
    publish()
    mirror.forget()
    hub.inject("HEAD", "*", Fault.status(status), times=None)
    hub.inject("GET", "*", Fault.status(status), times=None)
    with pytest.raises(HubError):
        resolve(tiny.NAME)
    assert not mirror.seen()


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_conversions_can_be_turned_off(entry, hub, mirror, monkeypatch, how):
    if how == "variable":
        monkeypatch.setenv("DETREX_HUB_CONVERT", "0")
    with pytest.raises(MissingRepositoryError) as refused:
        resolve(tiny.NAME, convert=False if how == "argument" else None)
    assert refused.value.message.startswith(f"{REPO} does not exist on {hub.url}")
    assert "--no-convert and unset DETREX_HUB_CONVERT" in refused.value.hint
    assert not mirror.seen()


def test_an_argument_wins_over_the_variable_that_turns_conversions_off(entry, monkeypatch):
    monkeypatch.setenv("DETREX_HUB_CONVERT", "0")
    assert resolve(tiny.NAME, convert=True).proven


def test_converted_weights_are_not_hashed_again_in_the_same_process(entry):
    assert resolve(tiny.NAME).proven
    made = resolve(tiny.NAME)
    assert not made.proven
    made.weights().write_bytes(made.weights().read_bytes()[:-1] + b"!")
    with pytest.raises(VerificationError, match="is not the file that"):
        from_hub(tiny.NAME)


def test_a_conversion_that_another_process_made_is_not_proven(entry, monkeypatch, caplog):
    resolve(tiny.NAME)
    caplog.clear()
    monkeypatch.setattr(local_conversions, "find", lambda _: None)
    assert not resolve(tiny.NAME).proven
    assert "converted on this machine" not in caplog.text


def test_a_name_that_can_be_converted_exists_and_is_not_converted(entry, mirror):
    assert exists(REPO)
    assert exists(f"hf://{REPO}")
    assert exists(tiny.NAME)
    assert local_conversions.find(entry) is None
    assert not list(cached_originals(entry))
    mirror.files.clear()
    assert not exists(REPO)


def test_a_conversion_exists(entry, mirror):
    resolve(tiny.NAME)
    mirror.files.clear()
    assert exists(tiny.NAME)


@pytest.mark.parametrize("name", [f"{tiny.NAME}@main", f"alice/{tiny.NAME}", "tiny_2", "no/ne/"])
def test_an_unknown_name_does_not_exist(entry, mirror, name):
    assert not exists(name)
    assert not mirror.seen()


def test_a_name_that_must_not_be_converted_does_not_exist(entry, mirror, monkeypatch):
    monkeypatch.setenv("DETREX_HUB_CONVERT", "0")
    assert not exists(REPO)
    assert not mirror.seen()


def test_the_refusal_of_an_unknown_name_suggests_the_nearest(entry):
    with pytest.raises(UsageError, match="r101_v2"):
        from_hub("r101_v3")


def test_a_missing_original_is_named(entry, mirror):
    mirror.files.clear()
    with pytest.raises(SourceError, match=r"is not published .* cannot be converted here") as found:
        resolve(tiny.NAME)
    assert "\n" not in str(found.value)
    assert local_conversions.find(entry) is None


# the lock


def lock(tmp_path, sha256):
    path = tmp_path / "mine.lock.toml"
    path.write_text(f'[weights.{tiny.NAME}]\nsha256 = "{sha256}"\n')


def test_a_conversion_that_the_lock_pins_later_is_used(entry, mirror, tmp_path):
    made = resolve(tiny.NAME)
    lock(tmp_path, made.config.checkpoint.sha256)
    assert find_entry(tiny.NAME).result is not None
    assert resolve(tiny.NAME).folder == made.folder
    assert len(mirror.seen("GET")) == 1


@pytest.mark.parametrize(
    ("pins", "agree"),
    [
        ({}, True),
        ({"sha256": None, "sha256_prefix": "RIGHT"}, True),
        ({"sha256": None, "size": None, "commit": "ab" * 20}, False),
        ({"sha256": "cd" * 32}, False),
        ({"sha256": None, "sha256_prefix": "cdcdcdcd"}, False),
        ({"size": 1}, False),
    ],
)
def test_a_conversion_of_another_original_than_the_locks_is_not_used(entry, original, pins, agree):
    made = resolve(tiny.NAME)
    found = {"sha256": hashlib.sha256(original).hexdigest(), "size": len(original)}
    right = {"RIGHT": found["sha256"][:8]}
    pinned = {name: right.get(value, value) for name, value in (found | pins).items()}
    source = replace(entry.sources[0], **pinned)
    folder = local_conversions.find(replace(entry, sources=(source,)))
    assert folder == (made.folder if agree else None)


def test_a_conversion_with_another_result_than_the_locks_is_not_used(entry):
    resolve(tiny.NAME)
    assert local_conversions.find(replace(entry, result=Result(sha256="cd" * 32))) is None


def test_weights_that_another_user_published_under_the_name_are_refused(
    entry, publish, tmp_path, hub
):
    publish()
    lock(tmp_path, hashlib.sha256(b"other").hexdigest())
    with pytest.raises(VerificationError, match="the catalogue's lock pins"):
        from_hub(REPO)


# cards


def test_the_card_of_a_name_says_what_is_known_before_a_conversion(entry, hub, mirror):
    hub.forget()
    assert card_of(tiny.NAME) == card.render_for(entry)
    assert card_of(f"hf://{REPO}") == card.render_for(entry)
    assert card_of(REPO, repo_id="alice/mine") == card.render_for(entry, repo_id="alice/mine")
    assert not hub.seen()
    assert not mirror.seen()


def test_the_card_of_a_conversion_on_this_machine_is_rendered_from_its_records(entry):
    made = resolve(tiny.NAME)
    published = made.card.read_text()
    assert card_of(tiny.NAME) == card_of(REPO) == published != card.render_for(entry)
    assert card_of(tiny.NAME, repo_id="alice/mine") == card.addressed(
        published, tiny.NAME, "alice/mine"
    )


def test_the_card_of_a_folder_is_rendered_from_its_records(entry, tmp_path, monkeypatch):
    made = resolve(tiny.NAME)
    published = made.card.read_text()
    shutil.copytree(made.folder, tmp_path / "some" / "folder")
    (made.folder / "conversion.json").unlink()
    monkeypatch.chdir(tmp_path)
    shutil.copytree("some/folder", REPO)
    assert card_of("./some/folder") == card_of(REPO) == card_of("hf://some/folder") == published
    named = card_of("some/folder", repo_id="alice/mine")
    assert named == card.addressed(published, tiny.NAME, "alice/mine")


def test_a_folder_with_the_name_of_weights_needs_a_slash(entry, tmp_path, monkeypatch):
    (tmp_path / tiny.NAME).mkdir()
    monkeypatch.chdir(tmp_path)
    assert card_of(tiny.NAME) == card.render_for(entry)
    with pytest.raises(DetrexHubError, match=r"config\.json"):
        card_of(f"./{tiny.NAME}")


def test_a_folder_without_records_has_no_card(hub, tmp_path, monkeypatch):
    (tmp_path / "some" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"some/folder.*config\.json"):
        card_of("some/folder")


def test_cards_know_the_names_of_further_catalogues(entry, tmp_path, monkeypatch):
    catalogue = Path(os.environ["DETREX_HUB_CATALOGUE"])
    made = shutil.copytree(resolve(tiny.NAME).folder, tmp_path / "made")
    with_entry, without = card_of(str(made)), card.render_folder(made, {})
    assert with_entry != without
    monkeypatch.delenv("DETREX_HUB_CATALOGUE")
    with pytest.raises(UsageError, match="no weights named"):
        card_of(tiny.NAME)
    assert card_of(tiny.NAME, extra_catalogues=[catalogue]) == with_entry
    assert card_of(str(made)) == without
    assert card_of(str(made), extra_catalogues=[catalogue]) == with_entry


# what is pushed


@pytest.mark.parametrize("name", [".", "./absent", tiny.NAME])
def test_a_folder_is_pushed_as_it_is(entry, tmp_path, monkeypatch, name):
    (tmp_path / tiny.NAME).mkdir()
    monkeypatch.chdir(tmp_path)
    assert folder_of(name) == Path(name)


def test_a_name_is_converted_to_be_pushed(entry, mirror, monkeypatch):
    recorder = Recorder()
    more = [Path(os.environ["DETREX_HUB_CATALOGUE"])]
    monkeypatch.delenv("DETREX_HUB_CATALOGUE")
    folder = folder_of(tiny.NAME, extra_catalogues=more, progress=recorder)
    monkeypatch.setenv("DETREX_HUB_CATALOGUE", str(*more))
    assert folder == resolve(tiny.NAME).folder
    assert recorder.stages
    assert len(mirror.seen("GET")) == 1


def test_what_is_published_is_not_pushed_again(entry, publish):
    publish()
    with pytest.raises(UsageError, match=f"{REPO} is on the Hub already") as refused:
        folder_of(tiny.NAME)
    assert refused.value.hint.endswith(
        f"Convert the original again: detrex-hub convert {tiny.NAME}"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (f"alice/{tiny.NAME}", f"Convert it again: detrex-hub convert {tiny.NAME}"),
        ("alice/other", "Convert its original again. See the known names"),
    ],
)
def test_what_is_published_without_a_record_is_not_pushed_again(
    entry, publish, monkeypatch, name, hint
):
    publish(name)

    def malformed(_):
        raise DetrexHubError("malformed")

    monkeypatch.setattr(Repository, "record", property(malformed))
    with pytest.raises(UsageError) as refused:
        folder_of(name)
    assert hint in refused.value.hint


@pytest.mark.parametrize("synthetic", [False, True])
def test_of_the_weights_in_a_folder_only_seeded_numbers_may_contradict_the_lock(
    entry, tmp_path, monkeypatch, synthetic
):
    converted_folder(tmp_path / "root" / REPO, synthetic=synthetic)
    lock(tmp_path, hashlib.sha256(b"other").hexdigest())
    monkeypatch.setenv("DETREX_HUB_ROOT", str(tmp_path / "root"))
    if synthetic:
        assert resolve(tiny.NAME).config.synthetic
    else:
        with pytest.raises(VerificationError, match="the catalogue's lock pins"):
            resolve(tiny.NAME)


def test_seeded_numbers_on_the_hub_may_not_contradict_the_lock(entry, login, tmp_path):
    login("alice", organizations=("detrex",))
    push(converted_folder(tmp_path / "made", synthetic=True), REPO, allow_synthetic=True)
    assert resolve(tiny.NAME).config.synthetic
    lock(tmp_path, hashlib.sha256(b"other").hexdigest())
    with pytest.raises(VerificationError, match="the catalogue's lock pins"):
        resolve(tiny.NAME)


# several processes

_RANK = """
import sys
from detrex_hub import from_hub
print(from_hub(sys.argv[1]))
"""


def test_eight_ranks_pull_once_and_convert_once(entry, mirror):
    environment = {**os.environ, "HF_HOME": constants.HF_HOME}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", _RANK, tiny.NAME],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    done = [rank.communicate() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * 8, done
    assert len({out for out, _ in done}) == 1
    assert len(mirror.seen("GET")) == 1
    assert sum("converted on this machine" in err for _, err in done) == 1


def _die(name):
    from detrex_hub.conversion import execution

    execution.execute = lambda *_, **__: os._exit(9)
    resolve(name)


def test_a_killed_rank_does_not_stop_the_others(entry, mirror):
    rank = multiprocessing.get_context("fork").Process(target=_die, args=(tiny.NAME,))
    rank.start()
    rank.join()
    assert rank.exitcode == 9
    assert resolve(tiny.NAME).commit is None
    assert len(mirror.seen("GET")) == 1


def test_waiting_is_shown(entry, mirror, monkeypatch):
    resolve(tiny.NAME)
    (folder,) = converted.root().glob(f"*/{tiny.NAME}")
    shutil.rmtree(folder)
    lock = FileLock(folder.parent / ".lock")
    lock.acquire()
    said = []

    def log(message):
        said.append(message)
        # end of the other process
        lock.release()

    monkeypatch.setattr(local_conversions, "log", log)
    resolve(tiny.NAME)
    assert said == [f"{tiny.NAME}: waiting for another process that converts it"]


def test_ranks_work_on_a_file_system_without_locks(entry, mirror, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = from_hub(tiny.NAME)
    assert from_hub(tiny.NAME) == path
    assert len(mirror.seen("GET")) == 1
