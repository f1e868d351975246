"""A state dict in several files with an index is read as one checkpoint."""

import json

import pytest
import torch
from safetensors.torch import save_file

from detrex_hub import checkpoints
from detrex_hub.errors import CheckpointError

STATE = {f"layer{i}.weight": torch.full((4, 3), float(i)) for i in range(5)}
INDEX = "model.safetensors.index.json"


def shards(folder, *, write=save_file, suffix="safetensors", index=INDEX, **changes):
    """Two shards and their index; ``changes`` replace entries of the weight map."""
    folder.mkdir(exist_ok=True)
    names = [f"model-{i}-of-2.{suffix}" for i in (1, 2)]
    placed = {key: names[i > 2] for i, key in enumerate(STATE)}
    for name in names:
        write({key: STATE[key] for key in STATE if placed[key] == name}, folder / name)
    listed = {key: name for key, name in {**placed, **changes}.items() if name is not None}
    document = {"metadata": {"total_size": 240}, "weight_map": listed}
    (folder / index).write_text(json.dumps(document, indent=2))
    return folder / index


@pytest.mark.parametrize(
    ("write", "suffix", "index"),
    [(save_file, "safetensors", INDEX), (torch.save, "bin", "pytorch_model.bin.index.json")],
)
def test_an_index_is_read_as_one_checkpoint(tmp_path, write, suffix, index):
    path = shards(tmp_path / "repo", write=write, suffix=suffix, index=index)
    with checkpoints.open(path) as opened:
        assert (opened.format, opened.container) == ("shards", None)
        assert {file.name for file in opened.files} == {
            index,
            f"model-1-of-2.{suffix}",
            f"model-2-of-2.{suffix}",
        }
        assert opened.size == sum(file.stat().st_size for file in path.parent.iterdir())
        for key, value in STATE.items():
            assert opened.read(key) == value.numpy().tobytes()
        # the same offset in two files is not the same tensor
        assert len({opened.identity(key) for key in STATE}) == len(STATE)


def test_equal_offsets_in_two_files_are_different_tensors(tmp_path):
    placed = {}
    for key in ("a", "b"):
        save_file({key: torch.full((4,), 1.0)}, tmp_path / f"{key}.safetensors")
        placed[key] = f"{key}.safetensors"
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": placed}))
    with checkpoints.open(tmp_path / INDEX) as opened:
        assert opened.identity("a") != opened.identity("b")


def test_a_table_may_come_before_the_map(tmp_path):
    path = shards(tmp_path / "repo")
    document = json.loads(path.read_text())
    path.write_text(json.dumps({"metadata": {"x" * 600: 1}, **document}))
    with checkpoints.open(path) as opened:
        assert len(opened.specs) == 5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layer9.weight": "model-1-of-2.safetensors"}, "which lacks 'layer9.weight'"),
        ({"layer0.weight": None}, "which holds beyond the index 'layer0.weight'"),
        ({"layer0.weight": "model-2-of-2.safetensors"}, "is not the index of"),
        ({"layer0.weight": "../secret.safetensors"}, "not in the same folder"),
        ({"layer0.weight": "/etc/passwd"}, "not in the same folder"),
        ({"layer0.weight": "sub/x.safetensors"}, "not in the same folder"),
        ({"layer0.weight": "model-3-of-2.safetensors"}, "needs the file model-3-of-2"),
        ({"layer0.weight": "link.safetensors"}, "symbolic link to a place outside"),
        ({"layer9.weight": INDEX}, "neither a safetensors file nor a torch checkpoint"),
        ({"layer0.weight": 7}, "names no files"),
    ],
)
def test_an_index_that_does_not_match_its_files_is_refused(tmp_path, changes, says):
    save_file({"layer0.weight": torch.zeros(1)}, tmp_path / "secret.safetensors")
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "link.safetensors").symlink_to(tmp_path / "secret.safetensors")
    path = shards(tmp_path / "repo", **changes)
    with pytest.raises(CheckpointError, match=says):
        checkpoints.open(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"weight_map": {}}', "no table weight_map"),
        ('{"weight_map": ', "not JSON"),
        ('{"weight_map": {"a": "b", "a": "c"}}', "occurs twice"),
        ('{"weight_map": {"a": [' + "{}," * 1_200_000, "too much memory"),
        (json.dumps({"weight_map": {f"k{i}": f"f{i}" for i in range(1001)}}), "names 1001 files"),
    ],
)
def test_a_damaged_index_is_refused(tmp_path, text, says):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(CheckpointError, match=says):
        checkpoints.open(tmp_path / INDEX)


def test_a_container_in_shards_is_refused(tmp_path):
    path = shards(tmp_path / "repo")
    with pytest.raises(CheckpointError, match="shards are flat"):
        checkpoints.open(path, container="model")


def test_a_flipped_bit_in_a_shard_is_noticed(tmp_path):
    path = shards(tmp_path / "repo", write=torch.save, suffix="bin")
    shard = path.parent / "model-1-of-2.bin"
    damaged = bytearray(shard.read_bytes())
    at = damaged.index(torch.full((4, 3), 1.0).numpy().tobytes())
    damaged[at] ^= 1
    shard.write_bytes(damaged)
    with checkpoints.open(path) as opened, pytest.raises(CheckpointError, match="checksum"):
        opened.read("layer1.weight")
