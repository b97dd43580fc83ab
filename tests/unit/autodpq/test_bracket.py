from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.bracket import NEAR, Bracket

LOW, HIGH = 10.0, 10_000.0


def narrowed(bracket: Bracket, needed: float, steepness: float) -> int:
    """Narrows a range down where sizes below the needed one lose too much; gives how many sizes it took."""
    for tried in range(100):
        if bracket.is_narrow:
            return tried
        size = bracket.middle()
        assert bracket.low < size < bracket.high
        loss = bracket.max_loss + steepness * (needed / size - 1)
        if loss <= bracket.max_loss:
            bracket.allow(size, loss)
        else:
            bracket.refuse(size, loss)
    raise AssertionError("it does not end")


@given(st.floats(LOW, HIGH), st.floats(1e-6, 10))
def test_the_needed_size_stays_within_a_range_that_gets_narrow(needed: float, steepness: float) -> None:
    bracket = Bracket(LOW, HIGH, 0.001)
    tried = narrowed(bracket, needed, steepness)
    assert bracket.low <= needed <= bracket.high <= NEAR * bracket.low
    assert tried <= math.ceil(math.log(math.log(HIGH / LOW) / math.log(NEAR)) / -math.log(0.875))


def test_the_range_is_halved_in_logarithm_where_a_loss_is_not_known() -> None:
    bracket = Bracket(10, 1000, 0.001)
    assert bracket.middle() == pytest.approx(100)
    bracket.allow(1000, -1.0)
    assert bracket.middle() == pytest.approx(100)
    bracket.refuse(100)  # nothing is that small
    assert bracket.middle() == pytest.approx(math.sqrt(100 * 1000))


def test_losses_go_straight_from_end_to_end_by_the_logarithm() -> None:
    bracket = Bracket(10, 1000, 1.0, high_loss=0.0)
    bracket.refuse(10, 5.0)
    assert bracket.middle() == pytest.approx(10 * 100**0.8)


@pytest.mark.parametrize(("low_loss", "share"), [(1.001, 0.125), (1000.0, 0.875)])
def test_no_size_is_tried_that_would_hardly_narrow_the_range(low_loss: float, share: float) -> None:
    bracket = Bracket(10, 1000, 1.0, high_loss=0.0)
    bracket.refuse(10, low_loss)
    assert bracket.middle() == pytest.approx(10 * 100**share)


def test_what_says_less_than_is_known_changes_nothing() -> None:
    bracket = Bracket(10, 1000, 1.0)
    bracket.refuse(100, 2.0)
    bracket.allow(200, 0.5)
    expected = bracket.middle()
    bracket.refuse(50, 9.0)
    bracket.allow(500, 0.9)
    assert (bracket.low, bracket.high, bracket.middle()) == (100, 200, expected)


def test_an_allowed_size_below_a_refused_one_ends_it() -> None:
    bracket = Bracket(10, 1000, 1.0)
    bracket.refuse(100, 1.1)
    bracket.allow(90, 0.9)
    assert bracket.is_narrow
