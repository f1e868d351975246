"""A message about a document names the file, the field and the expected value in one line."""

import subprocess
import sys
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from detrex_hub import schema
from detrex_hub.errors import CatalogueError, ConfigError

Digits = Annotated[str, schema.matching("[0-9a-f]{4}", "4 hexadecimal digits")]


class Inner(Struct, forbid_unknown_fields=True):
    digits: Digits
    file: Literal["a", "b"] = "a"
    count: Annotated[int, Meta(ge=0, le=9)] = 0
    ratio: float = 0.0
    ties: Annotated[dict[Annotated[str, Meta(max_length=3)], str], Meta(max_length=2)] = {}
    sizes: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    value: int | str | None = None

    def __post_init__(self):
        if self.count == 7:
            raise ValueError("has 7 of them")


class Document(Struct):
    inner: Inner


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "the document should be an object, not a list"),
        ({}, "inner is missing"),
        ({"inner": {}}, "inner.digits is missing"),
        ({"digits": 1}, "inner.digits should be a string, not an integer"),
        ({"digits": "abc"}, "inner.digits should be a string of 4 hexadecimal digits"),
        ({"digits": "abcd\n"}, "inner.digits should be a string of 4 hexadecimal digits"),
        ({"digits": "xabcd"}, "inner.digits should be a string of 4 hexadecimal digits"),
        ({"file": "c"}, "inner.file cannot be 'c'"),
        ({"count": True}, "inner.count should be an integer, not true or false"),
        ({"count": 10}, "inner.count should be an integer, at most 9"),
        ({"count": 2**80}, "inner.count should be an integer, at most 9"),
        ({"count": -1}, "inner.count should be an integer, at least 0"),
        ({"count": 1.0}, "inner.count should be an integer, not a number"),
        ({"count": 7}, "inner has 7 of them"),
        ({"ratio": "1"}, "inner.ratio should be a number, not a string"),
        ({"ties": {"a": 1}}, "inner.ties[...] should be a string, not an integer"),
        ({"ties": {"abcd": ""}}, "a name in inner.ties should be a string of at most 3 characters"),
        ({"ties": dict.fromkeys("abc", "")}, "inner.ties should be an object of at most 2 items"),
        ({"sizes": [1, 2, -1]}, "inner.sizes[2] should be an integer, at least 0"),
        ({"value": []}, "inner.value should be an integer or a string or null, not a list"),
        ({"odd": 1}, "inner has an unknown name 'odd'"),
    ],
    ids=str,
)
def test_a_message_names_the_field_and_the_expected_value(document, says):
    if isinstance(document, dict) and document and "inner" not in document:
        document = {"inner": {"digits": "abcd", **document}}
    with pytest.raises(ConfigError) as caught:
        schema.validated(document, Document, where="a.json")
    assert str(caught.value) == f"a.json: {says}"


@pytest.mark.parametrize("name", ["x" * 10_000, "a`b", "a\nb", "`$.inner` - at `$.x`"])
def test_a_message_stays_short_for_any_document(name):
    for document in ({"inner": {"digits": "abcd", name: 1}}, {"inner": {"digits": name}}):
        with pytest.raises(CatalogueError) as caught:
            schema.validated(document, Document, where="a.toml", refusal=CatalogueError)
        assert len(str(caught.value)) < 250


def test_a_valid_document_becomes_a_value_of_its_type():
    document = {"inner": {"digits": "abcd", "ratio": 1, "sizes": [1, 2]}}
    found = schema.validated(document, Document, where="a.json")
    assert found == Document(Inner("abcd", ratio=1.0, sizes=(1, 2)))


CONCURRENTLY = """
import threading
import msgspec
from detrex_hub.schema import validated

building, second = threading.Event(), threading.Event()

def wait_for_the_second_thread():
    building.set()
    second.wait()
    threading.Event().wait(0.1)
    return int

class Inner(msgspec.Struct):
    x: "wait_for_the_second_thread()"

class Outer(msgspec.Struct):
    inner: Inner
    y: int

found = []

def use(name):
    found.append(validated({"inner": {"x": 1}, "y": 2}, Outer, where=name).y)

def use_too():
    building.wait()
    second.set()
    use("second")

thread = threading.Thread(target=use_too)
thread.start()
use("first")
thread.join()
print(found)
"""


def test_two_threads_may_use_a_type_for_the_first_time():
    """In a separate process, because msgspec would crash without the lock."""
    done = subprocess.run([sys.executable, "-c", CONCURRENTLY], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[2, 2]\n"), done.stderr
