"""A checkpoint inside a zip archive, such as the zoo's Focus-DETR files.

A stored member is read in place. A deflated one is unpacked into a temporary file, which takes no
more space than the archive's directory states, and no more than weights can gain by compression.
"""

from __future__ import annotations

import shlex
import zlib
from collections.abc import Callable, Iterator

from detrex_hub.checkpoints.files import PIECE, File, Section, Unpacked, shown, size
from detrex_hub.checkpoints.zip_directory import Member

_STORED, _DEFLATED = 0, 8
_MOST_MEMBERS = 1000
# weights gain a tenth by compression; a file of zeros a thousand times
_MOST_GAINED = 16
_ALWAYS_ALLOWED = 64 << 20


def only_checkpoint(
    file: File, found: dict[str, Member], is_checkpoint: Callable[[bytes], bool], head: int
) -> File:
    """The one member of an archive that is a checkpoint, as a separate file.

    Args:
        file: the archive.
        found: its members.
        is_checkpoint: says by its first bytes whether a member is one.
        head: the number of bytes that it needs.

    Raises:
        CheckpointError: no member is one, or several are; it is damaged, or compressed too much or
            by another method than deflate.
    """
    # macOS and Windows add hidden files to a user's files
    names = [
        name
        for name in found
        if not name.endswith("/") and not name.startswith("__MACOSX/") and "/." not in f"/{name}"
    ]
    if len(names) > _MOST_MEMBERS:
        raise file.error(f"is an archive of {len(names)} files, not a checkpoint")
    fitting = [name for name in names if is_checkpoint(_head(file, found[name], head))]
    if not fitting:
        raise file.error("is a zip archive, and no file in it is a checkpoint")
    if len(fitting) > 1:
        named = ", ".join(map(shown, fitting[:5]))
        unzip = f"unzip {shlex.quote(str(file.path))} {shlex.quote(fitting[0])}"
        raise file.error(
            f"is a zip archive that holds {len(fitting)} checkpoints: {named}",
            hint=f"Unpack the one that you want: {unzip}",
        )
    return _opened(file, found[fitting[0]])


def _opened(file: File, member: Member) -> File:
    if member.method == _STORED:
        # the checkpoint may have no checksums of its own
        member.settle()
        return Section(file, member.offset, member.nbytes)
    if member.unpacked > _MOST_GAINED * member.nbytes + _ALWAYS_ALLOWED:
        raise file.error(
            f"refused: {shown(member.name)} of {size(member.nbytes)} would become "
            f"{size(member.unpacked)}"
        )
    pieces = _inflated(file, member)
    try:
        return Unpacked(file.path, pieces, checksums=file.checksums)
    finally:
        file.close()


def _head(file: File, member: Member, nbytes: int) -> bytes:
    """The first bytes of a member; none where it cannot be read."""
    if member.method == _STORED:
        return file.read(member.offset, min(nbytes, member.nbytes))
    if member.method != _DEFLATED:
        return b""
    packed = file.read(member.offset, min(PIECE, member.nbytes))
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, nbytes)
    except zlib.error:
        return b""


def _inflated(file: File, member: Member) -> Iterator[bytes]:
    """The contents of a deflated member, compared with its size and its CRC-32."""
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    crc = nbytes = 0
    damaged = file.error(
        f"damaged: archive member {shown(member.name)} cannot be unpacked",
        hint="Get the file again",
    )
    try:
        for piece in file.pieces(member.offset, member.nbytes):
            packed, data = piece, b""
            # after a full piece more output may be buffered, though the input has ended
            while not inflating.eof and (packed or len(data) == PIECE):
                data = inflating.decompress(packed, PIECE)
                packed = inflating.unconsumed_tail
                crc = zlib.crc32(data, crc)
                nbytes += len(data)
                if nbytes > member.unpacked:
                    raise damaged
                yield data
    except zlib.error:
        raise damaged from None
    if not inflating.eof or nbytes != member.unpacked or member.crc not in (None, crc):
        raise damaged
