"""Floating point numbers keep their type, or are rounded to the requested one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from detrex_hub.conversion import convert
from detrex_hub.errors import CheckpointError, VerificationError
from detrex_hub.records import load_json
from detrex_hub.verification import verify
from tests.checkpoint_files import save
from tests.situations._models import backbone


@pytest.fixture
def half(tmp_path: Path) -> Path:
    state = {key: tensor.to(torch.bfloat16) for key, tensor in backbone().items()}
    return save(tmp_path / "half.pth", state | {"n_averaged": torch.tensor(3)})


@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_the_numbers_are_rounded_as_by_torch(half: Path, tmp_path: Path, dtype) -> None:
    done = convert(half, tmp_path / "done", dtype=dtype)
    source, made = torch.load(half), load_file(done.path)
    for key, tensor in made.items():
        assert tensor.dtype is (torch.bfloat16 if dtype is None else getattr(torch, dtype))
        assert torch.equal(tensor, source[key].to(tensor.dtype))
    record = load_json(tmp_path / "done" / "conversion.json")
    assert record["dtype"] == {None: None, "float32": "F32", "float64": "F64"}[dtype]
    # the record has the types of the file
    assert record["plan"]["source_tensors"]["stages.0.0.gamma"] == ["BF16", [8]]
    card = (tmp_path / "done" / "README.md").read_text()
    assert ("are BF16, as in the file" in card) == (dtype is None)
    assert ("were rounded from BF16 to" in card) == (dtype is not None)


def test_verify_repeats_the_rounding(half: Path, tmp_path: Path) -> None:
    convert(half, tmp_path / "done", dtype="float32")
    assert verify(tmp_path / "done", source=str(half)).repeated
    record = tmp_path / "done" / "conversion.json"
    for other in ('"F64"', "null", '"I64"'):
        changed = record.read_text().replace('"dtype": "F32"', f'"dtype": {other}')
        assert changed != record.read_text()
        original = record.read_text()
        record.write_text(changed)
        with pytest.raises(VerificationError):
            verify(tmp_path / "done", source=str(half))
        record.write_text(original)


def test_a_conversion_that_overflows_leaves_no_file(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pth", {key: tensor * 1e6 for key, tensor in backbone().items()})
    with pytest.raises(CheckpointError, match="beyond the range of F16") as caught:
        convert(path, tmp_path / "done", dtype="float16")
    assert caught.value.choices == ("--dtype bfloat16", "--dtype float32")
    assert not (tmp_path / "done").exists()


def test_eight_bit_numbers_are_kept_or_rounded(tmp_path: Path) -> None:
    state = {key: tensor.to(torch.float8_e4m3fn) for key, tensor in backbone().items()}
    path = save(tmp_path / "eight.pth", state)
    assert load_file(convert(path, tmp_path / "as_it_is").path)["stages.0.0.gamma"].dtype is (
        torch.float8_e4m3fn
    )
    made = load_file(convert(path, tmp_path / "rounded", dtype="float16").path)
    assert torch.equal(made["stages.0.0.gamma"], state["stages.0.0.gamma"].to(torch.float16))
