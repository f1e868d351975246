"""The names that torch's wrappers put into keys are removed."""

import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.optim.swa_utils import AveragedModel

from detrex_hub.checkpoints.wrappers import unwrapped


def model():
    return nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)))


KEYS = [*model().state_dict()]


def test_the_wrapper_of_averaged_models_is_removed():
    keys, wrapper = unwrapped(AveragedModel(model()).state_dict())
    assert [*keys] == ["n_averaged", *KEYS]
    assert wrapper == "module."


def test_the_wrapper_of_activation_checkpointing_is_removed():
    whole = model()
    whole[1] = checkpoint_wrapper(whole[1])
    keys, wrapper = unwrapped([name for name, _ in nn.Module.named_parameters(whole)])
    assert [*keys] == KEYS
    assert wrapper in ("", "_checkpoint_wrapped_module.")
    # its own state dict has no such name
    assert [*unwrapped(whole.state_dict())[0]] == KEYS


def test_nested_wrappers_of_data_parallel_models_are_removed():
    whole = nn.DataParallel(nn.Sequential(nn.DataParallel(nn.Linear(2, 2))))
    keys, wrapper = unwrapped(whole.state_dict())
    assert [*keys] == ["0.weight", "0.bias"]
    assert keys["0.weight"] == "module.0.module.weight"
    assert wrapper == "module."


def test_the_wrapper_of_compiled_models_is_removed():
    keys, wrapper = unwrapped(torch.compile(model(), backend="eager").state_dict())
    assert ([*keys], wrapper) == (KEYS, "_orig_mod.")
