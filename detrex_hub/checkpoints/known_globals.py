"""Code of this package for a call of each known global: tensors, arrays, plain values.

Sources: torch/_utils.py, torch/_tensor.py and torch/storage.py (0.4 to 2.13), numpy's
``_core/multiarray`` and ``_core/numeric`` (1.x and 2.x), CPython's ``Objects``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from detrex_hub.checkpoints.arrays import MAX_DIMENSIONS, StoredArray, column_major
from detrex_hub.checkpoints.pickle_machine import Blob, Global, Placeholder, set_items
from detrex_hub.checkpoints.storages import Encoded, FileRange, InMemory, Storage
from detrex_hub.specs import TORCH_DTYPES, TensorSpec


class Unsupported:
    """A tensor of a kind that cannot be converted, and which kind that is."""

    __slots__ = ("quantized", "reason")

    def __init__(self, reason: str, *, quantized: bool = False) -> None:
        self.reason = reason
        self.quantized = quantized

    def set_state(self, state: Any) -> None:
        """Nothing to keep."""


class StorageReference:
    """A torch storage: the place of its bytes, and torch's name of its element type."""

    __slots__ = ("dtype", "storage")

    def __init__(self, storage: Storage, dtype: str) -> None:
        self.storage = storage
        self.dtype = dtype


# torch's typed storages -> torch's name of their element type
STORAGE_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QInt32Storage": "qint32",
    "QUInt8Storage": "quint8",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
    "_UntypedStorage": "uint8",
}

_STORAGES = {
    f"{module}.{name}": dtype
    for module in ("torch", "torch.cuda", "torch.storage")
    for name, dtype in STORAGE_DTYPES.items()
}
_OTHER_DTYPES = ("complex32", "complex128", "qint8", "qint32", "quint8", "quint4x2", "quint2x4")
_DTYPE_ALIASES = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "cfloat": "complex64",
    "cdouble": "complex128",
}


_SIZES = {name: TensorSpec(dtype, ()).itemsize for name, dtype in TORCH_DTYPES.items()}
_SIZES |= {"complex128": 16, "qint32": 4}


def element_size(dtype: str) -> int:
    """Bytes of one element of a torch type."""
    return _SIZES.get(dtype, 1)


def storage_dtype(kind: Any) -> str:
    """The torch type name of a storage's elements, from the global in its persistent id."""
    dtype = _STORAGES.get(kind.name) if isinstance(kind, Global) else None
    if dtype is None:
        raise ValueError("a storage of an unknown type")
    return dtype


def torch_dtype(value: Any) -> str:
    """Torch's name of an element type, from its global; empty for any other global."""
    name = value.name.rpartition(".")[2] if isinstance(value, Global) else ""
    return _DTYPE_ALIASES.get(name, name)


_LARGEST = 2**63
_LONGEST_NAME = 64


def _integers(values: Any, what: str) -> tuple[int, ...]:
    if not isinstance(values, tuple) or len(values) > MAX_DIMENSIONS:
        raise ValueError(f"a tensor with an invalid {what}")
    for n in values:
        if type(n) is not int or not 0 <= n < _LARGEST:
            raise ValueError(f"a tensor with an invalid {what}")
    return values


# --- torch ---------------------------------------------------------------------------------------


def _tensor(
    reference: Any, offset: Any, shape: Any, strides: Any, dtype: str, marks: Any
) -> StoredArray | Unsupported:
    if isinstance(reference, Unsupported):
        return reference
    if not isinstance(reference, StorageReference):
        raise ValueError("a tensor without a storage")
    if isinstance(marks, dict) and (marks.get("conj") or marks.get("neg")):
        return Unsupported("a lazily conjugated or negated tensor")
    if dtype not in TORCH_DTYPES:
        return Unsupported(f"of type torch.{dtype}")
    spec = TensorSpec(TORCH_DTYPES[dtype], _integers(shape, "shape"))
    (start,) = _integers((offset,), "offset")
    return StoredArray(
        reference.storage, spec, start * spec.itemsize, _integers(strides, "strides")
    )


def _rebuild_tensor(reference: Any, offset: Any, shape: Any, strides: Any) -> Any:
    return _tensor(reference, offset, shape, strides, getattr(reference, "dtype", ""), None)


def _rebuild_tensor_v2(
    reference: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    marks: Any = None,
) -> Any:
    return _tensor(reference, offset, shape, strides, getattr(reference, "dtype", ""), marks)


def _rebuild_tensor_v3(
    reference: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    marks: Any = None,
) -> Any:
    return _tensor(reference, offset, shape, strides, torch_dtype(dtype), marks)


def _rebuild_from_type(function: Any, kind: Any, args: Any, state: Any = None) -> Any:
    """A subclass of Tensor, or a tensor with attributes. Only its elements are used."""
    if isinstance(function, Global) and function.build in _TENSOR_BUILDERS:
        return function.build(*args)
    return Unsupported(f"a {getattr(kind, 'name', 'tensor of an unknown class')}")


def _parameter(data: Any = None, *rest: Any) -> Any:
    return data


def _unsupported(reason: str) -> Callable[..., Unsupported]:
    return lambda *args: Unsupported(reason)


def _never_called(*args: Any) -> Any:
    raise ValueError("calls a type that is not a function")


_TENSOR_BUILDERS = (_rebuild_tensor, _rebuild_tensor_v2, _rebuild_tensor_v3, _parameter)


class Device(str):
    """``torch.device("cuda:0")`` as text."""

    __slots__ = ()


def _device(kind: Any, index: Any = None) -> str:
    if not isinstance(kind, str) or len(kind) > _LONGEST_NAME or not isinstance(index, int | None):
        raise ValueError("a device with an invalid name")
    return Device(kind if index is None else f"{kind}:{index}")


# --- numpy ---------------------------------------------------------------------------------------

_NUMPY_DTYPES = {
    "b1": "BOOL",
    "i1": "I8",
    "i2": "I16",
    "i4": "I32",
    "i8": "I64",
    "u1": "U8",
    "u2": "U16",
    "u4": "U32",
    "u8": "U64",
    "f2": "F16",
    "f4": "F32",
    "f8": "F64",
    "c8": "C64",
}

_SCALAR_FORMATS = {
    "BOOL": "?",
    "I8": "b",
    "I16": "h",
    "I32": "i",
    "I64": "q",
    "U8": "B",
    "U16": "H",
    "U32": "I",
    "U64": "Q",
    "F16": "e",
    "F32": "f",
    "F64": "d",
}


class NumpyType:
    """``numpy.dtype``: safetensors' name where there is one, and the byte order."""

    __slots__ = ("big_endian", "code")

    def __init__(self, code: Any = None, *flags: Any) -> None:
        if not isinstance(code, str) or len(code) > _LONGEST_NAME or not code.isprintable():
            raise ValueError("a numpy type with an invalid name")
        self.code = code[1:] if code[:1] in ("<", ">", "|", "=") else code
        self.big_endian = code[:1] == ">"

    @property
    def dtype(self) -> str | None:
        return _NUMPY_DTYPES.get(self.code)

    def set_state(self, state: Any) -> None:
        # (version, byte order, subarray, names, fields, itemsize, alignment, flags)
        if not isinstance(state, tuple) or len(state) < 5:
            raise ValueError("a numpy type with an invalid state")
        self.big_endian = state[1] == ">"
        if state[2] is not None or state[3] is not None:
            self.code = "structured"


class NumpyArray:
    """``numpy.ndarray``, empty until its state is set."""

    __slots__ = ("content",)

    def __init__(self, *args: Any) -> None:
        self.content: StoredArray | Unsupported = Unsupported("an array without content")

    def set_state(self, state: Any) -> None:
        # (version, shape, dtype, is Fortran-ordered, data); version 0 leaves out the version
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("an array with an invalid state")
        shape, dtype, fortran, data = state[-4:]
        self.content = _array(data, dtype, shape, column=bool(fortran))


def _array(data: Any, dtype: Any, shape: Any, *, column: bool) -> StoredArray | Unsupported:
    if not isinstance(dtype, NumpyType):
        raise ValueError("an array without a type")
    if dtype.dtype is None:
        return Unsupported(f"a numpy array of type {dtype.code}")
    spec = TensorSpec(dtype.dtype, _integers(shape, "shape"))
    storage = _storage(data, spec.nbytes)
    if storage.nbytes != spec.nbytes:
        raise ValueError(f"an array of {storage.nbytes} bytes that should be {spec}")
    strides = column_major(spec.shape) if column else None
    return StoredArray(storage, spec, strides=strides, swap=dtype.big_endian)


def _storage(data: Any, nbytes: int) -> Storage:
    if isinstance(data, str | bytes):
        return InMemory(data)
    if not isinstance(data, Blob) or data.is_text:
        raise ValueError("an array whose data is not bytes")
    if data.encoding == "raw":
        return FileRange(data.file, data.offset, data.length)
    # an encoded byte takes one to six bytes: \u00ff
    if not nbytes <= data.length <= 6 * nbytes:
        raise ValueError(f"an array of {nbytes} bytes in a text of {data.length}")
    return Encoded(data.file, data.offset, data.length, data.encoding, nbytes)


def _reconstruct(kind: Any = None, shape: Any = None, code: Any = None) -> Any:
    name = kind.name if isinstance(kind, Global) else ""
    return NumpyArray() if name == "numpy.ndarray" else Unsupported(f"a {name or 'numpy object'}")


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> NumpyArray:
    array = NumpyArray()
    if order not in ("C", "F", "K"):
        raise ValueError("an array of an unknown order")
    content = _array(data, dtype, shape, column=order == "F")
    if order == "K" and axes is not None and isinstance(content, StoredArray):
        # stored row-major with `shape`, then transposed
        axes = _integers(axes, "axes")
        stored = content.spec.shape
        if sorted(axes) != list(range(len(stored))):
            raise ValueError("an array with invalid axes")
        content = StoredArray(
            content.storage,
            TensorSpec(content.spec.dtype, tuple(stored[axis] for axis in axes)),
            strides=tuple(content.strides[axis] for axis in axes),
            swap=content.swap,
        )
    array.content = content
    return array


def _scalar(dtype: Any, data: Any = b"") -> Any:
    """A numpy scalar as a plain number."""
    if isinstance(data, str):
        data = data.encode("latin-1")
    if not isinstance(dtype, NumpyType) or dtype.dtype not in _SCALAR_FORMATS:
        return Placeholder("numpy.scalar")
    order = ">" if dtype.big_endian else "<"
    return struct.unpack(order + _SCALAR_FORMATS[dtype.dtype], data)[0]


# --- Python --------------------------------------------------------------------------------------


def _encode(text: Any, encoding: Any = "utf-8", errors: Any = None) -> Any:
    """``_codecs.encode``: how protocols 0 to 2 write bytes."""
    if encoding not in ("latin1", "latin-1"):
        return Placeholder("_codecs.encode", (text, encoding))
    if isinstance(text, Blob):
        return Blob(text.file, text.offset, text.length, text.encoding)
    return text.encode("latin-1")


def _bytes(data: Any = b"", encoding: Any = "latin-1") -> Any:
    return _encode(data, encoding) if isinstance(data, str) else data


def _ordered_dict(pairs: Sequence[Any] = ()) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    if not pairs:
        return made
    if not isinstance(pairs, list):
        raise ValueError("a dict that is not made of a list of pairs")
    set_items(made, ((key, value) for key, value in pairs))
    return made


def _default_dict(*factory: Any) -> dict[Any, Any]:
    return {}


def _members(items: Any = ()) -> list[Any]:
    if not isinstance(items, tuple | list):
        raise ValueError("a set that is not made of a list")
    return list(items)


def _arguments(*args: Any) -> tuple[Any, ...]:
    return args


def _complex(real: Any = 0.0, imaginary: Any = 0.0) -> complex:
    return complex(real, imaginary)


def _size(values: Any = ()) -> tuple[Any, ...]:
    return _integers(tuple(values), "size")


def _new_object(kind: Any, *args: Any) -> Any:
    """copyreg's ways to make an object: ``_reconstructor`` and ``__newobj__``."""
    if not isinstance(kind, Global):
        raise ValueError("makes an object of no class")
    return Placeholder(kind.name, args)


def _known() -> dict[str, Callable[..., Any]]:
    table: dict[str, Callable[..., Any]] = {
        "_codecs.encode": _encode,
        "builtins.bytearray": _bytes,
        "builtins.bytes": _bytes,
        "builtins.complex": _complex,
        "builtins.frozenset": _members,
        "builtins.object": _never_called,
        "builtins.range": _arguments,
        "builtins.set": _members,
        "builtins.slice": _arguments,
        "collections.OrderedDict": _ordered_dict,
        "collections.defaultdict": _default_dict,
        "copyreg.__newobj__": _new_object,
        "copyreg._reconstructor": _new_object,
        "numpy.dtype": NumpyType,
        "numpy.ndarray": _never_called,
        "torch.Size": _size,
        "torch.Tensor": _unsupported("a tensor without a storage"),
        "torch._tensor._rebuild_from_type": _rebuild_from_type,
        "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
        "torch._utils._rebuild_device_tensor_from_numpy": _unsupported("a tensor of a device"),
        "torch._utils._rebuild_meta_tensor_no_storage": _unsupported("a meta tensor: it is empty"),
        "torch._utils._rebuild_nested_tensor": _unsupported("a nested tensor"),
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._utils._rebuild_qtensor": lambda *args: Unsupported(
            "a quantized tensor", quantized=True
        ),
        "torch._utils._rebuild_sparse_tensor": _unsupported("a sparse tensor"),
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
        "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
        "torch._utils._rebuild_wrapper_subclass": _unsupported("a tensor subclass without data"),
        "torch._utils._rebuild_xla_tensor": _unsupported("a tensor of a device"),
        "torch.device": _device,
        "torch.nn.parameter.Buffer": _parameter,
        "torch.nn.parameter.Parameter": _parameter,
        "torch.per_channel_affine": _never_called,
        "torch.per_tensor_affine": _never_called,
        "torch.serialization._get_layout": _arguments,
    }
    for core in ("core", "_core"):
        table[f"numpy.{core}.multiarray._reconstruct"] = _reconstruct
        table[f"numpy.{core}.multiarray.scalar"] = _scalar
        table[f"numpy.{core}.numeric._frombuffer"] = _frombuffer
    table |= dict.fromkeys(_STORAGES, _never_called)
    for name in (*TORCH_DTYPES, *_OTHER_DTYPES, *_DTYPE_ALIASES):
        table[f"torch.{name}"] = _never_called
    return table


KNOWN: Mapping[str, Callable[..., Any]] = _known()
"""Every interpreted global. Globals that may be named but not called raise an error."""
