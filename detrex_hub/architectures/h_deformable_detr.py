"""H-Deformable-DETR: HDETR/H-Deformable-DETR to detrex's `HDeformableDETR`.

Only its two-stage model with mixed selection has its own keys. All released checkpoints are such
models. Any other model has the keys of Deformable-DETR.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import tensor
from detrex_hub.architectures.declared import Fact
from detrex_hub.architectures.deformable_detr import OTHERS, DeformableDetr
from detrex_hub.architectures.parts import ConfigValue, Module, Part
from detrex_hub.errors import ArchitectureError

# queries of both branches -> queries of the one-to-one branch, in the released models
_RELEASED: dict[Any, int] = {1800: 300, 2400: 900}


def _learned(specs: Specs) -> int | None:
    """The number of learned queries, those of both branches."""
    for key in ("query_embed.weight", "query_embedding.weight"):
        if key in specs and specs[key].shape:
            return specs[key].shape[0]
    return None


def _released_branch(specs: Specs, layout: str, facts: Facts) -> int | None:
    return _RELEASED.get(_learned(specs) or facts.get("num_queries"))


class HDeformableDetr(DeformableDetr, frozen=True, kw_only=True):
    """H-Deformable-DETR. ``num_queries`` counts the queries of both branches.

    Args:
        num_queries_one2one: queries of the one-to-one branch, the first ones; None where they
            are not known, since no shape shows them.
        mixed_selection: whether a two-stage model has learned queries in addition to proposals.
    """

    num_queries_one2one: int | None
    mixed_selection: bool = False

    name: ClassVar[str] = "h_deformable_detr"
    not_in_transformers: ClassVar[str | None] = (
        "its decoder has the queries of two branches, of which one detects"
    )
    taken_by: ClassVar[frozenset[str]] = frozenset({"HDeformableDETR"})
    facts: ClassVar[Mapping[str, Fact]] = {
        **DeformableDetr.facts,
        "num_queries": Fact(
            kinds.SIZE,
            "queries of both branches of a two-stage model without mixed selection",
            config=("model.transformer.two_stage_num_proposals", "model.num_queries"),
        ),
        "num_queries_one2one": Fact(
            kinds.SIZE,
            "queries of the one-to-one branch, 300 or 900 in the released models",
            default=_released_branch,
            assumed=True,
            config=("model.num_queries_one2one", "model.num_queries_one2many"),
        ),
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(
            wrapped=True,
            present=(
                "transformer.level_embed",
                "transformer.decoder.layers.{i}.cross_attn.sampling_offsets.weight",
                "class_embed.0.weight",
                "input_proj.0.0.weight",
            ),
            absent=OTHERS,
            peculiar=("transformer.enc_output.weight", "query_embed.weight"),
        ),
        "detrex": Layout(
            present=(
                "transformer.level_embeds",
                "transformer.decoder.layers.{i}.attentions.1.sampling_offsets.weight",
                "neck.convs.0.conv.weight",
            ),
            absent=OTHERS,
            peculiar=("transformer.enc_output.weight", "query_embedding.weight"),
        ),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> HDeformableDetr:
        found = cls.hyper_parameters_in(specs, layout, facts)
        learned = _learned(specs)
        mixed = learned is not None and found["as_two_stage"]
        queries = learned if learned is not None else facts.get("num_queries")
        one2one = facts.get("num_queries_one2one")
        if one2one is not None and queries is not None and queries < one2one:
            raise ArchitectureError(
                f"there are {queries} queries, fewer than the {one2one} of the one-to-one branch",
                hint="Set their number with --fact num_queries_one2one=N",
            )
        return cls(num_queries=queries, num_queries_one2one=one2one, mixed_selection=mixed, **found)

    @classmethod
    def stated(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        found = super().stated(arguments)
        found["num_queries_one2one"] = arguments.get("num_queries_one2one")
        return found

    def parts(self) -> tuple[Part, ...]:
        queries, first = self.num_queries, self.num_queries_one2one
        further = None if queries is None or first is None else queries - first
        learned = self.mixed_selection or not self.as_two_stage
        # one-stage configs of detrex have it too, without effect
        mixed = self.mixed_selection if self.as_two_stage else None
        return (
            *self.parts_without_queries(),
            *((self._learned(),) if learned else ()),
            ConfigValue("model.mixed_selection", kinds.FLAG, mixed),
            ConfigValue("model.transformer.mixed_selection", kinds.FLAG, mixed),
            ConfigValue("model.transformer.two_stage_num_proposals", kinds.SIZE, queries),
            ConfigValue("model.num_queries_one2one", kinds.SIZE, first if queries else None),
            ConfigValue("model.num_queries_one2many", kinds.COUNT, further),
            # without box refinement, detrex's decoder raises an UnboundLocalError with
            # look_forward_twice, which all of detrex's configs turn on
            ConfigValue(
                "model.transformer.decoder.look_forward_twice",
                kinds.FLAG,
                None if self.with_box_refine else False,
            ),
        )

    def _learned(self) -> Part:
        # with mixed selection the encoder gives the positions of queries
        width = self.embed_dim if self.mixed_selection else 2 * self.embed_dim
        state = {"weight": tensor(self.learned_queries, width)}
        return Module("query_embedding", state, original="query_embed")
