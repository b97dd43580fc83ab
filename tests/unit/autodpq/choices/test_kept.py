from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.choices import Full, Hashed, Others
from autodpq.errors import AutoDPQError


@given(st.integers(1, 50), st.integers(0, 80), st.integers(1, 64))
def test_values_share_rows_by_their_rank(m: int, n_rows: int, dim: int) -> None:
    modulus = Hashed(m).modulus(n_rows)
    places = [rank % modulus for rank in range(n_rows)]
    # Every row has a value, and no row has two more than another.
    assert len(set(places)) == modulus == min(m, n_rows)
    uses = [places.count(row) for row in range(modulus)]
    assert not uses or max(uses) - min(uses) <= 1
    if m >= n_rows:
        assert places == list(range(n_rows)), "each value has a row of its own"
    cost = Hashed(m).cost(n_rows, dim)
    assert cost.parameters == modulus * dim and cost.bits == 32 * cost.parameters
    assert Hashed(m).layout(n_rows, dim) == {}


@given(st.integers(0, 80))
def test_all_others_are_one_row_and_full_is_every_row(n_rows: int) -> None:
    assert Others().modulus(n_rows) == Hashed(1).modulus(n_rows) == min(n_rows, 1)
    assert Full().modulus(n_rows) == n_rows
    assert Others().cost(n_rows, 4) == Hashed(1).cost(n_rows, 4) and Full().cost(n_rows, 4).parameters == 4 * n_rows


@pytest.mark.parametrize("m", [0, -1])
def test_less_than_one_row_is_refused(m: int) -> None:
    with pytest.raises(AutoDPQError, match=f"hashed: m={m}: at least one row is needed"):
        Hashed(m)
