"""The result of a real checkpointer's load, in the terms of `detrex_hub.configs.matching`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Loaded:
    """The report of a ``DetectionCheckpointer``, and the keys of the tensors that it set."""

    missing: frozenset[str]
    unexpected: frozenset[str]
    wrong_shape: frozenset[str]
    given: frozenset[str]


def load(model, path, checkpointer=None) -> Loaded:
    """Load a file with the stock checkpointer, or with another one."""
    if checkpointer is None:
        from detectron2.checkpoint import DetectionCheckpointer as checkpointer

    seen = {}

    class Watched(checkpointer):
        def _load_model(self, checkpoint):
            real = self.model.load_state_dict

            def watched(state, strict=True):
                seen["given"] = frozenset(state)
                return real(state, strict=strict)

            self.model.load_state_dict = watched
            try:
                seen["report"] = super()._load_model(checkpoint)
            finally:
                del self.model.load_state_dict
            return seen["report"]

    Watched(model).load(str(path), checkpointables=[])
    report = seen["report"]
    return Loaded(
        missing=frozenset(report.missing_keys),
        unexpected=frozenset(report.unexpected_keys),
        wrong_shape=frozenset(key for key, *_ in report.incorrect_shapes),
        given=seen["given"] & model.state_dict().keys(),
    )


def built(cfg):
    """The model of a config, on the CPU."""
    from detectron2.config import instantiate

    if "device" in cfg.model:
        cfg.model.device = "cpu"
    return instantiate(cfg.model)
