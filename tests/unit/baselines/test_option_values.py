"""Values of options that no search could work with are refused before it begins."""

from __future__ import annotations

import pytest

from autodpq.errors import AutoDPQError
from autodpq.plugins.options import construct, options_of
from autodpq.search.autodpq import AutoDPQ
from autodpq.search.strategy import Strategy
from baselines import NSGA2, TPE, FullEmbeddingContinued


@pytest.mark.parametrize(
    ("strategy", "option", "refused", "taken"),
    [
        (AutoDPQ, "search_epochs", ("0", "-1", "1.5"), {"1": 1}),
        (AutoDPQ, "alpha_learning_rate", ("0", "-0.1", "nan"), {"1e-3": 1e-3}),
        (AutoDPQ, "xi", ("-1e-9",), {"0": 0.0, "0.01": 0.01}),
        (FullEmbeddingContinued, "search_epochs", ("0", "-1", "1.5"), {"3": 3}),
        (TPE, "batch_size", ("0", "-1", "none"), {"4": 4}),
        (NSGA2, "population_size", ("0", "1", "none"), {"2": 2}),
    ],
)
def test_values_are_checked_by_the_annotation(
    strategy: type[Strategy], option: str, refused: tuple[str, ...], taken: dict[str, object]
) -> None:
    for text in refused:
        with pytest.raises(AutoDPQError, match=f"{strategy.name}: option {option}="):
            construct(strategy, {option: text})
    for text, value in taken.items():
        assert options_of(construct(strategy, {option: text}))[option] == value
