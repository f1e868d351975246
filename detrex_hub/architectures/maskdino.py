"""Mask DINO: IDEA-Research/MaskDINO to detrex's `MaskDINO`, whose names are the original's.

The original registers its one box head three times, detrex once. This is the only difference
(MaskDINO 3831d85, detrex e244e6c).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from detrex_hub import kinds
from detrex_hub.architectures import classes, transformer
from detrex_hub.architectures.base import Facts, Layout, Specs
from detrex_hub.architectures.blocks import StateDict, conv, linear, norm, tensor, under
from detrex_hub.architectures.declared import Fact
from detrex_hub.architectures.detector import FACTS, Detector
from detrex_hub.architectures.feature_maps import ReturnedMaps
from detrex_hub.architectures.heads import ClassHead, LabelEmbedding, box_head
from detrex_hub.architectures.neck import read_heads
from detrex_hub.architectures.parts import ConfigValue, Constant, Module, Part
from detrex_hub.architectures.shapes import numbered, shape_of
from detrex_hub.architectures.transformer import mlp
from detrex_hub.errors import ArchitectureError
from detrex_hub.mapping import Drop, Rule, indices

_HEAD = "sem_seg_head"
_PIXELS = f"{_HEAD}.pixel_decoder"
_PREDICTOR = f"{_HEAD}.predictor"
_ENCODER = f"{_PIXELS}.transformer.encoder.layers"
_DECODER = f"{_PREDICTOR}.decoder.layers"
_BOXES = f"{_PREDICTOR}.decoder.bbox_embed"
# further names of the box head in the original
_LISTED, _ALONE = f"{_PREDICTOR}.bbox_embed", f"{_PREDICTOR}._bbox_embed"
_QUERIES = f"{_PREDICTOR}.query_feat.weight"
_ANCHORS = f"{_PREDICTOR}.query_embed.weight"
_PROPOSALS = f"{_PREDICTOR}.enc_output.weight"
_ORDERS = ("low2high", "high2low")
_CONFIG = "model.sem_seg_head.transformer_predictor"


def _learned(specs: Specs, layout: str) -> int | None:
    return specs[_QUERIES].shape[0] if _QUERIES in specs and specs[_QUERIES].shape else None


def _released_proposals(specs: Specs, layout: str, facts: Facts) -> int | None:
    return 300 if layout == "original" and _QUERIES not in specs else None


def _first_boxes(specs: Specs, layout: str) -> str | None:
    return "no" if _ANCHORS in specs else None


def _names_the_box_head_again(specs: Specs) -> str | None:
    again = (f"{_ALONE}.layers.0.weight", f"{_LISTED}.0.layers.0.weight")
    return None if any(key in specs for key in again) else f"no second name of {_BOXES}"


class MaskDino(Detector, frozen=True, kw_only=True):
    """Mask DINO, for instances, panoptic and semantic segmentation.

    Args:
        neck_inputs: feature maps of the backbone that the encoder reads, its last ones.
        feature_levels: feature maps of the encoder in all.
        feature_order: ``low2high`` where the encoder's first feature map is the finest one,
            ``high2low`` where it is the coarsest.
        mask_levels: further feature maps of the backbone that refine masks, the first ones.
        decoder_feedforward_dim: width of the feed-forward layers of the decoder; that of the
            encoder is ``feedforward_dim``.
        two_stage: whether the encoder proposes the queries; then no shape shows ``num_queries``,
            unless their contents are learned.
        learn_tgt: whether a two-stage model has learned contents of queries.
        learned_boxes: whether queries have learned boxes. A one-stage model has them if its boxes
            do not come from its masks.
        semantic_ce_loss: whether the class head has a last row for "no object".
        initialize_box_type: how the first boxes follow from masks: ``no``, ``bitmask`` or
            ``mask2box``; None if it is not known.
    """

    neck_inputs: int
    feature_levels: int
    feature_order: str = "low2high"
    mask_levels: int = 1
    decoder_feedforward_dim: int = 2048
    two_stage: bool = True
    learn_tgt: bool = False
    learned_boxes: bool = False
    semantic_ce_loss: bool = False
    initialize_box_type: str | None = None

    name: ClassVar[str] = "maskdino"
    not_in_transformers: ClassVar[str | None] = (
        "no model of transformers has its decoder of boxes and masks"
    )
    task: ClassVar[str] = "image-segmentation"
    taken_by: ClassVar[frozenset[str]] = frozenset({"MaskDINO"})
    facts: ClassVar[Mapping[str, Fact]] = {
        **{name: fact for name, fact in FACTS.items() if name != "dilation"},
        "num_queries": Fact(
            kinds.SIZE,
            "proposals of a two-stage model, 300 in the released ones",
            default=_released_proposals,
            assumed=True,
            shown=_learned,
            config=(f"{_CONFIG}.num_queries", "model.num_queries"),
        ),
        # a wrong value changes logits by up to 1.2, masks by 9.1 and boxes by 0.93
        "initialize_box_type": Fact(
            kinds.Choice(("no", "bitmask", "mask2box")),
            "how masks give the first boxes; mask2box in files called maskenhanced",
            shown=_first_boxes,
            config=(f"{_CONFIG}.initialize_box_type",),
        ),
    }
    body_prefixes: ClassVar[Mapping[str, str]] = {"original": "backbone.", "detrex": "backbone."}
    other_body_prefixes: ClassVar[Mapping[str, str]] = body_prefixes
    _PRESENT: ClassVar[tuple[str, ...]] = (
        f"{_PIXELS}.transformer.level_embed",
        f"{_PREDICTOR}.label_enc.weight",
        f"{_PREDICTOR}.decoder.ref_point_head.layers.0.weight",
    )
    layouts: ClassVar[Mapping[str, Layout]] = {
        "original": Layout(present=_PRESENT, check=_names_the_box_head_again),
        "detrex": Layout(present=_PRESENT, absent=(f"{_ALONE}.**", f"{_LISTED}.**")),
    }

    @classmethod
    def infer(cls, specs: Specs, layout: str, facts: Facts) -> MaskDino:
        labels, width = shape_of(specs, f"{_PREDICTOR}.label_enc.weight")
        rows = shape_of(specs, f"{_PREDICTOR}.class_embed.weight")[0]
        if rows not in (labels, labels + 1):
            raise ArchitectureError(
                f"the class head has {rows} rows, and there are embeddings of {labels} labels"
            )
        # the original numbers its classes as detrex does, without gaps
        chosen = classes.class_rows(labels, 0, "detrex", facts)
        levels = shape_of(specs, f"{_PIXELS}.transformer.level_embed")[0]
        encoders = numbered(specs, f"{_ENCODER}.{{i}}.linear1.weight")
        decoders = numbered(specs, f"{_DECODER}.{{i}}.linear1.weight")
        inputs = _projected(specs)
        return cls(
            body=cls.read_body(specs, layout, facts),
            num_queries=facts.get("num_queries"),
            num_classes=len(chosen.rows) if chosen else labels,
            classes_cut_from=rows if chosen else None,
            class_rows=chosen,
            encoder_layers=len(encoders),
            decoder_layers=len(decoders),
            embed_dim=width,
            feedforward_dim=shape_of(specs, encoders[0])[0],
            decoder_feedforward_dim=shape_of(specs, decoders[0])[0],
            num_heads=read_heads(specs, facts, levels),
            neck_inputs=len(inputs),
            feature_levels=levels,
            feature_order=_ORDERS[inputs[0] > inputs[-1]],
            mask_levels=len(indices(specs, f"{_PIXELS}.adapter_{{i}}.weight")),
            two_stage=_PROPOSALS in specs,
            learn_tgt=_PROPOSALS in specs and _QUERIES in specs,
            learned_boxes=_ANCHORS in specs,
            semantic_ce_loss=rows > labels,
            initialize_box_type=facts.get("initialize_box_type"),
        )

    @classmethod
    def stated(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        # its training script saves no arguments
        return {}

    @property
    def no_object_rows(self) -> int:
        return int(self.semantic_ce_loss)

    def rules(self, layout: str) -> tuple[Rule, ...]:
        own = super().rules("detrex")
        if layout == "detrex":
            return own
        again = "one tensor with the box head of the decoder"
        return (
            *own,
            Drop(f"{_LISTED}.**", again, optional=True),
            Drop(f"{_ALONE}.**", again, optional=True),
            # from backbones that were trained with SyncBN
            *(
                Drop(f"backbone.{place}.num_batches_tracked", "counts batches", optional=True)
                for place in ("*.*.norm", "*.*.*.norm")
            ),
        )

    def stored_once(self, layout: str) -> tuple[tuple[str, ...], ...]:
        if layout == "detrex":
            return ()
        # earlier revisions of the original lack one of the three names
        return tuple(
            (f"{other}.{parameter}", *self._box_heads(parameter))
            for other in (_ALONE, f"{_LISTED}.0")
            for parameter in box_head(self.embed_dim)
        )

    def dropped(self) -> StateDict:
        head = box_head(self.embed_dim)
        lists = [under(f"{_LISTED}.{i}", head) for i in range(self.decoder_layers)]
        return {key: spec for one in (*lists, under(_ALONE, head)) for key, spec in one.items()}

    def ties(self) -> tuple[tuple[str, ...], ...]:
        norms = tuple(
            (f"{_PREDICTOR}.decoder_norm.{parameter}", f"{_PREDICTOR}.decoder.norm.{parameter}")
            for parameter in norm(self.embed_dim)
        )
        boxes = tuple(tuple(self._box_heads(parameter)) for parameter in box_head(self.embed_dim))
        return (*super().ties(), *norms, *(group for group in boxes if len(group) > 1))

    def _box_heads(self, parameter: str) -> Iterator[str]:
        return (f"{_BOXES}.{i}.{parameter}" for i in range(self.decoder_layers))

    def parts(self) -> tuple[Part, ...]:
        return (*self._pixel_decoder(), *self._predictor(), *self._weights(), *self._settings())

    def _pixel_decoder(self) -> Iterator[Part]:
        """The encoder, and the feature map from which masks are read."""
        width, channels = self.embed_dim, list(self.body.out_channels.values())
        inputs = channels[-self.neck_inputs :]
        coarsest = max(inputs)
        if self.feature_order == "high2low":
            inputs.reverse()
        further = [width] * (self.feature_levels - len(inputs))
        further[:1] = [coarsest] * len(further[:1])
        kernels = [1] * len(inputs) + [3] * len(further)
        for i, (number, kernel) in enumerate(zip([*inputs, *further], kernels, strict=True)):
            yield Module(f"{_PIXELS}.input_proj.{i}.0", conv(width, number, kernel))
            yield Module(f"{_PIXELS}.input_proj.{i}.1", norm(width))
        embeddings = {"level_embed": tensor(self.feature_levels, width)}
        yield Module(f"{_PIXELS}.transformer", embeddings)
        samples = self._samples()
        for i in range(self.encoder_layers):
            yield Module(
                f"{_ENCODER}.{i}",
                under("self_attn", samples) | _feed_forward(width, self.feedforward_dim, norms=2),
            )
        yield Module(f"{_PIXELS}.mask_features", conv(width, width, 1))
        for i, number in enumerate(channels[: self.mask_levels], 1):
            for name, module in (
                (f"adapter_{i}", conv(width, number, 1, bias=False)),
                (f"layer_{i}", conv(width, width, 3, bias=False)),
            ):
                yield Module(f"{_PIXELS}.{name}", module | under("norm", norm(width)))

    def _predictor(self) -> Iterator[Part]:
        """The decoder and its heads."""
        width = self.embed_dim
        if not self.two_stage or self.learn_tgt:
            contents = {"weight": tensor(self.learned_queries, width)}
            yield Module(f"{_PREDICTOR}.query_feat", contents)
        if self.learned_boxes:
            boxes = {"weight": tensor(self.learned_queries, 4)}
            yield Module(f"{_PREDICTOR}.query_embed", boxes)
        if self.two_stage:
            yield Module(f"{_PREDICTOR}.enc_output", linear(width, width))
            yield Module(f"{_PREDICTOR}.enc_output_norm", norm(width))
        yield ClassHead(self.classes, f"{_PREDICTOR}.class_embed")
        rows = self.chosen.of if self.chosen else None
        yield LabelEmbedding(
            f"{_PREDICTOR}.label_enc", self.classes, width, unknown=False, source_rows=rows
        )
        yield Module(f"{_PREDICTOR}.mask_embed", mlp(width, width, width, 3))
        attention = {
            key.removeprefix("attn."): spec for key, spec in transformer.attention(width).items()
        }
        layer = (
            under("cross_attn", self._samples())
            | under("self_attn", attention)
            | _feed_forward(width, self.decoder_feedforward_dim, norms=3)
        )
        for i in range(self.decoder_layers):
            yield Module(f"{_DECODER}.{i}", layer)
            yield Module(f"{_BOXES}.{i}", box_head(width))
        yield Module(f"{_PREDICTOR}.decoder_norm", norm(width))
        yield Module(f"{_PREDICTOR}.decoder.norm", norm(width))
        yield Module(f"{_PREDICTOR}.decoder.ref_point_head", mlp(2 * width, width, width, 2))

    def _samples(self) -> StateDict:
        return transformer.deformable_attention(
            self.embed_dim, self.num_heads or 8, self.feature_levels
        )

    def _weights(self) -> Iterator[Part]:
        """The weights of the classes in the loss, which checkpoints hold."""
        spec = tensor(self.num_classes + 1)
        if self.chosen is None:
            yield Module("criterion", {"empty_weight": spec})
        else:
            yield Constant("criterion.empty_weight", spec, by_classes=True)

    def _settings(self) -> Iterator[Part]:
        pixels, width = "model.sem_seg_head.pixel_decoder", self.embed_dim
        maps = list(self.body.out_channels.items())
        # detrex's panoptic and ADE20K configs set their classes only on the head, and the
        # predictor keeps the 80 of params
        for path in ("model.sem_seg_head", "model.params", _CONFIG, "model.criterion"):
            yield ConfigValue(f"{path}.num_classes", kinds.SIZE, self.num_classes)
        for path in ("model", "model.params", _CONFIG):
            yield ConfigValue(f"{path}.num_queries", kinds.SIZE, self.num_queries)
        for name, channels in maps:
            yield ConfigValue(f"model.params.input_shape.{name}.channels", kinds.SIZE, channels)
        yield ReturnedMaps(self.body, tuple(range(len(maps))))
        features = [name for name, _ in maps[-self.neck_inputs :]]
        sizes = {
            f"{pixels}.conv_dim": width,
            f"{pixels}.mask_dim": width,
            f"{pixels}.transformer_nheads": self.num_heads,
            f"{pixels}.transformer_dim_feedforward": self.feedforward_dim,
            f"{pixels}.transformer_enc_layers": self.encoder_layers,
            f"{pixels}.num_feature_levels": self.neck_inputs,
            f"{pixels}.total_num_feature_levels": self.feature_levels,
            f"{pixels}.common_stride": self._common_stride,
            f"{_CONFIG}.in_channels": width,
            f"{_CONFIG}.hidden_dim": width,
            f"{_CONFIG}.mask_dim": width,
            f"{_CONFIG}.nheads": self.num_heads,
            f"{_CONFIG}.nhead": self.num_heads,
            f"{_CONFIG}.dim_feedforward": self.decoder_feedforward_dim,
            f"{_CONFIG}.dec_layers": self.decoder_layers,
            f"{_CONFIG}.total_num_feature_levels": self.feature_levels,
        }
        for path, size in sizes.items():
            yield ConfigValue(path, kinds.SIZE, size)
        yield ConfigValue(f"{pixels}.transformer_in_features", kinds.FEATURES, features)
        yield ConfigValue(f"{pixels}.feature_order", kinds.Choice(_ORDERS), self.feature_order)
        yield ConfigValue(f"{_CONFIG}.two_stage", kinds.FLAG, self.two_stage)
        yield ConfigValue(f"{_CONFIG}.learn_tgt", kinds.FLAG, self.learn_tgt)
        yield ConfigValue(f"{_CONFIG}.semantic_ce_loss", kinds.FLAG, self.semantic_ce_loss)
        yield ConfigValue("model.semantic_ce_loss", kinds.FLAG, self.semantic_ce_loss)
        kind = self.facts["initialize_box_type"].kind
        yield ConfigValue(f"{_CONFIG}.initialize_box_type", kind, self.initialize_box_type)

    @property
    def _common_stride(self) -> int:
        """The stride of the maps from which masks are read. It decides how many maps refine them.
        If the encoder reads the finest map, detrex's default of 4 means none, but the original
        always
        makes one: detrex would silently drop 6 keys, with masks at 1/32."""
        finest = 4 << (len(self.body.out_channels) - self.neck_inputs)
        return max(finest >> self.mask_levels, 1)

    def notes(self) -> tuple[str, ...]:
        return (
            *super().notes(),
            "the weights do not show whether the output is instance, panoptic or semantic "
            "segmentation: model.instance_on, panoptic_on and semantic_on of the config",
            "detrex's model needs height and width in every input. LazyConfig.load fails on its "
            "configs (detrex e244e6c): import projects.maskdino.configs.models instead",
        )


def _projected(specs: Specs) -> list[int]:
    """Channels of the backbone's feature maps that are projected by 1x1 convolutions, in order."""
    keys = numbered(specs, f"{_PIXELS}.input_proj.{{i}}.0.weight")
    shapes = [shape_of(specs, key, dimensions=4) for key in keys]
    found = [shape[1] for shape in shapes if shape[-1] == 1]
    if not found:
        raise ArchitectureError(f"{_PIXELS}.input_proj reads no feature map of the backbone")
    return found


def _feed_forward(width: int, hidden: int, *, norms: int) -> StateDict:
    """A layer's feed-forward and norms, by the names of torch's layers."""
    module = under("linear1", linear(hidden, width)) | under("linear2", linear(width, hidden))
    for i in range(1, norms + 1):
        module |= under(f"norm{i}", norm(width))
    return module
