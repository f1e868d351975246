"""Every job that moves weights reads no byte more often than necessary."""

from __future__ import annotations

import hashlib
import shutil
import tracemalloc
from pathlib import Path

import pytest

from detrex_hub import from_hub, load_state_dict
from detrex_hub.architectures import architecture
from detrex_hub.comparison import diff
from detrex_hub.conversion import convert, prepare
from detrex_hub.exporting import export
from detrex_hub.inspection import inspect
from detrex_hub.repositories import push
from detrex_hub.seeded import SyntheticCheckpoint
from detrex_hub.specs import TensorSpec
from detrex_hub.verification import verify
from tests.checkpoint_files import save, tensors
from tests.counting import counted

WEIGHTS = "model.safetensors"
# the index, the archive's directory and the header of each member
INDEX = 64 << 10


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A ConvNeXt of 10 MB under the name that its authors use."""
    made = architecture("convnext").from_hyper_parameters(
        {"depths": [1, 1, 1, 1], "dims": [48, 96, 192, 384]}
    )
    specs, _ = made.original()
    return save(tmp_path_factory.mktemp("source") / "narrow.pth", tensors(specs), "model")


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory) -> Path:
    folder = convert(source, tmp_path_factory.mktemp("converted") / "narrow").folder
    assert folder is not None
    return folder


@pytest.fixture
def folder(converted, tmp_path, hub) -> Path:
    return Path(shutil.copytree(converted, tmp_path / "narrow"))


def passes(found, path: Path) -> float:
    """How often a file was read, apart from its index."""
    return max(0, found[path.name] - INDEX) / path.stat().st_size


@pytest.mark.parametrize("to", ["out", "out.pth", "out.pkl", "out.safetensors"])
def test_a_conversion_reads_moved_tensors_twice(source, converted, tmp_path, to):
    with counted(source) as found:
        convert(source, tmp_path / to)
    # once to copy it, and once to compare it with the written file
    wanted = 2 * (converted / WEIGHTS).stat().st_size
    if to == "out":
        # and the whole file once for the sha256 in the record
        wanted += source.stat().st_size
    assert abs(found[source.name] - wanted) <= INDEX


def test_written_files_are_read_once(source, tmp_path, monkeypatch):
    from detrex_hub import checkpoints

    opened = []

    def recorded(path, **options):
        opened.append(real(path, **options))
        return opened[-1]

    real = checkpoints.open
    monkeypatch.setattr(checkpoints, "open", recorded)
    convert(source, tmp_path / "out")
    # compared with the source, and its index is read as a load would read it
    read = sum(one.bytes_read for one in opened if one.path.name == WEIGHTS)
    size = (tmp_path / "out" / WEIGHTS).stat().st_size
    assert size - INDEX < read <= size + INDEX


def test_plans_and_inspections_read_only_the_index(source):
    with counted(source) as found:
        prepare(source).checkpoint.close()
        assert found[source.name] <= INDEX
        inspect(source)
    assert found[source.name] <= 2 * INDEX


def test_other_data_in_the_file_is_not_read(source, tmp_path):
    import torch

    whole = torch.load(source, weights_only=False)
    # the optimizer's moments
    whole["optimizer"]["state"] = {
        number: {"exp_avg": tensor.clone(), "exp_avg_sq": tensor.clone()}
        for number, tensor in enumerate(whole["model"].values())
    }
    torch.save(whole, tmp_path / "training.pth")
    with counted(tmp_path / "training.pth") as found:
        done = convert(tmp_path / "training.pth", tmp_path / "out")
    assert found["training.pth"] <= 2 * done.size + INDEX
    assert done.conversion.provenance.sha256 is None


def test_a_load_reads_the_weights_once_and_a_second_one_not_at_all(folder):
    with counted(folder / WEIGHTS) as found:
        path = Path(from_hub(folder))
        assert found[WEIGHTS] <= (folder / WEIGHTS).stat().st_size + INDEX
        before = found[WEIGHTS]
        assert Path(from_hub(folder)) == path
        assert found[WEIGHTS] == before
        load_state_dict(folder)
        assert found[WEIGHTS] <= 2 * (folder / WEIGHTS).stat().st_size + INDEX


def test_an_export_reads_the_weights_twice(folder, tmp_path):
    with counted(folder / WEIGHTS) as found:
        export(folder, tmp_path / "back.pth")
    assert passes(found, folder / WEIGHTS) <= 2


def test_diff_reads_both_files_once(source, converted):
    with counted(source, converted / WEIGHTS) as found:
        assert diff(source, source).equal
        assert passes(found, source) <= 2
        assert not diff(source, converted).different
        assert passes(found, source) <= 3
        assert passes(found, converted / WEIGHTS) <= 1


def test_a_verification_of_the_records_reads_the_weights_once(folder):
    with counted(folder / WEIGHTS) as found:
        verify(folder, repeat=False)
    assert passes(found, folder / WEIGHTS) <= 1


def test_a_push_reads_the_weights_once_before_the_upload(hub, login, folder):
    login("alice")
    weights = folder / WEIGHTS
    with counted(weights) as found:
        push(folder, "alice/narrow", license="mit")
        # hashed, and sent
        assert passes(found, weights) <= 2
        before = found[WEIGHTS]
        hub.storage.forget()
        again = push(folder, "alice/narrow", license="mit")
    assert not again.changed
    assert not hub.storage.seen("PUT")
    assert found[WEIGHTS] - before <= weights.stat().st_size + INDEX


def test_a_push_into_a_folder_reads_each_copy_once(folder, tmp_path):
    root = tmp_path / "hub"
    weights, copy = folder / WEIGHTS, root / "detrex" / "narrow" / WEIGHTS
    push(folder, to=root)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == digest
    with counted(weights, copy) as found:
        assert not push(folder, to=root).changed
    assert found[WEIGHTS] <= 2 * weights.stat().st_size + INDEX


def test_seeded_numbers_are_made_in_pieces():
    checkpoint = SyntheticCheckpoint({"w": TensorSpec("F32", (4000, 1000))}, {})
    checkpoint.read("w")  # numpy is imported
    digest = hashlib.sha256()
    tracemalloc.start()
    for piece in checkpoint.chunks("w"):
        digest.update(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    assert digest.digest() == hashlib.sha256(checkpoint.read("w")).digest()
    rows = b"".join(checkpoint.chunks("w", [(3990, 4000), (0, 1)]))
    assert rows == checkpoint.read("w")[-40_000:] + checkpoint.read("w")[:4000]
