"""Files of up to 10 MB whose opcodes need far more memory or time than their size suggests."""

import struct

import numpy as np

from tests.checkpoints.crafted import (
    PAIR,
    array_call,
    call,
    integer,
    name,
    numbers,
    pickled,
    raw,
    storage_id,
    text,
)
from tests.checkpoints.hostile.formats import (
    FORMATS,
    MAGIC,
    PROTOCOL,
    keyed,
    stream,
    weight,
    wrap,
)
from tests.checkpoints.hostile.refused import header


def amplifiers():
    """Functions that write the files, by name."""
    found = {}
    for number, (title, value) in enumerate((_values() | _plain_values()).items()):
        # the formats share the interpreter, so each value is tested in one format
        format = FORMATS[number % len(FORMATS)]
        good = text("w") + weight(format)
        found[f"{format}: {title}"] = wrap(format, keyed(good, text("args"), value))
    found["safetensors: 850,000 numbers"] = header(
        "{" + ",".join(f'"{i:05x}":1' for i in range(850_000)) + "}"
    )
    return found | _many_names() | _several_pickles()


def _values():
    """Values made by calls of known and unknown globals, in opcodes."""
    return {
        "a dict of one pair of a known key": b"N)\x86q\0010" + _dict_of_one(4_900_000),
        "a dict of one pair of a tuple": b")N\x86q\0010" + _dict_of_one(4_900_000),
        "objects of nothing": name("a", "B") + b"q\0010](" + b"h\1)R" * 2_000_000 + b"e",
        "objects of objects": name("a", "B") + b")R" * 3_000_000,
        "arrays of one text": _arrays_of_one_text(1_200_000),
        "the state of one array": _state(1000) + b"q\0010" + _empty_array() + b"h\1b" * 3_000_000,
        "the state of one array of 64 dimensions": _state(*(1,) * 64)
        + b"q\0010"
        + _empty_array()
        + b"h\1b" * 3_000_000,
        "parameters of one long tuple": _over_and_over(
            name("torch._tensor", "_rebuild_from_type_v2"),
            name("torch._utils", "_rebuild_parameter")
            + name("a", "B")
            + b"("
            + b"N" * 1_000_000
            + b"t",
            1_490_000,
        ),
        "devices that grow": name("torch", "device")
        + b"q\0010"
        + text("a")
        + b"q\0020"
        + b"h\1h\2K\1\x86Rq\0020" * 900_000,
        "types": name("numpy", "dtype") + text("f4") + b"\x85q\0020q\1" + b"h\1h\2R0" * 1_400_000,
    }


def _plain_values():
    """Values without a call."""
    lines = b"I1\n0" * 500_000
    return {
        "a memo whose keys collide": _colliding_memo(),
        "integer keys that collide": _colliding_keys(),
        "fractions as keys": keyed(
            b"".join(b"G" + struct.pack(">d", i) + b"N" for i in range(900_000))
        ),
        "protocols": b"\x80\4" * 1_000_000 + b"N",
        "numbers that are dropped": b"N0" * 1_000_000 + b"N",
        "elements that are added": b"]" + b"Na" * 1_000_000,
        "entries of the memo that are read": b"N" + b"q\1h\0010" * 400_000,
        "entries of the memo": b"N" + b"\x94" * 9_900_000,
        "lines": lines + b"N",
        "marks that are dropped": b"(1" * 1_000_000 + b"N",
        "dicts": b"](" + b"}" * 9_900_000 + b"e",
        "letters": b"](" + b"\x8c\1a" * 600_000 + b"e",
        "tuples": b"](" + b")\x85" * 4_900_000 + b"e",
        "fractions": b"](" + (b"G" + bytes(8)) * 1_090_000 + b"e",
    }


def _dict_of_one(times):
    """An `OrderedDict` of a list that repeats entry 1 of the memo."""
    return call(name("collections", "OrderedDict"), b"](" + b"h\1" * times + b"e")


def _over_and_over(function, arguments, times):
    """Many calls with the same arguments. Their results are dropped."""
    return b"(" + arguments + b"tq\2" + function + b"q\1" + b"h\1h\2R0" * times


def _empty_array():
    kind = name("numpy", "ndarray")
    return call(name("numpy.core.multiarray", "_reconstruct"), kind, numbers(0), text("b"))


def _state(*shape):
    """The state of an array of bytes, of which only the first shape has 1000."""
    dtype = call(name("numpy", "dtype"), text("u1"), integer(0), integer(1))
    letters = text("a" * int(np.prod(shape)))
    return b"(" + integer(1) + numbers(*shape) + dtype + b"\x89" + letters + b"t"


def _arrays_of_one_text(times):
    kind = b"(" + name("numpy", "ndarray") + numbers(0) + text("b") + b"t"
    made = name("numpy.core.multiarray", "_reconstruct") + b"q\0010" + kind + b"q\0020"
    return made + _state(1000) + b"q\0030](" + b"h\1h\2Rh\3b" * times + b"e"


# --- collisions ----------------------------------------------------------------------------------

# CPython looks for an integer at the slot of its last bits, then at 5 i + perturb + 1, where
# perturb is the integer shifted by five more bits each time. A table of 2**_BITS slots holds as
# many keys as `_chain` has.
_BITS = 17


def _chain():
    """Slots that follow each other once perturb is 0."""
    places = [0]
    while len(places) < 0.6 * 2**_BITS:
        places.append((5 * places[-1] + 1) % 2**_BITS)
    return places


def _late(places, count):
    """Integers for which CPython searches nearly all of the given slots before any other."""
    order = np.full(2**_BITS, 2**_BITS)
    order[places] = np.arange(len(places))
    generator = np.random.default_rng(0)
    found = []
    while len(found) < count:
        keys = generator.integers(2**20, 2**31, 2**20)
        place, perturb, taken = keys % 2**_BITS, keys.copy(), np.ones(len(keys), bool)
        for _ in range(7):
            taken &= order[place] < len(places)
            perturb >>= 5
            place = (5 * place + perturb + 1) % 2**_BITS
        found += np.unique(keys[taken & (order[place] < len(places) // 4)]).tolist()
    return found[:count]


def _colliding_memo():
    """A memo entry that is found only after many others, and is read many times."""
    places = _chain()
    places += _late(places, 1)
    put = b"".join(b"r" + struct.pack("<I", place) for place in places)
    return b"N" + put + (b"j" + struct.pack("<I", places[-1]) + b"0") * 1_500_000


def _colliding_keys():
    places = _chain()
    return keyed(b"".join(integer(key) + b"N" for key in places + _late(places, 8_000)))


# --- names and pickles ---------------------------------------------------------------------------


def _short(i):
    """A different text for each number below 26**4."""
    return b"\x8c\4" + bytes(97 + i // 26**n % 26 for n in range(4))


def _many_names():
    """One value with as many names as fit into 10 MB."""
    names = b"".join(_short(i) + b"h\1" for i in range(450_000))
    known = (
        name("torch._utils", "_rebuild_tensor_v2")
        + b"q\0010"
        + storage_id()
        + b"q\0020"
        + integer(0)
        + b"q\0030"
        + numbers(2)
        + b"q\0040"
        + numbers(1)
        + b"q\0050"
    )
    one = b"h\1(h\2h\3h\4h\5\x89NtR"
    own = keyed(b"".join(_short(i) + one for i in range(450_000)))
    good = text("w") + weight("zip")
    return {
        "zip: a tensor under many names": wrap("zip", weight("zip") + b"q\0010" + keyed(names)),
        "pickle: an array under many names": wrap(
            "pickle", weight("pickle") + b"q\0010" + keyed(names)
        ),
        "zip: values beside a tensor": wrap("zip", b"K\1q\0010" + keyed(good, names)),
        "zip: values beside the weights": wrap(
            "zip", b"K\1q\0010" + keyed(text("model") + keyed(good), names)
        ),
        "zip: many tensors": wrap("zip", known + own),
        "zip: a tensor of 64 dimensions over and over": wrap(
            "zip",
            _over_and_over(
                name("torch._utils", "_rebuild_tensor_v2"),
                storage_id() + integer(0) + numbers(*(1,) * 64) * 2 + b"\x89N",
                1_600_000,
            )
            + b"N",
        ),
        "pickle: many arrays": wrap(
            "pickle",
            keyed(b"".join(_short(i) + array_call(raw(bytes(8))) for i in range(30_000))),
        ),
    }


def _several_pickles():
    """A file in which each pickle holds as much as one pickle may."""
    begin = b"".join(pickled(integer(one)) for one in (MAGIC, PROTOCOL))
    many = b"](" + b"N" * 3_000_000 + b"e"
    lists = b"](" + b"]" * 1_000_000 + b"e"
    again = name("torch.storage", "_load_from_bytes") + b"q\0010"

    def storage(data):
        return b"h\1" + raw(data) + b"\x85R"

    def reading(value):
        """A stream of a storage, after some value that is dropped."""
        return stream(value + b"0" + storage_id(view=b"N"), {"0": PAIR})

    # 2,700 copies of a tuple of 3,000
    busy = b"(" + b"K\1" * 3_000 + b"tq\1" + name("a", "B") + b"q\2" + b"h\2h\1R0" * 2_700
    return {
        "stream: many elements in each pickle": lambda path: path.write_bytes(
            begin + pickled(many) * 3
        ),
        "stream: many lists in each pickle": lambda path: path.write_bytes(
            begin + pickled(lists) * 3
        ),
        "pickle: many lists around a storage of many": wrap(
            "pickle", again + keyed(text("a") + lists, text("b") + storage(reading(lists)))
        ),
        "pickle: storages that take long each": wrap(
            "pickle", again + b"](" + storage(reading(busy)) * 440 + b"e"
        ),
    }
