"""Rules over names and shapes, and the planner that applies them. Pure functions, no tensors."""

from detrex_hub.mapping.plan import (
    ConversionPlan,
    Move,
    Piece,
    origins,
    plan,
    source_specs,
)
from detrex_hub.mapping.rules import (
    Concat,
    Drop,
    Fresh,
    Rename,
    Rows,
    Rule,
    Split,
    Take,
    inverse,
    prefixed,
)
from detrex_hub.mapping.templates import collapse, indices, template

__all__ = [
    "Concat",
    "ConversionPlan",
    "Drop",
    "Fresh",
    "Move",
    "Piece",
    "Rename",
    "Rows",
    "Rule",
    "Split",
    "Take",
    "collapse",
    "indices",
    "inverse",
    "origins",
    "plan",
    "prefixed",
    "source_specs",
    "template",
]
