"""Pickle opcodes as bytes, as far as state dicts need them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Mapping
from typing import Any


class Opcodes:
    """Passes opcodes to ``emit``.

    Globals and objects that `remember` stores are written once and referred to later.
    """

    def __init__(self, emit: Callable[[bytes], None], protocol: int) -> None:
        self.emit = emit
        self._memo: dict[Hashable, int] = {}
        emit(b"\x80" + bytes([protocol]))

    def known(self, name: Hashable) -> bool:
        """Push the object that was remembered by this name; False if there is none."""
        index = self._memo.get(name)
        if index is None:
            return False
        self.emit(b"h" + bytes([index]) if index < 256 else b"j" + struct.pack("<I", index))
        return True

    def remember(self, name: Hashable) -> None:
        """Keep the object on top of the stack."""
        index = self._memo[name] = len(self._memo)
        self.emit(b"q" + bytes([index]) if index < 256 else b"r" + struct.pack("<I", index))

    def global_(self, module: str, name: str) -> None:
        if not self.known((module, name)):
            self.emit(f"c{module}\n{name}\n".encode())
            self.remember((module, name))

    def text(self, text: str) -> None:
        data = text.encode()
        self.emit(b"X" + struct.pack("<I", len(data)) + data)

    def integer(self, number: int) -> None:
        if 0 <= number < 256:
            self.emit(b"K" + bytes([number]))
        elif -(2**31) <= number < 2**31:
            self.emit(b"J" + struct.pack("<i", number))
        else:
            data = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
            self.emit(b"\x8a" + bytes([len(data)]) + data)

    def integers(self, numbers: tuple[int, ...]) -> None:
        """A tuple of integers."""
        self.emit(b"(")
        for number in numbers:
            self.integer(number)
        self.emit(b"t")

    def plain(self, value: Any) -> None:
        """None, a truth value, number or text, or lists and dicts of such."""
        if value is None:
            self.emit(b"N")
        elif isinstance(value, bool):
            self.emit(b"\x88" if value else b"\x89")
        elif isinstance(value, int):
            self.integer(value)
        elif isinstance(value, float):
            self.emit(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            self.text(value)
        elif isinstance(value, list | tuple):
            self.emit(b"](")
            for item in value:
                self.plain(item)
            self.emit(b"e")
        elif isinstance(value, Mapping):
            self.emit(b"}(")
            for key, item in value.items():
                self.plain(key)
                self.plain(item)
            self.emit(b"u")
        else:
            raise TypeError(f"a {type(value).__name__} is not a plain value")
