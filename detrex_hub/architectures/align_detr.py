"""Align-DETR: DINO with another loss, and the same tensors.

Its authors' repository (FelixCaae/AlignDETR 4b125f7) is built on detrex and has its names. In
detrex's DINO the same weights give the same detections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from detrex_hub.architectures.base import Layout
from detrex_hub.architectures.declared import Fact
from detrex_hub.architectures.detector import FACTS
from detrex_hub.architectures.dino import Dino
from detrex_hub.architectures.position import position_facts


class AlignDetr(Dino, frozen=True, kw_only=True):
    """Align-DETR."""

    position_temperature: float | None = 10000
    position_offset: float | None = -0.5

    name: ClassVar[str] = "align_detr"
    taken_by: ClassVar[frozenset[str]] = frozenset({"AlignDETR"})
    facts: ClassVar[Mapping[str, Fact]] = {**FACTS, **position_facts(10000, -0.5)}
    layouts: ClassVar[Mapping[str, Layout]] = {
        # these are DINO's keys, and DINO's `look_alikes` names Align-DETR
        "detrex": Layout(
            present=Dino.layouts["detrex"].present,
            absent=Dino.layouts["detrex"].absent,
        ),
    }
