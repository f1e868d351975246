"""SQR: DAB-DETR whose later decoder layers learn from the queries of earlier ones too.

The model of detrex's project is the class `DABDETR` with a decoder of its own, which differs in
training alone. The authors' repository (Fangyi-Chen/SQR) has no DAB-DETR.
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
        # the keys of DAB-DETR, which says so
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
