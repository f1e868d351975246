"""Several names are published at once, and do not disturb each other."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from detrex_hub.errors import HubError
from detrex_hub.publishing import batch
from detrex_hub.publishing.batch import convert_and_push_all
from detrex_hub.repositories import PushResult


def result(name: str) -> PushResult:
    return PushResult(
        repo_id=f"detrex/{name}", url=name, commit=None, changed=(), created=False, dry_run=False
    )


def test_jobs_run_at_the_same_time_and_are_reported_as_they_end():
    together, told = threading.Barrier(3), threading.Event()

    def one(name, progress):
        # a barrier that all three jobs must reach
        together.wait(timeout=60)
        if name == "a":
            assert told.wait(timeout=60)
        return result(name)

    done = []
    for published in convert_and_push_all(["a", "b", "c"], one, jobs=3):
        done.append(published.name)
        assert published.result
        told.set()
    assert sorted(done) == ["a", "b", "c"]
    assert done[0] != "a"


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("error", [HubError("refused"), KeyError("nobody foresaw this")])
def test_one_failure_does_not_stop_the_others(jobs, error):
    def one(name, progress):
        if name == "b":
            raise error
        return result(name)

    done = {p.name: p for p in convert_and_push_all(["a", "b", "c"], one, jobs=jobs)}
    assert done["a"].result and done["c"].result
    assert done["b"].result is None
    assert str(error) in str(done["b"].error)


def begin():
    """Start two jobs at once. When this returns, "a" is done and reported, and the others run until
    they are stopped. Returns the remaining outcomes, the started names and the stopped names."""
    started, stopped = [], []

    def one(name, progress):
        started.append(name)
        if name != "a":
            try:
                for _ in range(1000):
                    progress.advance(1)
                    threading.Event().wait(0.01)
            except BaseException:
                stopped.append(name)
                raise
        return result(name)

    running = convert_and_push_all("abcdefgh", one, jobs=2)
    assert next(running).name == "a"
    return running, started, stopped


def test_an_interruption_waits_until_running_jobs_are_cleaned_up():
    running, started, stopped = begin()
    with pytest.raises(KeyboardInterrupt):
        running.throw(KeyboardInterrupt)
    assert sorted(stopped) == sorted(started)[1:]
    assert len(started) <= 3


def test_leaving_the_loop_early_stops_running_jobs():
    running, started, stopped = begin()
    running.close()
    for _ in range(500):
        if len(stopped) < len(started) - 1:
            threading.Event().wait(0.01)
    assert sorted(stopped) == sorted(started)[1:]
    assert len(started) <= 3


def test_an_interruption_reports_what_was_done(monkeypatch):
    started, stopped, stop = [], threading.Event(), batch._Jobs.stop

    def one(name, progress):
        started.append(name)
        if name != "a":
            assert stopped.wait(timeout=60)
        return result(name)

    def noted(self):
        stop(self)
        stopped.set()

    monkeypatch.setattr(batch._Jobs, "stop", noted)
    running = convert_and_push_all("abcde", one, jobs=2)
    assert next(running).name == "a"
    while len(started) < 3:
        threading.Event().wait(0.01)
    told = [running.throw(KeyboardInterrupt).name]
    with pytest.raises(KeyboardInterrupt):
        told.extend(published.name for published in running)
    assert sorted(told) == ["b", "c"]
    assert sorted(started) == ["a", "b", "c"]


def test_a_hanging_job_does_not_keep_the_process_alive():
    script = """
import threading
from detrex_hub.publishing.batch import convert_and_push_all
from tests.publishing.test_batch import result
hang, started = threading.Event(), threading.Event()
def one(name, progress):
    if name == "b":
        started.set()
        hang.wait()
    return result(name)
running = convert_and_push_all("ab", one, jobs=2)
assert next(running).name == "a" and started.wait(60)
running.close()
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
