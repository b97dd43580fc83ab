from __future__ import annotations

import math
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.names import within
from reports.numbers.fronts import hypervolume, hypervolume_of

MODELS = st.lists(st.tuples(st.integers(1, 2000), st.floats(0.4, 0.9)), min_size=1, max_size=6)


def plainly(models: list[tuple[int, float]], full: float, floor: float) -> float:
    """Strip by strip: from each size to the next, as high as the best model that is no larger."""
    area, ends = 0.0, sorted({size for size, _ in models if size < full} | {full})
    for left, right in pairwise(ends):
        height = max(auc for size, auc in models if size <= left) - floor
        area += max(height, 0.0) * (math.log10(right) - math.log10(left))
    return area


@given(MODELS)
def test_it_is_the_area_below_the_staircase(models: list[tuple[int, float]]) -> None:
    sizes, aucs = zip(*models, strict=True)
    assert hypervolume(sizes, aucs, 1000.0, 0.6) == pytest.approx(plainly(models, 1000.0, 0.6), abs=1e-12)


def records(bytes_of: dict[tuple[str, int], int], auc: float = 0.7) -> pd.DataFrame:
    rows = [(name, seed, size, auc + seed / 100, 0.6) for (name, seed), size in bytes_of.items()]
    return pd.DataFrame(rows, columns=["strategy", "seed", "bytes", "test_auc", "additive_auc"])


def test_seeds_are_averaged_and_those_without_all_budgets_left_out() -> None:
    full = {("fe", seed): 1000 for seed in range(3)}
    small = {(within("grid", budget), seed): int(budget) for budget in (100.0, 10.0) for seed in (0, 1)}
    found = hypervolume_of(records(full | small | {(within("grid", 100.0), 2): 100}), "grid", [100.0, 10.0])
    assert found is not None and found.seeds == 2
    assert found.mean == pytest.approx(2 * (0.1 + 0.11) / 2) and found.low < found.mean < found.high
    assert hypervolume_of(records(full | small), "random", [100.0, 10.0]) is None
    assert hypervolume_of(records(small), "grid", [100.0, 10.0]) is None  # FE's bytes are not known
