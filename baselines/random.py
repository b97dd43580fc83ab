"""Random search over one pair (K, D) per field, sampled by Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import optuna

from autodpq.plan import CompressionPlan
from autodpq.strategy import AskTellStrategy, register
from autodpq.trial import Space, Trial


@register
class Random(AskTellStrategy):
    """A pair (K, D) of its own for every field, drawn uniformly."""

    name: ClassVar[str] = "random"
    uses_history: ClassVar[bool] = False

    def ask(self, number: int, space: Space, rng: np.random.Generator, history: Sequence[Trial]) -> CompressionPlan:
        # A sampler per trial: one that lived on would draw otherwise after a resume.
        sampler = optuna.samplers.RandomSampler(seed=int(rng.integers(2**31)))
        study = optuna.create_study(sampler=sampler)
        names = {name: [str(choice) for choice in candidates] for name, candidates in space.items()}
        drawn = study.ask({name: optuna.distributions.CategoricalDistribution(row) for name, row in names.items()})
        return CompressionPlan({name: space[name][row.index(drawn.params[name])] for name, row in names.items()})
