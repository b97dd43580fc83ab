"""The contract, run over every strategy that the project brings."""

from __future__ import annotations

import pytest

import autodpq.search.autodpq  # noqa: F401 (registers it)
import baselines  # noqa: F401 (registers them)
from autodpq.search.strategy import STRATEGIES
from autodpq.testing import StrategyContract

# By origin, so that strategies which other tests register are not drawn in.
BUILT_IN = {entry.name: entry.thing for entry in STRATEGIES.known() if entry.origin == "built in"}


SLOW = ("nsga2", "random-ray", "asha")
"""TPE stands for what asks Optuna; Ray takes seconds to import in each process, and its engine has tests of its own."""


def marked(name: str) -> object:
    """A parameter, by hand only where another one stands for it."""
    return pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name


def test_registry_is_not_short() -> None:
    expected = {"fe", "fe-continued", "others", "grid", "random", "tpe", "nsga2", "random-ray", "asha", "autodpq"}
    assert expected <= set(BUILT_IN)
    assert all(strategy.name == name for name, strategy in BUILT_IN.items())


class TestEveryStrategy(StrategyContract):
    @pytest.fixture(autouse=True, params=map(marked, sorted(BUILT_IN)))
    def _of_the_registry(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "strategy", BUILT_IN[request.param], raising=False)
