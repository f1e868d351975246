"""The dict of a checkpoint that holds the weights is found, chosen or refused."""

import collections
import shlex

import pytest
import torch

from detrex_hub import checkpoints
from detrex_hub.errors import CheckpointError


def opened(tmp_path, content, **options):
    torch.save(content, tmp_path / "x.pth")
    with checkpoints.open(tmp_path / "x.pth", **options) as checkpoint:
        return checkpoint


def weights(n=2):
    return collections.OrderedDict((f"layer{i}.weight", torch.ones(2)) for i in range(n))


@pytest.mark.parametrize(
    ("content", "container"),
    [
        (weights(), None),
        ({"model": weights()}, "model"),
        ({"state_dict": weights()}, "state_dict"),
        ({"model_state": weights()}, "model_state"),
        ({"model_state_dict": weights()}, "model_state_dict"),
        ({"module": weights()}, "module"),
        ({"net": weights()}, "net"),
        ({"something": weights()}, "something"),
        ({"model": {"state_dict": weights()}}, "model.state_dict"),
        ({"model": {"anything": weights()}}, "model.anything"),
        ({"ema": weights(), "model": weights()}, "model"),
        ({"state_dict": weights(), "model": weights()}, "model"),
        ({"model": weights(), "mean": torch.zeros(3)}, "model"),
        ({"model": {}, "state_dict": weights()}, "state_dict"),
        ({"model": None, "module": weights()}, "module"),
    ],
)
def test_weights_are_found_in_the_usual_places(tmp_path, content, container):
    checkpoint = opened(tmp_path, content)
    assert checkpoint.container == container
    assert list(checkpoint.specs) == ["layer0.weight", "layer1.weight"]


def test_every_dict_of_tensors_is_listed_and_can_be_chosen(tmp_path):
    content = {
        "model": weights(3),
        "ema_state": weights(4),
        "nested": {"model_ema": weights(5)},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(1)}}, "param_groups": []},
        "unnamed": {"state": {0: torch.zeros(1)}, "param_groups": []},
        "optimizer_ema": {"exp_avg": torch.zeros(1)},
        "scaler": {"scale": torch.zeros(1)},
        "lr_schedulers": [{"x": torch.zeros(1)}],
    }
    checkpoint = opened(tmp_path, content)
    assert checkpoint.containers == {"model": 3, "ema_state": 4, "nested.model_ema": 5}
    for name, count in checkpoint.containers.items():
        chosen = opened(tmp_path, content, container=name)
        assert (chosen.container, len(chosen.specs)) == (name, count)


def test_the_refusal_of_a_missing_container_names_the_existing_ones(tmp_path):
    with pytest.raises(CheckpointError, match=r"at 'ema'; it has 'model' \(2 tensors\)"):
        opened(tmp_path, {"model": weights()}, container="ema")
    with pytest.raises(CheckpointError, match="at 'optimizer'"):
        opened(tmp_path, {"model": weights(), "optimizer": {"a": weights()}}, container="optimizer")


def test_several_dicts_of_unusual_names_need_a_choice(tmp_path):
    content = {"teacher": weights(3), "student": weights(1), "best": torch.tensor(0.9)}
    with pytest.raises(
        CheckpointError,
        match=r"several.*: 'teacher' \(3 tensors\), 'student' \(1 tensor\)\."
        r" .*--container teacher",
    ):
        opened(tmp_path, content)


@pytest.mark.parametrize("name", ["encoder", "teacher", "my weights"])
@pytest.mark.parametrize(
    "beside",
    [
        {"best_acc1": torch.tensor(0.9)},
        {"best_acc1": torch.tensor([0.9]), "epoch": torch.tensor(3)},
        {"mean": torch.zeros(3), "std": torch.ones(3)},
        {"queue": torch.zeros(8, 100)},
        {"meters": {"loss": torch.tensor(0.3), "acc": torch.zeros(5)}},
        {"model": {"temperature": torch.tensor(0.07)}},
        {"params": {"anchors": torch.zeros(9, 2)}},
        {"ema": {"decay": torch.tensor(0.999)}},
    ],
)
def test_the_dict_is_chosen_by_its_content(tmp_path, name, beside):
    assert opened(tmp_path, {**beside, name: weights()}).container == name
    assert opened(tmp_path, {name: weights(), **beside}).container == name


def test_an_ambiguous_top_level_is_not_chosen_automatically(tmp_path):
    assert opened(tmp_path, weights(3) | {"extra": weights(2)}).container is None
    with pytest.raises(CheckpointError, match=r"'' \(2 tensors\), 'extra' \(3 tensors\)"):
        opened(tmp_path, weights(2) | {"extra": weights(3)})
    whole = opened(tmp_path, weights(2) | {"extra": weights(3)}, container="")
    assert whole.container is None
    assert len(whole.specs) == 2


@pytest.mark.parametrize("raw", ["model", "encoder"])
@pytest.mark.parametrize("averaged", ["ema_model", "model_ema", "ema", "swa_state", "avg_model"])
def test_averaged_weights_are_not_chosen_automatically(tmp_path, raw, averaged):
    content = {averaged: weights(3), raw: {"w": torch.ones(2)}}
    assert opened(tmp_path, content).container == raw
    assert opened(tmp_path, {averaged: weights(3)}).container == averaged


def test_a_function_can_choose_the_container(tmp_path):
    content = {"teacher": weights(3), "student": weights(1)}
    assert opened(tmp_path, content, container=lambda counts: min(counts, key=counts.get)).specs


@pytest.mark.parametrize(
    ("content", "named"),
    [({"epoch": 3}, "only 'epoch'"), ({}, "empty dict"), ([1, 2], "list of 2"), (3, "int")],
)
def test_files_without_weights_are_refused(tmp_path, content, named):
    with pytest.raises(CheckpointError, match=named):
        opened(tmp_path, content)


def test_entries_that_are_not_tensors_are_listed(tmp_path):
    content = weights() | {"_extra_state": None, "version": 2, "nested": {"a": 1}}
    checkpoint = opened(tmp_path, {"model": content})
    assert list(checkpoint.specs) == ["layer0.weight", "layer1.weight"]
    assert checkpoint.others == {
        "_extra_state": "NoneType",
        "version": "int",
        "nested": "dict of 1",
    }


def test_attributes_of_a_state_dict_are_ignored(tmp_path):
    state = torch.nn.Linear(2, 2).state_dict()
    assert state._metadata
    assert list(opened(tmp_path, state).specs) == ["weight", "bias"]


def test_keys_are_not_changed(tmp_path):
    keys = ["module", "backbone.0.module", "ünï", "with space", "", "a.b\n"]
    assert list(opened(tmp_path, {key: torch.ones(1) for key in keys}).specs) == keys


def test_an_unknown_tensor_is_refused_with_the_package_s_error(tmp_path):
    torch.save(weights(), tmp_path / "x.pth")
    with checkpoints.open(tmp_path / "x.pth") as checkpoint:
        with pytest.raises(CheckpointError, match="no tensor 'layer9"):
            checkpoint.chunks("layer9.weight")
        with pytest.raises(CheckpointError, match="no tensor 'layer9"):
            checkpoint.identity("layer9.weight")


@pytest.mark.parametrize(
    ("key", "wrapper"),
    [
        ("module.{}", "module."),
        ("_orig_mod.{}", "_orig_mod."),
        ("module._orig_mod.{}", "module._orig_mod."),
        ("_fsdp_wrapped_module.{}", "_fsdp_wrapped_module."),
    ],
)
def test_the_wrapper_of_a_model_is_removed(tmp_path, key, wrapper):
    wrapped = {key.format(name): value for name, value in weights().items()}
    checkpoint = opened(tmp_path, {"model": wrapped})
    assert checkpoint.wrapper == wrapper
    assert list(checkpoint.specs) == ["layer0.weight", "layer1.weight"]
    assert checkpoint.names["layer0.weight"] == key.format("layer0.weight")


def test_wrappers_inside_a_key_and_beside_other_keys_are_removed(tmp_path):
    keys = {
        "backbone._checkpoint_wrapped_module.conv.weight": "backbone.conv.weight",
        "module.head._orig_mod.weight": "head.weight",
        "n_averaged": "n_averaged",
    }
    checkpoint = opened(tmp_path, {key: torch.ones(1) for key in keys})
    assert list(checkpoint.specs) == [*keys.values()]
    assert checkpoint.wrapper == "_checkpoint_wrapped_module.module._orig_mod."


def test_wrappers_stay_where_two_keys_would_become_the_same(tmp_path):
    keys = ["x", "module.x", "module."]
    checkpoint = opened(tmp_path, {key: torch.ones(1) for key in keys})
    assert checkpoint.wrapper == ""
    assert list(checkpoint.specs) == keys


def test_one_state_dict_of_a_list_can_be_chosen(tmp_path):
    content = {"state_dict": [weights(2), weights(3)], "epoch": 3}
    with pytest.raises(CheckpointError) as caught:
        opened(tmp_path, content)
    assert "a list of 2 state dicts at 'state_dict'" in caught.value.message
    assert caught.value.choices == ("--container state_dict.0", "--container state_dict.1")
    assert len(opened(tmp_path, content, container="state_dict.1").specs) == 3
    # only one element of a tuple is a state dict
    assert opened(tmp_path, (weights(), {"lr": 0.1}, 3)).container == "0"
    deep = {"a b": [{"c": ({"d": {"e": [weights(), 5]}},)}]}
    assert opened(tmp_path, deep).container == "a b.0.c.0.d.e.0"


def test_a_dict_that_contains_itself_is_searched_once(tmp_path):
    content = weights() | {"more": {"again": weights(1)}}
    content["more"]["self"] = content["more"]
    assert opened(tmp_path, content).containers == {"": 2, "more.again": 1}


def test_choices_are_quoted_for_a_shell(tmp_path):
    content = {"it's mine": weights(3), "$HOME": weights(3)}
    with pytest.raises(CheckpointError) as caught:
        opened(tmp_path, content)
    for choice, name in zip(caught.value.choices, content, strict=True):
        assert shlex.split(choice) == ["--container", name]


def test_dicts_that_contain_each_other_too_often_are_refused(tmp_path):
    content = weights(1)
    for _ in range(4):
        content = {f"k{number}": content for number in range(40)}
    with pytest.raises(CheckpointError, match="nested dicts hold too many entries"):
        opened(tmp_path, content)
