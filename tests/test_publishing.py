"""Many at once: what one does to the others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from detrex_hub import publishing
from detrex_hub.errors import HubError
from detrex_hub.hub import PushResult
from detrex_hub.publishing import convert_and_push_all


def result(name: str) -> PushResult:
    return PushResult(
        repo_id=f"detrex/{name}", url=name, commit=None, changed=(), created=False, dry_run=False
    )


def test_jobs_run_at_the_same_time_and_come_back_in_order():
    together = threading.Barrier(3)

    def one(name):
        # nobody passes until all three are here
        together.wait(timeout=60)
        return result(name)

    done = list(convert_and_push_all(["a", "b", "c"], one, jobs=3))
    assert [published.name for published in done] == ["a", "b", "c"]
    assert all(published.result for published in done)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("error", [HubError("refused"), KeyError("nobody foresaw this")])
def test_one_failure_does_not_stop_the_others(jobs, error):
    def one(name):
        if name == "b":
            raise error
        return result(name)

    done = {p.name: p for p in convert_and_push_all(["a", "b", "c"], one, jobs=jobs)}
    assert done["a"].result and done["c"].result
    assert done["b"].result is None
    assert str(error) in str(done["b"].error)


def test_who_interrupts_does_not_wait_for_the_whole_catalogue(monkeypatch):
    begun, shut_down = [], threading.Event()

    class Executor(ThreadPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            shut_down.set()
            super().shutdown(wait=wait)

    def one(name):
        begun.append(name)
        if name != "0":
            assert shut_down.wait(timeout=60)
        return result(name)

    monkeypatch.setattr(publishing, "ThreadPoolExecutor", Executor)
    running = convert_and_push_all([str(number) for number in range(100)], one, jobs=2)
    assert next(running).name == "0"
    running.close()
    assert len(begun) <= 3
