"""FocalNets: the original's names are those of detrex's `FocalNet`.

Facts: microsoft/FocalNet, its `configs/` and detrex e244e6c, `modeling/backbone/focalnet.py`. Stage
outputs are equal in float64. detrex's configs for tiny, small and base have their own module beside
them, an older `FocalNet` without post-norm, which is equal for these sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures.base import Fact, Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, conv, linear, norm, tensor, under
from detrex_hub.architectures.stages import (
    Shapes,
    StagedBackbone,
    found_norms,
    kept,
    mlp_ratio,
    output_norms,
)
from detrex_hub.kinds import Kind
from detrex_hub.mapping import Drop, Rule
from detrex_hub.specs import TensorSpec

BODY: tuple[Rule, ...] = kept(
    "patch_embed.proj.*",
    "layers.{i}.blocks.{j}.norm1.*",
    "layers.{i}.blocks.{j}.modulation.f.*",
    "layers.{i}.blocks.{j}.modulation.h.*",
    "layers.{i}.blocks.{j}.modulation.focal_layers.{k}.0.weight",
    "layers.{i}.blocks.{j}.modulation.proj.*",
    "layers.{i}.blocks.{j}.norm2.*",
    "layers.{i}.blocks.{j}.mlp.fc1.*",
    "layers.{i}.blocks.{j}.mlp.fc2.*",
)

HEADS_DROPPED: tuple[Rule, ...] = (
    Drop("norm.*", "norm before the ImageNet classifier, not an output norm of a stage"),
    Drop("head.*", "ImageNet classifier", optional=True),
)

_BLOCK_KEYS = ("patch_embed.proj.weight", "layers.0.blocks.0.modulation.focal_layers.0.0.weight")

# the published weights with a normalised modulator: embed_dim, depths and focal levels
_NORMALIZED = (192, (2, 2, 18, 2), (4, 4, 4, 4))


def _scales_layers(specs: Specs, layout: str, facts: Facts) -> bool:
    return "layers.0.blocks.0.gamma_1" in specs


def _is_normalized(specs: Specs, layout: str, facts: Facts) -> bool:
    shapes = Shapes(specs, "FocalNet")
    channels = shapes("patch_embed.proj.weight", 4)[0]
    return (channels, _depths(shapes), _levels(shapes)) == _NORMALIZED


def _depths(shapes: Shapes) -> tuple[int, ...]:
    stages = shapes.count("layers.{n}.blocks.0.norm1.weight")
    return tuple(shapes.count(f"layers.{i}.blocks.{{n}}.norm1.weight") for i in range(stages))


def _levels(shapes: Shapes) -> tuple[int, ...]:
    stages = shapes.count("layers.{n}.blocks.0.norm1.weight")
    layers = [f"layers.{i}.blocks.0.modulation.focal_layers" for i in range(stages)]
    return tuple(shapes.count(f"{layer}.{{n}}.0.weight") for layer in layers)


# released sizes by width and blocks of the third stage
_SIZES = {
    (96, 6): "-T",
    (96, 18): "-S",
    (128, 18): "-B",
    (192, 18): "-L",
    (256, 18): "-XL",
    (352, 18): "-H",
}


class FocalNet(StagedBackbone, frozen=True, kw_only=True):
    """A FocalNet backbone.

    Args:
        embed_dim: channels of the first stage; each further stage has twice as many.
        depths: blocks of each stage.
        focal_levels: levels of the focal modulation, for each stage.
        focal_windows: kernel of the first level, for each stage; each further level's is 2 wider.
        patch_size: width of a patch, in pixels; without meaning where ``use_conv_embed``.
        mlp_ratio: hidden width of a block's feed-forward layers over its width.
        patch_norm: whether the patch embedding ends in a norm.
        use_conv_embed: whether patches are embedded by overlapping convolutions.
        use_layerscale: whether blocks scale their channels by learned gammas.
        use_postln: whether norms come after modulation and feed-forward; no shape shows it.
        use_postln_in_modulation: whether the modulation has its own norm.
        normalize_modulator: whether the modulator is divided by the number of levels; no shape
            shows it.
        output_norms: the stages whose output norms the weights hold: none but in detrex's files.
    """

    embed_dim: int
    depths: tuple[int, ...]
    focal_levels: tuple[int, ...]
    focal_windows: tuple[int, ...]
    patch_size: int = 4
    mlp_ratio: float = 4.0
    patch_norm: bool = True
    use_conv_embed: bool = False
    use_layerscale: bool = False
    use_postln: bool = False
    use_postln_in_modulation: bool = False
    normalize_modulator: bool = False
    output_norms: tuple[int, ...] = ()

    name: ClassVar[str] = "focalnet"
    not_in_transformers: ClassVar[str | None] = "exports have no FocalNet"
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(present=(*_BLOCK_KEYS, "norm.weight")),
        "detrex": Layout(present=_BLOCK_KEYS, absent=("norm.*", "head.*")),
    }
    facts: ClassVar[Mapping[str, Fact]] = {
        "use_postln": Fact(
            kinds.FLAG,
            "whether norms come after modulation and feed-forward, as in every released FocalNet "
            "with layer scales",
            default=_scales_layers,
            assumed=True,
            config=(".use_postln",),
        ),
        "normalize_modulator": Fact(
            kinds.FLAG,
            "whether the modulator is divided by the number of levels, as only in the released "
            "large FocalNet with 4 levels",
            default=_is_normalized,
            assumed=True,
            config=(".normalize_modulator",),
        ),
    }
    lazy_paths: ClassVar[Mapping[str, Kind]] = {
        **StagedBackbone.lazy_paths,
        ".embed_dim": kinds.SIZE,
        ".depths": kinds.SIZES,
        ".focal_levels": kinds.SIZES,
        ".focal_windows": kinds.SIZES,
        ".patch_size": kinds.SIZE,
        ".mlp_ratio": kinds.NUMBER,
        ".patch_norm": kinds.FLAG,
        ".use_conv_embed": kinds.FLAG,
        ".use_layerscale": kinds.FLAG,
        ".use_postln": kinds.FLAG,
        ".use_postln_in_modulation": kinds.FLAG,
        ".normalize_modulator": kinds.FLAG,
    }
    built_by: ClassVar[str] = "detrex.modeling.backbone.focalnet.FocalNet"
    taken_by: ClassVar[frozenset[str]] = frozenset({"FocalNet"})
    defaults: ClassVar[Mapping[str, Any]] = {
        "patch_size": 4,
        "mlp_ratio": 4.0,
        "patch_norm": True,
        "use_conv_embed": False,
        "use_layerscale": False,
        "use_postln": False,
        "use_postln_in_modulation": False,
        "normalize_modulator": False,
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> FocalNet:
        shapes = Shapes(specs, "FocalNet")
        embed_dim, _, kernel, _ = shapes("patch_embed.proj.weight", 4)
        depths, levels = _depths(shapes), _levels(shapes)
        stages = range(len(depths))
        layers = [f"layers.{i}.blocks.0.modulation.focal_layers" for i in stages]
        hidden, _ = shapes("layers.0.blocks.0.mlp.fc1.weight", 2)
        # the overlapping convolutions are 7 wide in the first stage and 3 in the others, plain
        # patches 4 and 2; an isotropic FocalNet has one stage alone
        embeds = kernel == 7
        if len(stages) > 1:
            embeds = shapes("layers.0.downsample.proj.weight", 4)[-1] == 3
        return cls(
            embed_dim=embed_dim,
            depths=depths,
            focal_levels=levels,
            focal_windows=tuple(shapes(f"{layer}.0.0.weight", 4)[-1] for layer in layers),
            patch_size=4 if embeds else kernel,
            mlp_ratio=mlp_ratio(hidden, embed_dim),
            patch_norm="patch_embed.norm.weight" in shapes,
            use_conv_embed=embeds,
            use_layerscale=_scales_layers(specs, layout, facts),
            use_postln=facts["use_postln"],
            use_postln_in_modulation="layers.0.blocks.0.modulation.ln.weight" in shapes,
            normalize_modulator=facts["normalize_modulator"],
            output_norms=found_norms(specs),
        )

    @property
    def backbone_label(self) -> str:
        return "FocalNet" + _SIZES.get((self.embed_dim, self.depths[2]), "")

    def rules(self, layout: str) -> tuple[Rule, ...]:
        there = {
            "patch_embed.norm.*": self.patch_norm,
            "layers.{i}.blocks.{j}.gamma_1": self.use_layerscale,
            "layers.{i}.blocks.{j}.gamma_2": self.use_layerscale,
            "layers.{i}.blocks.{j}.modulation.ln.*": self.use_postln_in_modulation,
            "layers.{i}.downsample.proj.*": len(self.depths) > 1,
            "layers.{i}.downsample.norm.*": len(self.depths) > 1,
            "norm{i}.*": bool(self.output_norms),
        }
        return (
            *BODY,
            *kept(*(text for text, present in there.items() if present)),
            *(HEADS_DROPPED if layout == "original" else ()),
        )

    def target(self) -> StateDict:
        first, further = (7, 3) if self.use_conv_embed else (self.patch_size, 2)
        target = under("patch_embed.proj", conv(self.embed_dim, 3, first))
        if self.patch_norm:
            target |= under("patch_embed.norm", norm(self.embed_dim))
        for stage, (channels, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            for block in range(depth):
                target |= under(f"layers.{stage}.blocks.{block}", self._block(stage, channels))
            if stage + 1 < len(self.depths):
                target |= under(
                    f"layers.{stage}.downsample",
                    under("proj", conv(2 * channels, channels, further))
                    | under("norm", norm(2 * channels)),
                )
        return target | output_norms(self.widths, self.output_norms or range(len(self.depths)))

    def _block(self, stage: int, channels: int) -> StateDict:
        hidden = int(channels * self.mlp_ratio)
        levels, window = self.focal_levels[stage], self.focal_windows[stage]
        block = (
            under("norm1", norm(channels))
            | under("modulation.f", linear(2 * channels + levels + 1, channels))
            | under("modulation.h", conv(channels, channels, 1))
            | under("modulation.proj", linear(channels, channels))
            | under("norm2", norm(channels))
            | under("mlp.fc1", linear(hidden, channels))
            | under("mlp.fc2", linear(channels, hidden))
        )
        for level in range(levels):
            kernel = window + 2 * level
            block[f"modulation.focal_layers.{level}.0.weight"] = tensor(channels, 1, kernel, kernel)
        if self.use_postln_in_modulation:
            block |= under("modulation.ln", norm(channels))
        if self.use_layerscale:
            block |= {"gamma_1": tensor(channels), "gamma_2": tensor(channels)}
        return block

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.depths)))

    def set_by_model(self) -> frozenset[str]:
        if self.output_norms:
            return frozenset()
        return frozenset(output_norms(self.widths, range(len(self.depths))))

    def dropped(self) -> dict[str, TensorSpec]:
        width = self.widths[-1]
        return under("norm", norm(width)) | under("head", linear(1000, width))

    def notes(self) -> tuple[str, ...]:
        if not self.normalize_modulator:
            return ()
        return (
            "these weights need normalize_modulator=True, but detrex's configs have False "
            "(then the stage outputs of the large model with 4 levels are off by 22.7)",
        )

    def arguments(self) -> dict[str, Any]:
        return {
            "embed_dim": self.embed_dim,
            "depths": list(self.depths),
            "focal_levels": list(self.focal_levels),
            "focal_windows": list(self.focal_windows),
            **{name: getattr(self, name) for name in self.defaults},
        }

    @property
    def drop_path_rate(self) -> float | None:
        return 0.1 if self.embed_dim <= 128 else None
