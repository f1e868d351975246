"""Pickles that run a command if a reader calls what they name."""

import pickle
from contextlib import suppress
from pathlib import Path

from tests.checkpoints.crafted import call, dictionary, name, pickled, raw, text
from tests.checkpoints.hostile.formats import stream

_CALL = b"tR"


def attacks(mark):
    """Opcodes by name. Each creates the file `mark` if a reader calls a pickle's globals."""
    command, source = text(f"touch {mark}"), text(f"open({str(mark)!r}, 'w').close()")
    words = b"](" + text("touch") + text(str(mark)) + b"e"
    system, process = name("os", "system"), name("subprocess", "call")
    imported = call(name("builtins", "__import__"), text("os"))
    thing = call(name("builtins", "type"), text("T"), b")", dictionary(__setstate__=system))
    return {
        "os.system": call(system, command),
        "posix.system": call(name("posix", "system"), command),
        "eval": call(name("builtins", "eval"), source),
        "exec": call(name("builtins", "exec"), source),
        "Python 2's eval": call(name("__builtin__", "eval"), source),
        "getattr of an import": call(
            call(name("builtins", "getattr"), imported, text("system")), command
        ),
        "subprocess": call(process, words),
        "INST": b"(" + command + b"ios\nsystem\n",
        "OBJ": b"(" + process + words + b"o",
        "STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93(" + command + _CALL,
        "a dotted STACK_GLOBAL": b"\x8c\x08builtins\x8c\x0deval.__call__\x93(" + source + _CALL,
        "a chain of __reduce__": call(
            call(name("operator", "methodcaller"), text("__call__"), command), system
        ),
        "a partial": call(call(name("functools", "partial"), system, command)),
        "the items of a map": call(
            name("builtins", "list"), call(name("builtins", "map"), system, b"](" + command + b"e")
        ),
        "an OrderedDict of a map": call(
            name("collections", "OrderedDict"),
            call(name("builtins", "filter"), system, b"](" + command + b"e"),
        ),
        "__setstate__": call(thing) + command + b"b",
        "a pickle in a pickle": call(name("pickle", "loads"), raw(pickled(call(system, command)))),
        "torch.load again": call(
            name("torch.storage", "_load_from_bytes"),
            raw(stream(call(system, command), {}, protocol=2)),
        ),
        "a tensor's class": call(
            name("torch._tensor", "_rebuild_from_type_v2"),
            system,
            name("builtins", "int"),
            b"(" + command + b"t",
            b"}",
        ),
        "a tensor's hooks": call(
            name("torch._utils", "_rebuild_parameter"),
            call(system, command),
            b"\x89",
            call(name("collections", "OrderedDict")),
        ),
        "an import": name(__name__, "marker") + b"(" + text(str(mark)) + _CALL,
    }


def marker(path):
    """The function that a pickle calls by name."""
    Path(path).touch()


def unrestricted(opcodes):
    """Unpickle as Python does, which runs the code in the pickle."""
    for protocol in (2, 4):
        # the content after the command does not matter
        with suppress(Exception):
            pickle.loads(pickled(opcodes, protocol))
