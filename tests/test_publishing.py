"""Many at once: what one does to the others."""

from __future__ import annotations

import threading

import pytest

from detrex_hub.errors import HubError
from detrex_hub.hub import PushResult
from detrex_hub.publishing import convert_and_push_all


def result(name: str) -> PushResult:
    return PushResult(
        repo_id=f"detrex/{name}", url=name, commit=None, changed=(), created=False, dry_run=False
    )


def test_jobs_run_at_the_same_time_and_are_told_as_they_end():
    together, told = threading.Barrier(3), threading.Event()

    def one(name, progress):
        # nobody passes until all three are here
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


def begin(names="abcde"):
    """Two jobs at once, of which "a" is done and told when this returns, and the others go on for
    ever: what is to come, what was begun, and what was cleared away."""
    begun, cleared = [], []

    def one(name, progress):
        begun.append(name)
        if name != "a":
            try:
                while True:
                    progress.advance(1)
            finally:
                cleared.append(name)
        return result(name)

    running = convert_and_push_all(names, one, jobs=2)
    assert next(running).name == "a"
    return running, begun, cleared


def test_who_interrupts_waits_for_what_runs_to_be_cleared_away():
    running, begun, cleared = begin()
    with pytest.raises(KeyboardInterrupt):
        running.throw(KeyboardInterrupt)
    assert sorted(cleared) == sorted(begun)[1:]
    assert len(begun) <= 3


def test_who_needs_no_more_stops_what_runs():
    running, begun, _ = begin("abcdefghij")
    running.close()
    assert len(begun) <= 3


def test_who_interrupts_is_told_what_was_done_meanwhile():
    interrupted = threading.Event()

    def one(name, progress):
        if name == "b":
            assert interrupted.wait(timeout=60)
        return result(name)

    running = convert_and_push_all(["a", "b"], one, jobs=2)
    assert next(running).name == "a"
    interrupted.set()
    assert running.throw(KeyboardInterrupt).name == "b"
    with pytest.raises(KeyboardInterrupt):
        next(running)
