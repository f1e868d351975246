"""Plain pickles of numpy arrays, as detectron2, Caffe2 and others write them, are read."""

import pickle

import numpy as np
import pytest
import torch

from detrex_hub import checkpoints
from detrex_hub.errors import CheckpointError
from tests.checkpoints import crafted
from tests.checkpoints.crafted import dictionary, name, pickled, text, torch_bytes

every_protocol = pytest.mark.parametrize("protocol", range(6))


def arrays():
    generator = np.random.default_rng(0)
    bytes_of_all_kinds = np.arange(256, dtype="u1")
    return {
        "weight": generator.standard_normal((64, 3, 7, 7)).astype("f4"),
        "half": generator.standard_normal((5, 3)).astype("f2"),
        "double": generator.standard_normal(3),
        "steps": np.array(7),
        "flags": np.array([True, False, True]),
        "complex": np.array([1 + 2j, 3], dtype="c8"),
        "empty": np.zeros((0, 4), "f4"),
        "column order": np.asfortranarray(np.arange(600.0).reshape(20, 30)),
        "turned axes": np.arange(600.0).reshape(5, 6, 20).transpose(2, 0, 1),
        "not contiguous": np.arange(600.0)[::3],
        "big-endian": np.arange(600, dtype=">i4").reshape(20, 30),
        "big-endian, column order": np.asfortranarray(np.arange(600, dtype=">f8").reshape(20, 30)),
        "big-endian complex": np.array([1 + 2j, 3], dtype=">c8"),
        "all bytes": bytes_of_all_kinds,
        "all bytes often": np.tile(bytes_of_all_kinds, 100),
        "read-only": np.frombuffer(bytes(range(200)), "u2"),
    }


def little_endian(array):
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


@every_protocol
def test_every_array_is_read_as_numpy_holds_it(tmp_path, protocol):
    written = arrays()
    content = {"model": written, "__author__": "someone", "matching_heuristics": True}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    with checkpoints.open(tmp_path / "x.pkl") as checkpoint:
        assert checkpoint.format == "pickle"
        assert checkpoint.container == "model"
        assert checkpoint.metadata == {"__author__": "someone", "matching_heuristics": True}
        assert checkpoint.placeholders == ()
        assert list(checkpoint.specs) == list(written)
        for key, array in written.items():
            assert checkpoint.specs[key].shape == array.shape
            assert checkpoint.read(key) == little_endian(array), key


@every_protocol
def test_rows_of_every_array_are_read(tmp_path, protocol):
    written = {key: array for key, array in arrays().items() if array.ndim}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(written, protocol=protocol))
    with checkpoints.open(tmp_path / "x.pkl") as checkpoint:
        for key, array in written.items():
            last = len(array)
            rows = [(last // 2, last), (0, last // 3)]
            wanted = np.concatenate([array[a:b] for a, b in rows])
            assert b"".join(checkpoint.chunks(key, rows)) == little_endian(wanted), key


@every_protocol
def test_arrays_larger_than_a_piece_are_read(tmp_path, protocol):
    large = np.random.default_rng(0).integers(0, 256, 3 * checkpoints.PIECE // 2 + 5, dtype="u1")
    turned = large[:-5].reshape(1024, -1).T
    written = {"large": large, "turned": turned, "after": np.arange(5)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(written, protocol=protocol))
    with checkpoints.open(tmp_path / "x.pkl") as checkpoint:
        for key, array in written.items():
            pieces = list(checkpoint.chunks(key))
            assert max(map(len, pieces)) <= checkpoints.PIECE
            assert b"".join(pieces) == array.tobytes(), key


@every_protocol
def test_an_array_with_two_names_is_read_as_one(tmp_path, protocol):
    head = np.arange(100.0)
    written = {"a": head, "b": head, "c": head.copy(), "d": head[:]}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(written, protocol=protocol))
    with checkpoints.open(tmp_path / "x.pkl") as checkpoint:
        one = {key: checkpoint.identity(key) for key in written}
        assert one["a"] == one["b"]
        assert len(set(one.values())) == 3


def python2(data):
    """Python 2's repr of a string."""
    named = {9: "\\t", 10: "\\n", 13: "\\r", 39: "\\'", 92: "\\\\"}
    plain = [named.get(b, chr(b) if 32 <= b < 127 else f"\\x{b:02x}") for b in range(256)]
    return f"S'{''.join(plain[b] for b in data)}'\n".encode()


SHORT = np.arange(7, dtype="f4")
LONG = np.concatenate([np.arange(256, dtype="u1"), np.full(999, 92, "u1"), np.arange(99, 0, -1)])


@pytest.mark.parametrize("array", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_arrays_written_by_python_2_are_read(tmp_path, array, protocol):
    data = array.tobytes()
    long_string = b"T" + len(data).to_bytes(4, "little") + data
    made = crafted.array_call(
        python2(data) if protocol == 0 else long_string, array.shape, array.dtype.str[1:]
    )
    key = python2(b"fc1000_w") if protocol == 0 else b"U\x08fc1000_w"
    content = b"}(U\x05blobs}(" + key + made + b"uu."
    start = b"\x80\x02" if protocol == 2 else b""
    (tmp_path / "x.pkl").write_bytes(start + content)
    with checkpoints.open(tmp_path / "x.pkl") as checkpoint:
        assert checkpoint.container == "blobs"
        assert checkpoint.read("fc1000_w") == data


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
@pytest.mark.parametrize("protocol", ["python 2", 0, 2])
def test_encoded_characters_may_cross_pieces(tmp_path, monkeypatch, protocol, size):
    content = pickle.dumps({"w": LONG}, protocol=0 if protocol == "python 2" else protocol)
    if protocol == "python 2":
        content = (
            b"(dS'w'\n" + crafted.array_call(python2(LONG.tobytes()), LONG.shape, "i8") + b"s."
        )
    (tmp_path / "x.pkl").write_bytes(content)
    monkeypatch.setattr("detrex_hub.checkpoints.files.PIECE", size)
    with checkpoints.open(tmp_path / "x.pkl") as checkpoint:
        assert checkpoint.read("w") == LONG.tobytes()


def test_caffe2_momentum_is_not_a_weight(tmp_path):
    blobs = {"conv1_w": np.ones(2), "conv1_w_momentum": np.zeros(2), "lr": np.ones(1)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"blobs": blobs}))
    with checkpoints.open(tmp_path / "x.pkl") as checkpoint:
        assert list(checkpoint.specs) == ["conv1_w", "lr"]
        assert checkpoint.others == {"conv1_w_momentum": "tensor"}


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_torch_tensors_in_a_plain_pickle_are_read(tmp_path, protocol):
    base = torch.randn(40, 30)
    tensors = {"a": base, "turned": base.t(), "small": torch.ones(2), "p": torch.nn.Parameter(base)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"model": tensors}, protocol=protocol))
    with checkpoints.open(tmp_path / "x.pkl") as checkpoint:
        for key, tensor in tensors.items():
            assert checkpoint.read(key) == torch_bytes(tensor)


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.array([{}, None], dtype=object), "array of type O8"),
        (np.array(["a", "b"]), "array of type U1"),
        (np.zeros(2, dtype=[("a", "f4")]), "array of type structured"),
        (np.zeros(2, dtype="c16"), "array of type c16"),
        (np.zeros(2, dtype="M8[s]"), "array of type M8"),
        (np.zeros(2).view(np.recarray), "a numpy.*recarray"),
    ],
    ids=["objects", "text", "structured", "complex128", "dates", "subclass"],
)
def test_arrays_of_other_kinds_are_refused_by_name(tmp_path, array, named):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"fine": np.ones(1), "odd": array}))
    with pytest.raises(CheckpointError, match=f"tensor 'odd' is .*{named}"):
        checkpoints.open(tmp_path / "x.pkl")


def test_plain_values_are_kept_and_other_objects_become_names(tmp_path):
    index = dictionary(
        model=dictionary(w=crafted.array_call(crafted.raw(bytes(8)))),
        number=crafted.integer(2**70),
        code=crafted.call(name("os", "system"), text("true")),
        names=b"](" + text("a") + name("mymodule", "Thing") + b"e",
        empty=b"}",
        bare=b"\x88",
        surrogate=text(b"\xed\xa0\x80"),
        none=b"N",
        chosen=crafted.call(name("builtins", "set"), b"](" + crafted.integer(1) + b"e"),
        span=crafted.call(name("builtins", "slice"), b"N", crafted.integer(3), b"N"),
        complex=crafted.call(name("builtins", "complex"), crafted.integer(1), crafted.integer(2)),
    )
    (tmp_path / "x.pkl").write_bytes(pickled(index, 3))
    with checkpoints.open(tmp_path / "x.pkl") as checkpoint:
        assert checkpoint.metadata == {
            "number": 2**70,
            "code": "<os.system>",
            "names": ["a", "<mymodule.Thing>"],
            "empty": {},
            "bare": True,
            "surrogate": "\\ud800",
            "none": None,
            "chosen": [1],
            "span": [None, 3, None],
            "complex": "<complex>",
        }
        assert checkpoint.placeholders == ("os.system", "mymodule.Thing")
