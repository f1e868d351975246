"""Class names: read from common kinds of files, and matched with those of a head."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from detrex_hub.architectures import coco, objects365
from detrex_hub.errors import UsageError
from detrex_hub.own_files import read_small

_HINT = (
    "Write one name per line or a JSON list of names, or give COCO annotations, a config.json with "
    "id2label, a data.yaml of YOLO, or metadata of detectron2 with thing_classes. "
    "See: detrex-hub convert --help"
)

# --- files ---------------------------------------------------------------------------------------

# the annotations of Objects365 have about 6 GB, those of COCO 450 MB
_MOST_BYTES = 2**30
# YAML is read slowly, and a data.yaml is small
_MOST_YAML = 2**20

# UTF-32 first: its mark begins with that of UTF-16
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# a line that looks like another format, a table or code is not a name
_NAME = re.compile(r"[\w(][\w \-./&'()+]{0,99}")
_NUMBERED = re.compile(r"\d+[\s.)]+\S")
_YAML_KEY = re.compile(r"^['\"]?[\w-]+['\"]?:(\s|$)", re.MULTILINE)
# the name of numbers without a class, in id2label of transformers
_NO_CLASS = "N/A"


def read_names(path: Path) -> list[str]:
    """Names of classes from a file, in their order.

    It is a text with a name a line, a JSON list of names, annotations in COCO's format (whose
    categories detectron2 numbers by their ids), a JSON or YAML document with ``id2label`` of
    transformers, ``names`` of YOLO or ``thing_classes`` of detectron2, or a JSON mapping from
    numbers to names. A text may have any byte-order mark and any line ending.

    Raises:
        UsageError: it cannot be read, or is none of these.
    """
    text = _text(path)
    try:
        if text.lstrip()[:1] in ("[", "{"):
            names = _of_document(json.loads(text))
        elif path.suffix.lower() in (".yaml", ".yml") or _YAML_KEY.search(text):
            names = _of_document(_yaml(text))
        else:
            names = _of_lines(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names = []
    names = [name.strip() for name in names if isinstance(name, str)] if _all_text(names) else []
    if not names or not all(names):
        raise UsageError(f"{path} contains no class names", hint=_HINT)
    return names


def _all_text(names: Sequence[Any]) -> bool:
    return all(isinstance(name, str) for name in names)


def _text(path: Path) -> str:
    try:
        data = read_small(path, _MOST_BYTES, links=True)
        encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
        return data.decode(encoding)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not text in UTF-8: {error.reason}",
            hint=_HINT,
        ) from None


def _yaml(text: str) -> Any:
    import yaml

    if len(text) > _MOST_YAML:
        raise ValueError
    try:
        if any(isinstance(token, yaml.TagToken) for token in yaml.scan(text)):
            raise ValueError
        # all scalars are texts, so that a class may be called "no"
        return yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        raise ValueError from None


def _of_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    names = [line for line in lines if line]
    if not all(_NAME.fullmatch(name) for name in names) or all(map(_NUMBERED.match, names)):
        return []
    return names


def _of_document(document: Any) -> list[Any]:
    """The names in a parsed document. Without names it returns nothing or raises."""
    if isinstance(document, list):
        return document
    known = [name for name in _READERS if name in document]
    if not known:
        return _numbered(document)
    found = [_READERS[name](document[name]) for name in known]
    # a document that contradicts itself counts as one without names
    return found[0] if all(one == found[0] for one in found) else []


def _categories(categories: Any) -> list[Any]:
    return [one["name"] for one in sorted(categories, key=lambda one: int(one["id"]))]


def _numbered(names: Mapping[Any, Any]) -> list[Any]:
    """Names by number. Some numbers may be missing."""
    ordered = sorted((int(number), name) for number, name in names.items())
    return [name for _, name in ordered if name != _NO_CLASS]


def _listed(names: Any) -> list[Any]:
    """Names in a list, or by number from 0."""
    if isinstance(names, list):
        return names
    numbers = sorted(int(number) for number in names)
    return _numbered(names) if numbers == [*range(len(numbers))] else []


_READERS = {
    "categories": _categories,
    "id2label": _numbered,
    "names": _listed,
    "thing_classes": _listed,
}

# --- heads ---------------------------------------------------------------------------------------


class KnownClasses(Struct, frozen=True):
    """The classes of a head: ``rows`` by their names, of the data set ``of``."""

    of: str
    rows: Mapping[str, int]


class Matched(Struct, frozen=True):
    """The class of a head that matches a name."""

    name: str
    row: int


# Pascal VOC's names, and misspelt names in the annotations of Objects365
_SYNONYMS = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "tvmonitor": "tv",
    "moniter": "monitor",
    "bakset": "basket",
    "dinningtable": "diningtable",
    "ballon": "balloon",
    "billards": "billiards",
    "noddles": "noodles",
}


def known_classes(
    rows: int, *, original: bool, layout: str, names: Sequence[str] | None = None
) -> KnownClasses | None:
    """The classes of a head; None if neither names nor the number of rows identify them.

    Args:
        rows: of the head, "no object" not counted.
        original: whether it has as many rows as the released heads of the original.
        layout: of the file.
        names: of its rows, where they are known.
    """
    if original:
        return KnownClasses("COCO", dict(zip(coco.NAMES, coco.CATEGORIES, strict=True)))
    if names is not None:
        once = {name: row for row, name in enumerate(names) if names.count(name) == 1}
        return KnownClasses("the file", {n: row for n, row in once.items() if n != _NO_CLASS})
    if layout == "detrex" and rows == len(coco.NAMES):
        return KnownClasses("COCO", {name: row for row, name in enumerate(coco.NAMES)})
    if found := objects365.rows(rows):
        return KnownClasses("Objects365", dict(zip(objects365.NAMES, found, strict=True)))
    return None


def matched(names: Iterable[str], known: KnownClasses, *, exact: bool) -> list[Matched | None]:
    """The class that matches each name; None if the head has none.

    Case, spaces, underscores and hyphens are ignored, and each part of a name such as
    ``Monitor/TV`` matches it. Pascal VOC's names for COCO's classes match too.

    Args:
        names: of the classes that are wanted.
        known: the classes of the head.
        exact: match only equal names.

    Raises:
        UsageError: two names match the same class.
    """
    classes = {name: Matched(name, row) for name, row in known.rows.items()}
    if exact:
        found = [classes.get(name) for name in names]
    else:
        by_part = {plain(part): one for name, one in classes.items() for part in name.split("/")}
        by_name = by_part | {plain(name): one for name, one in classes.items()}
        found = [by_name.get(_SYNONYMS.get(plain(name), plain(name))) for name in names]
    taken: dict[int, str] = {}
    for name, one in zip(names, found, strict=True):
        if one is not None and taken.setdefault(one.row, name) != name:
            raise UsageError(
                f"{taken[one.row]!r} and {name!r} are both {one.name!r} of {known.of}",
                choices=("--exact-names",),
            )
    return found


def plain(name: str) -> str:
    """A name without the characters in which two spellings may differ."""
    return re.sub(r"[\s_-]+", "", name.lower())
