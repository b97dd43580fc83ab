from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from autodpq.choices import DPQ, OPQ, Choice, Float16, Full, Hashed, Int, Narrow, Others
from autodpq.choices.weights import rounded_weights, stored_weights, weight_bits


@given(npst.arrays(np.float32, st.integers(1, 40), elements=st.floats(-4096, 4096, width=32)), st.integers(3, 6))
def test_weights_that_are_stored_are_stored_again_as_they_are(weights: npt.NDArray[np.float32], bits: int) -> None:
    once, stored = rounded_weights(weights, bits), stored_weights(weights, bits)
    assert np.array_equal(rounded_weights(once, bits), once)
    assert all(np.array_equal(stored_weights(once, bits)[part], stored[part]) for part in stored)
    assert np.abs(once).max() <= np.abs(weights).max() * 1.01
    assert len(stored["first_order"]) == -(-len(weights) * bits // 8)


@pytest.mark.parametrize(
    ("choice", "bits"),
    [
        *((Full(), 6), (Others(), 6), (Hashed(9), 6), (Float16(), 6), (Int(8), 6), (Int(4), 6), (Int(2), 6)),
        *((DPQ(16, 16), 6), (DPQ(8, 16), 6), (OPQ(32, 8), 6), (OPQ(16, 8), 5), (DPQ(4, 16), 5), (OPQ(8, 8), 5)),
        *((OPQ(16, 4), 4), (DPQ(256, 1), 4), (DPQ(64, 1), 3), (DPQ(4, 1), 3), (Narrow(2), 5), (Narrow(1), 4)),
    ],
    ids=str,
)
def test_a_weight_has_three_bits_more_than_a_number_of_a_row(choice: Choice, bits: int) -> None:
    assert weight_bits(choice, 16) == bits


def test_rows_of_a_dimension_as_large_have_weights_as_small() -> None:
    assert weight_bits(DPQ(256, 16), 64) == 5 and weight_bits(DPQ(256, 16), 128) == 4
