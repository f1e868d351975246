"""EVA-01 below a feature pyramid, as detrex's `EVAViT` has it.

Facts: baaivision/EVA 5623d08, `EVA-01/det`, and detrex e244e6c, `modeling/backbone/eva.py`. Their
names are the same, and so are their outputs in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec.structs import replace

from detrex_hub import kinds
from detrex_hub.architectures.base import Fact, Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, tensor
from detrex_hub.architectures.stages import kept
from detrex_hub.architectures.vit_mae import RULES, ViTMAE
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rule

if TYPE_CHECKING:
    from typing_extensions import Self

_KEYS = (
    "pos_embed",
    "patch_embed.proj.weight",
    "blocks.0.attn.qkv.weight",
    "blocks.0.attn.q_bias",
    "blocks.0.attn.rel_pos_h",
)


class EVA01(ViTMAE, frozen=True, kw_only=True):
    """An EVA-01 backbone: a plain ViT whose keys have no biases."""

    window_size: int = 16

    name: ClassVar[str] = "eva01"
    family: ClassVar[str] = "EVA-01"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "detrex": Layout(present=_KEYS, absent=("cls_token", "norm.*", "head.*")),
    }
    also_written: ClassVar[tuple[str, ...]] = ()
    written_as: ClassVar[Mapping[str, str]] = {}
    not_in_transformers: ClassVar[str | None] = "its attention has biases of its own"
    facts: ClassVar[Mapping[str, Fact]] = {"num_heads": ViTMAE.facts["num_heads"]}
    tables: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "detrex": (*RULES["detrex"], *kept("blocks.{i}.attn.q_bias", "blocks.{i}.attn.v_bias")),
    }
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **ViTMAE.lazy_paths,
        ".beit_like_qkv_bias": kinds.FLAG,
        ".beit_like_gamma": kinds.FLAG,
    }
    built_by: ClassVar[str] = "detrex.modeling.backbone.eva.EVAViT"
    taken_by: ClassVar[frozenset[str]] = frozenset({"EVAViT"})
    defaults: ClassVar[Mapping[str, Any]] = {
        **ViTMAE.defaults,
        "beit_like_qkv_bias": True,
        "beit_like_gamma": False,
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> Self:
        # the argument by which detrex creates the biases of queries and values
        return replace(super().infer(specs, layout, facts), qkv_bias=True)

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "beit_like_qkv_bias": True, "beit_like_gamma": False}

    def block(self) -> StateDict:
        biases = ("attn.q_bias", "attn.v_bias")
        module = {key: spec for key, spec in super().block().items() if key != "attn.qkv.bias"}
        return module | dict.fromkeys(biases, tensor(self.embed_dim))
