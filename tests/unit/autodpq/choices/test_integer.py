from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.choices import Int, parse_choice
from autodpq.choices.codes import read_words
from autodpq.choices.operations import NUMPY
from autodpq.errors import AutoDPQError

BITS = (2, 4, 8)
each_row = st.lists(st.floats(-100, 100, width=32), min_size=6, max_size=6)


def plain(row: np.ndarray, step: np.float16, largest: int) -> list[float]:
    """A row at a scale, one number after another."""
    scale = float(step)
    return [scale * max(-largest, min(largest, round(float(value) / scale))) if scale else 0.0 for value in row]


def squared_error(row: np.ndarray, made: list[float]) -> float:
    return sum((float(value) - other) ** 2 for value, other in zip(row, made, strict=True))


@given(st.sampled_from(BITS), st.lists(each_row, max_size=5))
def test_rows_are_integers_times_a_scale_of_their_own(bits: int, drawn: list[list[float]]) -> None:
    rows, choice = np.array(drawn, np.float32).reshape(-1, 6), Int(bits)
    arrays = choice.pack(rows, {})
    layout = choice.layout(len(rows), 6)
    assert {name: (array.dtype, array.shape) for name, array in arrays.items()} == layout
    assert 8 * sum(array.nbytes for array in arrays.values()) == -(-choice.cost(len(rows), 6).bits // 8) * 8
    largest = 2 ** (bits - 1) - 1
    codes = read_words(arrays["codes"], np.arange(len(rows)), 6, bits)
    read = choice.prepared(arrays, 6)
    assert read["codes"] is arrays["codes"]  # which stay mapped
    made = choice.made(read, np.arange(len(rows)), 6, NUMPY)
    assert made.dtype == np.float32 and np.array_equal(made, choice.rounded(rows, {}))
    assert np.array_equal(choice.made(read, np.arange(len(rows))[::-1], 6, NUMPY), made[::-1])
    for row, own, step, found in zip(rows, codes, arrays["steps"], made, strict=True):
        assert [(int(code) - largest) * float(step) for code in own] == found.tolist()
        assert all(0 <= code <= 2 * largest for code in own)
        for value, other in zip(row, found, strict=True):  # rounded to the nearest, or cut off at the ends
            inside = abs(float(value)) <= largest * float(step)
            assert abs(float(value) - other) <= float(step) * 0.5001 if inside else abs(other) == largest * float(step)


@given(st.sampled_from(BITS), each_row)
def test_the_scale_is_never_worse_than_that_of_the_largest_number(bits: int, drawn: list[float]) -> None:
    row, choice = np.array(drawn, np.float32), Int(bits)
    step = np.float16(np.abs(row).max() / np.float32(choice.largest))
    at_most = squared_error(row, plain(row, step, choice.largest))
    made = choice.rounded(row[None], {})[0]
    assert squared_error(row, made.tolist()) <= at_most * (1 + 1e-5) + 1e-9


def test_cutting_off_what_is_far_out_rounds_the_others_better() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 32)).astype(np.float32)
    for bits, most in ((2, 0.9), (4, 0.99)):
        choice = Int(bits)
        steps = np.abs(rows).max(1) / np.float32(choice.largest)
        uncut = sum(
            squared_error(row, plain(row, np.float16(s), choice.largest)) for row, s in zip(rows, steps, strict=True)
        )
        error = float(np.square(choice.rounded(rows, {}) - rows, dtype=np.float64).sum())
        assert error < most * uncut
    errors = [np.abs(Int(bits).rounded(rows, {}) - rows).max() for bits in BITS]
    assert errors[0] > 3 * errors[1] > 3 * errors[2]


@pytest.mark.parametrize("bits", BITS)
def test_what_is_exact_stays_exact(bits: int) -> None:
    choice, rng = Int(bits), np.random.default_rng(1)
    integers = rng.integers(-choice.largest, choice.largest + 1, (30, 8))
    integers[:, 0] = choice.largest
    rows = (integers * np.float32(0.25)).astype(np.float32)
    assert np.array_equal(choice.rounded(rows, {}), rows)


@pytest.mark.parametrize("bits", BITS)
def test_rows_of_zeros_are_rows_of_zeros_beside_any_others(bits: int) -> None:
    rows = np.random.default_rng(2).normal(size=(5, 8)).astype(np.float32)
    rows[[0, 3]] = 0
    made = Int(bits).rounded(rows, {})
    assert not made[[0, 3]].any() and made[[1, 2, 4]].any(1).all()
    assert np.array_equal(made[[1, 2, 4]], Int(bits).rounded(rows[[1, 2, 4]], {}))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
def test_what_is_no_finite_number_is_not_a_number_afterwards(bits: int, wrong: float) -> None:
    rows = np.ones((3, 4), np.float32)
    rows[1, 2] = wrong
    made = Int(bits).rounded(rows, {})
    assert np.isnan(made[1]).all(), "so that training is seen to come to nothing"
    assert np.allclose(made[[0, 2]], 1, atol=1e-2)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("size", [1e5, 1e9, 1e25, 3e38])
def test_rows_too_large_for_their_scale_are_cut_off(bits: int, size: float) -> None:
    choice = Int(bits)
    made = choice.rounded(np.array([[size, -size, 0, size]], np.float32), {})
    assert np.isfinite(made).all()
    most = min(size, choice.largest * 65504.0)
    assert made[0] == pytest.approx([most, -most, 0, most], rel=1e-3)


def test_what_it_costs_is_what_the_paper_would_count() -> None:
    for bits in BITS:
        cost = Int(bits).cost(100, 16)
        assert cost.parameters == 100 * 17 and cost.bits == 100 * (16 * bits + 16)


@pytest.mark.parametrize("bits", [0, 1, 3, 16, -2])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(AutoDPQError, match=f"int: bits={bits}: 2, 4, 8 are possible"):
        parse_choice(f"int({bits})")
