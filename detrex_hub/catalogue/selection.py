"""Which entries a list shows, and why it shows none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from detrex_hub.catalogue.entry import CatalogueEntry
from detrex_hub.catalogue.outlines import outline
from detrex_hub.errors import did_you_mean

_SIZES = {"tiny": "t", "small": "s", "base": "b", "large": "l", "xlarge": "xl", "huge": "h"}


class Selection(Struct, frozen=True, kw_only=True):
    """The conditions for entries to be listed. None allows any value.

    Args:
        text: words, each part of a name, an alias, the title or the architecture.
        arch: the architecture, such as ``dino``.
        backbone: the backbone or the beginning of its name: ``swin``, ``swin-l``, ``r50``.
        license: the identifier of a licence.
        min_ap: the least box AP on COCO, in 0..100.
    """

    text: str | None = None
    arch: str | None = None
    backbone: str | None = None
    license: str | None = None
    min_ap: float | None = None

    def of(self, entries: Sequence[CatalogueEntry]) -> list[CatalogueEntry]:
        """The entries that meet all conditions.

        Raises:
            UsageError: there is no such architecture; the message names the nearest ones.
        """
        conditions = list(self._conditions())
        found = [one for one in entries if all(each.holds(one) for each in conditions)]
        if not found and self.arch is not None:
            _check_architecture(self.arch, entries)
        return found

    def why_none(self, entries: Sequence[CatalogueEntry]) -> str:
        """Why no entry meets all conditions, and which nearly do, in one line."""
        conditions = list(self._conditions())
        for each in conditions:
            if not any(map(each.holds, entries)):
                return f"no weights have {each.shown}. {each.near(entries)}"
        without = []
        for left_out in conditions:
            others = [each for each in conditions if each is not left_out]
            if count := sum(all(each.holds(one) for each in others) for one in entries):
                without.append(f"{count} without {left_out.shown}")
        return f"no weights have all of this. {_sentence(without)}"

    def _conditions(self) -> Iterator[_Condition]:
        if self.text is not None:
            yield _has_words(self.text)
        if self.arch is not None:
            yield _one_of("--arch", _as_key(self.arch), lambda one: one.architecture)
        if self.backbone is not None:
            yield _has_backbone(self.backbone)
        if self.license is not None:
            yield _one_of("--license", self.license.lower(), lambda one: one.license or "")
        if self.min_ap is not None:
            yield _reaches(self.min_ap)


def _as_key(architecture: str) -> str:
    return architecture.lower().replace("-", "_")


def _check_architecture(name: str, entries: Iterable[CatalogueEntry]) -> None:
    """
    Raises:
        UsageError: no entry is of this architecture, and there is none of this name.
    """
    if all(one.architecture != _as_key(name) for one in entries):
        from detrex_hub.architectures import architecture

        architecture(_as_key(name))


class _Condition(Struct, frozen=True):
    shown: str
    holds: Callable[[CatalogueEntry], bool]
    near: Callable[[Sequence[CatalogueEntry]], str]


def _has_words(text: str) -> _Condition:
    words = text.lower().split()

    def holds(entry: CatalogueEntry) -> bool:
        texts = (entry.name, *entry.aliases, entry.architecture, entry.title)
        there = "\n".join(texts).lower()
        return all(word in there for word in words)

    def near(entries: Sequence[CatalogueEntry]) -> str:
        names = [name for one in entries for name in (one.name, *one.aliases)]
        return did_you_mean(text, names, "See all names: detrex-hub list")

    return _Condition(repr(text[:80]), holds, near)


def _one_of(option: str, wanted: str, value: Callable[[CatalogueEntry], str]) -> _Condition:
    def near(entries: Sequence[CatalogueEntry]) -> str:
        there = sorted({value(one) for one in entries} - {""})
        return did_you_mean(wanted, there, f"There are {', '.join(there)}")

    return _Condition(f"{option} {wanted[:80]}", lambda one: value(one) == wanted, near)


def _has_backbone(wanted: str) -> _Condition:
    def holds(entry: CatalogueEntry) -> bool:
        return _plain(backbone_of(entry)).startswith(_plain(wanted))

    def near(entries: Sequence[CatalogueEntry]) -> str:
        known = [found for found in map(outline, entries) if found]
        families = sorted({one.backbone_family for one in known})
        return did_you_mean(
            wanted, [one.backbone for one in known], f"There are {', '.join(families)}"
        )

    return _Condition(f"--backbone {wanted[:80]}", holds, near)


def _reaches(least: float) -> _Condition:
    def near(entries: Sequence[CatalogueEntry]) -> str:
        found = [one.box_ap.value for one in entries if one.box_ap is not None]
        return f"The highest box AP is {max(found):.1f}" if found else "None has a box AP"

    return _Condition(
        f"--min-ap {least:g}",
        lambda one: one.box_ap is not None and one.box_ap.value >= least,
        near,
    )


def backbone_of(entry: CatalogueEntry) -> str:
    """The backbone as tables name it; empty where it is not known."""
    found = outline(entry)
    return found.backbone if found else ""


def _plain(backbone: str) -> str:
    """A normal form for all spellings of a backbone's name, such as ``swin_tiny`` and
    ``Swin-T``."""
    words = [_SIZES.get(word, word) for word in re.findall(r"[a-z]+|\d+", backbone.lower())]
    return "".join("resnet" if word == "r" else word for word in words)


def _sentence(without: Sequence[str]) -> str:
    return f"There are {', '.join(without)}" if without else "See all names: detrex-hub list"
