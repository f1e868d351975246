"""Rules over names and shapes, and the planner that applies them. Pure functions, no tensors."""

from detrex_hub.mapping import operations
from detrex_hub.mapping.plan import (
    Computed,
    ConversionPlan,
    Move,
    Piece,
    in_target_names,
    origins,
    plan,
    source_specs,
)
from detrex_hub.mapping.rules import (
    Compute,
    Concat,
    Drop,
    Fill,
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
    "Compute",
    "Computed",
    "Concat",
    "ConversionPlan",
    "Drop",
    "Fill",
    "Fresh",
    "Move",
    "Piece",
    "Rename",
    "Rows",
    "Rule",
    "Split",
    "Take",
    "collapse",
    "in_target_names",
    "indices",
    "inverse",
    "operations",
    "origins",
    "plan",
    "prefixed",
    "source_specs",
    "template",
]
