from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import friedmanchisquare
from support.made_searches import search

from reports.numbers.ranks import rank_strategies


def test_ranks_share_what_is_equal_and_leave_out_who_lacks_seeds() -> None:
    regrets = {"random": [0.3, 0.2, 0.3, 0.1], "tpe": [0.1, 0.2, 0.1, 0.0], "grid": [0.2, 0.4, 0.2, 0.2]}
    searches = {
        name: [search(seed, [value], strategy=name) for seed, value in enumerate(values)]
        for name, values in regrets.items()
    }
    ranks = rank_strategies({**searches, "autodpq": [search(0, [0.0])]}, "test")
    assert ranks is not None and ranks.seeds == 4
    assert ranks.mean == {"random": (3 + 1.5 + 3 + 2) / 4, "tpe": (1 + 1.5 + 1 + 1) / 4, "grid": (2 + 3 + 2 + 3) / 4}
    assert ranks.p_value == pytest.approx(friedmanchisquare(*regrets.values()).pvalue)
    # Demsar's Table 5a: q of three at 0.05 is 2.343.
    assert ranks.critical == pytest.approx(2.343 * (3 * 4 / (6 * 4)) ** 0.5, abs=1e-3)
    two = rank_strategies({name: searches[name] for name in ("random", "tpe")}, "test")
    assert two is not None and np.isnan(two.p_value) and two.mean["tpe"] < two.mean["random"]
    assert rank_strategies({"random": searches["random"]}, "test") is None


@pytest.mark.slow
def test_ranks_and_their_test_are_those_of_scikit_posthocs() -> None:
    posthocs = pytest.importorskip("scikit_posthocs")
    regrets = np.random.default_rng(2).beta([[1.0], [2.0], [2.5], [6.0]], 4.0, (4, 30))
    names = ["random", "tpe", "grid", "nsga2"]
    searches = {
        name: [search(seed, [value], strategy=name) for seed, value in enumerate(own)]
        for name, own in zip(names, regrets.tolist(), strict=True)
    }
    ranks = rank_strategies(searches, "test")
    assert ranks is not None
    p_values = posthocs.posthoc_nemenyi_friedman(regrets.T).to_numpy()
    # Its p-value is 0.05 where two mean ranks differ by the critical difference.
    apart = np.array([[abs(ranks.mean[one] - ranks.mean[other]) for one in names] for other in names])
    told_apart = p_values < 0.05
    assert 0 < told_apart.sum() < 12
    assert ((apart > ranks.critical) == told_apart).all()
