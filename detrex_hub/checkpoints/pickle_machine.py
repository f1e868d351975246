"""An interpreter of pickle's opcodes that runs no code.

It builds dicts, lists, strings and numbers. A global is never looked up: those in the table of
`known_globals` are interpreted by code of this package, every other one becomes an inert
`Placeholder`. Long strings are not read. They become a `Blob` with their position.

The meaning of each opcode is documented in CPython's ``pickletools`` module.
"""

from __future__ import annotations

import os
import re
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from detrex_hub.checkpoints.files import File, Window, shown, size

BUDGET = 128 << 20
"""The approximate memory in bytes for the objects of one file's pickles. Slow opcodes are charged
too, so time is limited as well."""

SHORT_TEXT = 1 << 10
SHORT_BYTES = 1 << 6
"""Strings shorter than this are read, longer ones become a `Blob`."""

_LONGEST_INTEGER = 255
_MOST_UNKNOWN = 1000
# the cost of a list element, which may become an entry of a dict with its own key
_ENTRY = 192
# the cost of a tuple element, which is at most copied
_ELEMENT = 16
_STATE = 512
_MODULUS = 2**61 - 1
# below this limit few integers share a slot of a dict, so a search stays short
_LARGEST_KEY = 2**15
_NAME = re.compile(r"[\w<>]+(?:\.[\w<>]+)*")
_PYTHON2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Blob:
    """An unread string: ``raw`` bytes, or text in one of the encodings.

    ``string-escape`` is Python 2's quoted bytes. ``is_text`` says whether the string needs
    ``_codecs.encode`` to become bytes.
    """

    __slots__ = ("encoding", "file", "is_text", "length", "offset")

    def __init__(
        self, file: File, offset: int, length: int, encoding: str, *, is_text: bool = False
    ) -> None:
        self.file = file
        self.offset = offset
        self.length = length
        self.encoding = encoding
        self.is_text = is_text


class Global:
    """A global that a pickle names. ``build`` interprets a call of it; None if it is unknown."""

    __slots__ = ("build", "name")

    def __init__(self, name: str, build: Callable[..., Any] | None) -> None:
        self.name = name
        self.build = build


class Placeholder:
    """A placeholder for the result of an unknown global: its name and arguments."""

    __slots__ = ("args", "items", "members", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.args = args
        self.state: Any = None
        self.items: dict[Any, Any] | None = None
        self.members: list[Any] | None = None


class Machine:
    """Interprets one pickle.

    Args:
        known: ``module.name`` -> a function that interprets a call, as ``build(*args)``.
        persistent: a function that resolves persistent ids; without it such ids are refused.
        placeholders: collects the names of unknown globals, in order.
        budget: the approximate bytes that its objects may take; `left` is the unused part.

    Raises:
        CheckpointError: the pickle is damaged, cut short, or takes more than its budget.
    """

    def __init__(
        self,
        window: Window,
        known: Mapping[str, Callable[..., Any]],
        placeholders: dict[str, None],
        persistent: Callable[[Any], Any] | None = None,
        *,
        budget: int = BUDGET,
    ) -> None:
        self.window = window
        self.known = known
        self.placeholders = placeholders
        self.persistent = persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.globals: dict[tuple[str, str], Global] = {}
        self.allowed = self.left = budget
        # a secret factor, so that no file can choose colliding keys of the memo
        self._factor = int.from_bytes(os.urandom(7), "little") + 1
        self._byte, self._take = window.byte, window.take

    def load(self) -> Any:
        """The object that the pickle describes."""
        window = self.window
        operations = [getattr(self, name, None) for name in _OPERATIONS]
        byte, costs = self._byte, _COSTS
        try:
            while True:
                code = byte()
                if code == _STOP:
                    return self.stack.pop()
                operation = operations[code]
                if operation is None:
                    raise ValueError(f"unknown opcode 0x{code:02x}")
                self.left -= costs[code]
                if self.left < 0:
                    raise _too_much(max(self.allowed, BUDGET))
                operation()
        except EOFError:
            raise window.file.error(
                "is truncated: its pickle does not end", hint="Get the file again"
            ) from None
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
            Warning,
            struct.error,
        ) as error:
            reason = str(error) if type(error) is ValueError else "damaged"
            raise window.file.error(
                f"its pickle was refused at byte {window.tell()}: {reason}"
            ) from None

    def _charge(self, nbytes: int) -> None:
        """Charge the budget before an object is made."""
        self.left -= nbytes
        if self.left < 0:
            raise _too_much(max(self.allowed, BUDGET))

    # --- strings -------------------------------------------------------------------------------

    def _number(self, nbytes: int) -> int:
        return int.from_bytes(self._take(nbytes), "little")

    def _bytes(self, nbytes: int, short: int = SHORT_BYTES) -> None:
        if nbytes < short:
            self.left -= nbytes
            self.stack.append(self._take(nbytes))
        else:
            self.stack.append(Blob(self.window.file, self.window.skip(nbytes), nbytes, "raw"))

    def _latin1(self, nbytes: int) -> None:
        """A Python 2 string, which may be text or bytes. latin-1 keeps both."""
        self._bytes(nbytes, SHORT_TEXT)
        if isinstance(self.stack[-1], bytes):
            self.stack[-1] = self.stack[-1].decode("latin-1")

    def _keep(self, text: str) -> None:
        # one character outside latin-1 makes all characters two or four times as wide
        self.left -= sys.getsizeof(text)
        self.stack.append(text)

    def _text(self, nbytes: int) -> None:
        if nbytes < SHORT_TEXT:
            self._keep(self._take(nbytes).decode("utf-8", "surrogatepass"))
        else:
            offset = self.window.skip(nbytes)
            self.stack.append(Blob(self.window.file, offset, nbytes, "utf-8", is_text=True))

    def _line(self) -> str:
        line = self.window.line(SHORT_TEXT)
        if not isinstance(line, bytes):
            raise ValueError(f"a line of {size(line[1])}")
        self.left -= len(line)
        return line.decode("utf-8")

    def op_bytes1(self) -> None:
        self._bytes(self._byte())

    def op_bytes4(self) -> None:
        self._bytes(self._number(4))

    def op_bytes8(self) -> None:
        self._bytes(self._number(8))

    def op_string1(self) -> None:
        self._latin1(self._byte())

    def op_string4(self) -> None:
        self._latin1(self._number(4))

    def op_text1(self) -> None:
        self._text(self._byte())

    def op_text4(self) -> None:
        self._text(int.from_bytes(self._take(4), "little"))

    def op_text8(self) -> None:
        self._text(self._number(8))

    def op_string_line(self) -> None:
        line = self.window.line(SHORT_TEXT)
        if isinstance(line, bytes):
            import codecs

            if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
                raise ValueError("an unquoted string")
            self.left -= len(line)
            data: bytes = codecs.escape_decode(line[1:-1])[0]
            self.stack.append(data.decode("latin-1"))
        else:
            offset, length = line
            self.stack.append(Blob(self.window.file, offset + 1, length - 2, "string-escape"))

    def op_text_line(self) -> None:
        line = self.window.line(SHORT_TEXT)
        if isinstance(line, bytes):
            self._keep(line.decode("raw-unicode-escape"))
        else:
            self.stack.append(Blob(self.window.file, *line, "raw-unicode-escape", is_text=True))

    # --- numbers -------------------------------------------------------------------------------

    def op_none(self) -> None:
        self.stack.append(None)

    def op_true(self) -> None:
        self.stack.append(True)

    def op_false(self) -> None:
        self.stack.append(False)

    def op_int1(self) -> None:
        self.stack.append(self._byte())

    def op_int2(self) -> None:
        self.stack.append(int.from_bytes(self._take(2), "little"))

    def op_int4(self) -> None:
        self.stack.append(int.from_bytes(self._take(4), "little", signed=True))

    def op_int_line(self) -> None:
        line = self._line()
        self.stack.append(line == "01" if line in ("00", "01") else _parsed(int, line))

    def op_long_line(self) -> None:
        self.stack.append(_parsed(int, self._line().rstrip("L")))

    def op_long1(self) -> None:
        data = self._take(self._byte())
        self.stack.append(int.from_bytes(data, "little", signed=True))

    def op_long4(self) -> None:
        nbytes = self._number(4)
        if nbytes > _LONGEST_INTEGER:
            raise ValueError(f"an integer of {size(nbytes)}")
        self.stack.append(int.from_bytes(self._take(nbytes), "little", signed=True))

    def op_float(self) -> None:
        self.stack.append(struct.unpack(">d", self._take(8))[0])

    def op_float_line(self) -> None:
        self.stack.append(_parsed(float, self._line()))

    # --- collections ---------------------------------------------------------------------------

    def op_mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _marked(self) -> list[Any]:
        items = self.stack
        self.stack = self.below.pop()
        return items

    def op_tuple(self) -> None:
        items = self._marked()
        self.stack.append(tuple(items))

    def op_tuple0(self) -> None:
        self.stack.append(())

    def op_tuple1(self) -> None:
        self.stack[-1] = (self.stack[-1],)

    def op_tuple2(self) -> None:
        last = self.stack.pop()
        self.stack[-1] = (self.stack[-1], last)

    def op_tuple3(self) -> None:
        last, middle = self.stack.pop(), self.stack.pop()
        self.stack[-1] = (self.stack[-1], middle, last)

    def op_list0(self) -> None:
        self.stack.append([])

    # sets are only described, so a list is enough, and no hash is needed
    op_set0 = op_list0

    def op_list(self) -> None:
        items = self._marked()
        self.stack.append(items)

    op_frozenset = op_list

    def op_append(self) -> None:
        item = self.stack.pop()
        self._members().append(item)

    def op_appends(self) -> None:
        items = self._marked()
        self._members().extend(items)

    def _members(self) -> list[Any]:
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            if target.members is None:
                target.members = []
            return target.members
        if not isinstance(target, list):
            raise ValueError(f"appends to a {type(target).__name__}")
        return target

    def op_dict0(self) -> None:
        self.stack.append({})

    def op_dict(self) -> None:
        items = self._marked()
        target: dict[Any, Any] = {}
        self.stack.append(target)
        self._set(items)

    def op_set_item(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._set([key, value])

    def op_set_items(self) -> None:
        self._set(self._marked())

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Placeholder) and target.items is None:
            target.items = {}
        entries = target.items if isinstance(target, Placeholder) else target
        if not isinstance(entries, dict) or len(items) % 2:
            raise ValueError(f"sets items of a {type(target).__name__}")
        self._charge(len(items) // 2 * _ENTRY)
        set_items(entries, zip(items[::2], items[1::2], strict=True))

    # --- stack and memo ------------------------------------------------------------------------

    def op_pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._marked()

    def op_pop_mark(self) -> None:
        self._marked()

    def op_dup(self) -> None:
        self.stack.append(self.stack[-1])

    def op_put1(self) -> None:
        self.memo[self._byte() * self._factor % _MODULUS] = self.stack[-1]

    def op_put4(self) -> None:
        index = int.from_bytes(self._take(4), "little")
        self.memo[index * self._factor % _MODULUS] = self.stack[-1]

    def op_put_line(self) -> None:
        self.memo[self._index() * self._factor % _MODULUS] = self.stack[-1]

    def op_memoize(self) -> None:
        self.memo[len(self.memo) * self._factor % _MODULUS] = self.stack[-1]

    def op_get1(self) -> None:
        self.stack.append(self.memo[self._byte() * self._factor % _MODULUS])

    def op_get4(self) -> None:
        index = int.from_bytes(self._take(4), "little")
        self.stack.append(self.memo[index * self._factor % _MODULUS])

    def op_get_line(self) -> None:
        self.stack.append(self.memo[self._index() * self._factor % _MODULUS])

    def _index(self) -> int:
        line = self._line()
        index: int = _parsed(int, line)
        if not 0 <= index < 2**32:
            raise ValueError(f"an entry {shown(line)} of the memo")
        return index

    # --- objects -------------------------------------------------------------------------------

    def _global(self, module: str, name: str) -> Global:
        found = self.globals.get((module, name))
        if found is None:
            full = f"{_PYTHON2.get(module, module)}.{name}"
            if not _NAME.fullmatch(full):
                raise ValueError(f"a global named {shown(full)}")
            self._charge(len(full))
            found = Global(full, self.known.get(full))
            if found.build is None:
                self.placeholders[full] = None
                if len(self.placeholders) > _MOST_UNKNOWN:
                    raise ValueError(f"names more than {_MOST_UNKNOWN} unknown globals")
            self.globals[module, name] = found
        return found

    def op_global(self) -> None:
        module, name = self._line(), self._line()
        self.stack.append(self._global(module, name))

    def op_stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a global whose name is not text")
        self.stack.append(self._global(module, name))

    def _call(self, function: Any, args: Any) -> Any:
        if not isinstance(args, tuple):
            raise ValueError("a call without a tuple of arguments")
        # an object in the memo can be the arguments of many calls, and each call copies it
        self._charge(_ELEMENT * len(args))
        if isinstance(function, Global) and function.build is not None:
            for arg in args:
                if isinstance(arg, tuple):
                    self._charge(_ELEMENT * len(arg))
                elif isinstance(arg, list | dict):
                    self._charge(_ENTRY * len(arg))
            made = function.build(*args)
            if isinstance(made, str | bytes):
                self._charge(sys.getsizeof(made))
            return made
        if isinstance(function, Global | Placeholder):
            return Placeholder(function.name, args)
        raise ValueError(f"calls a {type(function).__name__}")

    def op_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], args)

    op_new_object = op_reduce

    def op_new_object_ex(self) -> None:
        keywords, args = self.stack.pop(), self.stack.pop()
        if not isinstance(keywords, dict):
            raise ValueError("a call without a dict of keywords")
        made = self._call(self.stack[-1], args)
        self.stack[-1] = made
        if isinstance(made, Placeholder):
            made.args = (*made.args, keywords)

    def op_instance(self) -> None:
        module, name = self._line(), self._line()
        args = tuple(self._marked())
        self.stack.append(self._call(self._global(module, name), args))

    def op_object(self) -> None:
        items = self._marked()
        self.stack.append(self._call(items[0], tuple(items[1:])))

    def op_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            target.state = state
        elif hasattr(target, "set_state"):
            self._charge(_STATE)
            target.set_state(state)
        elif isinstance(target, Global | str | int | float | tuple | None):
            raise ValueError(f"sets the state of a {type(target).__name__}")
        # else attributes of a dict or a tensor, such as a state dict's `_metadata`: not weights

    def op_persistent(self) -> None:
        self.stack[-1] = self._persistent(self.stack[-1])

    def op_persistent_line(self) -> None:
        self.stack.append(self._persistent(self._line()))

    def _persistent(self, name: Any) -> Any:
        if self.persistent is None:
            raise ValueError("refers to objects outside the file")
        return self.persistent(name)

    # --- framing -------------------------------------------------------------------------------

    def op_protocol(self) -> None:
        protocol = self._byte()
        if protocol > 5:
            raise ValueError(f"pickle protocol {protocol} is unknown")

    def op_frame(self) -> None:
        nbytes = self._number(8)
        if self.window.tell() + nbytes > self.window.end:
            raise EOFError

    def op_extension(self) -> None:
        raise ValueError("uses copyreg's extension registry")

    def op_buffer(self) -> None:
        raise ValueError("keeps its buffers outside the file")


def _parsed(kind: type[int] | type[float], line: str) -> Any:
    try:
        return kind(line)
    except ValueError:
        raise ValueError(f"an invalid number: {shown(line)}") from None


def set_items(target: dict[Any, Any], items: Iterable[tuple[Any, Any]]) -> None:
    """Add entries to a dict without a long search.

    A key that could be made to collide with others is replaced by a placeholder.

    Raises:
        ValueError: a key exists already.
    """
    for key, value in items:
        if type(key) is not str and not _is_plain_key(key):
            key = Placeholder(type(key).__name__)
        if key in target:
            raise ValueError(
                f"the key {shown(getattr(key, 'name', None) or str(key))} occurs twice"
            )
        target[key] = value


def _is_plain_key(key: Any) -> bool:
    """Whether a file cannot choose the slot of a key in a dict. Texts and bytes are hashed with a
    secret, objects without a hash are hashed by their address, and there are too few small
    integers. Larger integers, fractions and tuples of them can be chosen to share one slot."""
    if isinstance(key, int):
        return abs(key) < _LARGEST_KEY
    return not isinstance(key, float | complex | tuple | list | dict)


def _too_much(budget: int) -> ValueError:
    return ValueError(f"its objects would take more than {size(budget)} of memory")


# opcode -> method, and the possible size of its result in memory
_TABLE: dict[bytes, tuple[str, int]] = {
    b"(": ("op_mark", 96),
    b"0": ("op_pop", 16),
    b"1": ("op_pop_mark", 16),
    b"2": ("op_dup", 16),
    b"F": ("op_float_line", 40),
    b"I": ("op_int_line", 48),
    b"J": ("op_int4", 48),
    b"K": ("op_int1", 16),
    b"L": ("op_long_line", 256),
    b"M": ("op_int2", 48),
    b"N": ("op_none", 16),
    b"P": ("op_persistent_line", 256),
    b"Q": ("op_persistent", 256),
    b"R": ("op_reduce", 256),
    b"S": ("op_string_line", 128),
    b"T": ("op_string4", 128),
    b"U": ("op_string1", 128),
    b"V": ("op_text_line", 80),
    b"X": ("op_text4", 80),
    b"a": ("op_append", 16),
    b"b": ("op_build", 16),
    b"c": ("op_global", 512),
    b"d": ("op_dict", 256),
    b"}": ("op_dict0", 80),
    b"e": ("op_appends", 16),
    b"g": ("op_get_line", 16),
    b"h": ("op_get1", 16),
    b"i": ("op_instance", 512),
    b"j": ("op_get4", 16),
    b"l": ("op_list", 16),
    b"]": ("op_list0", 80),
    b"o": ("op_object", 256),
    b"p": ("op_put_line", 128),
    b"q": ("op_put1", 16),
    b"r": ("op_put4", 128),
    b"s": ("op_set_item", 112),
    b"t": ("op_tuple", 64),
    b")": ("op_tuple0", 16),
    b"u": ("op_set_items", 128),
    b"G": ("op_float", 40),
    b"\x80": ("op_protocol", 0),
    b"\x81": ("op_new_object", 256),
    b"\x82": ("op_extension", 0),
    b"\x83": ("op_extension", 0),
    b"\x84": ("op_extension", 0),
    b"\x85": ("op_tuple1", 64),
    b"\x86": ("op_tuple2", 72),
    b"\x87": ("op_tuple3", 80),
    b"\x88": ("op_true", 16),
    b"\x89": ("op_false", 16),
    b"\x8a": ("op_long1", 256),
    b"\x8b": ("op_long4", 256),
    b"B": ("op_bytes4", 128),
    b"C": ("op_bytes1", 64),
    b"\x8c": ("op_text1", 16),
    b"\x8d": ("op_text8", 80),
    b"\x8e": ("op_bytes8", 128),
    b"\x8f": ("op_set0", 80),
    b"\x90": ("op_appends", 16),
    b"\x91": ("op_frozenset", 16),
    b"\x92": ("op_new_object_ex", 256),
    b"\x93": ("op_stack_global", 512),
    b"\x94": ("op_memoize", 128),
    b"\x95": ("op_frame", 0),
    b"\x96": ("op_bytes8", 128),
    b"\x97": ("op_buffer", 0),
    b"\x98": ("op_buffer", 0),
}
_OPERATIONS = [_TABLE.get(bytes([code]), ("", 0))[0] for code in range(256)]
_COSTS = [_TABLE.get(bytes([code]), ("", 0))[1] for code in range(256)]
_STOP = b"."[0]
