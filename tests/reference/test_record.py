"""A table is recorded from two models, and ambiguous models are refused."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from tests import reference
from tests.reference import Part
from tests.reference.record import describe, record, seed


class Original(nn.Module):
    """Separate projections, a class head with four rows, and two tied heads."""

    def __init__(self):
        super().__init__()
        self.q, self.k = nn.Linear(3, 3), nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.classes = nn.Linear(3, 4)
        self.heads = nn.ModuleList([nn.Linear(3, 2)] * 2)
        self.unused = nn.Linear(3, 5)


class Converted(nn.Module):
    """Joined projections, three rows of the class head, and a constant."""

    def __init__(self):
        super().__init__()
        self.qk = nn.Linear(3, 6)
        self.bn = nn.BatchNorm1d(3)
        self.class_embed = nn.Linear(3, 3)
        self.box = nn.ModuleList([nn.Linear(3, 2)] * 2)
        self.register_buffer("scale", torch.ones(3))


ROWS = [0, 1, 3]


def models():
    original, converted = Original(), Converted()
    seed(original)
    with torch.no_grad():
        for name in ("weight", "bias"):
            joined = torch.cat([getattr(original.q, name), getattr(original.k, name)])
            getattr(converted.qk, name).copy_(joined)
            getattr(converted.class_embed, name).copy_(getattr(original.classes, name)[ROWS])
    converted.bn.load_state_dict(original.norm.state_dict())
    converted.box.load_state_dict(original.heads.state_dict())
    return original, converted


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    (tmp_path / "variants").mkdir()
    original, converted = models()
    about = {"notes": ["a toy"]}
    folder = tmp_path / "variants"
    record("toy_r1", original, converted, without_source=["scale"], about=about, folder=folder)
    monkeypatch.setattr(reference, "_HERE", tmp_path)
    return reference.load("toy_r1")


def test_moves_are_found_by_values(loaded):
    expected = {f"qk.{name}": (Part(f"q.{name}"), Part(f"k.{name}")) for name in ("weight", "bias")}
    expected |= {
        f"class_embed.{name}": (Part(f"classes.{name}", tuple(ROWS)),)
        for name in ("weight", "bias")
    }
    expected |= {
        f"bn.{name}": (Part(f"norm.{name}"),)
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    expected |= {
        f"box.{i}.{name}": (Part(f"heads.{i}.{name}"),)
        for i in range(2)
        for name in ("weight", "bias")
    }
    assert loaded.moves == expected


def test_unmatched_tensors_are_dropped_or_have_no_source(loaded):
    assert loaded.dropped == ("unused.weight", "unused.bias")
    assert loaded.target_keys_without_source == ("scale",)
    assert loaded.about == {"variant": "toy_r1", "notes": ["a toy"]}


def test_ties_and_specs_match_the_models(loaded):
    original, converted = models()
    assert loaded.tied_sources == (
        ("heads.0.weight", "heads.1.weight"),
        ("heads.0.bias", "heads.1.bias"),
    )
    assert loaded.tied_targets == (
        ("box.0.weight", "box.1.weight"),
        ("box.0.bias", "box.1.bias"),
    )
    assert {key: spec.shape for key, spec in loaded.source.items()} == {
        key: tuple(tensor.shape) for key, tensor in original.state_dict().items()
    }
    assert loaded.target.keys() == converted.state_dict().keys()


def test_a_model_on_the_meta_device_is_described_with_its_ties():
    with torch.device("meta"):
        model = Converted()
    assert describe(model) == describe(Converted())


def test_a_tensor_without_a_source_is_refused(tmp_path):
    original, converted = models()
    with pytest.raises(ValueError, match=r"scale \(not found\)"):
        record("toy_r1", original, converted, folder=tmp_path)


def test_equal_tensors_are_refused_unless_their_moves_are_given(tmp_path):
    original, converted = models()
    with torch.no_grad():
        original.unused = nn.BatchNorm1d(3)
        original.unused.weight.copy_(original.norm.weight)
    wanted = {"without_source": ["scale"], "folder": tmp_path}
    with pytest.raises(ValueError, match=r"bn.weight \(found more than once\)"):
        record("toy_r1", original, converted, **wanted)
    moves = {"bn.weight": ["norm.weight"], "bn.num_batches_tracked": ["norm.num_batches_tracked"]}
    assert record("toy_r1", original, converted, moves=moves, **wanted).exists()


def test_the_command_describes_a_model():
    done = subprocess.run(
        [sys.executable, "-m", "tests.reference", "describe", f"{__name__}:Original"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == describe(Original())
