"""The names of ResNets: rules from each library's names to those of detectron2's `ResNet`.

Facts: torchvision's `resnet.py` (timm and mmdetection keep its names), transformers 4.57.1,
Detectron's `ResNet.py`, and detectron2 02b5c4e2, `checkpoint/c2_model_loading.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from detrex_hub.architectures.mmdet_layout import OTHER_PARTS_DROPPED
from detrex_hub.mapping import Drop, Fill, Rename, Rule, prefixed


class LayerNames(Struct, frozen=True):
    """A library's names (templates) for the layers of a ResNet. Stages are numbered 1 to 4 here."""

    stem: str
    stem_norm: str
    conv: str
    norm: str
    shortcut: str
    shortcut_norm: str
    classifier: str

    @property
    def norms(self) -> tuple[tuple[str, str], ...]:
        """Each norm with its name in detectron2."""
        return (
            (self.stem_norm, "stem.conv1.norm"),
            (self.norm, "res{stage+1}.{block}.conv{i}.norm"),
            (self.shortcut_norm, "res{stage+1}.{block}.shortcut.norm"),
        )

    @property
    def body(self) -> tuple[Rule, ...]:
        """All rules except those of the classifier and of the norms' counters."""
        return (
            Rename(f"{self.stem}.*", "stem.conv1.*"),
            Rename(f"{self.conv}.*", "res{stage+1}.{block}.conv{i}.*"),
            Rename(f"{self.shortcut}.*", "res{stage+1}.{block}.shortcut.*"),
            *(
                Rename(f"{source}.{parameter}", f"{target}.{parameter}")
                for source, target in self.norms
                for parameter in ("weight", "bias", "running_mean", "running_var")
            ),
        )

    @property
    def counters_dropped(self) -> tuple[Rule, ...]:
        return tuple(
            Drop(f"{source}.num_batches_tracked", COUNTER, optional=True)
            for source, _ in self.norms
        )

    @property
    def counters_kept(self) -> tuple[Rule, ...]:
        """Files older than torch 0.4.1 have no counters."""
        return tuple(
            Rename(f"{source}.num_batches_tracked", f"{target}.num_batches_tracked", optional=True)
            for source, target in self.norms
        )


COUNTER = "counter of BatchNorm, which FrozenBatchNorm2d does not have"
CLASSIFIER = "ImageNet classifier"

TORCHVISION = LayerNames(
    stem="conv1",
    stem_norm="bn1",
    # detectron2 numbers stages from res2, torchvision from layer1
    conv="layer{stage}.{block}.conv{i}",
    norm="layer{stage}.{block}.bn{i}",
    shortcut="layer{stage}.{block}.downsample.0",
    shortcut_norm="layer{stage}.{block}.downsample.1",
    classifier="fc",
)
_IN_TRANSFORMERS = "encoder.stages.{stage-1}.layers.{block}"
TRANSFORMERS = LayerNames(
    stem="embedder.embedder.convolution",
    stem_norm="embedder.embedder.normalization",
    conv=f"{_IN_TRANSFORMERS}.layer.{{i-1}}.convolution",
    norm=f"{_IN_TRANSFORMERS}.layer.{{i-1}}.normalization",
    shortcut=f"{_IN_TRANSFORMERS}.shortcut.convolution",
    shortcut_norm=f"{_IN_TRANSFORMERS}.shortcut.normalization",
    classifier="classifier.1",
)

# Detectron numbers stages like detectron2, and its blobs have underscores instead of dots
_BRANCHES = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_BLOBS = {"conv1": "stem.conv1"} | {
    f"res{{stage}}_{{block}}_branch{branch}": f"res{{stage}}.{{block}}.{name}"
    for branch, name in _BRANCHES.items()
}
_NORM_BLOBS = {("res_conv1" if blob == "conv1" else blob): name for blob, name in _BLOBS.items()}
# three flavours: detectron2's own files, Facebook's nets, and the affine layers of Detectron
_DETECTRON2 = {
    "gamma": "weight",
    "beta": "bias",
    "running_mean": "running_mean",
    "running_var": "running_var",
}
_AFFINE = {"s": "weight", "b": "bias"}
# "riv" holds the variance itself, not its inverse
_FACEBOOK = {**_AFFINE, "rm": "running_mean", "riv": "running_var"}
_NO_BIAS = "bias of a convolution: it is zero, and detectron2's convolutions have none"
# FrozenBatchNorm2d adds this to the variance
_EPS = 1e-5


def _caffe2(parameters: Mapping[str, str]) -> tuple[Rule, ...]:
    return (
        *(Rename(f"{blob}_w", f"{name}.weight") for blob, name in _BLOBS.items()),
        *(
            Rename(f"{blob}_bn_{short}", f"{name}.norm.{parameter}")
            for blob, name in _NORM_BLOBS.items()
            for short, parameter in parameters.items()
        ),
        Drop(
            "conv1_b",
            "bias of the first convolution, which detectron2's loader also drops",
            optional=True,
        ),
        *(Drop(f"{blob}_b", _NO_BIAS, optional=True) for blob in _BLOBS if blob != "conv1"),
        *(
            Drop(f"{head}_{parameter}", CLASSIFIER, optional=True)
            for head in ("fc1000", "pred")
            for parameter in "wb"
        ),
        Drop("*_momentum", "momentum of the training", optional=True),
    )


CAFFE2: Mapping[str, tuple[Rule, ...]] = {
    "caffe2": _caffe2(_DETECTRON2),
    "caffe2_riv": _caffe2(_FACEBOOK),
    # the files hold no statistics: with these values the norm only multiplies by its weight
    "caffe2_affine": (
        *_caffe2(_AFFINE),
        *(
            Fill(f"{blob}_bn_s", f"{name}.norm.{parameter}", value)
            for blob, name in _NORM_BLOBS.items()
            for parameter, value in (("running_mean", 0.0), ("running_var", 1.0 - _EPS))
        ),
    ),
}

# the mean of the first norm, in the layouts that have one
CAFFE2_MEANS: Mapping[str, str] = {
    "caffe2": "res_conv1_bn_running_mean",
    "caffe2_riv": "res_conv1_bn_rm",
}

_HEAD_OF_MMPRETRAIN: tuple[Rule, ...] = (Drop("head.**", CLASSIFIER, optional=True),)


class Scheme(Struct, frozen=True):
    """The names in files of a layout: a library's names, their prefix, and the other keys."""

    names: LayerNames
    prefix: str = ""
    beside: tuple[Rule, ...] = ()

    def rules(self, *, classifier: bool) -> tuple[Rule, ...]:
        """The layout's rules, with the ImageNet classifier or without it."""
        names, head = self.names, f"{self.names.classifier}.*"
        if classifier:
            body = (*names.body, *names.counters_kept)
            return (*prefixed(body, self.prefix, ""), Rename(head, "linear.*"))
        body = (*names.body, *names.counters_dropped)
        beside = self.beside or (Drop(head, CLASSIFIER, optional=True),)
        return (*prefixed(body, self.prefix, ""), *beside)


SCHEMES: Mapping[str, Scheme] = {
    "torchvision": Scheme(TORCHVISION),
    "transformers": Scheme(TRANSFORMERS),
    "transformers_classifier": Scheme(TRANSFORMERS, "resnet."),
    "mmdet_detector": Scheme(TORCHVISION, "backbone.", OTHER_PARTS_DROPPED),
    "mmpretrain_classifier": Scheme(TORCHVISION, "backbone.", _HEAD_OF_MMPRETRAIN),
}
