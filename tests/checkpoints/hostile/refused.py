"""Files that must be refused, each with the text of its refusal."""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.checkpoints.crafted import (
    PAIR,
    array_call,
    call,
    dictionary,
    end,
    entry,
    integer,
    local,
    name,
    pickled,
    raw,
    tensor_call,
    text,
)
from tests.checkpoints.hostile.formats import FORMATS, PROTOCOL, keyed, stream, weight, wrap


@dataclass(frozen=True)
class Refused:
    """A file, and a regular expression that its refusal matches."""

    name: str
    write: Callable[[Path], object]
    says: str

    def __str__(self) -> str:
        return self.name


def state_dict(format, **weights):
    return dictionary(**({"good": weight(format)} | weights))


# opcodes, alone or beside valid weights, and the refusal in every format
_OPCODES = {
    "an empty pickle": (b"", "damaged"),
    "a call of nothing": (b"R", "damaged"),
    "an unknown opcode": (b"\xff", "unknown opcode 0xff"),
    "an append to a number": (b"K\1K\2a", "appends to a int"),
    "items of a list": (b"]K\1K\2s", "sets items of a list"),
    "an odd number of items": (b"}(K\1u", "sets items of a dict"),
    "a memo that is not there": (b"h\7", "damaged"),
    "a mark that is not there": (b"t", "damaged"),
    "a call without a tuple": (name("a", "b") + b"K\1R", "call without a tuple"),
    "a call of a number": (b"K\1)R", "calls a int"),
    "the state of a number": (b"K\1K\2b", "sets the state of a int"),
    "EXT1": (b"\x82\1", "extension registry"),
    "EXT2": (b"\x83\1\0", "extension registry"),
    "EXT4": (b"\x84\1\0\0\0", "extension registry"),
    "NEXT_BUFFER": (b"\x97", "buffers outside the file"),
    "READONLY_BUFFER": (b"\x98", "buffers outside the file"),
    "a frame longer than the file": (b"\x95" + struct.pack("<Q", 2**60), "truncated"),
    "a text of 2**63 bytes": (b"\x8d" + struct.pack("<Q", 2**63), "truncated"),
    "bytes of 2**64 - 1": (b"\x8e" + b"\xff" * 8, "truncated"),
    "a bytearray of 2**63": (b"\x96" + struct.pack("<Q", 2**63), "truncated"),
    "an integer of 2 GB": (b"\x8b" + struct.pack("<I", 2**31 - 1), "an integer of 2.15 GB"),
    "an integer of no digits": (b"Lnone\n", "an invalid number: 'none'"),
    "a float of no digits": (b"Fone\n", "an invalid number: 'one'"),
    "an integer in a line of a megabyte": (b"I" + b"1" * 2**20 + b"\n", "a line of 1.05 MB"),
    "a line that never ends": (b"S'" + b"a" * 2**12, "truncated"),
    "an unquoted string": (b"Sabc\n", "unquoted string"),
    "text that is no UTF-8": (text(b"\xff\xfe"), "damaged"),
    "a global with a blank": (name("os system", "x"), "a global named 'os system.x'"),
    "a global with a control character": (name("os\x1b[2J", "x"), r"named 'os\\x1b\[2J.x'"),
    "a global whose name is a number": (b"K\1K\2\x93", "whose name is not text"),
    "a persistent line": (b"Psomething\n", "refers to"),
    "a persistent number": (b"K\1Q", "refers to"),
    "a type that is called": (call(name("torch", "float32")), "calls a type"),
    "a device that is a list": (
        call(name("torch", "device"), b"]", b"K\1"),
        "a device with an invalid name",
    ),
    "an array type that commands terminals": (
        call(name("numpy", "dtype"), text("\x1b[31mred"), b"\x89\x88"),
        "a numpy type with an invalid name",
    ),
    "a number of the wrong size": (
        call(
            name("numpy.core.multiarray", "scalar"),
            call(name("numpy", "dtype"), text("f8"), b"\x89\x88"),
            raw(b"abc"),
        ),
        "damaged",
    ),
    "a protocol of the future": (b"\x80\x09", "protocol 9 is unknown"),
}

# a root object by format, and its refusal
_ROOTS = {
    "a key that occurs twice": (
        lambda f: keyed(text("a"), weight(f), text("a"), weight(f)),
        "the key 'a' occurs twice",
    ),
    "a key that is a number": (
        lambda f: keyed(text("good"), weight(f), integer(5), weight(f)),
        "the key of a tensor is int, not a name",
    ),
    "a key that is a tuple": (
        lambda f: keyed(text("good"), weight(f), b"(" + text("a") + b"K\1t", weight(f)),
        "the key of a tensor is tuple, not a name",
    ),
    "a key of a megabyte": (
        lambda f: keyed(text("good"), weight(f), text("a" * 2**20), weight(f)),
        "the key of a tensor is text of length 1048576, not a name",
    ),
    "a key of half a character": (
        lambda f: keyed(text(b"w\xed\xa0\x80"), weight(f)),
        r"the key 'w\\ud800' is not valid text",
    ),
    "no dict": (lambda f: weight(f), "holds no state dict but tensor"),
    "a dict of itself": (lambda f: b"}q\0" + text("a") + b"h\0s", "holds no state dict"),
    "numbers instead of tensors": (
        lambda f: keyed(text("w"), integer(1)),
        "holds no state dict, only 'w'",
    ),
    "a whole module": (
        lambda f: keyed(
            text("model"),
            name("torch.nn", "Linear") + b")\x81" + dictionary(_modules=b"}") + b"b",
        ),
        r"whole pickled module \(torch.nn.Linear\)",
    ),
}

_TENSORS = {
    "a negative size": ({"shape": (-1,)}, "invalid shape"),
    "a negative stride": ({"strides": (-1,)}, "invalid strides"),
    "a negative offset": ({"offset": -1}, "invalid offset"),
    "an offset of 2**62": ({"offset": 2**62}, "reaches outside its storage"),
    "an offset of 2**63": ({"offset": 2**63}, "invalid offset"),
    "an offset just too far": ({"offset": 1}, "reaches outside its storage"),
    "a stride of 2**62": ({"strides": (2**62,)}, "reaches outside its storage"),
    "a size of 2**40": ({"shape": (2**40,)}, "reaches outside its storage"),
    "a view of 2**60 elements of one": (
        {"shape": (2**30, 2**30), "strides": (0, 0)},
        "its tensors claim 4.61 EB",
    ),
    "no element, sizes beyond 2**63": (
        {"shape": (2**32, 0, 2**32), "strides": (0, 0, 0)},
        "impossible sizes",
    ),
    "two sizes, one stride": ({"shape": (1, 2)}, "has 2 dimensions and 1 strides"),
    "65 dimensions": ({"shape": (1,) * 65, "strides": (1,) * 65}, "invalid shape"),
    "a storage that claims more": ({"numel": 3}, "has two sizes"),
    "a storage that claims less": ({"numel": 1}, "has two sizes"),
    "a storage of a negative size": ({"numel": -2}, "two sizes|invalid size"),
    "a storage of another type's size": ({"kind": "DoubleStorage"}, "has two sizes|two types"),
    "a storage that is not there": ({"key": "7"}, "'7'"),
    "a storage of no known type": ({"kind": "system"}, "a storage of an unknown type"),
}


def _refused():
    found = []
    for format in FORMATS:
        for title, (code, says) in _OPCODES.items():
            root = keyed(text("a"), code) if code else b""
            found.append(Refused(f"{format}: {title}", wrap(format, root), says))
        for title, (make, says) in _ROOTS.items():
            root = make(format)
            storages = {"0": PAIR} if b"storage" in root else {}
            write = wrap(format, root, storages=storages)
            found.append(Refused(f"{format}: {title}", write, says))
    for format in ("zip", "stream"):
        for title, (options, says) in _TENSORS.items():
            root = state_dict(format, bad=weight(format, **options))
            found.append(Refused(f"{format}: {title}", wrap(format, root), says))
        two_types = state_dict(format, bad=weight(format, kind="IntStorage"))
        found.append(Refused(f"{format}: two types", wrap(format, two_types), "is of two types"))
        over = {"shape": (2**10, 2**10), "strides": (2**10 - 1, 2), "numel": 2**21}
        found.append(
            Refused(
                f"{format}: a view that overlaps itself",
                wrap(
                    format,
                    dictionary(bad=weight(format, **over)),
                    storages={"0": bytes(2**23)},
                ),
                "is a view that overlaps itself",
            )
        )
    found += [Refused(f"pickle: {title}", *rest) for title, rest in _arrays().items()]
    found += [Refused(f"zip: {title}", *rest) for title, rest in _archives().items()]
    found += [Refused(f"stream: {title}", *rest) for title, rest in _streams().items()]
    found += [Refused(f"safetensors: {title}", *rest) for title, rest in _headers().items()]
    return found


# --- arrays, archives, streams, headers ----------------------------------------------------------


_FROM_BYTES = name("torch.storage", "_load_from_bytes")


def _arrays():
    def of(data, **options):
        return wrap("pickle", dictionary(w=array_call(data, **options)))

    no_type = call(name("numpy", "dtype"), integer(4))
    made = call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), b")", b"N")
    return {
        "an array shorter than its shape": (of(raw(PAIR), shape=(3,)), "8 bytes that should be"),
        "an array longer than its shape": (of(raw(PAIR), shape=(1,)), "8 bytes that should be"),
        "an array of a negative size": (of(raw(PAIR), shape=(-2,)), "invalid shape"),
        "an array of 2**62 elements": (of(raw(b""), shape=(2**31, 2**31)), "0 bytes that should"),
        "an array of objects": (of(b"](NNe", code="O8"), "a numpy array of type O8"),
        "an array in text": (of(text("a" * 2000)), "an array whose data is not bytes"),
        "an array of no type": (
            wrap("pickle", dictionary(w=no_type)),
            "numpy type with an invalid name",
        ),
        "an array of a state that is a number": (
            wrap("pickle", dictionary(w=made + integer(1) + b"b")),
            "invalid state",
        ),
        "an array that was never filled": (
            wrap("pickle", dictionary(w=made)),
            "an array without content",
        ),
        "a torch storage that is no stream": (
            wrap(
                "pickle", dictionary(w=call(name("torch.storage", "_load_from_bytes"), raw(PAIR)))
            ),
            "holds torch tensors|is not a checkpoint|refused",
        ),
    }


INDEX = pickled(dictionary(model=dictionary(w=tensor_call())))


def zipped(*members, **options):
    """An archive written by the standard library."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", **options) as written:
        for member, data in members:
            written.writestr(zipfile.ZipInfo(member), data, options.get("compression"))
    return held.getvalue()


_GOOD = (("a/data.pkl", INDEX), ("a/data/0", PAIR))


def _damaged_zip(change):
    def write(path):
        data = bytearray(zipped(*_GOOD))
        change(data)
        path.write_bytes(data)

    return write


def _patch(at, offset, value, *, last=False):
    """Overwrite some bytes after a signature."""

    def change(data):
        place = (data.rindex(at) if last else data.index(at)) + offset
        data[place : place + len(value)] = value

    return _damaged_zip(change)


def _by_hand(*members, entries=None, count=None):
    """An archive with the given directory."""

    def write(path):
        data, listed = b"", []
        for member, content in members:
            listed.append((member, len(data), len(content)))
            data += local(member, content)
        listed = entries(listed) if entries else listed
        directory = b"".join(entry(*one) for one in listed)
        closing = end(len(listed) if count is None else count, len(directory), len(data))
        path.write_bytes(data + directory + closing)

    return write


def _archives():
    def named(member):
        return lambda path: path.write_bytes(zipped(*_GOOD, (member, b"x")))

    def cut(at):
        return lambda path: path.write_bytes(zipped(*_GOOD)[: int(len(zipped(*_GOOD)) * at)])

    def same_place(listed):
        # every member has the same bytes of the file: small, and endless after unpacking
        return [
            (b"a/data.pkl", *listed[0][1:]),
            *((b"a/data/%d" % i, *listed[1][1:]) for i in range(9)),
        ]

    raw_index, raw_pair = (b"a/data.pkl", INDEX), (b"a/data/0", PAIR)
    deflated = {"compression": zipfile.ZIP_DEFLATED}
    return {
        "cut after a quarter": (cut(0.25), "truncated"),
        "cut in the middle": (cut(0.5), "truncated"),
        "without its last byte": (lambda p: p.write_bytes(zipped(*_GOOD)[:-1]), "truncated"),
        "bytes behind its end": (
            lambda p: p.write_bytes(zipped(*_GOOD) + b"more"),
            "directory is invalid",
        ),
        "bytes before its start": (
            lambda p: p.write_bytes(b"PK\3\4" + zipped(*_GOOD)),
            "directory is invalid",
        ),
        "two members of one name": (
            _by_hand(raw_index, raw_pair, raw_pair),
            "two archive members are named 'a/data/0'",
        ),
        "a member outside": (named("../../etc/passwd"), r"member named '\.\./"),
        "a member outside of a folder": (named("a/../../b"), r"member named 'a/\.\./"),
        "an absolute member": (named("/etc/passwd"), "member named '/etc"),
        "a member with a backslash": (_by_hand(raw_index, (b"a\\..\\b", b"")), r"member named 'a"),
        "a member with a NUL": (_by_hand(raw_index, (b"a/b\0c", b"")), r"member named 'a/b\\x00c'"),
        "a member of no text": (_by_hand(raw_index, (b"\xff\xfe", b"")), "directory is invalid"),
        "an encrypted member": (
            _by_hand(raw_index, raw_pair, entries=lambda all: [all[0], (*all[1], 0, 1)]),
            "'a/data/0' is encrypted",
        ),
        "a compressed index": (
            lambda p: p.write_bytes(zipped(*_GOOD, **deflated)),
            "'a/data.pkl' is compressed",
        ),
        "members that are the same bytes": (
            _by_hand(raw_index, raw_pair, entries=same_place),
            "overlaps what follows it",
        ),
        "a member longer than the file": (
            _by_hand(raw_index, raw_pair, entries=lambda all: [all[0], (*all[1][:2], 2**31)]),
            "overlaps what follows it",
        ),
        "a member behind the directory": (
            _by_hand(raw_index, raw_pair, entries=lambda all: [all[0], (all[1][0], 2**31, 8)]),
            "overlaps what follows it",
        ),
        "a directory with another count": (
            _by_hand(raw_index, raw_pair, count=7),
            "directory is invalid",
        ),
        "a directory of 65535 entries": (_by_hand(raw_index, count=0xFFFF), "directory is invalid"),
        "a member of another name in its header": (
            _patch(b"a/data/0", 0, b"a/data/1"),
            "its header has another name",
        ),
        "a member compressed in its header": (
            _patch(b"PK\3\4", 8, b"\x08\0", last=True),
            "its header contradicts",
        ),
        "a member that begins elsewhere": (
            _patch(b"PK\3\4", 28, b"\xff\xff", last=True),
            "its header contradicts",
        ),
        "one bit of the index flipped": (
            _patch(b"FloatStorage", 0, b"D"),
            "'a/data.pkl': its checksum does not match",
        ),
        "one bit of a tensor flipped": (_patch(PAIR, 0, b"\1"), "'a/data/0': its checksum"),
        "on a second disk": (_patch(b"PK\5\6", 4, b"\1\0"), "directory is invalid"),
        "a record of 64 bits that lies": (
            lambda p: p.write_bytes(
                zipped(*_GOOD)[:-22]
                + struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
                + zipped(*_GOOD)[-22:]
            ),
            "directory is invalid|in the middle",
        ),
        "two indices": (
            lambda p: p.write_bytes(zipped(*_GOOD, ("b/data.pkl", INDEX))),
            "torch.save does not write",
        ),
        "no index": (
            lambda p: p.write_bytes(zipped(("a/b", b"x"))),
            "no file in it is a checkpoint",
        ),
        "NumPy's .npz": (lambda p: p.write_bytes(zipped(("w.npy", b"x"))), r"NumPy's \.npz"),
        "TorchScript": (
            lambda p: p.write_bytes(zipped(*_GOOD, ("a/constants.pkl", INDEX))),
            "TorchScript archive, which holds code",
        ),
        "big-endian": (
            lambda p: p.write_bytes(zipped(*_GOOD, ("a/byteorder", b"big"))),
            "is big-endian, which is not supported",
        ),
    }


def _streams():
    good = stream(dictionary(w=tensor_call(view=b"N")), {"0": PAIR})
    root = dictionary(w=tensor_call(view=b"N"))

    def of(data):
        return lambda path: path.write_bytes(data)

    def viewed(*view):
        inside = b"(" + text("view") + b"".join(view) + b"t"
        return stream(dictionary(w=tensor_call(view=inside)), {"0": PAIR})

    def tar(path):
        with tarfile.open(path, "w") as written:
            written.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())

    half = b"G" + struct.pack(">d", 0.5)
    return {
        "cut in its index": (of(good[: len(good) // 2]), "truncated"),
        "cut in a storage": (of(good[:-3]), "truncated: storage '0' of 8 bytes is incomplete"),
        "big-endian": (of(stream(root, {"0": PAIR}, little_endian=False)), "is big-endian"),
        "a storage of two sizes": (of(stream(root, {"0": (PAIR, 5)})), "has two sizes"),
        "a storage of 2**63 elements": (
            of(stream(dictionary(w=tensor_call(numel=2**63, view=b"N")), {"0": PAIR})),
            "invalid size",
        ),
        "a storage that no tensor has": (
            of(stream(root, {"0": PAIR, "1": PAIR})),
            "lists the storage '1' wrongly",
        ),
        "a storage named twice": (
            of(stream(root, {"0": PAIR}, keys=b"](" + text("0") + text("0") + b"e")),
            "lists the storage '0' wrongly",
        ),
        "storages named by lists": (
            of(stream(root, {"0": PAIR}, keys=b"](](]]]]eee"[:-1])),
            "truncated|no text|damaged|refused",
        ),
        "no list of storages": (of(stream(root, {"0": PAIR}, keys=b"N")), "no list of storages"),
        "an unlisted storage": (of(stream(root, {}, keys=b"]")), "storage '0' is missing"),
        "a view of half an element": (of(viewed(half, half)), "a view with an invalid offset"),
        "a view before its storage": (of(viewed(integer(-1), integer(1))), "outside its storage"),
        "a view beyond its storage": (of(viewed(integer(1), integer(2))), "outside its storage"),
        "a view that is a text": (
            of(viewed(text("a"), text("b"))),
            "a view with an invalid offset",
        ),
        "another protocol": (
            of(good.replace(pickled(integer(PROTOCOL), 4), pickled(integer(1002), 4))),
            "is not a checkpoint of torch.save",
        ),
        "a tar archive": (tar, "is a tar archive"),
    }


def header(document, data=b"", *, length=None):
    """A safetensors file with the given header and bytes."""
    encoded = document.encode() if isinstance(document, str) else document
    length = len(encoded) if length is None else length
    return lambda path: path.write_bytes(struct.pack("<Q", length) + encoded + data)


def _headers():
    def one(**changes):
        fields = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes
        return json.dumps({"w": {k: v for k, v in fields.items() if v is not None}})

    def two(first, second):
        return json.dumps(
            {
                key: {"dtype": "U8", "shape": [b - a], "data_offsets": [a, b]}
                for key, (a, b) in {"a": first, "b": second}.items()
            }
        )

    lacks, sense = "lacks dtype, shape or data_offsets", "no valid shape or offsets"
    twice = '{"w":%s,"w":%s}' % (('{"dtype":"U8","shape":[0],"data_offsets":[0,0]}',) * 2)

    def huge(path):
        with path.open("wb") as file:
            file.write(struct.pack("<Q", 100 << 20) + b"{")
            file.truncate(200 << 20)  # a sparse file

    return {
        "a header beyond the file": (header(one(), PAIR, length=2**30), "its header does not end"),
        "a header of 100 MB": (huge, "refused: a header of 105 MB"),
        "no JSON": (header('{"w":', PAIR), "it is not JSON"),
        "text that is no UTF-8": (header(b'{"\xff":1}', PAIR), "it is not JSON"),
        "JSON nested 100,000 deep": (header('{"w":' + "[" * 10**5, PAIR), "it is not JSON"),
        "an integer of 100,000 digits": (
            header('{"w":' + "1" * 10**5 + "}", PAIR),
            "it is not JSON|lacks dtype",
        ),
        "a name twice": (header(twice), "'w' occurs twice"),
        "a field twice": (header('{"w":{"dtype":"U8","dtype":"I8"}}'), "'dtype' occurs twice"),
        "an entry that is a number": (header('{"w":1}', PAIR), lacks),
        "no offsets": (header(one(data_offsets=None), PAIR), lacks),
        "a further field": (header(one(more=1), PAIR), lacks),
        "tensors that overlap": (header(two((0, 6), (4, 8)), PAIR), "overlaps another"),
        "the same bytes twice": (header(two((0, 8), (0, 8)), PAIR), "overlaps another"),
        "a gap": (header(two((0, 2), (4, 8)), PAIR), "leaves a gap"),
        "a tensor of a wrong size": (header(one(shape=[3]), PAIR), r"is F32 \[3\] in 8 bytes"),
        "a tensor beyond the file": (
            header(one(shape=[4], data_offsets=[0, 16]), PAIR),
            "is truncated",
        ),
        "bytes that are no tensor's": (header(one(), PAIR + b"more"), "longer than its tensors"),
        "a tensor that ends before it begins": (header(one(data_offsets=[8, 0]), PAIR), sense),
        "a negative offset": (header(one(data_offsets=[-8, 0]), PAIR), sense),
        "three offsets": (header(one(data_offsets=[0, 4, 8]), PAIR), sense),
        "an offset that is true": (header(one(data_offsets=[False, 8]), PAIR), sense),
        "a negative size": (header(one(shape=[-2]), PAIR), sense),
        "half a size": (header(one(shape=[2.0]), PAIR), sense),
        "a size that is no number": (header(one(shape=["2"]), PAIR), sense),
        "a shape that is NaN": (header(one(shape=float("nan")), PAIR), sense),
        "a size of 2**64": (header(one(shape=[2**64]), PAIR), sense),
        "sizes whose product overflows": (
            header(one(shape=[2**62, 2**62]), PAIR),
            "in 8 bytes",
        ),
        "no element, sizes beyond 2**63": (
            header(one(shape=[0, 2**62, 2**62], data_offsets=[0, 0])),
            "impossible sizes",
        ),
        "65 dimensions": (header(one(shape=[1] * 65), PAIR), sense),
        "an unknown type": (header(one(dtype="F99"), PAIR), "an unknown type 'F99'"),
        "a type that commands terminals": (
            header(one(dtype="\x1b[2J"), PAIR),
            r"unknown type '\\x1b\[2J'",
        ),
        "a type that is a list": (header(one(dtype=["F32"]), PAIR), "an unknown type"),
        "a key of half a character": (
            header('{"\\ud800":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}', PAIR),
            r"'\\ud800' is not valid text",
        ),
        "metadata that is a list": (header('{"__metadata__":[]}'), "not a table of strings"),
        "metadata of numbers": (header('{"__metadata__":{"a":1}}'), "not a table of strings"),
    }


REFUSED = _refused()
