"""The smallest model at a loss of AUC that one allows, found by narrowing down a budget of bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from autodpq.bracket import Bracket
from autodpq.data import dataset_spec
from autodpq.errors import AutoDPQError
from autodpq.models import MODELS
from autodpq.plugins.options import label
from baselines.fe import FullEmbedding
from reports.load import load_study
from reports.numbers.bootstrap import Interval
from reports.numbers.predictions import auc_intervals
from reports.results import RunResult
from studies.budgets import full_bytes, least_bytes
from studies.config import check_config, make_space, make_strategies, study_candidates, study_recipe
from studies.options import StudyConfig
from studies.prepared import LOADING, load_rows
from studies.runner import run_study
from studies.watch.progress import Progress

_FIRST = 0.1  # of FE's bytes: where most tables still fit
_LARGEST = 0.5  # all in 16 bits: what is larger compresses nothing


@dataclass(frozen=True)
class Step:
    """A budget that was tried.

    Attributes:
        budget: Bytes.
        bytes: Of the model within it.
        loss: Validation AUC of FE minus its own.
        test_loss: The same on test rows, which decide nothing.
        allowed: Whether the loss on validation rows is no more than what is allowed.
        run: The run's identifier.
    """

    budget: int
    bytes: int
    loss: float
    test_loss: float
    allowed: bool
    run: str


@dataclass(frozen=True)
class Shrunk:
    """What came out.

    Attributes:
        steps: The budgets that were tried, in order.
        best: The smallest model that is allowed; None where none is.
        full_bytes: FE's.
        interval: Of FE's test AUC minus the model's, over resamples of the test rows, or why there is none.
    """

    steps: tuple[Step, ...]
    best: Step | None
    full_bytes: int
    interval: Interval | str


def shrink(
    values: Mapping[str, Any],
    out: Path,
    max_loss: float,
    n_steps: int,
    console: Console,
    say: Callable[[str], None],
) -> Shrunk:
    """Looks for the smallest model; what a folder holds of it already is not trained again.

    Args:
        values: Options of a study: of its data, its model, and the one strategy that searches.
        out: The folder of the study that the tried budgets are runs of.
        max_loss: How much AUC the model may lose on validation rows.
        n_steps: How many budgets are tried at most.
        console: Where the study tells how far it is.
        say: Is told a line for each budget.

    Raises:
        AutoDPQError: An option or the data cannot be used, or a run came to nothing.
    """
    config = check_config({**values, "space": "wide", "seeds": 1, "budget": None})
    strategies = make_strategies(config)
    if len(strategies) != 1 or len(config.models) != 1:
        raise AutoDPQError("shrink: one strategy and one model are needed")
    least, full = _bounds(config)
    bracket, budgets = Bracket(least, _LARGEST * full, max_loss), [int(max(_FIRST * full, least))]
    steps: list[Step] = []

    def next_budget(records: pd.DataFrame) -> int | None:
        step = _step(records, label(strategies[0]), budgets[-1], max_loss, out)
        steps.append(step)
        say(
            f"{step.bytes:,} bytes, {full / step.bytes:.1f} times fewer than FE's: validation AUC {-step.loss:+.4f}, "
            + ("allowed" if step.allowed else "too much")
        )
        if step.allowed:  # what is not allowed may still be larger: a strategy need not use its budget
            bracket.allow(step.bytes, step.loss)
        else:
            bracket.refuse(step.budget, step.loss)
        if len(steps) == n_steps or bracket.is_narrow:
            return None
        budgets.append(int(bracket.middle()))
        return budgets[-1]

    asked = {"strategies": (FullEmbedding.name, *config.strategies), "budget": (str(budgets[0]),)}
    with Progress(console, config.log_level) as progress:
        run_study(config.model_copy(update=asked), out, progress, next_budget)
    allowed = [step for step in steps if step.allowed]
    best = min(allowed, key=lambda step: step.bytes) if allowed else None
    interval = "no model is within the loss" if best is None else _interval(out, best.run)
    return Shrunk(tuple(steps), best, full, interval)


def _bounds(config: StudyConfig) -> tuple[int, int]:
    """Bytes of the smallest plan, and of FE."""
    dataset = load_rows({option: getattr(config, option) for option in LOADING})
    recipe, model = study_recipe(config, dataset), MODELS.find(config.models[0])
    fields = dataset.banded(config.bands)
    candidates = study_candidates(config, dataset_spec(config.dataset))
    space = make_space(fields, candidates, recipe.embedding_dim, compact=True)
    return least_bytes(fields, space, model, recipe, True), full_bytes(fields, model, recipe)


def _step(records: pd.DataFrame, strategy: str, budget: int, max_loss: float, out: Path) -> Step:
    """What the run of a budget came to, beside FE's."""
    finished = records[records["error"].isna()]
    full = finished[finished["strategy"] == FullEmbedding.name]
    own = finished[(finished["strategy"] == strategy) & (finished["budget"] == budget)]
    for name, found in ((FullEmbedding.name, full), (f"{strategy} within {budget:,} bytes", own)):
        if found.empty:
            raise AutoDPQError(f"{out}: {name} came to nothing; see its records.csv")
    loss, test_loss = (float(full.iloc[0][auc] - own.iloc[0][auc]) for auc in ("valid_auc", "test_auc"))
    return Step(budget, int(own.iloc[0]["bytes"]), loss, test_loss, loss <= max_loss, str(own.iloc[0]["run"]))


def _interval(out: Path, run: str) -> Interval | str:
    by_run: dict[str, RunResult] = {result.run: result for result in load_study(out).runs}
    full = next(result for result in by_run.values() if result.strategy == FullEmbedding.name)
    (found,) = auc_intervals(out, full, [by_run[run]])
    return found


def shrunk_lines(shrunk: Shrunk, max_loss: float) -> list[str]:
    """What came out, in words."""
    if shrunk.best is None:
        least = min(shrunk.steps, key=lambda step: step.loss)
        return [
            f"No model within {max_loss:g} of FE's validation AUC was found: the nearest loses {least.loss:.4f} at "
            f"{least.bytes:,} bytes; allow more by --max-loss"
        ]
    best, interval = shrunk.best, shrunk.interval
    lines = [
        f"The smallest model within {max_loss:g} of FE's validation AUC takes {best.bytes:,} bytes of "
        f"{shrunk.full_bytes:,}, {shrunk.full_bytes / best.bytes:.1f} times fewer, and loses {best.loss:.4f}"
    ]
    if isinstance(interval, str):
        return [*lines, f"On test rows it loses {best.test_loss:.4f}; how sure that is, is not known, for {interval}"]
    word = "shown to be within" if interval.high <= max_loss else "not shown to be within"
    return [
        *lines,
        f"On test rows, which chose nothing, it loses {interval.difference:.4f} [{interval.low:+.4f}, "
        f"{interval.high:+.4f}] (95 % over resamples of the rows): {word} what was allowed",
    ]
