from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.made_searches import idle, search

from reports.numbers.regret import by_second, by_trial, interquartile_mean


def test_curves_by_trials_keep_what_a_search_that_ended_has() -> None:
    curve = by_trial([search(0, [0.4, 0.2]), search(1, [0.2, 0.0, 0.0])], "test")
    assert curve is not None
    assert curve.x.tolist() == [1, 2, 3]
    assert curve.mean == pytest.approx([0.3, 0.1, 0.1])
    # Of two values, t at 97.5 % with one degree of freedom times half of their distance.
    assert curve.high - curve.mean == pytest.approx([1.270620473617471] * 3)
    assert (curve.low == 0).all()
    alone = by_trial([search(0, [0.4, 0.2])], "test")
    assert alone is not None and alone.low.tolist() == alone.high.tolist() == [0.4, 0.2]


@given(
    st.lists(st.lists(st.tuples(st.floats(0.1, 9), st.floats(0, 0.5)), min_size=1, max_size=5), min_size=1, max_size=4)
)
def test_curves_by_seconds_are_read_off_each_search(drawn: list[list[tuple[float, float]]]) -> None:
    searches = []
    for seed, trials in enumerate(drawn):
        ends = np.cumsum([seconds for seconds, _ in trials]).tolist()
        regrets = np.minimum.accumulate([regret for _, regret in trials]).tolist()
        searches.append(search(seed, regrets, ends))
    curve = by_second(searches, "valid")
    assert curve is not None
    assert curve.x[0] == max(run.trial_seconds[0] for run in searches)
    assert curve.x[-1] == max(run.trial_seconds[-1] for run in searches)
    for x, mean in zip(curve.x, curve.mean, strict=True):
        had = [
            next(r for r, end in reversed([*zip(run.valid_regrets, run.trial_seconds, strict=True)]) if end <= x)
            for run in searches
        ]
        assert mean == pytest.approx(sum(had) / len(had))
    assert all(one < other for one, other in pairwise(curve.x))


def test_what_tries_nothing_has_no_curve() -> None:
    assert by_trial([idle(0, 0.1)], "test") is None and by_second([idle(0, 0.1)], "test") is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_the_interquartile_mean_is_that_of_the_middle_half(values: list[float]) -> None:
    cut = len(values) // 4
    middle = sorted(values)[cut : len(values) - cut]
    found = interquartile_mean(values, [0] * len(values))
    assert found.mean == pytest.approx(sum(middle) / len(middle), abs=1e-12)
    assert len(values) == 1 or min(values) - 1e-12 <= found.low <= found.high <= max(values) + 1e-12
    alone = interquartile_mean(values, range(len(values)))
    assert alone.mean == found.mean and np.isnan(alone.low) and np.isnan(alone.high)


def test_resamples_are_drawn_within_strata() -> None:
    # Strata without spread leave nothing to chance; of one stratum it would be.
    values, strata = [0.0] * 10 + [1.0] * 10, [0] * 10 + [1] * 10
    apart = interquartile_mean(values, strata)
    assert (apart.mean, apart.low, apart.high) == (0.5, 0.5, 0.5)
    mixed = interquartile_mean(values, [0] * 20)
    assert mixed.low < 0.3 and mixed.high > 0.7
    assert mixed == interquartile_mean(values, [0] * 20), "resamples are the same each time"


@pytest.mark.slow
def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    # The interquartile mean of a symmetric law is its centre.
    found = [interquartile_mean(rng.normal(0.0, 1.0, 60).tolist(), [*range(3)] * 20, seed=turn) for turn in range(300)]
    covered = sum(one.low <= 0 <= one.high for one in found) / len(found)
    assert 0.88 <= covered <= 0.99


@pytest.mark.slow
def test_interquartile_means_are_those_of_rliable() -> None:
    metrics, library = pytest.importorskip("rliable.metrics"), pytest.importorskip("rliable.library")
    # rliable has a run of each stratum in a row, a stratum in a column.
    scores = np.random.default_rng(4).beta(2.0, 5.0, (40, 3))
    found = interquartile_mean(scores.T.ravel().tolist(), np.repeat(range(3), 40).tolist())
    assert found.mean == pytest.approx(metrics.aggregate_iqm(scores), abs=1e-9)
    means, intervals = library.get_interval_estimates(
        {"random": scores},
        lambda own: np.array([metrics.aggregate_iqm(own)]),
        reps=4000,
        random_state=np.random.RandomState(6),
    )
    assert found.mean == pytest.approx(means["random"][0], abs=1e-9)
    # Other draws: as near as two of rliable's own would be.
    assert (found.low, found.high) == pytest.approx(intervals["random"][:, 0], abs=0.02)
