"""Torch's distributed checkpoints are read lazily, without running their pickles."""

import pickle
import warnings

import pytest
import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import filesystem, metadata

from detrex_hub import checkpoints
from detrex_hub.errors import CheckpointError

STATE = {
    "backbone.conv.weight": torch.rand(4, 3, 3, 3).to(memory_format=torch.channels_last),
    "backbone.conv.bias": torch.rand(4).half(),
    "counter": torch.tensor(7),
    "empty": torch.zeros(0, 3),
}


def save(folder, state):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder / ".metadata"


@pytest.fixture
def saved(tmp_path):
    optimizer = {"state": {"w": {"exp_avg": torch.rand(2)}}, "param_groups": [{"lr": 0.1}]}
    return save(tmp_path / "step_5", {"model": STATE, "epoch": 5, "optimizer": optimizer})


def test_checkpoints_from_torch_are_read(saved):
    with checkpoints.open(saved) as opened:
        assert opened.format == "torch-distributed"
        assert opened.containers == {"model": 4}
        assert opened.metadata["epoch"] == 5
        assert opened.placeholders == ()
        for key, value in STATE.items():
            assert opened.specs[key].shape == tuple(value.shape)
            assert opened.read(key) == value.contiguous().numpy().tobytes()


def test_opening_reads_only_the_metadata(tmp_path):
    path = save(tmp_path / "large", {"w": torch.zeros(4 << 20)})
    with checkpoints.open(path) as opened:
        assert opened.size > 16 << 20
        assert opened.bytes_read < 10_000
        opened.read("w")
        assert opened.bytes_read < 17 << 20


class Sharded:
    """Writes a distributed checkpoint of tensors in blocks of several processes."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.items, self.places, self.ends = {}, {}, {}

    def add(self, key, value, blocks):
        chunks = []
        for offsets, sizes in blocks:
            place = tuple(slice(a, a + n) for a, n in zip(offsets, sizes, strict=True))
            chunks.append(metadata.ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)))
            name = f"__{len(chunks) % 3}_0.distcp"
            with (self.folder / name).open("ab") as file:
                start = file.tell()
                torch.save(value[place].clone(), file)
                length = file.tell() - start
            index = metadata.MetadataIndex(key, torch.Size(offsets))
            self.places[index] = filesystem._StorageInfo(name, start, length)
        self.items[key] = metadata.TensorStorageMetadata(
            metadata.TensorProperties(dtype=value.dtype), value.size(), chunks
        )

    def write(self, change=lambda found: None):
        found = metadata.Metadata(self.items, None, self.places)
        change(found)
        path = self.folder / ".metadata"
        path.write_bytes(pickle.dumps(found))
        return path


# the blocks of a (6, 4) tensor under FSDP, tensor parallelism, and both
BLOCKS = {
    "rows": [((0, 0), (2, 4)), ((2, 0), (3, 4)), ((5, 0), (1, 4))],
    "rows and an empty block": [((0, 0), (6, 4)), ((6, 0), (0, 4))],
    "columns": [((0, 0), (6, 1)), ((0, 1), (6, 3))],
    "a grid": [((0, 0), (3, 2)), ((3, 0), (3, 2)), ((0, 2), (3, 2)), ((3, 2), (3, 2))],
}


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_blocks_of_several_processes_are_joined(tmp_path, blocks):
    value = torch.arange(24.0).reshape(6, 4)
    writing = Sharded(tmp_path / "sharded")
    writing.add("w", value, blocks)
    with checkpoints.open(writing.write()) as opened:
        assert opened.read("w") == value.numpy().tobytes()
        rows = b"".join(opened.chunks("w", [(4, 6), (1, 3)]))
        assert rows == value[[4, 5, 1, 2]].numpy().tobytes()


def test_a_large_tensor_in_columns_is_joined_in_bands(tmp_path):
    value = torch.arange(3 << 20, dtype=torch.float32).reshape(1 << 10, -1)
    writing = Sharded(tmp_path / "sharded")
    writing.add("w", value, [((0, 0), (1 << 10, 1000)), ((0, 1000), (1 << 10, 2072))])
    with checkpoints.open(writing.write()) as opened:
        assert opened.read("w") == value.numpy().tobytes()


def _chunk(found, **changes):
    chunk = found.state_dict_metadata["w"].chunks[0]
    for name, value in changes.items():
        object.__setattr__(chunk, name, torch.Size(value))


def _place(found, **changes):
    place = next(iter(found.storage_data.values()))
    for name, value in changes.items():
        object.__setattr__(place, name, value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda found: _chunk(found, sizes=(7, 4)), "do not cover it exactly once"),
        (lambda found: _chunk(found, sizes=(1, 4)), "do not cover it exactly once"),
        (lambda found: _chunk(found, sizes=(2, 4, 1)), "another number of dimensions"),
        (lambda found: _chunk(found, offsets=(1, 0)), "does not list its block"),
        (lambda found: found.state_dict_metadata["w"].chunks.pop(), "do not cover it exactly once"),
        (lambda found: _place(found, relative_path="../x.distcp"), "not in the same folder"),
        (lambda found: _place(found, relative_path="/etc/passwd"), "not in the same folder"),
        (lambda found: _place(found, relative_path="gone.distcp"), "needs the file gone.distcp"),
        (lambda found: _place(found, length=1 << 40), "truncated"),
        (lambda found: _place(found, offset=-1), "invalid"),
        (lambda found: _place(found, transform_descriptors=["zstd"]), "compressed"),
        (lambda found: found.storage_data.clear(), "does not list its block"),
    ],
)
def test_metadata_that_contradicts_itself_is_refused(tmp_path, change, says):
    writing = Sharded(tmp_path / "sharded")
    writing.add("w", torch.rand(6, 4), BLOCKS["rows"])
    with pytest.raises(CheckpointError, match=says):
        checkpoints.open(writing.write(change))


def test_blocks_that_overlap_are_refused(tmp_path):
    writing = Sharded(tmp_path / "sharded")
    overlapping = [((0, 0), (3, 2)), ((0, 1), (3, 2)), ((3, 0), (3, 2)), ((3, 2), (3, 2))]
    writing.add("w", torch.rand(6, 4), overlapping)
    with pytest.raises(CheckpointError, match="do not cover it exactly once"):
        checkpoints.open(writing.write())


def test_a_block_that_repeats_its_elements_is_refused(tmp_path):
    writing = Sharded(tmp_path / "sharded")

    class Expanded:
        dtype = torch.float32

        def size(self):
            return torch.Size((6, 4))

        def __getitem__(self, place):
            return self

        def clone(self):
            return torch.zeros(1).expand(6, 4)

    writing.add("w", Expanded(), [((0, 0), (6, 4))])
    with (
        checkpoints.open(writing.write()) as opened,
        pytest.raises(CheckpointError, match="repeats its elements"),
    ):
        opened.read("w")


def test_items_that_overlap_in_a_file_are_refused(tmp_path):
    writing = Sharded(tmp_path / "sharded")
    writing.add("w", torch.rand(6, 4), [((0, 0), (6, 4))])
    writing.add("v", torch.rand(6, 4), [((0, 0), (6, 4))])
    later = [*writing.places.values()][1]
    object.__setattr__(later, "offset", later.offset - 1)
    with pytest.raises(CheckpointError, match="overlap"):
        checkpoints.open(writing.write())


def test_a_block_of_a_wrong_shape_is_refused_when_it_is_read(tmp_path):
    writing = Sharded(tmp_path / "sharded")
    writing.add("w", torch.rand(6, 4), BLOCKS["rows"])
    wrong = lambda found: found.state_dict_metadata["w"].properties.__dict__.update(  # noqa: E731
        dtype=torch.float64
    )
    with (
        checkpoints.open(writing.write(wrong)) as opened,
        pytest.raises(CheckpointError, match=r"a block of F32 \[2, 4\] lies where one of F64"),
    ):
        opened.read("w")


def test_items_at_the_same_place_are_refused(tmp_path):
    writing = Sharded(tmp_path / "sharded")
    writing.add("w", torch.rand(6, 4), BLOCKS["rows"])
    place = next(iter(writing.places.values()))
    writing.items["v"] = writing.items["w"]
    for index in [*writing.places]:
        writing.places[metadata.MetadataIndex("v", index.offset)] = place
    with pytest.raises(CheckpointError, match=r"at one place|overlap"):
        checkpoints.open(writing.write())


def test_a_flipped_bit_is_found(saved):
    part = saved.parent / "__0_0.distcp"
    damaged = bytearray(part.read_bytes())
    damaged[damaged.index(STATE["backbone.conv.bias"].numpy().tobytes())] ^= 1
    part.write_bytes(damaged)
    with checkpoints.open(saved) as opened, pytest.raises(CheckpointError, match="checksum"):
        opened.read("backbone.conv.bias")


def test_code_in_the_metadata_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('it ran')",))

    writing = Sharded(tmp_path / "sharded")
    writing.add("w", torch.rand(6, 4), BLOCKS["rows"])
    path = writing.write(lambda found: setattr(found, "storage_meta", Bomb()))
    with checkpoints.open(path) as opened:
        assert list(opened.specs) == ["w"]
        assert "builtins.exec" in opened.placeholders


def test_metadata_of_another_class_is_refused(tmp_path):
    path = tmp_path / ".metadata"
    path.write_bytes(pickle.dumps(metadata.MetadataIndex("w")))
    with pytest.raises(CheckpointError, match="is not the metadata of a distributed checkpoint"):
        checkpoints.open(path)


def test_the_metadata_of_many_processes_is_read(tmp_path):
    count = 10_000
    chunks, places = [], {}
    for row in range(count):
        offsets = torch.Size([row])
        chunks.append(metadata.ChunkStorageMetadata(offsets, torch.Size([1])))
        place = filesystem._StorageInfo("a.distcp", 10 * row, 10)
        places[metadata.MetadataIndex("w", offsets)] = place
    properties = metadata.TensorProperties(dtype=torch.uint8)
    items = {"w": metadata.TensorStorageMetadata(properties, torch.Size([count]), chunks)}
    (tmp_path / ".metadata").write_bytes(pickle.dumps(metadata.Metadata(items, None, places)))
    (tmp_path / "a.distcp").write_bytes(bytes(10 * count))
    with checkpoints.open(tmp_path / ".metadata") as opened:
        assert opened.specs["w"].shape == (count,)
