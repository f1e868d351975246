"""detrex's `ChannelMapper`: it projects the feature maps of a backbone to one width.

Convolutions with stride 2 make further maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detrex_hub import kinds
from detrex_hub.architectures.base import Architecture
from detrex_hub.architectures.blocks import StateDict, conv, norm, tensor, under
from detrex_hub.architectures.declared import Facts, Specs
from detrex_hub.architectures.parts import Part
from detrex_hub.architectures.shapes import shape_of
from detrex_hub.architectures.transformer import POINTS
from detrex_hub.architectures.transformers_layout import LAYOUTS as TRANSFORMERS
from detrex_hub.errors import ArchitectureError
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Rename, Rule, indices


class Neck(Part, frozen=True):
    """A neck, and the embeddings of its feature maps in the transformer.

    Args:
        body: the backbone.
        inputs: feature maps of the backbone that the neck reads, the last ones.
        levels: feature maps in all.
        width: of each.
        embeddings: the embeddings of the feature maps, in detrex.
    """

    body: Architecture
    inputs: int
    levels: int
    width: int
    embeddings: str = "transformer.level_embeds"

    @property
    def features(self) -> dict[str, int]:
        """Names and channels of the backbone's feature maps that are used."""
        return dict(self.body.read_by(self.inputs))

    def rules(self, layout: str) -> tuple[Rule, ...]:
        of_transformers = layout in TRANSFORMERS
        prefix = "model.input_proj." if of_transformers else "input_proj."
        root = "model" if of_transformers else "transformer"
        rules = [Rename(f"{root}.level_embed", self.embeddings)]
        for i in range(self.inputs):
            rules.append(Rename(f"{prefix}{i}.0.*", f"neck.convs.{i}.conv.*"))
            rules.append(Rename(f"{prefix}{i}.1.*", f"neck.convs.{i}.norm.*"))
        if self.levels > self.inputs:
            after = f"{prefix}{{i+{self.inputs}}}"
            rules.append(Rename(f"{after}.0.*", "neck.extra_convs.{i}.conv.*"))
            rules.append(Rename(f"{after}.1.*", "neck.extra_convs.{i}.norm.*"))
        return tuple(rules)

    def target(self) -> StateDict:
        channels = list(self.features.values())
        module: StateDict = {}
        for i, number in enumerate(channels):
            module |= under(f"convs.{i}.conv", conv(self.width, number, 1))
            module |= under(f"convs.{i}.norm", norm(self.width))
        for i in range(self.levels - self.inputs):
            number = self.width if i else channels[-1]
            module |= under(f"extra_convs.{i}.conv", conv(self.width, number, 3))
            module |= under(f"extra_convs.{i}.norm", norm(self.width))
        return under("neck", module) | {self.embeddings: tensor(self.levels, self.width)}

    def paths(self) -> Mapping[str, Kind]:
        return {
            "model.neck.in_features": kinds.FEATURES,
            "model.neck.out_channels": kinds.SIZE,
            "model.neck.norm_layer.num_channels": kinds.SIZE,
            "model.neck.num_outs": kinds.SIZE,
            "model.neck.input_shapes.*.channels": kinds.SIZE,
            "model.transformer.num_feature_levels": kinds.SIZE,
        }

    def overrides(self) -> dict[str, Any]:
        stages = range(len(self.body.out_channels))[-self.inputs :]
        # the backbone must return exactly the maps that the neck reads
        return {
            **self.body.returning(stages),
            "model.neck.in_features": list(self.features),
            "model.neck.out_channels": self.width,
            "model.neck.norm_layer.num_channels": self.width,
            "model.neck.num_outs": self.levels,
            "model.transformer.num_feature_levels": self.levels,
            **{
                f"model.neck.input_shapes.{name}.channels": channels
                for name, channels in self.features.items()
            },
        }


def read_levels(specs: Specs, layout: str, facts: Facts) -> dict[str, int]:
    """The feature maps, and the heads of deformable attention on them.

    Raises:
        ArchitectureError: the number of heads contradicts the facts, or is not certain.
    """
    names = ("transformer.level_embed", "model.level_embed", "transformer.level_embeds")
    levels = shape_of(specs, *names)[0]
    own = {"original": "input_proj.{i}.0.weight", "detrex": "neck.convs.{i}.conv.weight"}
    projection = own.get(layout, "model.input_proj.{i}.0.weight")
    # 1x1 convolutions project the backbone's feature maps, 3x3 convolutions the further ones
    inputs = sum(
        shape_of(specs, projection.replace("{i}", str(i)), dimensions=4)[-1] == 1
        for i in indices(specs, projection)
    )
    return {
        "neck_inputs": inputs,
        "feature_levels": levels,
        "num_heads": read_heads(specs, facts, levels),
    }


def read_heads(specs: Specs, facts: Facts, levels: int) -> int:
    """Heads of deformable attention.

    Shapes show heads x points. detrex always has 4 points; an original may have another number,
    so that there the facts must say any number of heads but 8."""
    rows = {
        spec.shape[0]
        for key, spec in specs.items()
        if key.endswith(".attention_weights.weight") and spec.shape
    }
    heads = max(rows, default=0) // (levels * POINTS)
    if rows != {heads * levels * POINTS}:
        raise ArchitectureError(
            f"attention weights have {sorted(rows)} rows, which is not heads x {levels} levels "
            f"x {POINTS} points, as detrex has them"
        )
    known = facts.get("num_heads", heads)
    if known != heads:
        raise ArchitectureError(
            f"attention weights have {heads * POINTS} rows a level: {heads} heads with {POINTS} "
            f"points, as detrex has them, and not {known}",
            hint=f"If there are {heads} heads, pass --fact num_heads={heads}",
        )
    return heads
