"""Replay the loading of detectron2's checkpointer on names and shapes.

The rules are those of ``DetectionCheckpointer``, which has the same code at 70f45430 (detrex's pin)
and at 02b5c4e2 (the newest). They include ``Checkpointer._load_model`` of fvcore 0.1.5. No tensor
is read, and detectron2 need not be installed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from msgspec import Struct, field

from detrex_hub.errors import CheckpointError

Shape: TypeAlias = tuple[int, ...]

# the least share of a file's names in the module that it belongs to
_AT_HOME = 0.25


class ModelKeys(Struct, frozen=True):
    """A model from the view of the checkpointer.

    ``shapes`` is its state dict; ``ties`` are groups of names of one and the same tensor;
    ``statistics`` are the running means and variances of detectron2's ``FrozenBatchNorm2d``, which
    fills absent ones with 0 and 1 and does not report them as missing; ``swallowed`` are names
    that the model accepts and ignores.
    """

    shapes: Mapping[str, Shape]
    ties: tuple[tuple[str, ...], ...] = ()
    statistics: frozenset[str] = frozenset()
    swallowed: frozenset[str] = frozenset()


class FileKeys(Struct, frozen=True):
    """A file as the checkpointer prepares it before the match.

    ``heuristics`` says whether names are matched by suffix (`readable` knows when they are);
    ``caffe2`` whether they are Caffe2's and are renamed first.
    """

    shapes: Mapping[str, Shape]
    heuristics: bool = False
    caffe2: bool = False


class ModuleCount(Struct, frozen=True):
    """Counts of tensors in one module of the model, or of the file (``unexpected``)."""

    name: str
    loaded: int = 0
    missing: int = 0
    unexpected: int = 0
    wrong_shape: int = 0
    doubtful: int = 0


class Match(Struct, frozen=True):
    """The result of a load.

    Attributes:
        home: prefix of the module that the file is for, such as ``backbone.``; empty if it is for
            several modules of the model, or for none.
        loaded: key of the model -> key of the file; doubtful ones included.
        missing: keys of the model that keep their initial values.
        silent: those of them that detectron2 does not report: statistics that it fills itself.
        unexpected: keys of the file that are not used.
        wrong_shape: key of the model -> shape in the file, shape in the model. Not loaded either.
        doubtful: keys of the model that a suffix matched outside ``home``.
        apart: key of the model -> key of the file, matched outside ``home`` and kept out only by
            its shape.
    """

    home: str
    loaded: Mapping[str, str]
    missing: tuple[str, ...]
    silent: frozenset[str]
    unexpected: tuple[str, ...]
    wrong_shape: Mapping[str, tuple[Shape, Shape]]
    doubtful: tuple[str, ...] = ()
    apart: Mapping[str, str] = field(default_factory=dict)

    def share(self, given: Iterable[str] = ()) -> float:
        """The part of ``home`` that is loaded, 0 to 1. Doubtful tensors are outside it.

        Args:
            given: keys that no checkpoint of this kind holds. They do not count.
        """
        own = frozenset(given)
        loaded = sum(key.startswith(self.home) for key in self.loaded.keys() - own)
        absent = [*self.missing, *self.wrong_shape]
        lacking = sum(key.startswith(self.home) and key not in own for key in absent)
        return loaded / (loaded + lacking) if loaded else 0.0

    def modules(self) -> list[ModuleCount]:
        """Counts by module: the parts of ``home``, and whole modules beside it."""
        counts: dict[str, Counter[str]] = {}
        doubtful = set(self.doubtful)
        for what, keys in (
            ("loaded", [key for key in self.loaded if key not in doubtful]),
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("wrong_shape", self.wrong_shape),
            ("doubtful", self.doubtful),
        ):
            for key in keys:
                counts.setdefault(self._module(key), Counter())[what] += 1
        return [ModuleCount(name, **count) for name, count in sorted(counts.items(), key=_by_name)]

    def _module(self, key: str) -> str:
        depth = self.home.count(".") + 1 if key.startswith(self.home) else 1
        return ".".join(key.split(".")[:-1][:depth]) or key


def _by_name(item: tuple[str, object]) -> list[tuple[int, int | str]]:
    # res2 before res10
    parts = re.split(r"(?<![0-9])([0-9]{1,9})(?![0-9])", item[0])
    return [(0, int(one)) if i % 2 else (1, one) for i, one in enumerate(parts) if one]


def match(model: ModelKeys, file: FileKeys, home: str = "") -> Match:
    """Replay the checkpointer.

    Args:
        home: prefix of the module that the file is for, if its keys have it already.

    Raises:
        CheckpointError: detectron2 would raise an error: one key of the file fits several of the
            model, or two of Caffe2's names become one.
    """
    original, shapes = _renamed(file) if file.caffe2 else (_as_they_are(file), file.shapes)
    if not home or not any(key.startswith(home) for key in model.shapes):
        home = _home(model.shapes, shapes)
    taken: dict[str, str] = {}
    clashes: dict[str, str] = {}
    if file.heuristics:
        taken, clashes = _aligned(model.shapes, shapes)
    # the names that detectron2 passes to fvcore: name -> key of the file
    given = {**taken, **{key: key for key in shapes if key not in set(taken.values())}}
    if all(key == "" or key.startswith("module.") for key in given):
        given = {key[len("module.") :]: source for key, source in given.items()}

    wrong = {key: source for key, source in clashes.items() if key.startswith(home)}
    loaded: dict[str, str] = {}
    for key, source in given.items():
        if key in model.shapes:
            fits = shapes[source] == model.shapes[key]
            (loaded if fits else wrong)[key] = source
    for names in model.ties:
        at = next((name for name in names if name in loaded), None)
        if at is not None:
            loaded |= {name: loaded[at] for name in names if name not in loaded}
    missing = tuple(key for key in model.shapes if key not in loaded and key not in wrong)
    used = {*loaded.values(), *wrong.values()}
    used |= {source for key, source in given.items() if key in model.swallowed}
    return Match(
        home=home,
        loaded={key: original[source] for key, source in loaded.items()},
        missing=missing,
        silent=model.statistics.intersection(missing),
        unexpected=tuple(original[key] for key in shapes if key not in used),
        wrong_shape={
            key: (shapes[source], model.shapes[key])
            for key, source in wrong.items()
            if key not in loaded
        },
        doubtful=tuple(
            key for key in taken if home and not key.startswith(home) and key != taken[key]
        ),
        apart={
            key: original[source] for key, source in clashes.items() if not key.startswith(home)
        },
    )


def _suffixes(key: str) -> list[str]:
    """The key itself and its suffixes without the first segments, longest first."""
    parts = key.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _aligned(
    model: Mapping[str, Shape], file: Mapping[str, Shape]
) -> tuple[dict[str, str], dict[str, str]]:
    """``align_and_update_state_dicts``: key of the model -> the longest key of the file that it
    ends in; those of the right shape, and those of a wrong one, for which no other is tried."""
    taken: dict[str, str] = {}
    clashes: dict[str, str] = {}
    by: dict[str, str] = {}
    for key in sorted(model):
        source = next((suffix for suffix in _suffixes(key) if suffix in file), None)
        if source is None:
            continue
        if file[source] != model[key]:
            clashes[key] = source
            continue
        if source in by:
            raise CheckpointError(
                f"detectron2 refuses to match by suffix: {source!r} of the file fits both "
                f"{by[source]!r} and {key!r} of the model",
                hint=(
                    "Load by exact names: from_hub(..., prefix=...), or leave out "
                    "matching_heuristics"
                ),
            )
        taken[key] = source
        by[source] = key
    return taken, clashes


def _home(model: Mapping[str, Shape], file: Mapping[str, Shape]) -> str:
    """The prefix with which most of the file's names are in the model, whatever their shapes. If
    the names have a prefix already, it is the one module of the model that contains them."""
    bare = all(key.startswith("module.") for key in file)
    names = {key[len("module.") :] if bare else key for key in file}
    found = Counter(
        key[: len(key) - len(suffix)]
        for key in model
        for suffix in _suffixes(key)
        if suffix in names
    )
    if not found:
        return ""
    home, count = max(found.items(), key=lambda item: (item[1], -len(item[0])))
    if home and count >= _AT_HOME * len(names):
        return home
    return _shared_module(model, names)


def _shared_module(model: Iterable[str], names: Iterable[str]) -> str:
    """The prefix of the only module of a model that contains the full names; empty if several
    modules contain them, or if the model has no other module."""
    modules = {key.partition(".")[0] for key in model}
    shared = modules.intersection(name.partition(".")[0] for name in names)
    return f"{shared.pop()}." if len(shared) == 1 < len(modules) else ""


# Caffe2's names, in the order in which detectron2 replaces them (``c2_model_loading.py``)
_CAFFE2 = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^pred_([bw])$", r"linear_\1"),
        (r"_", r"."),
        (r"\.b$", r".bias"),
        (r"\.w$", r".weight"),
        (r"bn\.s$", r"norm.weight"),
        (r"bn\.bias$", r"norm.bias"),
        (r"bn\.rm", r"norm.running_mean"),
        (r"bn\.running.mean$", r"norm.running_mean"),
        (r"bn\.riv$", r"norm.running_var"),
        (r"bn\.running.var$", r"norm.running_var"),
        (r"bn\.gamma$", r"norm.weight"),
        (r"bn\.beta$", r"norm.bias"),
        (r"gn\.s$", r"norm.weight"),
        (r"gn\.bias$", r"norm.bias"),
        (r"^res\.conv1\.norm\.", r"conv1.norm."),
        (r"^conv1\.", r"stem.conv1."),
        (r"\.branch1\.", r".shortcut."),
        (r"\.branch2a\.", r".conv1."),
        (r"\.branch2b\.", r".conv2."),
        (r"\.branch2c\.", r".conv3."),
        (r"^body.conv.fcn", r"body_conv_fcn"),
        (r"AnnIndex\.lowres", r"ann_index_lowres"),
        (r"Index\.UV\.lowres", r"index_uv_lowres"),
        (r"U\.lowres", r"u_lowres"),
        (r"V\.lowres", r"v_lowres"),
        (r"conv\.rpn\.fpn2|conv\.rpn", r"proposal_generator.rpn_head.conv"),
        (r"rpn\.bbox\.pred(\.fpn2)?", r"proposal_generator.rpn_head.anchor_deltas"),
        (r"rpn\.cls\.logits(\.fpn2)?", r"proposal_generator.rpn_head.objectness_logits"),
        (r"^bbox\.pred", r"bbox_pred"),
        (r"^cls\.score", r"cls_score"),
        (r"^fc6\.", r"box_head.fc1."),
        (r"^fc7\.", r"box_head.fc2."),
        (r"^head\.conv", r"box_head.conv"),
        (r"^fpn\.inner\.res(\d+)\.(?:.*\.)?norm\.(?:.*\.)?([^.]+)$", r"fpn_lateral\1.norm.\2"),
        (r"^fpn\.inner\.res(\d+)\.(?:.*\.)?([^.]+)$", r"fpn_lateral\1.\2"),
        (r"^fpn\.res(\d+)\.(?:.*\.)?norm\.(?:.*\.)?([^.]+)$", r"fpn_output\1.norm.\2"),
        (r"^fpn\.res(\d+)\.(?:.*\.)?([^.]+)$", r"fpn_output\1.\2"),
        (r"\.\[mask\]\.fcn", r"mask_head.mask_fcn"),
        (r"^\.mask\.fcn", r"mask_head.mask_fcn"),
        (r"mask\.fcn\.logits", r"mask_head.predictor"),
        (r"conv5\.mask", r"mask_head.deconv"),
        (r"conv\.fcn", r"roi_heads.keypoint_head.conv_fcn"),
        (r"kps\.score\.lowres", r"roi_heads.keypoint_head.score_lowres"),
        (r"kps\.score\.", r"roi_heads.keypoint_head.score."),
    )
)
# rows of the background class, which detectron2 cuts
_BACKGROUND_ROWS = {"bbox_pred.": 4, "mask_head.predictor.": 1}


def caffe2_name(key: str) -> str:
    """The name under which detectron2 looks for a tensor of a Caffe2 file."""
    for pattern, replacement in _CAFFE2:
        key = pattern.sub(replacement, key)
    return key


def _as_they_are(file: FileKeys) -> dict[str, str]:
    return {key: key for key in file.shapes}


def _renamed(file: FileKeys) -> tuple[dict[str, str], dict[str, Shape]]:
    """New name -> Caffe2's, and new name -> shape."""
    original: dict[str, str] = {}
    shapes: dict[str, Shape] = {}
    for key in sorted(file.shapes):
        name = caffe2_name(key)
        if name in original:
            raise CheckpointError(
                f"detectron2 refuses Caffe2's names {original[name]!r} and {key!r}: "
                f"both become {name!r}"
            )
        original[name] = key
        shape = file.shapes[key]
        cut = sum(n for start, n in _BACKGROUND_ROWS.items() if name.startswith(start))
        shapes[name] = (max(shape[0] - cut, 0), *shape[1:]) if cut and shape else shape
    return original, shapes
