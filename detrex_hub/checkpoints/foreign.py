"""Unsupported formats of weights, and the commands of their projects that write a state dict.

Each has a name, and a command that writes a supported file. The commands need the project's own
library, which is not a dependency of this package.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from detrex_hub.checkpoints.files import File, shown
from detrex_hub.errors import CheckpointError


class Foreign(Struct, frozen=True):
    """A format that cannot be read.

    Args:
        what: a description of the file.
        advice: the text before the command.
        command: a shell command, where ``{file}`` stands for the quoted path and ``{written}`` for
            that of the state dict; ``{folder}`` is the folder of the file.
        code: Python instead, where ``FILE``, ``WRITTEN`` and ``FOLDER`` stand for these paths.
    """

    what: str
    advice: str
    command: str = ""
    code: str = ""

    def hint(self, path: Path) -> str:
        """The advice and the command for one file."""
        written = str(path.with_name(f"{path.name.removesuffix(path.suffix)}_state_dict.pth"))
        if self.code:
            paths = {"FILE": str(path), "WRITTEN": written, "FOLDER": str(path.parent)}
            code = re.sub(
                "|".join(paths),
                lambda found: json.dumps(paths[found[0]], ensure_ascii=False),
                self.code,
            )
            command = f"python -c {shlex.quote(code)}"
        else:
            command = self.command.format(
                file=shlex.quote(str(path)),
                written=shlex.quote(written),
                folder=shlex.quote(str(path.parent)),
            )
        return f"{self.advice}: {command}"


def zero_optimizer(path: Path) -> Foreign:
    """The format of an optimizer file. Stages below 3 leave the whole model beside it."""
    whole = path.with_name(_WHOLE).is_file()
    return _ZERO_OPTIMIZER if whole else replace(ZERO_3, what=_ZERO_OPTIMIZER.what)


def refusal(file: File, found: Foreign) -> CheckpointError:
    """The error about a file of a foreign format."""
    return file.error(found.what, hint=found.hint(file.path))


_TRUSTED = "which runs code of the file. If you trust it, write its state dict"

TORCHSCRIPT = Foreign(
    "is a TorchScript archive, which holds code",
    "Write its state dict with torch",
    code='import torch; torch.save(torch.jit.load(FILE, "cpu").state_dict(), WRITTEN)',
)
EXPORTED = Foreign(
    "is a program of torch.export",
    "Write its state dict with torch",
    code="import torch; torch.save(dict(torch.export.load(FILE).state_dict), WRITTEN)",
)
MODULE = Foreign(
    "holds a whole pickled module",
    f"Only its own classes can load it, {_TRUSTED}",
    code='import torch; m = torch.load(FILE, "cpu", weights_only=False); '
    'm = m if hasattr(m, "state_dict") else '
    'next(v for v in m.values() if hasattr(v, "state_dict")); '
    "torch.save(m.state_dict(), WRITTEN)",
)
ZERO_3 = Foreign(
    "holds partitions of DeepSpeed's ZeRO stage 3, and no whole tensors",
    "Put them together with DeepSpeed",
    command="python -m deepspeed.utils.zero_to_fp32 {folder}/.. {written} && "
    "detrex-hub convert {written}",
)
_WHOLE = "mp_rank_00_model_states.pt"
_ZERO_OPTIMIZER = Foreign(
    "holds the optimizer's partitions of DeepSpeed's ZeRO",
    "The model lies beside it",
    command=f"detrex-hub convert {{folder}}/{_WHOLE}",
)
MODEL_PARALLEL = Foreign(
    "holds one part of a model that DeepSpeed split over several GPUs",
    "Put the parts together with DeepSpeed",
    command="python -m deepspeed.checkpoint.ds_to_universal --input_folder {folder} "
    "--output_folder {written}",
)
PACKED = "_packed_params._packed_params"
"""The ending of a key that holds a quantised layer's weight and bias as a tuple."""
QUANTIZED_TENSORS = Foreign(
    "holds quantised tensors of torch",
    "Dequantise them with torch",
    code='import torch; d = torch.load(FILE, "cpu"); '
    'd = d.get("state_dict", d.get("model", d)); '
    f'd = [(k, v) if torch.is_tensor(v) else (k.replace("{PACKED}", n), t) '
    "for k, v in d.items() if torch.is_tensor(v) or isinstance(v, tuple) "
    'for n, t in ([("", v)] if torch.is_tensor(v) else zip(("weight", "bias"), v))]; '
    "torch.save({k: t.dequantize() for k, t in d if t is not None}, WRITTEN)",
)
_QUANTIZED_MODULES = Foreign(
    "holds quantised modules, as bitsandbytes, GPTQ and AWQ write them",
    "Dequantise the model with transformers",
    code="from transformers import AutoModel; "
    "AutoModel.from_pretrained(FOLDER).dequantize().save_pretrained(WRITTEN)",
)
_ONNX = Foreign(
    "is an ONNX model",
    "Write its tensors with onnx",
    code="import onnx, torch; from onnx.numpy_helper import to_array; "
    "torch.save({t.name: torch.tensor(to_array(t)) for t in onnx.load(FILE).graph.initializer}, "
    "WRITTEN)",
)
_TFLITE = Foreign(
    "is a TensorFlow Lite model",
    "It has no state dict. Convert the model that it was made of, or write its tensors",
    code="import tensorflow as tf, torch; i = tf.lite.Interpreter(FILE); i.allocate_tensors(); "
    'torch.save({d["name"]: torch.tensor(i.get_tensor(d["index"])) '
    'for d in i.get_tensor_details() if d["name"]}, WRITTEN)',
)
_GGUF = Foreign(
    "is a GGUF file",
    "Write its tensors with gguf",
    code="import gguf, torch; "
    "torch.save({t.name: torch.tensor(gguf.dequantize(t.data, t.tensor_type)) "
    "for t in gguf.GGUFReader(FILE).tensors}, WRITTEN)",
)
_HDF5 = Foreign(
    "is an HDF5 file, as Keras and MATLAB write it",
    "Write its tensors with h5py",
    code="import h5py, torch; d = {}; "
    "h5py.File(FILE).visititems(lambda k, v: d.update({k: torch.tensor(v[()])}) "
    'if isinstance(v, h5py.Dataset) and v.dtype.kind == "f" else None); torch.save(d, WRITTEN)',
)
KERAS = Foreign(
    "is a Keras model",
    "Write its weights with Keras",
    code="import keras, torch; m = keras.saving.load_model(FILE, compile=False); "
    "torch.save({w.path: torch.tensor(w.numpy()) for w in m.weights}, WRITTEN)",
)
_CAFFEMODEL = Foreign(
    "is a caffemodel of Caffe",
    "Write its blobs with Caffe and the network's prototxt",
    code='import caffe, torch; n = caffe.Net("deploy.prototxt", FILE, caffe.TEST); '
    'torch.save({k + "." + str(i): torch.tensor(b.data) for k, v in n.params.items() '
    "for i, b in enumerate(v)}, WRITTEN)",
)
NUMPY = Foreign(
    "is NumPy's .npz archive",
    "Write a pickle of its arrays with numpy",
    code='import numpy, pickle; pickle.dump(dict(numpy.load(FILE)), open(WRITTEN, "wb"))',
)
_TENSORFLOW = Foreign(
    "is the index of a TensorFlow checkpoint",
    "Write its tensors with TensorFlow",
    code="import tensorflow as tf, torch; r = tf.train.load_checkpoint(FILE[:-6]); "
    "torch.save({k: torch.tensor(r.get_tensor(k)) for k in r.get_variable_to_shape_map()}, "
    "WRITTEN)",
)

# magic numbers by their offset
_MAGIC = (
    (0, b"GGUF", _GGUF),
    (4, b"TFL3", _TFLITE),
    (0, b"\x89HDF\r\n\x1a\n", _HDF5),
)
# the number of bytes that the checks below need
_SHORTEST = 8
_TENSORFLOW_MAGIC = bytes.fromhex("57fb808b247547db")
# fields of onnx.ModelProto that may follow the first one, ir_version: onnx/onnx.proto
_AFTER_IR_VERSION = frozenset(field << 3 | 2 for field in (2, 3, 4, 6, 7, 8, 14, 20)) | {5 << 3}
# version 1 of a TensorFlow SavedModel has the same beginning; ONNX 1.0 had 3
_IR_VERSIONS = range(3, 33)


def found_in(file: File, head: bytes) -> Foreign | None:
    """The unsupported format of a file by its bytes; None if it is not a known one.

    Args:
        head: the first bytes.
    """
    head = head.ljust(_SHORTEST, b"\0")
    for at, magic, found in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return found
    if head[:1] == b"\x08" and head[1] in _IR_VERSIONS and head[2] in _AFTER_IR_VERSION:
        return _ONNX
    if head[:1] == b"\x0a" and _is_caffemodel(head):
        return _CAFFEMODEL
    if file.size > 48 and file.read(file.size - 8, 8) == _TENSORFLOW_MAGIC:
        return _TENSORFLOW
    return None


# bitsandbytes: SCB (8 bit), absmax and quant_map (4 bit); GPTQ and AWQ: qweight and qzeros
_OF_QUANTIZED_MODULES = (".SCB", ".weight.absmax", ".weight.quant_map", ".qweight", ".qzeros")


def refuse_quantized(file: File, keys: Iterable[str]) -> None:
    """Refuse the state dict of a model with quantised modules.

    Raises:
        CheckpointError: it has such modules.
    """
    key = next((key for key in keys if key.endswith(_OF_QUANTIZED_MODULES)), None)
    if key is not None:
        what = f"{_QUANTIZED_MODULES.what}, such as {shown(key)}"
        raise refusal(file, replace(_QUANTIZED_MODULES, what=what))


def _is_caffemodel(head: bytes) -> bool:
    """A NetParameter begins with its name, and goes on with layers: field 100, or 2 before 2014.

    Source: caffe/proto/caffe.proto.
    """
    after = 2 + head[1]
    name = head[2:after]
    if head[1] >= 0x80 or not name.isascii() or not name.decode().isprintable():
        return False
    return head[after : after + 2] == b"\xa2\x06" or head[after : after + 1] == b"\x12"
