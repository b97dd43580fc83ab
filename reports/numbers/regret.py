"""Regret of searches that were replayed against a table whose best plan is known: curves, means, intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from autodpq.records.replay import REPLAY, BestWithin, ReplayedRun, ReplayFile, read_replay
from reports.names import in_order, within
from reports.numbers.bootstrap import LEVEL

Floats = npt.NDArray[np.float64]
Rows = Literal["valid", "test"]

_RESAMPLES = 2000
_TIMES = 300  # points of a curve by seconds, at most


@dataclass(frozen=True)
class Replayed:
    """A replay.

    Attributes:
        folder: Where it lies.
        about: What was replayed.
        runs: The searches.
    """

    folder: Path
    about: ReplayFile
    runs: tuple[ReplayedRun, ...]

    def within(self, best: BestWithin) -> dict[str, list[ReplayedRun]]:
        """By strategy its searches within a budget that came to something, in the order of tables, by seed."""
        own = [run for run in self.runs if run.budget == best.budget and run.error is None]
        return {name: [run for run in own if run.strategy == name] for name in in_order(run.strategy for run in own)}

    def title(self, best: BestWithin) -> str:
        """What the searches within a budget are of."""
        return within(f"{self.about.dataset}, {self.about.model}", best.budget)


def load_replay(folder: Path) -> Replayed:
    """Reads the replay in a folder.

    Raises:
        AutoDPQError: There is none, or it is damaged.
    """
    return Replayed(folder, *read_replay(folder / REPLAY))


def is_replay(folder: Path) -> bool:
    """Whether a folder holds a replay."""
    return (folder / REPLAY).exists()


@dataclass(frozen=True)
class Curve:
    """Regret over trials or seconds; a value holds until the next x.

    Attributes:
        x: Trials or seconds, rising.
        mean: Mean over searches.
        low: Lower end of its 95 % t-interval, and no less than 0; the mean itself of one search.
        high: Upper end.
    """

    x: Floats
    mean: Floats
    low: Floats
    high: Floats


def final_regret(run: ReplayedRun, rows: Rows) -> float:
    """Of the plan that a search gave back."""
    value = run.valid_regret if rows == "valid" else run.test_regret
    return math.nan if value is None else value


def trial_regrets(run: ReplayedRun, rows: Rows) -> tuple[float, ...]:
    """After each of its trials."""
    return run.valid_regrets if rows == "valid" else run.test_regrets


def by_trial(runs: Sequence[ReplayedRun], rows: Rows) -> Curve | None:
    """Regret after 1, 2, ... trials; a search that has ended keeps what it has. None where none has trials."""
    regrets = [trial_regrets(run, rows) for run in runs if run.plans]
    if not regrets:
        return None
    longest = max(map(len, regrets))
    values = np.array([[*own, *[own[-1]] * (longest - len(own))] for own in regrets])
    return _curve(np.arange(1.0, longest + 1), values)


def by_second(runs: Sequence[ReplayedRun], rows: Rows) -> Curve | None:
    """Regret by simulated seconds, from when the last search has a trial; None where none has trials."""
    own = [run for run in runs if run.plans]
    if not own:
        return None
    ends = np.unique([second for run in own for second in run.trial_seconds])
    ends = ends[ends >= max(run.trial_seconds[0] for run in own)]
    x = ends[np.unique(np.linspace(0, len(ends) - 1, min(len(ends), _TIMES)).round().astype(int))]
    values = [
        np.array(trial_regrets(run, rows))[np.searchsorted(run.trial_seconds, x, side="right") - 1] for run in own
    ]
    return _curve(x, np.array(values))


def _curve(x: Floats, values: Floats) -> Curve:
    from scipy.special import stdtrit

    mean, reach = values.mean(axis=0), np.zeros(len(x))
    if len(values) > 1:
        reach = stdtrit(len(values) - 1, (1 + LEVEL) / 2) * values.std(axis=0, ddof=1) / math.sqrt(len(values))
    return Curve(x, mean, np.maximum(mean - reach, 0.0), mean + reach)


@dataclass(frozen=True)
class InterquartileMean:
    """The mean of the middle half.

    Attributes:
        mean: The mean.
        low: Lower end of its 95 % interval; nan where there is none.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


def interquartile_mean(values: Sequence[float], strata: Sequence[int], *, seed: int = 0) -> InterquartileMean:
    """The interquartile mean with a stratified bootstrap interval (Agarwal et al., NeurIPS 2021).

    A quarter of the values is left out at each end. The interval is that of percentiles over resamples, in each of
    which values are drawn with replacement within their stratum.

    Args:
        values: The values, at least one.
        strata: Of each value the stratum: the seed of the table that a search saw.
        seed: Of the resampling.
    """
    from scipy.stats import trim_mean

    known, of = np.asarray(values, np.float64), np.asarray(strata)
    parts = [known[of == one] for one in np.unique(of)]
    if min(map(len, parts)) < 2:
        return InterquartileMean(float(trim_mean(known, 0.25)), math.nan, math.nan)
    rng = np.random.default_rng(seed)
    drawn = [own[rng.integers(len(own), size=(_RESAMPLES, len(own)))] for own in parts]
    means = trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1)
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(means, [tail, 100 - tail])
    return InterquartileMean(float(trim_mean(known, 0.25)), float(low), float(high))
