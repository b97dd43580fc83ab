"""How soon replayed searches are good enough: the share that gets there, and what that takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autodpq.records.replay import BestWithin, ReplayedRun


@dataclass(frozen=True)
class Reached:
    """How soon searches reach a target.

    What is expected is what all searches spent until they were there, or ended, over how many got there: what one would
    spend who starts the search anew until it does (the expected running time of Hansen et al., COCO, 2021).

    Attributes:
        share: Searches that got there.
        trials: Expected trials; nan where none are tried, infinity where no search got there.
        seconds: Expected simulated seconds; infinity where no search got there.
    """

    share: float
    trials: float
    seconds: float


def reached(runs: Sequence[ReplayedRun], best: BestWithin) -> Reached:
    """How soon the best trial so far is among the best hundredth of plans, by validation AUC of the seed that is seen.

    What tries no plans gets there by the plan that it gives back, when it ends.

    Args:
        runs: Searches within one budget, at least one.
        best: Of that budget.
    """
    spent = [_spent(run, best.targets[run.table_seed]) for run in runs]
    n_there = sum(there for there, _, _ in spent)
    trials, seconds = sum(trials for _, trials, _ in spent), sum(seconds for _, _, seconds in spent)
    return Reached(
        n_there / len(runs),
        math.nan if not trials else trials / n_there if n_there else math.inf,
        seconds / n_there if n_there else math.inf,
    )


def _spent(run: ReplayedRun, target: float) -> tuple[bool, int, float]:
    """Whether it got there, and after how many trials and seconds that was, or it ended."""
    if not run.plans:
        return run.valid_regret is not None and run.valid_regret <= target, 0, run.seconds
    first = next((place for place, regret in enumerate(run.valid_regrets) if regret <= target), None)
    last = len(run.plans) - 1 if first is None else first
    return first is not None, last + 1, run.trial_seconds[last]
