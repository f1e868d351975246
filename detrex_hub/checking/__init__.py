"""`check`: what a training config would load, and which values the weights need."""

from detrex_hub.checking.checkpointer import CheckedWeights, read_weights
from detrex_hub.checking.config_file import check_config, fix_config
from detrex_hub.checking.examination import NoWeightsError, check, examine
from detrex_hub.checking.findings import HEURISTICS, Check, as_error
from detrex_hub.checking.model_keys import target_keys

__all__ = [
    "HEURISTICS",
    "Check",
    "CheckedWeights",
    "NoWeightsError",
    "as_error",
    "check",
    "check_config",
    "examine",
    "fix_config",
    "read_weights",
    "target_keys",
]
