"""Class heads that were deleted from a file, as people do before they train on other classes.

Every detector has a class head for each box head. If the number of classes is known, the deleted
heads and the deleted embedding of labels are put back, and all their rows are fresh.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub.architectures.base import Layout, Specs
from detrex_hub.architectures.declared import Facts
from detrex_hub.mapping import ConversionPlan, Fresh, Move
from detrex_hub.specs import TensorSpec

# the neighbour of each class head: a box head, in Mask DINO the mask head of the predictor
_BESIDE = re.compile(
    r"((?:.+\.)?)(mask_embed|bbox_embed|enc_out_bbox_embed|bbox_predictor)\."
    r"((?:\d+\.)?)layers\.0\.weight"
)
_CLASS_HEADS = {
    "bbox_embed": "class_embed",
    "enc_out_bbox_embed": "enc_out_class_embed",
    "bbox_predictor": "class_labels_classifier",
    "mask_embed": "class_embed",
}
_CLASS_HEAD = re.compile(r"(?:^|\.)(?:class_embed|class_labels_classifier)\.(?:\d+\.)?weight$")
# embeddings of labels: in DINO and DN-DETR, and in detrex's DN-DETR
_LABELS = ("label_enc.weight", "denoising_generator.label_encoder.weight")

_ANCHORS = ("refpoint_embed.weight", "anchor_box_embed.weight")


class Deleted(Struct, frozen=True):
    """The heads that a file lacks. ``heads`` and ``labels`` are specs by key."""

    heads: Mapping[str, TensorSpec]
    labels: Mapping[str, TensorSpec]

    def __bool__(self) -> bool:
        return bool(self.heads or self.labels)

    def facts(self) -> Facts:
        """The choice of classes for a conversion: all rows of restored heads are fresh."""
        return {"new_head": True} if self.heads else {}

    def put_back(self, specs: Specs) -> Specs:
        """The state dict as it was, with heads for the new classes."""
        return {**specs, **self.heads, **self.labels}

    def left_out(self, plan: ConversionPlan, seed: int) -> ConversionPlan:
        """A plan of `put_back` for the file as it is: fresh rows replace the tensors that the file
        lacks.

        Args:
            plan: the plan.
            seed: of the fresh rows.
        """
        absent = frozenset((*self.heads, *self.labels))
        return replace(
            plan,
            moves={key: _fresh(move, absent, seed) for key, move in plan.moves.items()},
            twins={key: _fresh(move, absent, seed) for key, move in plan.twins.items()},
            dropped={key: why for key, why in plan.dropped.items() if key not in absent},
        )

    def notes(self) -> tuple[str, ...]:
        """Remarks for the user, one line each."""
        lacking = (("class heads", self.heads), ("embedding of labels", self.labels))
        said = " and ".join(f"no {what}" for what, specs in lacking if specs)
        return (f"the file has {said}: all their rows are newly initialised",) if said else ()


NOTHING = Deleted({}, {})


def _fresh(move: Move, absent: frozenset[str], seed: int) -> Move:
    """The move with fresh rows alone, if it reads what is not there."""
    if not absent.intersection(move.sources):
        return move
    # if a class head has fresh rows, the missing part has the same distribution
    alike = next((one for one in move.pieces if isinstance(one, Fresh)), None)
    begin = alike or Fresh(1, 0.0, 1.0, seed)
    return replace(move, pieces=(replace(begin, count=move.spec.shape[0]),))


def deleted(specs: Specs, layout: Layout, facts: Facts) -> Deleted:
    """The heads that a state dict lacks, if the number of classes is known.

    Args:
        specs: the state dict.
        layout: its layout.
        facts: the known facts, of which ``num_classes`` and ``class_names`` matter.
    """
    number = _number(facts)
    if number is None:
        return NOTHING
    wanted = [key for key in (*layout.present, *layout.peculiar) if key.endswith(_LABELS)]
    heads = _heads(specs, number)
    return Deleted(heads, _labels(specs, heads, wanted))


def put_back(specs: Specs, facts: Facts) -> Iterator[Specs]:
    """The possible state dicts before heads were deleted: without and with an embedding of labels.
    None if the number of classes is not known, or no head is missing."""
    number = _number(facts)
    if number is None:
        return
    heads = _heads(specs, number)
    if heads:
        yield {**specs, **heads}
    for root in dict.fromkeys(found[1] for found in _beside(specs)):
        for name in _LABELS:
            if labels := _labels(specs, heads, [root + name]):
                yield {**specs, **heads, **labels}


def _number(facts: Facts) -> int | None:
    names, number = facts.get("class_names"), facts.get("num_classes")
    try:
        return len(names) if names else None if number is None else int(number)
    except (TypeError, ValueError):
        return None


def _beside(specs: Specs) -> Iterator[re.Match[str]]:
    for key in specs:
        found = _BESIDE.fullmatch(key) if key.endswith("layers.0.weight") else None
        # the heads of the decoder are those of the model once more
        if found is None or found[1].endswith("decoder."):
            continue
        if (found[2] == "mask_embed") == found[1].endswith("predictor."):
            yield found


def _heads(specs: Specs, number: int) -> dict[str, TensorSpec]:
    if any(_CLASS_HEAD.search(key) for key in specs):
        return {}
    rows = next(
        (
            max(spec.shape[0] - _spare(key), 1)
            for key, spec in specs.items()
            if key.endswith(_LABELS) and len(spec.shape) == 2
        ),
        number,
    )
    heads: dict[str, TensorSpec] = {}
    for found in _beside(specs):
        spec = specs[found[0]]
        if len(spec.shape) == 2:
            module = f"{found[1]}{_CLASS_HEADS[found[2]]}.{found[3]}"
            heads[f"{module}weight"] = TensorSpec(spec.dtype, (rows, spec.shape[1]))
            heads[f"{module}bias"] = TensorSpec(spec.dtype, (rows,))
    return heads


def _labels(
    specs: Specs, heads: Mapping[str, TensorSpec], wanted: list[str]
) -> dict[str, TensorSpec]:
    """An embedding of labels for each of the wanted keys that is not there."""
    head = next((spec for key, spec in {**specs, **heads}.items() if _CLASS_HEAD.search(key)), None)
    if head is None or len(head.shape) != 2:
        return {}
    rows, width = head.shape
    # in DN-DETR and DN-Deformable-DETR the last column says whether a query is one of denoising
    if any(key.endswith(_ANCHORS) for key in specs):
        width -= 1
    return {
        key: TensorSpec(head.dtype, (rows + _spare(key), width))
        for key in wanted
        if key not in specs
    }


def _spare(key: str) -> int:
    """Extra rows of an embedding of labels: one for "unknown", and none in Mask DINO."""
    return 0 if key.endswith("predictor.label_enc.weight") else 1
