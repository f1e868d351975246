"""Rows of classes: which of a source's rows a detector takes, and which are fresh.

A detector has a row for each class in its class heads, and in its embedding of labels if it learns
from noised boxes. The originals have 91 rows for COCO's 80 classes. A head that is prepared for
fine-tuning keeps the rows of classes whose names it knows, and all rows where there are as many as
it needs and no names are given. The others are fresh, as detrex's models initialise them:
`torch.nn.Linear` and `torch.nn.Embedding` as torch does, and for the focal loss biases that give
each class a probability of 0.01.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub import kinds
from detrex_hub.architectures import coco
from detrex_hub.architectures.class_names import KnownClasses, known_classes, matched, plain
from detrex_hub.architectures.declared import Fact
from detrex_hub.errors import ArchitectureError, UsageError
from detrex_hub.mapping import Fresh, Rows

_MOST_CLASSES = 65536
# COCO has 80, and a note in a record has a longest length
_MOST_NAMED = 80

FACTS: Mapping[str, Fact] = {
    "classes": Fact(
        kinds.Choice(("auto", "coco", "keep")),
        "what becomes of the class heads: auto cuts the originals' 91 or 92 rows to the 80 COCO "
        "classes, coco does the same or refuses, keep changes nothing",
        default="auto",
    ),
    "num_classes": Fact(
        kinds.Integer(1, _MOST_CLASSES),
        "classes of a model that is prepared for fine-tuning",
    ),
    "class_names": Fact(
        kinds.ListOf(kinds.Text(), 1, _MOST_CLASSES),
        "their names in order; classes that the source has too keep their rows",
    ),
    "source_classes": Fact(
        kinds.ListOf(kinds.Text(), 1, _MOST_CLASSES),
        "names of the classes that the file has, in the order of its rows",
    ),
    "new_head": Fact(
        kinds.Flag(),
        "whether all rows are fresh, even if the file has rows for these classes",
        default=False,
    ),
    "exact_names": Fact(
        kinds.Flag(),
        "whether class names must be equal to match, without other spellings and synonyms",
        default=False,
    ),
    "seed": Fact(
        kinds.Integer(-(2**63), 2**63 - 1),
        "seed of the fresh rows",
        default=0,
    ),
}

_FOCAL_PRIOR = -math.log((1 - 0.01) / 0.01)


class ClassRows(Struct, frozen=True):
    """Which rows of a class head a model takes.

    Args:
        name: of the choice, for messages.
        of: rows of the source's class head, without "no object".
        rows: for each class of the model its row in the source; None if it is fresh.
        unknown: names of the classes whose rows are fresh, as far as they have names.
        renamed: names of classes that keep their rows, each with the other name that the source has
            for it.
        seed: of the fresh rows.
    """

    name: str
    of: int
    rows: tuple[int | None, ...]
    unknown: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    seed: int = 0

    @property
    def all_fresh(self) -> bool:
        return all(row is None for row in self.rows)

    def described(self) -> str:
        """How the classes change, in one line."""
        kept = sum(row is not None for row in self.rows)
        taken = self._taken_as()
        named = f": {', '.join(self.unknown[:8])}" if self.unknown else ""
        more = f" and {len(self.unknown) - 8} more" if len(self.unknown) > 8 else ""
        return (
            f"class heads made for {len(self.rows)} classes: {kept} keep their rows, "
            f"{len(self.rows) - kept} get fresh ones (seed {self.seed}){named}{more}{taken}"
        )

    def _taken_as(self) -> str:
        if not self.renamed:
            return ""
        first = ", ".join(f"{name} -> {theirs}" for name, theirs in self.renamed[:_MOST_NAMED])
        others = len(self.renamed) - _MOST_NAMED
        return f". Taken as: {first}" + (f" and {others} more" if others > 0 else "")

    def head(self, parameter: str, width: int, *, no_object: bool, focal: bool) -> Rows:
        """Rows of a class head's ``weight`` or ``bias``: ``(of, ...) -> (classes, ...)``.

        Args:
            width: of the embeddings that the head reads.
            no_object: whether there is a last row for "no object", which stays.
            focal: whether the head is trained with the focal loss.
        """
        of = self.of + no_object
        last = (self.of,) if no_object else ()
        return self._rows(of, (*self.rows, *last), self._linear(parameter, width, focal=focal))

    def proposals(self, parameter: str, width: int) -> Rows:
        """The same for a head whose first row ranks proposals of every class."""
        kept = min(len(self.rows), self.of)
        rows = (*range(kept), *[None] * (len(self.rows) - kept))
        begin = self._linear(parameter, width, focal=True)
        return self._rows(self.of, rows, begin, name=f"first{kept}")

    def labels(self, of: int, *, unknown: bool) -> Rows:
        """Rows of an embedding of labels.

        Args:
            of: rows of the source's.
            unknown: whether the last row is for "unknown". It is kept.
        """
        last = (of - 1,) if unknown else ()
        return self._rows(of, (*self.rows, *last), Fresh(1, 0.0, 1.0, self.seed))

    def _linear(self, parameter: str, width: int, *, focal: bool) -> Fresh:
        if parameter == "bias" and focal:
            return Fresh(1, _FOCAL_PRIOR, 0.0, self.seed)
        # torch's own: uniform between -1 / sqrt(width) and 1 / sqrt(width)
        return Fresh(1, 0.0, 1 / math.sqrt(3 * width), self.seed, uniform=True)

    def _rows(
        self, of: int, rows: tuple[int | None, ...], begin: Fresh, *, name: str | None = None
    ) -> Rows:
        parts: list[tuple[int, int] | Fresh] = []
        for row in rows:
            match parts[-1] if parts else None:
                case Fresh() as fresh if row is None:
                    parts[-1] = replace(fresh, count=fresh.count + 1)
                case (start, stop) if row == stop:
                    parts[-1] = (start, stop + 1)
                case _:
                    parts.append(begin if row is None else (row, row + 1))
        return Rows(name or self.name, of, tuple(parts))


def class_rows(rows: int, released: int, layout: str, facts: Mapping[str, Any]) -> ClassRows | None:
    """The rows that are taken from a class head; None if all are.

    Args:
        rows: of the source's class head, "no object" not counted.
        released: the same of the original's released checkpoints.
        layout: the source's layout.
        facts: those of `FACTS`, settled.

    Raises:
        UsageError: the facts contradict each other.
        ArchitectureError: they do not fit this head.
    """
    choice, theirs = facts["classes"], facts.get("source_classes")
    if theirs is not None and len(theirs) != rows:
        raise ArchitectureError(
            f"the class head has {rows} class rows, but its source names {len(theirs)} classes"
        )
    original = layout != "detrex" and rows == released and (theirs is None or _of_coco(theirs))
    usual = ClassRows("coco80", rows, coco.CATEGORIES) if original else None
    if facts["new_head"] or "num_classes" in facts or "class_names" in facts:
        if choice != "auto":
            raise UsageError(
                f"--classes {choice} cannot be combined with a head for other classes",
                choices=["--classes auto"],
            )
        has = len(usual.rows) if usual else rows
        if not facts["new_head"] and "class_names" not in facts:
            if facts["num_classes"] == has:
                return usual
            if facts["num_classes"] == rows:
                return None
        known = known_classes(rows, original=original, layout=layout, names=theirs)
        return _prepared(rows, has, known, facts)
    if choice == "coco" and not original:
        raise ArchitectureError(
            f"the class head has {rows} class rows, but only an original with {released} rows "
            "can be cut to COCO's",
            choices=("--classes keep",),
        )
    return usual if choice != "keep" else None


def _of_coco(names: Sequence[str]) -> bool:
    """Whether the rows of COCO's category ids have the names of COCO's classes."""
    return all(
        plain(names[row]) == plain(name)
        for row, name in zip(coco.CATEGORIES, coco.NAMES, strict=True)
    )


def named(names: Sequence[str]) -> str:
    """The classes of a head whose rows are all kept, in one line."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"the classes are, row by row: {', '.join(names[:_MOST_NAMED])}{more}"


def _prepared(
    rows: int, has: int, known: KnownClasses | None, facts: Mapping[str, Any]
) -> ClassRows:
    """Rows for fine-tuning. ``has`` is how many classes the head has, ``known`` are these classes,
    None where they are not known."""
    names = facts.get("class_names", ())
    number = facts.get("num_classes", len(names) or has)
    new, exact, seed = facts["new_head"], facts["exact_names"], facts["seed"]
    if names and len(names) != number:
        raise UsageError(
            f"there are {len(names)} names for {number} classes",
            choices=[f"--num-classes {len(names)}"],
        )
    _check_distinct(names, exact)
    if new or not names:
        return ClassRows(f"{number} classes", rows, (None,) * number, tuple(names), seed=seed)
    if known is None:
        raise ArchitectureError(
            f"the class head has {rows} rows, which are not known to be COCO's or "
            "Objects365's classes, so no row can be found by name",
            choices=("--new-head",),
        )
    found = matched(names, known, exact=exact)
    named = [*zip(names, found, strict=True)]
    return ClassRows(
        f"{number} classes",
        rows,
        tuple(None if one is None else one.row for one in found),
        unknown=tuple(name for name, one in named if one is None),
        renamed=tuple((name, one.name) for name, one in named if one and one.name != name),
        seed=seed,
    )


def _check_distinct(names: Sequence[str], exact: bool) -> None:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name if exact else plain(name), []).append(name)
    doubled = [same for same in found.values() if len(same) > 1]
    if doubled:
        listed = "; ".join(", ".join(same) for same in doubled[:4])
        raise UsageError(
            f"these class names occur twice: {listed}",
            choices=() if exact else ("--exact-names",),
        )
