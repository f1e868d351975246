"""The layout of mmdetection and mmpretrain: a backbone below ``backbone.``, in ``state_dict``.

Facts: mmdet 3.3.0 and mmpretrain 1.2.0. Detectors and classifiers use the same names for their
backbones, but some keys mean different things. The other modules identify the kind of model.
"""

from __future__ import annotations

from collections.abc import Callable

from detrex_hub.architectures.base import Specs
from detrex_hub.mapping import Drop, Rule

_REASON = "part of an mmdetection detector that is not its backbone"

# the modules of mmdetection's detectors, beside ``backbone``
_PARTS = (
    "neck",
    "bbox_head",
    "mask_head",
    "rpn_head",
    "roi_head",
    "semantic_head",
    "panoptic_head",
    "panoptic_fusion_head",
    "encoder",
    "decoder",
    "query_embedding",
    "query_embed",
    "level_embed",
    "reference_points_fc",
    "memory_trans_fc",
    "memory_trans_norm",
    "dn_query_generator",
    "data_preprocessor",
)

OTHER_PARTS_DROPPED: tuple[Rule, ...] = (
    *(Drop(f"{part}.**", _REASON, optional=True) for part in _PARTS),
    # some are parameters of the detector itself
    Drop("level_embed", _REASON, optional=True),
)


def of_detector(*own: str) -> Callable[[Specs], str | None]:
    """A check that a state dict is a detector's: it has some other part, or a key of ``own``."""

    def check(specs: Specs) -> str | None:
        heads = tuple(f"{part}." for part in _PARTS)
        if any(key in specs for key in own) or any(key.startswith(heads) for key in specs):
            return None
        return "no head or neck of a detector"

    return check
