"""``convert-and-push --on-jobs``, with the real client and a Hub that runs submitted jobs."""

from __future__ import annotations

import json

import pytest

from detrex_hub import catalogue
from detrex_hub.publishing.hf_jobs import cut
from detrex_hub.publishing.outcomes import Forecast
from tests import tiny
from tests.hub_server import Fault

NAMES = ["a", "b", "c"]
OPTIONS = ("--synthetic", "--allow-synthetic", "--namespace", "lab")


@pytest.fixture
def token(hub, login):
    return login("alice", organizations=("lab",))


@pytest.fixture
def entries(hub, token, tmp_path, monkeypatch):
    """A catalogue of three names, here and on the machines of the jobs."""
    one = tiny.catalogue(tmp_path / "one.toml").read_text()
    path = tmp_path / "all.toml"
    path.write_text("".join(one.replace("weights.tiny", f"weights.{name}") for name in NAMES))
    monkeypatch.setenv("DETREX_HUB_CATALOGUE", str(path))
    known = catalogue.load_entries()
    monkeypatch.setattr(
        catalogue, "load_entries", lambda _=(): {name: known[name] for name in NAMES}
    )
    hub.jobs.environment["DETREX_HUB_CATALOGUE"] = str(path)
    return path


def statuses(done):
    return {row["name"]: row["status"] for row in json.loads(done.out)}


def test_shares_are_published_by_jobs(cli, hub, token, entries):
    done = cli("convert-and-push", "--all", *OPTIONS, "--on-jobs", "--shards", "2")
    assert done.code == 0, done.err
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert rows == [[name, "new", f"{hub.url}/lab/{name}"] for name in NAMES]
    assert hub.repositories.keys() == {f"lab/{name}" for name in NAMES}
    assert any(line.startswith("[job 1/2] ") for line in done.err.splitlines())
    ends = sorted(line for line in done.err.splitlines() if line.startswith("[3/3] "))
    assert [line.split(" ", 2)[2] for line in ends] == ["new"]
    for job in hub.jobs.all.values():
        assert job.namespace == "lab"
        assert job.spec["flavor"] == "cpu-basic"
        assert job.spec["timeoutSeconds"] > 3600
        assert job.spec["secrets"] == {"HF_TOKEN": token}
        assert token not in json.dumps({**job.spec, "secrets": None})
        assert not job.spec.get("volumes")
    assert token not in done.err + done.out
    # the second time nothing is left to submit
    again = cli("convert-and-push", "--all", *OPTIONS, "--on-jobs", "--json")
    assert statuses(again) == dict.fromkeys(NAMES, "unchanged")
    assert len(hub.jobs.all) == 2


def test_jobs_share_one_collection(cli, hub, entries):
    options = ("--on-jobs", "--shards", "2", "--collection", "lab/zoo")
    done = cli("convert-and-push", "a", "b", *OPTIONS, *options)
    assert done.code == 0, done.err
    ((slug, found),) = hub.collections.items()
    assert sorted(one["id"] for one in found["items"]) == ["lab/a", "lab/b"]
    for job in hub.jobs.all.values():
        command = job.spec["command"]
        assert command[command.index("--collection") + 1] == slug


def test_a_failed_job_is_reported_and_repeated(cli, hub, entries):
    options = ("--on-jobs", "--shards", "2", "--json")
    hub.jobs.environment["DETREX_HUB_CATALOGUE"] = "/nowhere.toml"
    done = cli("convert-and-push", "a", "b", *OPTIONS, *options)
    assert done.code == 1
    assert statuses(done) == {"a": "failed", "b": "failed"}
    assert "nowhere.toml" in done.out
    hub.jobs.environment["DETREX_HUB_CATALOGUE"] = str(entries)
    again = cli("convert-and-push", "--retry-failed", *options)
    assert statuses(again) == {"a": "new", "b": "new"}


def test_a_job_that_the_hub_refuses_has_failed(cli, hub, entries):
    hub.inject("POST", "/api/jobs/lab", Fault.status(402, body=b'{"error": "no credit"}'))
    done = cli("convert-and-push", "a", "b", *OPTIONS, "--on-jobs", "--json")
    assert statuses(done) == {"a": "failed", "b": "failed"}
    assert "no credit" in done.out


@pytest.mark.parametrize("option", ["--to", "--catalogue"])
def test_files_of_this_machine_are_refused(cli, hub, entries, option):
    done = cli("convert-and-push", "a", option, entries, "--on-jobs")
    assert done.code == 2 and option in done.err
    assert not hub.jobs.all


def test_shares_have_about_the_same_size():
    sizes = dict(zip("abcdef", (8, 7, 6, 5, 4, 0), strict=True))
    names = [Forecast(name=name, status="new", size=size) for name, size in sizes.items()]
    shares = cut(names, 3)
    assert sorted(one.name for share in shares for one in share) == [*"abcdef"]
    assert max(sum(one.size for one in share) for share in shares) <= 11
    assert len(cut(names, 20)) == len(names)
