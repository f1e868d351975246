"""Kinds of damage that often break readers of binary formats."""

import struct

_WORDS = {
    "zip": (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"a/data/0", b"/data.pkl"),
    "index": (b'"weight_map":', b".safetensors", b"../", b"{", b"}", b'"', b":"),
    "safetensors": (b'"shape":', b'"dtype":', b'"data_offsets":', b"[", b"]", b"{", b"}", b'"'),
}
# every pickle opcode, and names that readers search for
_PICKLE_WORDS = (
    *(bytes([code]) for code in b"()012FIJKLMNPQRSTUVX]abcdeghijlopqrstu}GCB.\x80\x81\x82\x85\x86"),
    *(bytes([code]) for code in range(0x87, 0x99)),
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy.core.multiarray\nscalar\n",
    b"ccollections\nOrderedDict\n",
    b"c_codecs\nencode\n",
    b"ctorch\ndevice\n",
    b"X\7\0\0\0storage",
)
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)


def mutated(data, others, reader, random):
    """The same bytes with one to four mutations."""
    data = bytearray(data)
    plain = reader in ("safetensors", "index")
    words = (*_WORDS.get(reader, ()), *(() if plain else _PICKLE_WORDS))
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = random.randrange(len(data) + 1)
        length = random.choice((1, 2, 4, 8, random.randrange(1, 64)))
        match random.randrange(9):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = random.randbytes(length)
            case 3:
                data[at : at + length] = random.randbytes(length)
            case 4:
                data[at:at] = data[at : at + length] * random.randrange(1, 9)
            case 5:
                data[at:at] = random.choice(words)
            case 6:
                size = random.choice((1, 2, 4, 8))
                number = random.choice(_NUMBERS) & (2 ** (8 * size) - 1)
                order = random.choice("<>")
                data[at : at + size] = struct.pack(
                    order + {1: "B", 2: "H", 4: "I", 8: "Q"}[size], number
                )
            case 7:
                other = random.choice(others)
                start = random.randrange(len(other) + 1)
                data[at : at + length] = other[start : start + random.randrange(200)]
            case 8 if random.randrange(4) == 0:
                del data[at:]
    return bytes(data)
