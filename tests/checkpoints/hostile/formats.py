"""Files of each format that holds a pickle, with a root object given in opcodes."""

import struct

from tests.checkpoints.crafted import (
    PAIR,
    archive,
    array_call,
    dictionary,
    integer,
    pickled,
    raw,
    tensor_call,
    text,
)

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
FORMATS = ("zip", "stream", "pickle")


def weight(format, **options):
    """The opcodes of a pair of numbers: a tensor, or an array in a plain pickle."""
    if format == "pickle":
        return array_call(raw(PAIR))
    return tensor_call(view=b"N" if format == "stream" else None, **options)


def wrap(format, root, *, storages=None, protocol=4):
    """A file whose root object is made by the given opcodes."""
    storages = {"0": PAIR} if storages is None else storages

    def write(path):
        if format == "zip":
            archive(path, pickled(root, protocol), storages, version=b"3\n")
        elif format == "stream":
            path.write_bytes(stream(root, storages, protocol=protocol))
        else:
            path.write_bytes(pickled(root, protocol))

    return write


def stream(root, storages, *, protocol=4, keys=None, little_endian=True):
    """A file in torch's older format. A storage is its bytes, or its bytes with a false number of
    elements."""
    keys = b"](" + b"".join(map(text, storages)) + b"e" if keys is None else keys
    system = dictionary(little_endian=b"\x88" if little_endian else b"\x89")
    pickles = (integer(MAGIC), integer(PROTOCOL), system, root, keys)
    data = b"".join(pickled(one, protocol) for one in pickles)
    for value in storages.values():
        held, count = value if isinstance(value, tuple) else (value, len(value) // 4)
        data += struct.pack("<q", count) + held
    return data


def keyed(*items):
    """A dict whose keys and values are opcodes."""
    return b"}(" + b"".join(items) + b"u"
