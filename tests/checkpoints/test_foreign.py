"""Formats that cannot be read are named, with a working command of their own project."""

import pickle
import re
import shlex
import warnings
import zipfile

import numpy as np
import pytest
import torch

from detrex_hub import checkpoints
from detrex_hub.errors import CheckpointError


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)

    def forward(self, x):
        return self.layer(x)


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        checkpoints.open(path)
    return caught.value


def run(hint):
    """Run the Python of a hint, as a shell would."""
    command = shlex.split(hint[hint.index("python -c") :])
    exec(compile(command[2], "hint", "exec"), {})


def _script(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Small(), torch.zeros(1, 2)), path)


def _quantized(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = torch.quantize_per_tensor(torch.ones(3, 2), 0.5, 0, torch.qint8)
        torch.save({"layer.weight": values, "layer.bias": torch.zeros(3)}, path)


def _packed(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dynamic = torch.ao.quantization.quantize_dynamic(Small(), {torch.nn.Linear})
        torch.save(dynamic.state_dict(), path)


def _exported(path):
    with path.open("wb") as file:
        torch.export.save(torch.export.export(Small(), (torch.zeros(1, 2),)), file)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (_exported, r"a program of torch\.export"),
        (_packed, "quantised tensors of torch, such as 'layer._packed_params"),
        (_script, "is a TorchScript archive, which holds code"),
        (lambda path: torch.save(Small(), path), r"whole pickled module \(.*Small\)"),
        (
            lambda path: torch.save({"epoch": 1, "model": Small()}, path),
            r"whole pickled module \(.*Small\)",
        ),
        (_quantized, "'layer.weight' is a quantized tensor"),
        (
            lambda path: np.savez(
                path.open("wb"), **{"layer.weight": np.ones((3, 2)), "layer.bias": np.zeros(3)}
            ),
            r"NumPy's \.npz archive",
        ),
    ],
    ids=["torch.export", "packed", "TorchScript", "module", "module in a dict", "quantised", "npz"],
)
def test_the_command_in_a_refusal_writes_a_readable_state_dict(tmp_path, write, says):
    path = tmp_path / "my model.pt"
    write(path)
    error = refusal(path)
    assert re.search(says, error.message)
    run(error.hint)
    with checkpoints.open(tmp_path / "my model_state_dict.pth") as written:
        found = {key: spec.shape for key, spec in written.specs.items()}
        assert found.items() >= {"layer.weight": (3, 2), "layer.bias": (3,)}.items()


def _keras(path):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, "{}")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x08\x07\x12\x07pytorch\x1a\x052.0.0" + bytes(90), "is an ONNX model"),
        (b"\x08\x0a:\x80\x10" + bytes(90), "is an ONNX model"),
        (b"\x1c\0\0\0TFL3" + bytes(90), "is a TensorFlow Lite model"),
        (b"GGUF\x03\0\0\0" + bytes(90), "is a GGUF file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "is an HDF5 file"),
        (b"\x0a\x0aResNet-101\xa2\x06\x10" + bytes(90), "is a caffemodel"),
        (b"\x0a\x03VGG\x12\x10" + bytes(90), "is a caffemodel"),
        (bytes([1]) * 90 + bytes.fromhex("57fb808b247547db"), "TensorFlow checkpoint"),
        (_keras, "is a Keras model"),
    ],
)
def test_each_format_has_a_name_and_a_command_of_its_project(tmp_path, content, says):
    path = tmp_path / "it's.bin"
    content(path) if callable(content) else path.write_bytes(content)
    error = refusal(path)
    assert says in error.message
    code = shlex.split(error.hint[error.hint.index("python -c") :])[2]
    compile(code, "hint", "exec")
    assert f'"{path}"' in code


def deepspeed(**more):
    return {"ds_version": "0.16.0", "ds_config": {}, "mp_world_size": 1, **more}


@pytest.mark.parametrize(
    ("content", "says", "command"),
    [
        (
            deepspeed(module={"a.weight": torch.zeros(0), "a.bias": torch.zeros(0)}),
            "ZeRO stage 3",
            "zero_to_fp32",
        ),
        (
            deepspeed(optimizer_state_dict={"zero_stage": 3}),
            "the optimizer's partitions",
            "detrex-hub convert",
        ),
        (
            deepspeed(module={"a.weight": torch.zeros(2)}) | {"mp_world_size": 2},
            "one part of a model",
            "ds_to_universal",
        ),
        ({"a.weight": torch.zeros(2), "a.SCB": torch.zeros(2)}, "quantised modules", "dequantize"),
        ({"a.qweight": torch.zeros(2), "a.qzeros": torch.zeros(2)}, "quantised", "dequantize"),
    ],
)
def test_pieces_of_models_are_named(tmp_path, content, says, command):
    torch.save(content, tmp_path / "x.pt")
    error = refusal(tmp_path / "x.pt")
    assert says in error.message
    assert command in error.hint


def test_a_whole_model_saved_by_deepspeed_is_read(tmp_path):
    torch.save(deepspeed(module={"a.weight": torch.zeros(2)}), tmp_path / "mp_rank_00.pt")
    with checkpoints.open(tmp_path / "mp_rank_00.pt") as opened:
        assert opened.container == "module"


def test_the_model_beside_the_optimizer_is_named(tmp_path):
    torch.save(
        deepspeed(module={"a.weight": torch.ones(2)}), tmp_path / "mp_rank_00_model_states.pt"
    )
    torch.save(deepspeed(optimizer_state_dict={}), tmp_path / "x.pt")
    assert refusal(tmp_path / "x.pt").hint.endswith("/mp_rank_00_model_states.pt")


def test_a_saved_model_of_tensorflow_is_not_called_onnx(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\x12\x90\x10" + bytes(90))
    assert "no known format" in refusal(tmp_path / "saved_model.pb").message


def test_a_pickle_that_starts_like_a_caffemodel_is_read(tmp_path):
    with (tmp_path / "x.pkl").open("wb") as file:
        pickle.dump({"a": np.zeros(2)}, file, protocol=0)
    with checkpoints.open(tmp_path / "x.pkl") as opened:
        assert list(opened.specs) == ["a"]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_shortest_files_are_refused_in_one_line(tmp_path, length):
    for first in range(256):
        (tmp_path / "x").write_bytes(bytes([first, 7, 0x12][:length]))
        assert "\n" not in str(refusal(tmp_path / "x"))
