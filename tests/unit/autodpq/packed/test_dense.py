from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from autodpq.costs import Dense
from autodpq.errors import AutoDPQError
from autodpq.packed.dense import read_dense, stored_dense

shapes = st.one_of(st.tuples(st.integers(1, 5), st.integers(1, 7)), st.tuples(st.integers(1, 9)))
weights = shapes.flatmap(lambda shape: npst.arrays(np.float32, shape, elements=st.floats(-4096, 4096, width=32)))


@given(weights)
def test_weights_that_are_stored_are_stored_again_as_they_are(weight: npt.NDArray[np.float32]) -> None:
    stored = stored_dense("w", weight)
    read = read_dense(stored)["w"].astype(np.float32)
    again = stored_dense("w", read)
    assert read.shape == weight.shape and again.keys() == stored.keys()
    assert all(np.array_equal(again[name], stored[name]) for name in stored)
    assert np.array_equal(read_dense(again)["w"].astype(np.float32), read)
    compact = Dense.of([weight.shape])
    assert sum(array.nbytes for array in stored.values()) == (
        2 * (compact.floats - compact.in_matrices) + compact.in_matrices + 2 * compact.matrix_rows
    )


@given(npst.arrays(np.float32, (4, 6), elements=st.floats(-100, 100, width=32)))
def test_a_number_of_a_matrix_is_off_by_half_a_step_of_its_row(weight: npt.NDArray[np.float32]) -> None:
    read = read_dense(stored_dense("w", weight))["w"]
    # Steps are rounded to 11 bits, and none is smaller than the least normal number of 16 bits.
    step = np.maximum(np.abs(weight).max(1) / 127, 2.0**-14) * (1 + 2.0**-11)
    assert (np.abs(read - weight) <= 0.51 * step[:, None]).all()


def test_vectors_and_narrow_matrices_stay_floats() -> None:
    for shape in ((5,), (7, 1), (7, 2), (2, 3, 4)):
        (array,) = stored_dense("w", np.ones(shape, np.float32)).values()
        assert array.dtype == np.float16 and array.shape == shape
    assert Dense.of([(5,), (7, 2), (4, 3), (1, 9)]) == Dense(5 + 14 + 12 + 9, 12 + 9, 4 + 1)


def test_rows_that_are_no_numbers_stay_so() -> None:
    weight = np.ones((3, 4), np.float32)
    weight[0, 1], weight[1, 2] = np.nan, np.inf
    with np.errstate(all="ignore"):
        read = read_dense(stored_dense("w", weight))["w"]
    assert np.isnan(read[:2]).all() and np.isfinite(read[2]).all()


@pytest.mark.parametrize("stored", [
    {"w:steps": np.ones(3, np.float16)},
    {"w": np.ones((3, 4), np.float16), "w:steps": np.ones(3, np.float16)},
    {"w": np.ones((3, 4), np.int8), "w:steps": np.ones(4, np.float16)},
    {"w": np.ones(3, np.int8), "w:steps": np.ones(3, np.float16)},
])  # fmt: skip
def test_steps_without_their_matrix_are_refused(stored: dict[str, npt.NDArray[np.generic]]) -> None:
    with pytest.raises(AutoDPQError, match="'w:steps' does not belong to a matrix of integers"):
        read_dense(stored)
