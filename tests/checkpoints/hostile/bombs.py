"""Small files that need endless memory or hours if a reader follows them naively.

Some of them are valid, and a careful reader can read them.
"""

import struct
import zipfile

from tests.checkpoints.crafted import (
    PAIR,
    call,
    dictionary,
    end,
    entry,
    integer,
    local,
    name,
    pickled,
    raw,
    storage_id,
    tensor_call,
    text,
)
from tests.checkpoints.hostile.formats import FORMATS, keyed, stream, weight, wrap
from tests.checkpoints.hostile.refused import header, zipped

_DOUBLED = 60


def bombs():
    """Functions that write the files, by name."""
    found = {}
    for number, (title, code) in enumerate(_values().items()):
        # the formats share the interpreter, so each value is tested in one format
        format = FORMATS[number % len(FORMATS)]
        good = text("w") + weight(format)
        found[f"{format}: {title}"] = wrap(format, keyed(good, text("args"), code))
    good = text("w") + weight("zip")
    # a dict whose entries are all the dict itself
    itself = b"}q\1(" + _many(1400, lambda i: text(f"{i}{'k' * 1000}") + b"h\1") + b"u"
    found["zip: a dict of itself"] = wrap("zip", itself)
    keys = _many(1_000_000, lambda i: text(f"layers.{i}") + b"N")
    found["zip: a million keys"] = wrap("zip", keyed(keys))
    for title, shared in (
        ("dict", keyed(text("x"), b"N")),
        ("list", b"](" + b"K\1" * 9000 + b"e"),
        ("text", text("a" * 60_000)),
    ):
        names = text("first") + shared + b"q\1" + _many(99_999, lambda i: text(f"{i}") + b"h\1")
        found[f"zip: 100,000 names of one {title}"] = wrap("zip", keyed(good, names))
    found["zip: a storage named by 2**60 letters"] = wrap(
        "zip", dictionary(w=storage_id(_doubling()))
    )
    found["zip: a storage of 2**60 letters"] = wrap(
        "zip", dictionary(w=storage_id(numel=_doubling()))
    )
    found["stream: storages named by 2**60 letters"] = lambda path: path.write_bytes(
        stream(dictionary(w=tensor_call(view=b"N")), {"0": PAIR}, keys=b"](" + _doubling() + b"e")
    )
    found["pickle: a stream named over and over"] = wrap("pickle", _stream_over_and_over())
    found["zip: compressed zeros"] = lambda path: path.write_bytes(
        zipped(("a/data.pkl", bytes(50 << 20)), compression=zipfile.ZIP_DEFLATED)
    )
    found["zip: extra fields of nothing"] = _extra_fields
    found["zip: 300,000 members"] = _members
    empty = '"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    found["safetensors: 150,000 tensors"] = header(
        "{" + ",".join(empty % i for i in range(150_000)) + "}"
    )
    found["safetensors: five million lists"] = header('{"w":[' + "[]," * 5_000_000 + "[]]}")
    found["safetensors: a wide text of 15 MB"] = header(
        '{"__metadata__":{"a":"\U0001f600' + "a" * (15 << 20) + '"}}'
    )
    return found


def _values():
    """Values that are stored beside the weights, in opcodes."""
    return {
        "2**60 lists in 60": _doubling(),
        "a device of 2**60 letters": call(name("torch", "device"), _doubling(), b"K\1"),
        "200,000 lists in each other": b"]" * 200_000 + b"a" * 199_999,
        "200,000 tuples in each other": b")" + b"\x85" * 200_000,
        "100,000 objects in each other": name("a", "B")
        + b"q\0010)"
        + b"q\0020h\1h\2\x85R" * 100_000,
        "sets of one list": _over_and_over(name("builtins", "set"), _pairs(20_000)),
        "dicts of one list": _over_and_over(name("collections", "OrderedDict"), _pairs(20_000)),
        "copies of one tuple": _over_and_over(
            name("torch.serialization", "_get_layout"), b"N" * 200_000
        ),
        "objects of one tuple": _over_and_over(
            name("copyreg", "__newobj__"), name("a", "B") + b"N" * 200_000
        ),
        "encodings of one text": _over_and_over(
            name("_codecs", "encode"), text("a" * 1000) + text("latin1"), 400_000
        ),
        "wide characters": b"](" + text("\U0001f600" + "a" * 1000) * 40_000 + b"e",
        "ten million marks": b"(" * 10_000_000,
        "ten million elements": b"](" + b"N" * 10_000_000 + b"e",
        "integer keys of one hash": keyed(_many(50_000, lambda i: _long(i) + b"N")),
        "tuple keys": keyed(_many(50_000, lambda i: b"K\1" + integer(i) + b"\x86N")),
    }


def _many(count, make):
    return b"".join(map(make, range(count)))


def _long(i):
    data = (i * (2**61 - 1)).to_bytes(12, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def _doubling():
    """A list that holds one list twice, and so on, 60 levels deep: 2**60 elements."""
    return b"]q\1" + b"0](h\1h\1eq\1" * _DOUBLED


def _pairs(count):
    """A list of pairs of distinct keys."""
    return b"](" + _many(count, lambda i: integer(i) + b"K\0\x86") + b"e"


def _over_and_over(function, arguments, times=100_000):
    """A list of the results of very many calls with the same arguments."""
    kept = b"(" + arguments + b"tq\1" + function + b"q\2"
    return kept + b"](" + b"h\2h\1R" * times + b"e\x87"


def _stream_over_and_over():
    index = b"(" + _pairs(50_000) + b"1" + storage_id(view=b"N")
    inner = stream(index, {"0": PAIR}, protocol=2)
    return _over_and_over(name("torch.storage", "_load_from_bytes"), raw(inner))


def _extra_fields(path):
    """Entries with 16,000 empty extra fields each."""
    one = entry(b"a/data.pkl", 0, 0)
    fields = one[:30] + struct.pack("<H", 65532) + one[32:] + bytes(65532)
    data, count = local(b"a/data.pkl", b""), 200
    path.write_bytes(data + fields * count + end(count, len(fields) * count, len(data)))


def _members(path):
    names = [b"a/data/%d" % i for i in range(300_000)]
    data, directory = bytearray(local(b"a/data.pkl", pickled(b"N"))), bytearray()
    for one in names:
        directory += entry(one, len(data), 0)
        data += local(one, b"")
    start = len(data)
    data += directory
    wide = struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, len(names), len(names), len(directory), start
    )
    located = struct.pack("<4sLQL", b"PK\6\7", 0, len(data), 1)
    path.write_bytes(data + wide + located + end(0xFFFF, len(directory), start))
