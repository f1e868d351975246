"""SQR: DAB-DETR whose later decoder layers also learn from the queries of earlier ones.

The model of detrex's project is the class `DABDETR` with another decoder, which differs only in
training. The authors' repository (Fangyi-Chen/SQR) has no DAB-DETR.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from detrex_hub.architectures.base import Layout
from detrex_hub.architectures.dab_detr import DabDetr
from detrex_hub.architectures.transformers_layout import LAYOUTS as TRANSFORMERS


class SqrDetr(DabDetr, frozen=True, kw_only=True):
    """SQR-DETR."""

    name: ClassVar[str] = "sqr_detr"
    marked_by: ClassVar[Mapping[str, str]] = {
        "model.transformer.decoder": "DabDetrTransformerDecoder_qr"
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        # it has the keys of DAB-DETR, whose `look_alikes` names it
        "detrex": Layout(
            present=DabDetr.layouts["detrex"].present,
            absent=DabDetr.layouts["detrex"].absent,
        ),
    }

    also_written: ClassVar[tuple[str, ...]] = TRANSFORMERS

    def notes(self) -> tuple[str, ...]:
        return (
            *super().notes(),
            "detrex has no separate class for SQR: a DABDETR takes these weights and detects "
            "the same with either decoder. SQR training needs DabDetrTransformerDecoder_qr",
        )
