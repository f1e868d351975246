"""The directory of a zip archive, and its members that lie in it uncompressed.

It is stricter than the standard library: entries must not overlap, names must be unique and stay
inside the archive, and members with tensors must be stored uncompressed. Only the directory is
read. A member's local header is read together with its bytes.

Source: PKWARE's APPNOTE.TXT 6.3, sections 4.3 to 4.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Hashable, Iterator

from detrex_hub.checkpoints.files import PIECE, File, shown, size
from detrex_hub.errors import CheckpointError

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
END_64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR_64 = struct.Struct("<4sLQL")
_LARGEST_COMMENT = 0xFFFF
_LARGEST_DIRECTORY = 16 << 20
NARROW = 0xFFFFFFFF
ZIP64_EXTRA = 1
_ENCRYPTED = 1
_AGAIN = "Get the file again"


class Member:
    """One stored file of the archive; a storage for tensors.

    Its CRC-32 is computed while its bytes are read in any order, and compared once by `settle`.
    Reads in order from the beginning need no extra read.
    """

    __slots__ = (
        "_checked",
        "_offset",
        "_running",
        "crc",
        "end",
        "file",
        "header",
        "method",
        "name",
        "nbytes",
        "unpacked",
    )

    def __init__(
        self,
        file: File,
        name: str,
        header: int,
        nbytes: int,
        crc: int,
        *,
        method: int = 0,
        unpacked: int | None = None,
    ) -> None:
        self.file = file
        self.name = name
        self.header = header
        self.nbytes = nbytes
        """Bytes in the archive."""
        self.unpacked = nbytes if unpacked is None else unpacked
        """Bytes after decompression, according to the directory."""
        self.method = method
        """The compression: 0 for none, 8 for deflate."""
        self.crc: int | None = crc
        """None if there is nothing to compare, or it was compared already."""
        # the CRC-32 of the first bytes, and their number
        self._running = self._checked = 0
        self.end = 0
        """The offset of the next entry."""
        self._offset: int | None = None

    @property
    def identity(self) -> Hashable:
        return self.file.number, self.header

    def check(self) -> None:
        """Refuse a compressed member, whose bytes cannot be read at any position."""
        if self.method:
            raise self.file.error(
                f"refused: archive member {shown(self.name)} is compressed",
                hint="Save the checkpoint with torch.save, which does not compress",
            )

    @property
    def offset(self) -> int:
        """The offset of the member's bytes in the file."""
        if self._offset is None:
            name = self.name.encode()
            header = self.file.read(self.header, LOCAL.size + len(name))
            magic, _, flags, method, *_, name_length, extra_length = LOCAL.unpack_from(header)
            offset = self.header + LOCAL.size + name_length + extra_length
            if (
                magic != b"PK\3\4"
                or flags & _ENCRYPTED
                or method != self.method
                or offset + self.nbytes > self.end
            ):
                raise self._broken("its header contradicts the archive's directory")
            if name_length != len(name) or header[LOCAL.size :] != name:
                raise self._broken("its header has another name")
            self._offset = offset
        return self._offset

    def read(self, offset: int, nbytes: int) -> bytes:
        self.check()
        if self.crc is None:
            return self.file.read(self.offset + offset, nbytes)
        self._check_until(offset)
        data = self.file.read(self.offset + offset, nbytes)
        if offset + nbytes > self._checked:
            new = memoryview(data)[self._checked - offset :]
            self._running = zlib.crc32(new, self._running)
            self._checked = offset + nbytes
        return data

    def pieces(self, offset: int, nbytes: int) -> Iterator[bytes]:
        for start in range(offset, offset + nbytes, PIECE):
            yield self.read(start, min(PIECE, offset + nbytes - start))

    def settle(self) -> None:
        """Compare the whole member with its CRC-32, unless that was done before. Reads the unread
        bytes.

        Raises:
            CheckpointError: they differ.
        """
        self.check()
        if self.crc is None:
            return
        self._check_until(self.nbytes)
        if self._running != self.crc:
            raise self._broken("its checksum does not match")
        self.crc = None

    def _check_until(self, end: int) -> None:
        while self._checked < end:
            piece = self.file.read(self.offset + self._checked, min(PIECE, end - self._checked))
            self._running = zlib.crc32(piece, self._running)
            self._checked += len(piece)

    def _broken(self, what: str) -> CheckpointError:
        return self.file.error(f"damaged: archive member {shown(self.name)}: {what}", hint=_AGAIN)


def members(file: File) -> dict[str, Member]:
    """All members of an archive by name, in the directory's order.

    Raises:
        CheckpointError: the archive is cut short or damaged, or holds encrypted, overlapping,
            equally named or outward pointing members.
    """
    start, nbytes, count = _end(file)
    if nbytes > _LARGEST_DIRECTORY:
        raise file.error(f"refused: the archive's directory takes {size(nbytes)}")
    directory = file.read(start, nbytes)
    found: dict[str, Member] = {}
    try:
        for name, member in _entries(file, directory, count):
            if name in found:
                raise file.error(f"refused: two archive members are named {shown(name)}")
            found[name] = member
    except (struct.error, UnicodeDecodeError):
        raise _damaged(file) from None
    _check_apart(file, list(found.values()), start)
    # `torch.serialization.set_crc32_options(False)` writes 0 for all of them
    if not file.checksums or not any(member.crc for member in found.values()):
        for member in found.values():
            member.crc = None
    return found


def _damaged(file: File) -> CheckpointError:
    return file.error("damaged: the archive's directory is invalid", hint=_AGAIN)


def _end(file: File) -> tuple[int, int, int]:
    """The offset of the directory, its length, and its number of entries."""
    at = file.size - END.size
    if at < 0 or file.read(at, 4) != b"PK\5\6":
        begin = max(0, at - _LARGEST_COMMENT)
        at = begin + file.read(begin, file.size - begin).rfind(b"PK\5\6")
        if at < begin or at + END.size > file.size:
            raise file.error(
                "is truncated: an archive without the directory at its end", hint=_AGAIN
            )
    *_, disk, start_disk, here, count, nbytes, start, comment = END.unpack(file.read(at, END.size))
    if at + END.size + comment != file.size or disk or start_disk or here != count:
        raise _damaged(file)
    if at >= LOCATOR_64.size:
        magic, _, end_64, _ = LOCATOR_64.unpack(file.read(at - LOCATOR_64.size, LOCATOR_64.size))
        if magic == b"PK\6\7":
            at = end_64
            magic, *_, here_64, count_64, nbytes_64, start_64 = END_64.unpack(
                file.read(at, END_64.size)
            )
            # readers disagree on which end record counts if the two differ
            narrow = (min(count_64, 0xFFFF), min(nbytes_64, NARROW), min(start_64, NARROW))
            given = zip((count, nbytes, start), narrow, (0xFFFF, NARROW, NARROW), strict=True)
            if (
                magic != b"PK\6\6"
                or here_64 != count_64
                or any(value not in (wide, most) for value, wide, most in given)
            ):
                raise _damaged(file)
            count, nbytes, start = count_64, nbytes_64, start_64
    if start + nbytes != at:
        raise _damaged(file)
    return start, nbytes, count


def _entries(file: File, directory: bytes, count: int) -> Iterator[tuple[str, Member]]:
    at = 0
    for _ in range(count):
        (
            magic, _, _, flags, method, _, _, crc, packed, nbytes,
            name_length, extra_length, comment_length, disk, _, _, header,
        ) = CENTRAL.unpack_from(directory, at)  # fmt: skip
        at += CENTRAL.size
        raw_name = directory[at : at + name_length]
        extra = directory[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + comment_length
        if magic != b"PK\1\2" or at > len(directory) or disk:
            raise _damaged(file)
        name = raw_name.decode()
        if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
            raise file.error(f"refused: an archive member named {shown(name)}")
        if flags & _ENCRYPTED:
            raise file.error(f"refused: archive member {shown(name)} is encrypted")
        nbytes, packed, header = _widened(extra, nbytes, packed, header)
        if packed != nbytes and not method:
            raise _damaged(file)
        yield name, Member(file, name, header, packed, crc, method=method, unpacked=nbytes)
    if at != len(directory):
        raise _damaged(file)


def _widened(extra: bytes, *values: int) -> Iterator[int]:
    """Replace saturated sizes and offsets by those of the entry's zip64 extra field."""
    wide = b""
    at = 0
    while at < len(extra):
        kind, nbytes = struct.unpack_from("<2H", extra, at)
        if kind == ZIP64_EXTRA:
            wide = extra[at + 4 : at + 4 + nbytes]
        at += 4 + nbytes
    at = 0
    for value in values:
        if value == NARROW and wide:
            (value,) = struct.unpack_from("<Q", wide, at)
            at += 8
        yield value


def _check_apart(file: File, found: list[Member], end: int) -> None:
    found.sort(key=lambda member: member.header, reverse=True)
    for member in found:
        if member.header + LOCAL.size + len(member.name.encode()) + member.nbytes > end:
            raise file.error(
                f"refused: archive member {shown(member.name)} overlaps what follows it"
            )
        member.end = end
        end = member.header
