"""Elements are decoded and rounded as torch does it."""

import numpy as np
import pytest
import torch

from detrex_hub.floats import DTYPES, decoded, encoded, is_float, rounded
from detrex_hub.specs import TORCH_DTYPES

FLOATS = {
    ours: getattr(torch, theirs)
    for theirs, ours in TORCH_DTYPES.items()
    if "float" in theirs and hasattr(torch, theirs)
}
VALUES = [0.0, -0.0, 1.0, -2.5, 1e-8, 3.14159265, 448.0, 6e4, 1e-40, float("inf"), float("nan")]


def raw(tensor):
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_element_is_read_as_torch_reads_it(dtype):
    size = torch.empty(0, dtype=FLOATS[dtype]).element_size()
    if size < 4:
        data = np.arange(256**size).astype(f"<u{size}").tobytes()
    else:
        data = np.array(VALUES, dtype=f"<f{size}").tobytes()
    theirs = torch.frombuffer(bytearray(data), dtype=FLOATS[dtype]).to(torch.float64).numpy()
    np.testing.assert_array_equal(decoded(data, dtype), theirs)
    assert is_float(dtype)


def test_other_types_are_not_floats():
    assert not any(map(is_float, ("I64", "BOOL", "C64", "U8")))


@pytest.mark.parametrize("before", FLOATS)
@pytest.mark.parametrize("after", DTYPES)
def test_numbers_are_rounded_as_torch_rounds_them(before, after):
    numbers = torch.tensor([v for v in VALUES if abs(v) < 400]).to(FLOATS[before])
    expected = raw(numbers.to(getattr(torch, after)))
    data = raw(numbers)
    # chunks that end in the middle of an element
    for cut in (len(data), 3, 1):
        chunks = [data[at : at + cut] for at in range(0, len(data), cut)]
        assert b"".join(rounded(chunks, before, DTYPES[after])) == expected


def test_a_number_that_would_become_infinite_is_refused():
    data = np.array([1.0, -7e4], dtype="<f4").tobytes()
    with pytest.raises(OverflowError, match=r"-7e\+04 is beyond the range of F16"):
        list(rounded([data], "F32", "F16"))
    # infinite values stay infinite
    data = np.array([np.inf, np.nan], dtype="<f4").tobytes()
    assert np.isinf(decoded(b"".join(rounded([data], "F32", "F16")), "F16"))[0]
    assert encoded(np.array([np.nan]), "BF16")
