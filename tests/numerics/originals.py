"""Files of originals that only their authors' code can build."""

from __future__ import annotations

import torch
from safetensors.torch import save_file

from detrex_hub.architectures import architecture


class Original:
    """The keys and shapes of an original's state dict, with the interface of a model."""

    def __init__(self, name, **hyper_parameters):
        made = architecture(name).from_hyper_parameters(hyper_parameters)
        specs, self._same_as = made.original()
        self._specs = {key: spec for key, spec in specs.items() if spec.dtype == "F32"}

    def state_dict(self):
        return {key: torch.empty(spec.shape) for key, spec in self._specs.items()}

    def load_state_dict(self, state, strict):
        self._state = {key: state[self._same_as.get(key, key)].clone() for key in self._specs}

    def save_pretrained(self, place):
        save_file(self._state, place / "model.safetensors")
