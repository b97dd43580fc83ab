"""Which settings of a recipe can be tuned, and within what (no torch here)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autodpq.errors import AutoDPQError, nearest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Between:
    """Numbers of three digits between two, drawn evenly, or evenly in their logarithm."""

    low: float
    high: float
    log: bool = True

    def distribution(self) -> BaseDistribution:
        """What Optuna draws from."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)

    def value(self, drawn: Any) -> Any:
        """The setting's value."""
        return float(f"{drawn:.3g}")

    def drawn(self, value: Any) -> Any:
        """What Optuna would have drawn for a value; None where it could not."""
        return value if value is not None and self.low <= value <= self.high else None


@dataclass(frozen=True)
class OneOf:
    """One of a few values."""

    values: tuple[Any, ...]

    def distribution(self) -> BaseDistribution:
        """What Optuna draws from."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([json.dumps(value) for value in self.values])

    def value(self, drawn: Any) -> Any:
        """The setting's value."""
        found = json.loads(drawn)
        return tuple(found) if isinstance(found, list) else found

    def drawn(self, value: Any) -> Any:
        """What Optuna would have drawn for a value; None where it could not."""
        return json.dumps(value) if value in self.values else None


# Sizes of embeddings are what one serves, and stay as they are asked for.
RANGES: dict[str, Between | OneOf] = {
    "learning_rate": Between(3e-4, 1e-2),
    "table_learning_rate": Between(1e-4, 1e-2),
    "l2": Between(1e-7, 1e-3),
    "dropout": Between(0.0, 0.6, log=False),
    "embedding_dropout": Between(0.0, 0.6, log=False),
    "hidden": OneOf(((16, 16), (64, 64), (128, 128), (256, 256))),
    "batch_size": OneOf((1024, 2048, 4096)),
}


def ranges_of(settings: Sequence[str]) -> dict[str, Between | OneOf]:
    """The ranges of some settings, in the order of :data:`RANGES`.

    Raises:
        AutoDPQError: A setting cannot be tuned, or none is given.
    """
    for setting in settings:
        if setting not in RANGES:
            raise AutoDPQError(f"--settings: {setting!r} cannot be tuned{nearest(setting, RANGES)}")
    if not settings:
        raise AutoDPQError(f"--settings: none given, at least one is needed: {', '.join(RANGES)}")
    return {setting: span for setting, span in RANGES.items() if setting in settings}
