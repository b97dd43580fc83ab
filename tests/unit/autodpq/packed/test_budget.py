"""The exact choice within a number of bytes."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autodpq.packed.budget import least_error

options = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.7]) | st.floats(0, 1e6)),
    min_size=1, max_size=5,
)  # fmt: skip


@given(st.lists(options, min_size=1, max_size=4), st.integers(0, 150))
def test_no_other_options_within_the_limit_have_less_error(bands: list[list[tuple[int, float]]], room: int) -> None:
    costs = [np.array([cost for cost, _ in band]) for band in bands]
    errors = [np.array([error for _, error in band]) for band in bands]
    limit = sum(int(own.min()) for own in costs) + room
    found = least_error(costs, errors, limit)

    def total(values: list[np.ndarray], chosen: tuple[int, ...]) -> float:
        return float(sum(own[n] for own, n in zip(values, chosen, strict=True)))

    fitting = [all_ for all_ in product(*map(range, map(len, bands))) if total(costs, all_) <= limit]
    assert tuple(found) in fitting
    assert total(errors, tuple(found)) == min(total(errors, chosen) for chosen in fitting)


def test_forty_bands_of_many_options_are_chosen_at_once() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(10, 100_000, 40)
    costs = [np.concatenate([n * np.arange(1, 33) // 8 + 64, n * rng.integers(1, 32, 8) // 8]) for n in rows]
    errors = [n * 2.0 ** -(8 * own / n) * rng.uniform(0.5, 2, len(own)) for n, own in zip(rows, costs, strict=True)]
    limit = sum(int(own.sum()) for own in costs) // 100
    found = least_error(costs, errors, limit)
    spent = sum(int(own[n]) for own, n in zip(costs, found, strict=True))
    # An exact choice leaves next to nothing of millions of bytes, which no unit of a twenty-thousandth could.
    assert limit - 100 < spent <= limit
