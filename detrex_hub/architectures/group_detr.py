"""Group-DETR, as detrex has it: Conditional-DETR that is trained with several groups of queries.

Its authors' repository (Atten4Vis/GroupDETR) has no code, so detrex's names are the only ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.conditional_detr import ConditionalDetr
from detrex_hub.architectures.declared import Fact
from detrex_hub.architectures.parts import ConfigValue, Part
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.errors import ArchitectureError

# detrex's config has 11 groups of 300 queries
_GROUPS: dict[int, int] = {3300: 11}


def _usual_groups(specs: Specs, layout: str, facts: Facts) -> int | None:
    return _GROUPS.get(shape_of(specs, "query_embed.weight")[0])


class GroupDetr(ConditionalDetr, frozen=True, kw_only=True):
    """Group-DETR. ``num_queries`` counts the queries of all groups.

    Args:
        group_nums: groups of queries; None where their number is not known, since no shape shows
            it.
    """

    group_nums: int | None

    name: ClassVar[str] = "group_detr"
    not_in_transformers: ClassVar[str | None] = (
        "it has several groups of queries, and Conditional-DETR has one"
    )
    taken_by: ClassVar[frozenset[str]] = frozenset({"GroupDETR"})
    # there is no original
    cuts_inverse_sigmoid: ClassVar[bool] = False
    facts: ClassVar[Mapping[str, Fact]] = {
        **ConditionalDetr.facts,
        "group_nums": Fact(
            kinds.SIZE,
            "groups of queries, 11 in detrex's config",
            default=_usual_groups,
            assumed=True,
            config=("model.group_nums", "model.num_queries"),
        ),
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        # it has the keys of Conditional-DETR, whose `look_alikes` names it
        "detrex": Layout(
            present=ConditionalDetr.layouts["detrex"].present,
            absent=ConditionalDetr.layouts["detrex"].absent,
        ),
    }

    def __post_init__(self) -> None:
        groups = self.group_nums
        if groups is not None and self.learned_queries % groups:
            raise ArchitectureError(
                f"{self.learned_queries} queries are not {groups} groups of equal size",
                hint="Set the number of groups: --fact group_nums=N",
            )

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> GroupDetr:
        found = cls.hyper_parameters_in(specs, layout, facts)
        return cls(**found, group_nums=facts.get("group_nums"))

    def parts(self) -> tuple[Part, ...]:
        groups = self.group_nums
        in_group = None if groups is None else self.learned_queries // groups
        return (
            *self.parts_with_queries(),
            ConfigValue("model.num_queries", kinds.SIZE, in_group),
            ConfigValue("model.group_nums", kinds.SIZE, groups),
        )

    def notes(self) -> tuple[str, ...]:
        return (
            *super().notes(),
            "the queries of the first group detect; those of the others are used in training only",
        )
