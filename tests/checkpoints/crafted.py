"""Files written byte by byte, with content that no library writes."""

import struct
import zipfile
import zlib

import numpy as np

from detrex_hub.checkpoints import Tensor
from detrex_hub.specs import TensorSpec

OUR_DTYPES = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
}


def tensor(key, array, pieces=1):
    """A numpy array as a `Tensor` that yields about the given number of pieces."""
    spec = TensorSpec(OUR_DTYPES[array.dtype.name], array.shape)
    data = np.ascontiguousarray(array).tobytes()
    step = -(-len(data) // pieces) or 1
    return Tensor(key, spec, lambda: (data[i : i + step] for i in range(0, len(data), step)))


def torch_bytes(tensor):
    """A torch tensor's elements, row by row."""
    import torch

    # `contiguous` keeps odd strides of dimensions of one element
    whole = tensor.detach().clone(memory_format=torch.contiguous_format)
    return whole.reshape(-1).view(torch.uint8).numpy().tobytes()


# --- pickles -------------------------------------------------------------------------------------


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value):
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def call(function, *args):
    return function + b"(" + b"".join(args) + b"tR"


def numbers(*values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def dictionary(**items):
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def pickled(value, protocol=2):
    return b"\x80" + bytes([protocol]) + value + b"."


def storage_id(key=None, numel=None, kind="FloatStorage", *, view=None):
    """The opcodes of a storage, by default ``0`` with two elements. torch's older stream has
    another field, which is mostly None."""
    key = text("0") if key is None else key
    numel = integer(2) if numel is None else numel
    fields = (text("storage"), name("torch", kind), key, text("cpu"), numel)
    return b"(" + b"".join(fields) + (view or b"") + b"tQ"


def tensor_call(
    key="0", shape=(2,), strides=(1,), offset=0, numel=2, kind="FloatStorage", view=None
):
    """The opcodes of `torch._utils._rebuild_tensor_v2` over a storage."""
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage_id(text(key), integer(numel), kind, view=view),
        integer(offset),
        numbers(*shape),
        numbers(*strides),
        b"\x89",
        call(name("collections", "OrderedDict")),
    )


def array_call(data, shape=(2,), code="f4", order="<", fortran=False):
    """The opcodes of a numpy array whose data is the given opcodes."""
    made = call(
        name("numpy.core.multiarray", "_reconstruct"),
        name("numpy", "ndarray"),
        numbers(0),
        text("b"),
    )
    dtype = call(name("numpy", "dtype"), text(code), integer(0), integer(1))
    state = b"(" + integer(3) + text(order) + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"t"
    flag = b"\x88" if fortran else b"\x89"
    return made + b"(" + integer(1) + numbers(*shape) + dtype + state + b"b" + flag + data + b"tb"


def raw(data):
    return b"B" + struct.pack("<I", len(data)) + data


# --- archives ------------------------------------------------------------------------------------

PAIR = struct.pack("<2f", 1.0, 2.0)


def archive(path, index, storages=None, **others):
    """A torch archive around an index (a whole pickle)."""
    members = {"a/data.pkl": index}
    members |= {f"a/data/{key}": data for key, data in (storages or {}).items()}
    members |= {f"a/{key}": data for key, data in others.items()}
    with zipfile.ZipFile(path, "w") as written:
        for member, data in members.items():
            written.writestr(zipfile.ZipInfo(member), data)
    return path


def good_archive(path):
    """Two named views of one pair of numbers."""
    index = pickled(dictionary(model=dictionary(w=tensor_call())))
    return archive(path, index, {"0": PAIR}, version=b"3\n")


def entry(name, offset, nbytes, crc=0, flags=0, method=0, packed=None):
    """One record of an archive's directory."""
    packed = nbytes if packed is None else packed
    fixed = (20, 20, flags, method, 0, 33, crc, packed, nbytes, len(name), 0, 0, 0, 0, 0, offset)
    return struct.pack("<4s6H3L5H2L", b"PK\1\2", *fixed) + name


def local(name, data, method=0):
    crc, length = zlib.crc32(data), len(data)
    header = (20, 0, method, 0, 33, crc, length, length, len(name), 0)
    return struct.pack("<4s5H3L2H", b"PK\3\4", *header) + name + data


def end(count, nbytes, offset, comment=b""):
    fixed = (0, 0, count, count, nbytes, offset, len(comment))
    return struct.pack("<4s4H2LH", b"PK\5\6", *fixed) + comment
