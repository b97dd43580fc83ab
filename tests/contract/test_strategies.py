"""The contract, run over every strategy that is registered."""

from __future__ import annotations

import pytest

import autodpq.search  # noqa: F401 (registers it)
import baselines  # noqa: F401 (registers them)
from autodpq.strategy import STRATEGIES
from autodpq.testing import StrategyContract

# The built-in ones, by module, so that strategies which other tests register are not drawn in.
BUILT_IN = {
    name: strategy
    for name, strategy in STRATEGIES.items()
    if strategy.__module__.partition(".")[0] in {"autodpq", "baselines"}
}


def test_registry_is_not_short() -> None:
    assert {"fe", "fe-continued", "others", "grid", "random", "autodpq"} <= set(BUILT_IN)
    assert all(strategy.name == name for name, strategy in BUILT_IN.items())


class TestEveryStrategy(StrategyContract):
    @pytest.fixture(autouse=True, params=sorted(BUILT_IN))
    def _of_the_registry(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "strategy", BUILT_IN[request.param], raising=False)
