from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.made_searches import BEST, replay_of, search

from reports.numbers.attainment import Front, attained, dominated, known_front, searched_fronts

WITHIN = [BEST.model_copy(update={"budget": budget, "test_auc": auc}) for budget, auc in ((400, 0.8), (200, 0.75))]
POINTS = st.tuples(st.integers(1, 9), st.integers(1, 99).map(lambda percent: percent / 100))


def test_a_front_is_of_a_search_seed_that_has_every_budget() -> None:
    runs = [
        search(0, [0.1], budget=400, bytes=390),
        search(0, [0.25], budget=200, bytes=180),
        search(1, [0.0], budget=400),
        search(0, [0.0], budget=400, strategy="tpe"),
    ]
    assert searched_fronts(replay_of(runs, WITHIN)) == {"random": {0: ((390, pytest.approx(0.7)), (180, 0.5))}}
    assert searched_fronts(replay_of(runs[:1], WITHIN[:1])) == {}


def test_a_front_dominates_steps_of_powers_of_ten() -> None:
    replayed = replay_of([])
    steps = 0.1 * math.log10(1000 / 100) + 0.1 * math.log10(1000 / 400)
    assert dominated(replayed, known_front(replayed)) == pytest.approx(steps, abs=1e-12)
    assert dominated(replayed, ((1000, 0.9), (10, 0.6))) == 0


@given(st.lists(st.lists(POINTS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=6))
def test_what_shares_of_searches_attain_is_counted(fronts: list[Front]) -> None:
    found = attained(fronts)
    assert (np.diff(found.bytes) > 0).all()
    for place, size in enumerate(found.bytes):
        best = sorted((max([auc for own, auc in front if own <= size], default=-1.0) for front in fronts), reverse=True)
        for level, percent in ((found.low, 75), (found.median, 50), (found.high, 25)):
            assert level[place] == best[math.ceil(len(best) * percent / 100) - 1]
