import pytest
from hypothesis import given
from hypothesis import strategies as st

from detrex_hub.mapping import collapse, indices, template


@pytest.mark.parametrize(
    ("text", "key", "bound"),
    [
        ("conv1.*", "conv1.weight", {"*0": "weight"}),
        ("conv1.*", "conv1.a.b", None),
        ("conv1.**", "conv1.a.b", {"*0": "a.b"}),
        (
            "layer{stage}.{block}.bn{i}.*",
            "layer1.22.bn3.bias",
            {"stage": 1, "block": 22, "i": 3, "*0": "bias"},
        ),
        ("res{stage+1}.x", "res2.x", {"stage": 1}),
        ("res{stage+1}.x", "res0.x", None),
        ("layers.{i}", "layers.01", None),
        ("layers.{i}", "layers.x", None),
        ("layers.{i}.{i}", "layers.1.1", {"i": 1}),
        ("layers.{i}.{i}", "layers.1.2", None),
        ("a.b", "a.b.c", None),
        ("a.b", "axb", None),
    ],
)
def test_a_template_binds_whole_keys(text, key, bound):
    assert template(text).match(key) == bound


def test_a_template_that_was_not_used_for_long_is_not_kept_and_made_again():
    made = template("layers.{i}.weight")
    assert template("layers.{i}.weight") is made
    for number in range(5000):
        template(f"layers.{number}.{{i}}")
    again = template("layers.{i}.weight")
    assert again is not made
    assert again == made
    assert again.match("layers.3.weight") == {"i": 3}


def test_the_double_star_must_come_last():
    with pytest.raises(ValueError, match="must come last"):
        template("a.**.b").match("a.x.b")


@given(
    stage=st.integers(0, 99),
    block=st.integers(0, 999),
    word=st.from_regex(r"[a-z_]{1,9}", fullmatch=True),
)
def test_filling_is_the_inverse_of_matching(stage, block, word):
    source, target = template("layer{s}.{b}.*"), template("res{s+1}.{b}.*")
    key = f"layer{stage}.{block}.{word}"
    there = target.fill(source.match(key))
    assert there == f"res{stage + 1}.{block}.{word}"
    assert source.fill(target.match(there)) == key


def test_indices_are_sorted_and_distinct():
    keys = ["a.10.w", "a.2.w", "a.2.b", "b.7.w"]
    assert indices(keys, "a.{i}.w") == (2, 10)


def test_collapse_folds_integers_into_ranges():
    keys = [f"layers.{i}.fc{j}.weight" for i in (0, 1, 2, 5) for j in (1, 2)] + ["norm.weight"]
    assert collapse(keys) == [
        "layers.{0..2,5}.fc1.weight",
        "layers.{0..2,5}.fc2.weight",
        "norm.weight",
    ]


def test_collapse_keeps_a_single_index():
    assert collapse(["a.3.weight"]) == ["a.3.weight"]


@given(st.lists(st.from_regex(r"[a-c](\.([0-9]|[a-c])){0,4}", fullmatch=True), max_size=40))
def test_collapse_never_grows(keys):
    assert len(collapse(keys)) <= len(set(keys))
