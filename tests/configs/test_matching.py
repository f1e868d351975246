"""The replay of the checkpointer's matching. The real checkpointer gave every expected value."""

from __future__ import annotations

import pytest

from detrex_hub.configs.matching import (
    FileKeys,
    Match,
    ModelKeys,
    ModuleCount,
    caffe2_name,
    match,
)
from detrex_hub.errors import CheckpointError


def model(*keys: str, **shapes: tuple[int, ...]) -> ModelKeys:
    return ModelKeys({**dict.fromkeys(keys, (4,)), **shapes})


BACKBONE = model("backbone.stem.weight", "backbone.res2.weight", "neck.norm.weight")


def test_a_bare_backbone_without_the_flag_loads_nothing():
    found = match(BACKBONE, FileKeys({"stem.weight": (4,), "res2.weight": (4,)}))
    assert not found.loaded
    assert found.missing == ("backbone.stem.weight", "backbone.res2.weight", "neck.norm.weight")
    assert found.unexpected == ("stem.weight", "res2.weight")
    assert found.home == "backbone."
    assert found.share() == 0


def test_a_bare_backbone_with_the_flag_loads_by_suffix():
    found = match(BACKBONE, FileKeys({"stem.weight": (4,), "res2.weight": (4,)}, heuristics=True))
    assert found.loaded == {
        "backbone.stem.weight": "stem.weight",
        "backbone.res2.weight": "res2.weight",
    }
    assert found.missing == ("neck.norm.weight",)
    assert found.share() == 1


@pytest.mark.parametrize("heuristics", [False, True])
def test_full_names_of_one_module_are_compared_with_that_module(heuristics):
    file = {"backbone.stem.weight": (4,), "backbone.res2.weight": (4,), "roi_heads.weight": (4,)}
    found = match(BACKBONE, FileKeys(file, heuristics))
    assert found.home == "backbone."
    assert found.share() == 1
    assert found.missing == ("neck.norm.weight",)
    assert found.unexpected == ("roi_heads.weight",)
    del file["backbone.res2.weight"]
    assert match(BACKBONE, FileKeys(file, heuristics)).share() == 0.5


def test_full_names_of_several_modules_are_compared_with_the_whole_model():
    file = {"backbone.stem.weight": (4,), "backbone.res2.weight": (4,), "neck.other": (4,)}
    found = match(BACKBONE, FileKeys(file))
    assert found.home == ""
    assert found.share() == pytest.approx(2 / 3)


@pytest.mark.parametrize(("others", "home"), [(3, "backbone."), (4, "")])
def test_a_file_matches_a_module_that_has_a_quarter_of_its_names(others, home):
    file = {"stem.weight": (4,), **{f"other{i}.bias": (4,) for i in range(others)}}
    found = match(BACKBONE, FileKeys(file, heuristics=True))
    assert found.home == home
    assert found.share() == (1 / 2 if home else 1 / 3)


def test_only_whole_segments_match():
    found = match(model("backbone.bn1.weight"), FileKeys({"1.weight": (4,)}, heuristics=True))
    assert not found.loaded


def test_the_longest_name_wins_and_no_other_is_tried():
    file = FileKeys({"res2.weight": (9,), "weight": (4,)}, heuristics=True)
    found = match(model("backbone.res2.weight"), file)
    assert not found.loaded
    assert found.wrong_shape == {"backbone.res2.weight": ((9,), (4,))}


def test_one_name_for_two_modules_is_refused():
    file = FileKeys({"norm.weight": (4,)}, heuristics=True)
    with pytest.raises(CheckpointError, match=r"'norm.weight'.*'a.norm.weight'.*'b.norm.weight'"):
        match(model("a.norm.weight", "b.norm.weight"), file)


def test_a_norm_that_matches_in_the_neck_is_doubtful():
    file = FileKeys(
        {"stem.weight": (4,), "res2.weight": (4,), "norm.weight": (4,)}, heuristics=True
    )
    found = match(BACKBONE, file)
    assert found.doubtful == ("neck.norm.weight",)
    rows = {row.name: row for row in found.modules()}
    assert rows["neck"].doubtful == 1
    assert rows["neck"].loaded == 0


def test_a_norm_kept_out_only_by_its_width_is_reported():
    file = FileKeys(
        {"stem.weight": (4,), "res2.weight": (4,), "norm.weight": (96,)}, heuristics=True
    )
    found = match(BACKBONE, file)
    assert found.apart == {"neck.norm.weight": "norm.weight"}
    assert found.unexpected == ("norm.weight",)
    assert "neck.norm.weight" in found.missing


def test_statistics_that_frozen_norms_fill_count_as_missing():
    keys = ModelKeys(
        {"backbone.norm.weight": (4,), "backbone.norm.running_mean": (4,)},
        statistics=frozenset({"backbone.norm.running_mean"}),
    )
    found = match(keys, FileKeys({"norm.weight": (4,)}, heuristics=True))
    assert found.missing == ("backbone.norm.running_mean",)
    assert found.silent == {"backbone.norm.running_mean"}
    assert found.share() == 0.5


def test_a_wrong_shape_is_not_a_missing_key():
    found = match(model("class_embed.weight"), FileKeys({"class_embed.weight": (91,)}))
    assert found.wrong_shape == {"class_embed.weight": ((91,), (4,))}
    assert found.missing == found.unexpected == ()


def test_a_tensor_with_two_names_needs_only_one_of_them():
    keys = ModelKeys({"a.w": (4,), "b.w": (4,)}, ties=(("a.w", "b.w"),))
    found = match(keys, FileKeys({"b.w": (4,)}))
    assert found.loaded == {"a.w": "b.w", "b.w": "b.w"}
    assert match(keys, FileKeys({})).missing == ("a.w", "b.w")


def test_the_prefix_of_a_parallel_model_is_removed_after_the_heuristics():
    keys = model("backbone.w", "head.w")
    exact = match(keys, FileKeys({"module.backbone.w": (4,)}, heuristics=True))
    assert exact.loaded == {"backbone.w": "module.backbone.w"}
    bare = match(keys, FileKeys({"module.w": (4,)}, heuristics=True))
    assert not bare.loaded
    # fvcore strips the prefix beside an empty name too
    beside = match(keys, FileKeys({"": (1,), "module.backbone.w": (4,)}))
    assert beside.loaded == {"backbone.w": "module.backbone.w"}


def test_layers_that_no_file_holds_do_not_count():
    file = FileKeys({"stem.weight": (4,)}, heuristics=True)
    found = match(BACKBONE, file)
    assert found.share() == 0.5
    assert found.share({"backbone.res2.weight"}) == 1


def test_modules_are_counted_in_parts_of_the_backbone_and_whole_elsewhere():
    file = FileKeys({"stem.weight": (4,), "head.weight": (4,)}, heuristics=True)
    found = match(
        model("backbone.stem.weight", "backbone.res2.weight", "transformer.decoder.0.weight"), file
    )
    assert [(row.name, row.loaded, row.missing, row.unexpected) for row in found.modules()] == [
        ("backbone.res2", 0, 1, 0),
        ("backbone.stem", 1, 0, 0),
        ("head", 0, 0, 1),
        ("transformer", 0, 1, 0),
    ]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("conv1_w", "stem.conv1.weight"),
        ("res_conv1_bn_s", "stem.conv1.norm.weight"),
        ("res_conv1_bn_b", "stem.conv1.norm.bias"),
        ("res2_0_branch1_w", "res2.0.shortcut.weight"),
        ("res2_0_branch2a_bn_s", "res2.0.conv1.norm.weight"),
        ("res5_2_branch2c_bn_riv", "res5.2.conv3.norm.running_var"),
        ("fc1000_w", "fc1000.weight"),
        ("pred_w", "linear.weight"),
        ("fpn_inner_res3_3_sum_lateral_w", "fpn_lateral3.weight"),
        ("fpn_res2_2_sum_b", "fpn_output2.bias"),
        ("conv_rpn_fpn2_w", "proposal_generator.rpn_head.conv.weight"),
        ("fc6_b", "box_head.fc1.bias"),
    ],
)
def test_caffe2_names_are_renamed_as_in_detectron2(theirs, ours):
    assert caffe2_name(theirs) == ours


def test_a_caffe2_file_is_matched_under_its_new_names():
    keys = model("backbone.stem.conv1.weight", "backbone.res2.0.conv1.norm.weight")
    file = FileKeys(
        {"conv1_w": (4,), "res2_0_branch2a_bn_s": (4,), "fc1000_b": (1000,)},
        heuristics=True,
        caffe2=True,
    )
    found = match(keys, file)
    assert found.loaded["backbone.stem.conv1.weight"] == "conv1_w"
    assert found.unexpected == ("fc1000_b",)
    assert found.share() == 1


def test_the_background_rows_of_caffe2_heads_are_cut():
    file = FileKeys({"bbox_pred_w": (324, 1024)}, heuristics=True, caffe2=True)
    found = match(model(**{"roi_heads.box_predictor.bbox_pred.weight": (320, 1024)}), file)
    assert found.loaded == {"roi_heads.box_predictor.bbox_pred.weight": "bbox_pred_w"}


def test_two_caffe2_names_that_become_one_are_refused():
    file = FileKeys({"conv1_w": (4,), "conv1.w": (4,)}, heuristics=True, caffe2=True)
    with pytest.raises(CheckpointError, match="both become"):
        match(BACKBONE, file)


def test_counts_by_module_cover_the_home_and_the_modules_beside_it():
    found = Match(
        home="backbone.",
        loaded={
            "backbone.res10.0.weight": "res10.0.weight",
            "backbone.res10.1.weight": "res10.1.weight",
            "backbone.res2.0.weight": "res2.0.weight",
            "neck.0.weight": "0.weight",
        },
        missing=("backbone.res2.1.weight", "backbone.res2.1.bias", "transformer.a.b.weight"),
        silent=frozenset(),
        unexpected=("fc.weight", "fc.bias", "scale", "layer1_extra.weight", "0.weight"),
        wrong_shape={"backbone.stem.conv1.weight": ((1,), (2,))},
        doubtful=("neck.0.weight",),
    )
    assert found.modules() == [
        ModuleCount("0", unexpected=1),
        ModuleCount("backbone.res2", loaded=1, missing=2),
        ModuleCount("backbone.res10", loaded=2),
        ModuleCount("backbone.stem", wrong_shape=1),
        ModuleCount("fc", unexpected=2),
        ModuleCount("layer1_extra", unexpected=1),
        ModuleCount("neck", doubtful=1),
        ModuleCount("scale", unexpected=1),
        ModuleCount("transformer", missing=1),
    ]


@pytest.mark.parametrize(
    ("given", "home", "share"),
    [("neck.", "neck.", 0), ("head.", "backbone.", 1), ("", "backbone.", 1)],
)
def test_a_given_home_counts_where_the_model_has_it(given, home, share):
    file = FileKeys({"backbone.stem.weight": (4,), "backbone.res2.weight": (4,)})
    found = match(BACKBONE, file, given)
    assert (found.home, found.share()) == (home, share)


def test_the_home_of_a_parallel_model_is_found_without_its_prefix():
    file = {"module.stem.weight": (4,), "module.res2.weight": (4,)}
    assert match(BACKBONE, FileKeys(file)).home == "backbone."
    # every name has to have the prefix
    assert match(BACKBONE, FileKeys({**file, "step": ()})).home == ""


@pytest.mark.parametrize(
    ("keys", "names", "home"),
    [
        (("a.b.w", "a.w"), ("w",), "a."),
        (("a.b.w", "b.w"), ("w",), "b."),
        (("a.x", "a.y"), ("a.x", "a.y"), ""),
        (("a.x", "a.y", "b.x"), ("a.x", "a.y"), "a."),
        (("a.x", "b.x"), ("c.z",), ""),
        (("a.x",), (), ""),
        ((), (), ""),
    ],
)
def test_the_home_is_the_outermost_module_that_has_most_of_the_names(keys, names, home):
    found = match(model(*keys), FileKeys(dict.fromkeys(names, (4,))))
    assert found.home == home


def test_nothing_is_loaded_of_an_empty_model():
    assert match(ModelKeys({}), FileKeys({})).share() == 0


def test_names_behind_one_of_another_shape_are_still_matched():
    file = FileKeys({"a.w": (9,), "b.w": (4,)}, heuristics=True)
    found = match(model("backbone.a.w", "backbone.b.w"), file)
    assert found.loaded == {"backbone.b.w": "b.w"}


@pytest.mark.parametrize(
    ("shape", "cut"), [((5, 2), (1, 2)), ((4, 2), (0, 2)), ((3, 2), (0, 2)), ((), ())]
)
def test_no_more_background_rows_are_cut_than_there_are(shape, cut):
    file = FileKeys({"bbox_pred_w": shape, "scale": ()}, heuristics=True, caffe2=True)
    found = match(ModelKeys({"head.bbox_pred.weight": (8, 2), "head.scale": ()}), file)
    assert found.wrong_shape == {"head.bbox_pred.weight": (cut, (8, 2))}
    assert found.loaded == {"head.scale": "scale"}
