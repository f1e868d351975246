"""Mask DINO: its box head with three names, its levels, and the traps in detrex's configs."""

from types import SimpleNamespace

import pytest

from detrex_hub.architectures import architecture
from detrex_hub.architectures.recognise import recognise
from detrex_hub.configs.settings import DECIDED_BY_CONFIG
from detrex_hub.errors import ArchitectureError, UsageError
from detrex_hub.specs import TensorSpec
from tests import reference

KIND = architecture("maskdino")
HEAD = "sem_seg_head.predictor"
PIXELS = "model.sem_seg_head.pixel_decoder"
PREDICTOR = "model.sem_seg_head.transformer_predictor"
INSTANCE = reference.load("maskdino_r50_instance_hid2048")


def read(name, layout="original", **facts):
    variant = reference.load(name)
    return KIND.read(variant.source if layout == "original" else variant.target, layout, facts)


def lazy(name, **facts):
    made = read(name, **facts)
    return made.overrides(made.preprocessing({})).lazy


@pytest.mark.parametrize("name", reference.names("maskdino"))
def test_a_config_gets_the_settings_of_the_original(name):
    wanted = SimpleNamespace(**reference.load(name).about["config"])
    start = wanted.transformer_predictor["initialize_box_type"]
    found = lazy(name, initialize_box_type=start)
    for place, values in (
        (PIXELS, wanted.pixel_decoder),
        (PREDICTOR, wanted.transformer_predictor),
    ):
        for key, value in values.items():
            if key == "transformer_in_features" and "swin" in name:
                value = ["p0", "p1", "p2", "p3"]
            assert found[f"{place}.{key}"] == value, key


@pytest.mark.parametrize(
    ("name", "classes"),
    [("maskdino_r50_panoptic_hid2048", 133), ("maskdino_r50_semantic_ade20k", 150)],
)
def test_the_number_of_classes_is_set_on_the_predictor_too(name, classes):
    # with params.num_classes = 80, class head and labels stay random, and only a warning says so
    found = lazy(name)
    for path in ("model.params", PREDICTOR, "model.sem_seg_head", "model.criterion"):
        assert found[f"{path}.num_classes"] == classes
    # the dataset decides the head's number, and a config with another number is refused
    assert "model.sem_seg_head.num_classes" in DECIDED_BY_CONFIG
    assert not {"model.params.num_classes", f"{PREDICTOR}.num_classes"} & DECIDED_BY_CONFIG


def test_an_encoder_that_reads_the_finest_map_keeps_the_mask_map():
    # with detrex's stride of 4, six keys match nothing, and masks have 1/32 of the image size
    assert lazy("maskdino_swin_large_instance")[f"{PIXELS}.common_stride"] == 2
    assert lazy("maskdino_r50_instance_hid2048")[f"{PIXELS}.common_stride"] == 4
    target = read("maskdino_swin_large_instance").target()
    assert "sem_seg_head.pixel_decoder.adapter_1.weight" in target


def test_the_way_from_masks_to_first_boxes_is_unknown():
    made = read("maskdino_r50_instance_hid2048")
    assert made.initialize_box_type is None
    assert "initialize_box_type" in made.notes()[0]
    assert f"{PREDICTOR}.initialize_box_type" not in made.overrides(made.preprocessing({})).lazy
    assert read("maskdino_r50_semantic_ade20k").initialize_box_type == "no"
    with pytest.raises(UsageError, match="the shapes show no"):
        read("maskdino_r50_semantic_ade20k", initialize_box_type="mask2box")


def test_proposals_are_assumed_and_learned_queries_are_read():
    settled = KIND.settle(INSTANCE.source, "original", {})
    assert settled.values["num_queries"] == 300
    assert "num_queries" in settled.assumed
    assert read("maskdino_r50_instance_hid2048", "detrex").num_queries is None
    assert read("maskdino_r50_semantic_ade20k", "detrex").num_queries == 100


BOXES = {
    "decoder": f"{HEAD}.decoder.bbox_embed.0.",
    "list": f"{HEAD}.bbox_embed.0.",
    "alone": f"{HEAD}._bbox_embed.",
}


@pytest.mark.parametrize("kept", [("decoder", "list"), ("list",), ("alone",)])
def test_earlier_revisions_without_all_names_of_the_box_head_are_read(kept):
    def there(key):
        if "bbox_embed" not in key:
            return True
        return any(key.startswith(BOXES[one]) for one in kept)

    specs = {key: spec for key, spec in INSTANCE.source.items() if there(key)}
    recognised = recognise(specs)
    assert recognised.layout == "original"
    plan = KIND.read(specs, "original", {}).plan(specs, "original")
    assert plan.specs == INSTANCE.target
    (piece,) = plan.moves[f"{HEAD}.decoder.bbox_embed.0.layers.0.weight"].pieces
    assert piece.key == f"{BOXES[kept[0]]}layers.0.weight"
    # a tensor that is used is not reported as dropped
    assert piece.key not in plan.dropped


def test_counters_of_synchronised_batch_norms_are_dropped():
    variant = reference.load("maskdino_r50_semantic_ade20k")
    counters = {
        key.replace("running_mean", "num_batches_tracked"): TensorSpec("I64", ())
        for key in variant.source
        if key.endswith("running_mean")
    }
    specs = {**variant.source, **counters}
    plan = KIND.read(specs, "original", {}).plan(specs, "original")
    assert len(counters) == 53
    assert counters.keys() <= plan.dropped.keys()


def test_all_classes_are_kept_and_new_ones_get_loss_weights():
    rows = {"weight": (91, 256), "bias": (91,), "empty_weight": (92,)}
    specs = {
        key: TensorSpec("F32", rows[key.rpartition(".")[2]])
        if key.startswith((f"{HEAD}.class_embed", f"{HEAD}.label_enc", "criterion."))
        else spec
        for key, spec in INSTANCE.source.items()
    }
    made = KIND.read(specs, "original", {})
    assert (made.num_classes, made.classes_cut_from) == (91, None)
    made.plan(specs, "original")

    variant = reference.load("maskdino_r50_semantic_ade20k")
    made = KIND.read(variant.source, "original", {"num_classes": 3})
    found = made.plan(variant.source, "original").specs
    assert found[f"{HEAD}.label_enc.weight"].shape == (3, 256)
    assert found[f"{HEAD}.class_embed.weight"].shape == (4, 256)
    assert made.target()["criterion.empty_weight"].shape == (4,)


def test_a_class_head_that_does_not_fit_the_label_embedding_is_refused():
    specs = {**INSTANCE.source, f"{HEAD}.class_embed.weight": TensorSpec("F32", (90, 256))}
    with pytest.raises(ArchitectureError, match="90 rows"):
        KIND.read(specs, "original", {})


def test_the_layouts_differ_only_in_the_names_of_the_box_head():
    assert recognise(INSTANCE.source).layout == "original"
    assert recognise(INSTANCE.target).layout == "detrex"
    mask2former = {
        key: spec
        for key, spec in INSTANCE.target.items()
        if not any(one in key for one in ("label_enc", "ref_point_head", "bbox_embed"))
    }
    with pytest.raises(ArchitectureError, match="no known architecture"):
        recognise(mask2former)
