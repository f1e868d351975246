"""The norm before an ImageNet classifier must not be loaded into a norm of a detector.

detectron2's checkpointer matches a backbone's names by suffix, so it tries ``norm.weight`` for
every norm. These tests replay its matching on a detector whose neck and transformer have norms of
the same width.
"""

from __future__ import annotations

import pytest

from detrex_hub.configs.matching import FileKeys, ModelKeys, match
from tests import reference
from tests.architectures.backbones import read
from tests.cli.test_backbones import VARIANTS

WITH_FINAL_NORM = [name for name in VARIANTS if "norm.weight" in reference.load(name).source]


def detector(made, width):
    """A detector's names and shapes around a backbone, with a pyramid around a plain ViT."""
    node = made.node.removeprefix("model.")
    shapes = {f"{node}.{key}": spec.shape for key, spec in made.target().items()}
    for name in ("neck.convs.2.norm", "transformer.encoder.layers.0.norms.1"):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)
    return ModelKeys(shapes), f"{node}."


@pytest.mark.parametrize("name", VARIANTS)
def test_a_load_sets_only_the_tensors_of_the_backbone(name):
    source = reference.load(name).source
    made, layout = read(source)
    plan = made.plan(source, layout)
    width = source["norm.weight"].shape[0] if name in WITH_FINAL_NORM else 768
    model, prefix = detector(made, width)
    found = match(model, FileKeys({k: s.shape for k, s in plan.specs.items()}, heuristics=True))
    assert found.loaded == {prefix + key: key for key in plan.specs}
    assert not found.unexpected
    assert not found.wrong_shape
    assert not found.doubtful
    assert not found.apart
    lacking = {key.removeprefix(prefix) for key in found.missing if key.startswith(prefix)}
    assert lacking == made.set_by_model()
    assert set(found.missing) - {prefix + key for key in lacking} == {
        key for key in model.shapes if not key.startswith(prefix)
    }


@pytest.mark.parametrize("name", WITH_FINAL_NORM)
def test_the_original_file_would_load_the_final_norm_into_the_neck(name):
    source = reference.load(name).source
    made, _ = read(source)
    model, _ = detector(made, source["norm.weight"].shape[0])
    found = match(model, FileKeys({k: s.shape for k, s in source.items()}, heuristics=True))
    assert set(found.doubtful) == {"neck.convs.2.norm.weight", "neck.convs.2.norm.bias"}
