"""Files whose class heads were deleted become models for new classes."""

import re

import pytest
from safetensors.torch import load_file

from detrex_hub.architectures import architecture
from detrex_hub.conversion import convert
from detrex_hub.errors import ArchitectureError
from detrex_hub.identify import identify, recognised
from detrex_hub.mapping import Fresh, Piece
from detrex_hub.records import load_json
from detrex_hub.verification import verify
from tests import reference
from tests.architectures.test_variants import DETECTORS
from tests.checkpoint_files import save
from tests.situations._models import below, detector

_HEADS = re.compile(r"(class_embed|class_labels_classifier)(\.|$)")
_LABELS = re.compile(r"(label_enc|label_encoder)\.")
# without the label embedding, detrex's keys are ambiguous for these: they need the name
_NAMED = {"dn_detr", "dn_deformable_detr"}


def cases():
    seen = set()
    for name in DETECTORS:
        variant = reference.load(name)
        for side in ("source", "target"):
            specs = getattr(variant, side)
            try:
                found = recognised(specs, name=name)
            except ArchitectureError:
                continue
            kind = (found.architecture.name, found.layout)
            if kind not in seen and found.architecture.name not in ("focus_detr", "co_mot"):
                seen.add(kind)
                yield pytest.param(specs, found.architecture.name, found.layout, id=f"{kind}")


def deletions():
    """Each case with the parts to delete: class heads, and labels if it has them."""
    for case in cases():
        specs, *_ = case.values
        labels = any(_LABELS.search(key) for key in specs)
        for what in ("heads", "heads and labels", "labels") if labels else ("heads",):
            yield pytest.param(*case.values, what, id=f"{case.id} {what}")


@pytest.mark.parametrize(("specs", "name", "layout", "what"), [*deletions()])
def test_only_deleted_rows_are_fresh(specs, name, layout, what):
    gone = {
        key
        for key in specs
        if ("heads" in what and _HEADS.search(key)) or ("labels" in what and _LABELS.search(key))
    }
    has_labels = any(_LABELS.search(key) for key in specs)
    left = {key: spec for key, spec in specs.items() if key not in gone}
    with pytest.raises(ArchitectureError):
        found = recognised(left, name=name, architecture=name)
        identify(left, found)
    given = {"num_classes": 5}
    found = recognised(
        left, name=name, facts=given, architecture=name if name in _NAMED and has_labels else None
    )
    assert (found.architecture.name, found.layout) == (name, layout)
    assert all(key in left for key in found.because)
    made = identify(left, found, given=given)
    plan = made.plan
    assert made.architecture.num_classes == 5
    assert {key for move in plan.moves.values() for key in move.sources} <= left.keys()
    assert plan.dropped.keys() <= left.keys()
    fresh = {
        key for key, move in plan.moves.items() if any(isinstance(p, Fresh) for p in move.pieces)
    }
    assert fresh
    assert all(_HEADS.search(key) or _LABELS.search(key) for key in fresh)
    if what != "labels":
        heads = [key for key in plan.moves if _HEADS.search(key)]
        assert heads
        for key in heads:
            assert not any(isinstance(piece, Piece) for piece in plan.moves[key].pieces)
    # the records hold only tensors of the file, and give the same plan
    again = identify(left, found, given=made.facts)
    assert again.plan == plan
    expected = architecture(name).from_hyper_parameters(made.architecture.hyper_parameters())
    assert plan.specs.keys() | expected.set_by_model() >= expected.target().keys()


def test_a_conversion_without_heads_is_repeated_from_its_record(tmp_path):
    state = {key: one for key, one in detector().items() if "class_embed" not in key}
    original = save(tmp_path / "headless.pth", below("model.", state), "state_dict")
    done = convert(original, tmp_path / "done", facts={"num_classes": 5, "seed": 3})
    assert verify(tmp_path / "done", source=str(original)).repeated
    weights = load_file(done.path)
    heads = [key for key in weights if key.startswith("class_embed.") and key.endswith("weight")]
    assert all(weights[key].shape == (5, 32) for key in heads)
    # rows of several heads differ, and another seed gives other rows
    assert len({weights[key].numpy().tobytes() for key in heads}) == len(heads)
    other = convert(original, tmp_path / "other", facts={"num_classes": 5, "seed": 4})
    assert other.sha256 != done.sha256
    record = load_json(tmp_path / "done" / "conversion.json")
    assert not any("class_embed" in key for key in record["plan"]["source_tensors"])
    assert "the file has no class heads: all their rows are newly initialised" in record["notes"]


@pytest.mark.parametrize("side", ["source", "target"])
def test_without_the_number_of_classes_the_refusal_names_the_deletion(side):
    specs = getattr(reference.load("dino_r50_4scale"), side)
    left = {key: spec for key, spec in specs.items() if not _HEADS.search(key)}
    with pytest.raises(ArchitectureError, match="class heads or the label") as caught:
        identify(left, recognised(left, name="x.pth"))
    assert caught.value.choices[0] == "--num-classes 80"
