"""From an original to a converted folder: plan, write, compare, describe."""

from detrex_hub.conversion.description import author_of, describe, filters_of
from detrex_hub.conversion.execution import Converted, convert, execute, reporting
from detrex_hub.conversion.planning import Conversion, plan_original, prepare

__all__ = [
    "Conversion",
    "Converted",
    "author_of",
    "convert",
    "describe",
    "execute",
    "filters_of",
    "plan_original",
    "prepare",
    "reporting",
]
