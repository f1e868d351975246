"""Architectures become dataclasses when they are first made, and then are like any other."""

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from detrex_hub.architectures import architecture, architectures, late


@late.dataclass(frozen=True, kw_only=True)
class Above:
    width: int = 1

    def __new__(cls, **_):
        late.complete(cls)
        return super().__new__(cls)


@late.dataclass(frozen=True, kw_only=True)
class Below(Above):
    depth: int


def test_what_was_made_is_a_dataclass():
    made = Below(depth=3)
    assert made == Below(width=1, depth=3) != Below(width=2, depth=3)
    assert repr(dataclasses.replace(made, width=4)) == "Below(width=4, depth=3)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.depth = 4  # type: ignore[misc]
    with pytest.raises(TypeError):
        Below(width=1)  # type: ignore[call-arg]


def test_no_thread_makes_one_that_another_is_still_completing(monkeypatch):
    real, others = dataclasses.dataclass, []

    def interrupted(**options):
        def complete(kind):
            others.append(threads.submit(kind, depth=2))
            # every thread gets its turn
            assert threads.submit(int).result() == 0
            assert not others[0].done()
            return real(**options)(kind)

        return complete

    kind = late.dataclass(frozen=True, kw_only=True)(
        type("Made", (Above,), {"__annotations__": {"depth": "int"}})
    )
    late.complete(Above)
    with ThreadPoolExecutor(2) as threads:
        monkeypatch.setattr(dataclasses, "dataclass", interrupted)
        assert (kind(depth=1).depth, others[0].result().depth) == (1, 2)


@pytest.mark.parametrize("name", sorted(architectures()))
def test_hyper_parameters_are_told_before_one_was_made(name):
    """Of an architecture that nothing was made of in the process."""
    script = (
        "from detrex_hub.architectures import architecture\n"
        f"kind = architecture({name!r})\n"
        "assert '__dataclass_fields__' not in vars(kind)\n"
        "try: kind.from_hyper_parameters({'backbone': 'resnet', 'backbone_depth': 50, 'x': 1})\n"
        "except Exception as error: print(type(error).__name__, error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not done.stderr
    fields = [one.name for one in dataclasses.fields(_made(name))]
    assert done.stdout.strip() == f"ArchitectureError It takes {', '.join(fields)}"


def _made(name):
    kind = architecture(name)
    late.complete(kind)
    return kind
