from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autodpq.choices import Float16
from autodpq.choices.operations import NUMPY

LARGEST = 65504.0


@given(st.lists(st.floats(-LARGEST, LARGEST, width=32), min_size=3, max_size=3))
def test_numbers_are_those_of_ieee_754(values: list[float]) -> None:
    rows = np.array([values], np.float32)
    expected = [struct.unpack("<e", struct.pack("<e", float(value)))[0] for value in rows[0]]
    assert Float16().rounded(rows, {})[0].tolist() == expected


def test_what_is_too_large_becomes_the_largest() -> None:
    rows = np.array([[65505, -65520, 1e30, -np.inf, np.inf, 65504]], np.float32)
    expected = [LARGEST, -LARGEST, LARGEST, -LARGEST, LARGEST, LARGEST]
    assert Float16().rounded(rows, {})[0].tolist() == expected
    assert np.isnan(Float16().rounded(np.full((1, 2), np.nan, np.float32), {})).all()


def test_half_the_bytes_and_rows_by_their_numbers() -> None:
    rows = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    arrays = Float16().pack(rows, {})
    assert arrays["halves"].nbytes == rows.nbytes // 2 == Float16().cost(9, 4).bits // 8
    assert Float16().cost(9, 4).parameters == 36
    found = Float16().made(arrays, np.array([8, 0, 8]), 4, NUMPY)
    assert found.dtype == np.float32 and np.array_equal(found, rows[[8, 0, 8]].astype(np.float16).astype(np.float32))
