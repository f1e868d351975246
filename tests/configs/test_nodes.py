import functools
import logging
import sys
from types import ModuleType

import pytest
from omegaconf import OmegaConf

from detrex_hub.configs import nodes


def node(target):
    return OmegaConf.create({"_target_": target}, flags={"allow_objects": True})


class Detector:
    class Head:
        pass


class Mask(Detector.Head):
    pass


@pytest.mark.parametrize(
    ("target", "described", "lineage"),
    [
        ("nowhere.modeling.Detr", "nowhere.modeling.Detr", ("nowhere.modeling.Detr",)),
        ("nowhere.modeling.make", "nowhere.modeling.make", ()),
        ("nowhere.modeling.L", "nowhere.modeling.L", ("nowhere.modeling.L",)),
        ("nowhere.Modeling.make", "nowhere.Modeling.make", ()),
        (
            f"{__name__}.Mask",
            f"{__name__}.Mask",
            (f"{__name__}.Mask", f"{__name__}.Mask", f"{__name__}.Detector.Head"),
        ),
        (Mask, f"{__name__}.Mask", (f"{__name__}.Mask", f"{__name__}.Detector.Head")),
        (f"{__name__}.node", f"{__name__}.node", ()),
        (functools.partial(node, 1), "functools.partial", ()),
    ],
)
def test_a_node_is_described_by_what_it_builds(target, described, lineage):
    built = node(target)
    assert nodes.described(built) == f"it is a {described}"
    assert nodes.lineage_of(built) == lineage


@pytest.mark.parametrize("nothing", [{"a": 1}, [1], 3, object()])
def test_what_builds_nothing_has_no_class(nothing):
    said = f"it is not a node that can be built ({type(nothing).__name__})"
    assert nodes.described(nothing) == said
    assert nodes.lineage_of(nothing) == ()


def test_objects_of_imported_modules_are_found_by_their_path(monkeypatch):
    modeling = ModuleType("nowhere.modeling")
    modeling.Detector = Detector
    monkeypatch.setitem(sys.modules, "nowhere.modeling", modeling)
    assert nodes.imported("nowhere.modeling.Detector") is Detector
    assert nodes.imported("nowhere.modeling.Detector.Head") is Detector.Head
    assert nodes.imported("nowhere.modeling.Absent.Head") is None
    assert nodes.imported("nowhere.models.Detector") is None
    assert nodes.imported("logging.getLogger") is logging.getLogger
