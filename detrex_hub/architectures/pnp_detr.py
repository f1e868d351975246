"""PnP-DETR: twangnh/pnp-detr to detrex's `PnPDETR`. It is a DETR whose encoder reads sampled points
of a feature map, and a few vectors that summarise the rest.

Facts: twangnh/pnp-detr fbdf272 and detrex e244e6c. Outputs are equal to 7e-15 in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, conv, linear, under
from detrex_hub.architectures.declared import Fact, released
from detrex_hub.architectures.detr import Detr
from detrex_hub.architectures.parts import ConfigValue, Module, Part
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.errors import ArchitectureError

_SAMPLER = "transformer.sampler"
_SCORERS = ("2layer-fc-256", "2layer-fc-16", "1layer-fc")
_WEIGHERS = ("1layer-fc", "2layer-fc")
_TEST_RATIO = "model.test_time_sample_ratio"
_POSITIONS = "model.transformer.pos_embed_kproj"
# rows of the first of two layers that score the points of a map; the other kinds have one layer
_SMALL_SCORER = 16


class PnPDetr(Detr, frozen=True, kw_only=True):
    """PnP-DETR.

    Args:
        score_pred_net: the network that scores the points of a map: ``2layer-fc-256`` (as wide as
            the
            model), ``2layer-fc-16`` or ``1layer-fc``.
        kproj_net: the network that weights the other points: ``1layer-fc`` or ``2layer-fc``.
        unsample_abstract_number: vectors that summarise these points.
        test_time_sample_ratio: share of the points that is sampled at inference; None if it is not
            known, because no shape shows it.
        pos_embed_kproj: whether the points that are not sampled are also weighted by position.
    """

    score_pred_net: str = "2layer-fc-256"
    kproj_net: str = "1layer-fc"
    unsample_abstract_number: int
    test_time_sample_ratio: float | None = None
    pos_embed_kproj: bool = False

    name: ClassVar[str] = "pnp_detr"
    not_in_transformers: ClassVar[str | None] = (
        "its encoder reads a sampled part of the feature map"
    )
    taken_by: ClassVar[frozenset[str]] = frozenset({"PnPDETR"})
    facts: ClassVar[Mapping[str, Fact]] = {
        **Detr.facts,
        # 0.333 instead of 0.5 changes logits by 0.2 to 0.35
        "test_time_sample_ratio": Fact(
            kinds.Share(),
            "share of the points that are sampled at inference; the original evaluates "
            "several shares",
            default=released(0.5),
            assumed=True,
            config=(_TEST_RATIO,),
        ),
        "pos_embed_kproj": Fact(
            kinds.FLAG,
            "whether the points that are not sampled are also weighted by their positions",
            default=False,
            assumed=True,
            config=(_POSITIONS,),
        ),
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        name: Layout(
            wrapped=name == "original",
            present=(*Detr.layouts[name].present, f"{_SAMPLER}.**"),
        )
        for name in ("original", "detrex")
    }

    def __post_init__(self) -> None:
        if self.score_pred_net not in _SCORERS or self.kproj_net not in _WEIGHERS:
            raise ArchitectureError(
                f"PnP-DETR has no sampler with {self.score_pred_net} and {self.kproj_net}"
            )

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> PnPDetr:
        found = cls.hyper_parameters_in(specs, layout, facts)
        scorer = f"{_SAMPLER}.score_pred_net"
        found["score_pred_net"] = "1layer-fc"
        if f"{scorer}.0.weight" in specs:
            rows = shape_of(specs, f"{scorer}.0.weight", dimensions=4)[0]
            found["score_pred_net"] = "2layer-fc-16" if rows == _SMALL_SCORER else "2layer-fc-256"
        deep = f"{_SAMPLER}.k_proj.0.weight" in specs
        found["kproj_net"] = "2layer-fc" if deep else "1layer-fc"
        last = f"{_SAMPLER}.k_proj.{'2.' if deep else ''}weight"
        found["unsample_abstract_number"] = shape_of(specs, last)[0]
        return cls(
            **found,
            test_time_sample_ratio=facts.get("test_time_sample_ratio"),
            pos_embed_kproj=facts["pos_embed_kproj"],
        )

    @classmethod
    def stated(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return super().stated(arguments) | {"pos_embed_kproj": arguments.get("pos_embed_kproj")}

    def parts(self) -> tuple[Part, ...]:
        number = self.unsample_abstract_number
        return (
            *super().parts(),
            Module(_SAMPLER, _sampler(self.embed_dim, self.score_pred_net, self.kproj_net, number)),
            ConfigValue(
                "model.transformer.score_pred_net", kinds.Choice(_SCORERS), self.score_pred_net
            ),
            ConfigValue("model.transformer.kproj_net", kinds.Choice(_WEIGHERS), self.kproj_net),
            ConfigValue("model.transformer.unsample_abstract_number", kinds.SIZE, number),
            ConfigValue(_TEST_RATIO, kinds.Share(), self.test_time_sample_ratio),
            # detrex's config omits it, which means false
            ConfigValue(_POSITIONS, kinds.FLAG, self.pos_embed_kproj or None),
        )


def _sampler(width: int, scorer: str, weigher: str, number: int) -> StateDict:
    """detrex's SortSampler."""
    hidden = _SMALL_SCORER if scorer == "2layer-fc-16" else width
    scores = (
        under("score_pred_net", conv(1, width, 1))
        if scorer == "1layer-fc"
        else under("score_pred_net.0", conv(hidden, width, 1))
        | under("score_pred_net.2", conv(1, hidden, 1))
    )
    weights = (
        under("k_proj", linear(number, width))
        if weigher == "1layer-fc"
        else under("k_proj.0", linear(width, width)) | under("k_proj.2", linear(number, width))
    )
    return scores | weights | under("v_proj", linear(width, width))
