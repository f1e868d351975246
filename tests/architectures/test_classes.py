"""Rows of classes are cut, kept, chosen by name, or fresh."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from detrex_hub.architectures import coco
from detrex_hub.architectures.class_names import read_names
from detrex_hub.architectures.recognise import recognise
from detrex_hub.conversion import convert
from detrex_hub.errors import ArchitectureError, UsageError
from detrex_hub.mapping import Fresh
from detrex_hub.records import load_json
from detrex_hub.verification import verify
from tests import reference
from tests.architectures.test_variants import DETECTORS, facts_of
from tests.checkpoint_files import save, tensors

PRIOR = -math.log(99)
# rows 17, none, 1, 3 of the originals; classes 15, none, 0, 2 of detrex
NAMES = ["cat", "drone", "Person", "car"]
MINE = {"class_names": NAMES, "seed": 7}
# the inner product of one row of the heads shows where the rows come from
ROWS = [17, None, 1, 3]
OWN_ROWS = [15, None, 0, 2]
# detectors with 91 or 92 rows of COCO's classes; the others have separate tests
OF_COCO = [
    name
    for name in DETECTORS
    if "panoptic" not in name and not name.startswith(("deta", "maskdino", "eva"))
]


def planned(name, layout="original", **facts):
    variant = reference.load(name)
    specs = variant.source if layout == "original" else variant.target
    kind = recognise(specs).architecture
    made = kind.read(specs, layout, {**facts_of(name), **facts})
    return made, made.plan(specs, layout)


def rows_of(move):
    found = []
    for piece in move.pieces:
        if isinstance(piece, Fresh):
            found += [None] * piece.count
        else:
            found += [row for start, stop in piece.rows for row in range(start, stop)]
    return found


def heads(plan):
    """Rows of every class head's weight and bias, by the head's name."""
    found = {}
    for key, move in plan.moves.items():
        if "class_embed" in key:
            rows = found.setdefault(key.rpartition(".")[0], rows_of(move))
            assert rows == rows_of(move)
    assert found
    return found


@pytest.mark.parametrize("layout", ["original", "detrex"])
@pytest.mark.parametrize("name", OF_COCO)
def test_rows_of_named_classes_are_kept_and_the_others_are_fresh(name, layout):
    made, plan = planned(name, layout, **MINE)
    rows = ROWS if layout == "original" else OWN_ROWS
    assert made.num_classes == 4
    assert "model.num_classes" not in made.overrides(made.preprocessing({})).lazy or (
        made.overrides(made.preprocessing({})).lazy["model.num_classes"] == 4
    )
    assert made.overrides(made.preprocessing({})).lazy["model.criterion.num_classes"] == 4
    two_stage = "two_stage" in name
    last = [91] if layout == "original" else [80]
    for head, found in heads(plan).items():
        if two_stage and head.endswith(".6"):
            # the first row ranks proposals of every class
            assert found == [0, 1, 2, 3]
        elif made.name in ("detr", "pnp_detr"):
            assert found == rows + last
        else:
            assert found == rows
    for key, move in plan.moves.items():
        if key == "label_enc.weight":
            assert rows_of(move) == rows
        if key == "denoising_generator.label_encoder.weight":
            assert rows_of(move) == rows + last
    assert made.notes()[-1] == (
        "class heads made for 4 classes: 3 keep their rows, 1 get fresh ones (seed 7): drone. "
        "Taken as: Person -> person"
    )
    assert plan.specs.keys() | made.set_by_model() == made.target().keys()


@pytest.mark.parametrize("layout", ["panoptic", "detrex"])
def test_panoptic_rows_do_not_match_coco_classes(layout):
    name = "detr_r50_panoptic"
    specs = reference.load(name).source if layout == "panoptic" else reference.load(name).target
    kind = recognise(specs).architecture
    with pytest.raises(ArchitectureError, match="250 rows, which are not known to be COCO's"):
        kind.read(specs, layout, MINE)
    assert kind.read(specs, layout, {"num_classes": 2}).num_classes == 2


def test_the_encoders_head_of_dino_follows_the_classes():
    _, plan = planned("dino_r50_4scale", **MINE)
    assert rows_of(plan.moves["class_embed.6.weight"]) == ROWS
    assert plan.moves["class_embed.6.weight"].pieces[0].key == (
        "transformer.enc_out_class_embed.weight"
    )


def test_a_head_may_have_more_classes_than_the_original_has_rows():
    made, plan = planned("deformable_detr_r50_two_stage", num_classes=100)
    assert rows_of(plan.moves["class_embed.6.weight"]) == [*range(91), *[None] * 9]
    assert rows_of(plan.moves["class_embed.0.weight"]) == [None] * 100
    assert "class_embed.0.weight" in plan.dropped
    assert "class_embed.6.weight" not in plan.dropped
    assert made.notes()[-1].endswith("0 keep their rows, 100 get fresh ones (seed 0)")


@pytest.fixture(scope="module")
def refine(tmp_path_factory):
    """A Deformable-DETR whose layers share one class head, as its authors save it."""
    variant = reference.load("deformable_detr_r50")
    state = tensors(variant.source, variant.tied_sources)
    return save(tmp_path_factory.mktemp("plain") / "plain.pth", state, "model"), state


def test_fresh_rows_follow_detrexs_initialisation_and_the_seed(tmp_path, refine):
    path, state = refine
    names = ["cat", *(f"thing {i}" for i in range(600)), "person"]
    done = convert(path, tmp_path / "a", facts={"class_names": names, "seed": 3})
    again = convert(path, tmp_path / "b", facts={"class_names": names, "seed": 3})
    other = convert(path, tmp_path / "c", facts={"class_names": names, "seed": 4})
    assert done.sha256 == again.sha256 != other.sha256
    written = load_file(done.path)
    weight, bias = written["class_embed.0.weight"], written["class_embed.0.bias"]
    assert weight.shape == (602, 256)
    assert torch.equal(weight[0], state["class_embed.0.weight"][17])
    assert torch.equal(weight[-1], state["class_embed.0.weight"][1])
    assert torch.equal(bias[0], state["class_embed.0.bias"][17])
    # torch.nn.Linear's: uniform between -1 / sqrt(256) and 1 / sqrt(256)
    fresh = weight[1:-1]
    assert fresh.abs().max() <= 1 / 16
    assert fresh.abs().max() > 0.99 / 16
    assert abs(fresh.mean()) < 1e-3
    assert fresh.std() == pytest.approx(1 / 16 / math.sqrt(3), rel=0.01)
    assert torch.equal(bias[1:-1], torch.full((600,), PRIOR))
    verify(tmp_path / "a")
    record = load_json(tmp_path / "a" / "conversion.json")
    assert record["facts"]["seed"] == 3
    assert record["facts"]["class_names"] == names
    assert {"count": 600} | record["plan"]["moves"]["class_embed.0.bias"][1] == {
        "count": 600, "fresh": 600, "mean": PRIOR, "std": 0.0, "seed": 3, "distribution": "normal"
    }  # fmt: skip
    assert "600 fresh rows, seed 3" in (tmp_path / "a" / "README.md").read_text()


def test_fresh_embeddings_follow_torchs_initialisation(tmp_path):
    variant = reference.load("dn_detr_r50")
    path = save(tmp_path / "dn.pth", tensors(variant.source, variant.tied_sources), "model")
    written = load_file(convert(path, tmp_path / "dn", facts={"num_classes": 500}).path)
    labels = written["denoising_generator.label_encoder.weight"]
    assert labels.shape == (501, 255)
    source = torch.load(path, weights_only=False)["model"]["label_enc.weight"]
    assert torch.equal(labels[-1], source[-1])
    assert labels[:-1].std() == pytest.approx(1, rel=0.01)
    assert labels[:-1].mean() == pytest.approx(0, abs=0.01)


def test_fresh_rows_of_detr_have_no_focal_prior(tmp_path):
    _, plan = planned("detr_r50", num_classes=5)
    (fresh, last) = plan.moves["class_embed.bias"].pieces
    assert (fresh.count, fresh.uniform, fresh.mean) == (5, True, 0)
    assert last.rows == ((91, 92),)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"classes": "keep", "num_classes": 3}, "cannot be combined"),
        ({"classes": "coco", "class_names": ["cat"]}, "cannot be combined with a head"),
        ({"num_classes": 0}, "num_classes should be an integer from 1"),
        ({"num_classes": True}, "num_classes should be an integer from 1"),
        ({"num_classes": 3, "class_names": ["a", "b"]}, "2 names for 3 classes"),
        ({"class_names": ["a", "T-V", "t v"]}, "occur twice: T-V, t v"),
        ({"class_names": ["cat", 3]}, "class_names should be a list"),
        ({"num_classes": 3, "seed": "x"}, "seed should be an integer"),
        ({"classes": "some"}, "auto, coco or keep"),
    ],
)
def test_facts_that_contradict_each_other_are_refused(facts, said):
    with pytest.raises(UsageError, match=said):
        planned("detr_r50", **facts)


def own_head(rows):
    """An original whose class head has custom rows."""
    specs = dict(reference.load("conditional_detr_r50").source)
    for key in ("class_embed.weight", "class_embed.bias"):
        spec = specs[key]
        specs[key] = type(spec)(spec.dtype, (rows, *spec.shape[1:]))
    return specs


def test_a_custom_head_is_cut_only_if_its_rows_match_coco():
    kind = recognise(own_head(20)).architecture
    assert kind.read(own_head(20), "original", {}).num_classes == 20
    assert kind.read(own_head(91), "original", {}).num_classes == 80
    assert kind.read(own_head(91), "original", {"classes": "keep"}).num_classes == 91
    with pytest.raises(ArchitectureError, match="has 20 class rows"):
        kind.read(own_head(20), "original", {"classes": "coco"})
    with pytest.raises(ArchitectureError, match="--new-head"):
        kind.read(own_head(20), "original", {"class_names": ["cat"]})
    assert kind.read(own_head(20), "original", {"num_classes": 3}).num_classes == 3


@pytest.mark.parametrize("layout", ["original", "detrex"])
@pytest.mark.parametrize("name", OF_COCO)
def test_a_head_with_matching_rows_is_kept(name, layout):
    variant = reference.load(name)
    specs = variant.source if layout == "original" else variant.target
    usual, usual_plan = planned(name, layout)
    made, plan = planned(name, layout, num_classes=80)
    assert (made, plan.moves) == (usual, usual_plan.moves)
    assert made.notes() == usual.notes()
    if layout == "original":
        whole, _ = planned(name, layout, classes="keep")
        assert planned(name, layout, num_classes=whole.num_classes)[0] == whole
    assert [key for key, move in plan.moves.items() if Fresh in map(type, move.pieces)] == []
    fresh, plan = planned(name, layout, num_classes=80, new_head=True)
    assert fresh.num_classes == 80
    assert fresh.notes()[-1].endswith("0 keep their rows, 80 get fresh ones (seed 0)")
    assert any(rows[:80] == [None] * 80 for rows in heads(plan).values())
    assert kind_of(specs).from_hyper_parameters(fresh.hyper_parameters()).num_classes == 80


def kind_of(specs):
    return recognise(specs).architecture


@pytest.mark.parametrize(
    ("facts", "classes", "fresh"),
    [
        ({"num_classes": 20}, 20, False),
        ({"num_classes": 20, "new_head": True}, 20, True),
        ({"new_head": True}, 20, True),
        ({"num_classes": 19}, 19, True),
        ({"class_names": ["cat", "dog"], "new_head": True}, 2, True),
    ],
)
def test_a_head_with_matching_rows_is_reset_only_on_request(facts, classes, fresh):
    specs = own_head(20)
    made = kind_of(specs).read(specs, "original", facts)
    assert made.num_classes == classes
    moves = made.plan(specs, "original").moves
    assert rows_are_fresh(moves["class_embed.weight"]) == fresh
    assert bool(made.notes() and "get fresh ones" in made.notes()[-1]) == fresh
    with pytest.raises(UsageError, match="cannot be combined"):
        kind_of(specs).read(specs, "original", {**facts, "classes": "keep"})


def rows_are_fresh(move):
    return all(isinstance(piece, Fresh) for piece in move.pieces)


def test_class_names_are_read_from_three_kinds_of_files(tmp_path):
    path = tmp_path / "names"
    path.write_text("cat\n\n  tv \n")
    assert read_names(path) == ["cat", "tv"]
    path.write_text('["cat", "tv"]')
    assert read_names(path) == ["cat", "tv"]
    categories = [{"id": 7, "name": "tv"}, {"id": 3, "name": "cat"}]
    path.write_text(json.dumps({"images": [], "categories": categories}))
    assert read_names(path) == ["cat", "tv"]
    for text in ("", "[]", '{"a": 1}', "[1, 2]", "[", '{"categories": [{"name": "x"}]}'):
        path.write_text(text)
        with pytest.raises(UsageError, match="no class names"):
            read_names(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_names(tmp_path / "none")


def test_every_coco_name_finds_its_row():
    made, plan = planned("conditional_detr_r50", class_names=list(coco.NAMES))
    _, usual = planned("conditional_detr_r50")
    assert made.notes()[-1].startswith("class heads cut 91 -> 80 rows")
    assert plan.moves == usual.moves
