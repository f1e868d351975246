"""The pictures of a card: small PNG files with the same bytes on every machine."""

from __future__ import annotations

from detrex_hub.pictures.filters import draw_filters, first_layer, shown_filters
from detrex_hub.pictures.scatter import Point, scatter

__all__ = ["Point", "draw_filters", "first_layer", "scatter", "shown_filters"]
