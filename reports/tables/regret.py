"""Regret of replayed searches: a table, and what it says in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from autodpq.plan import CompressionPlan
from autodpq.records.replay import BestWithin, ReplayedRun
from reports.names import display_name, in_order, short_bytes
from reports.numbers.ranks import Ranks, rank_strategies
from reports.numbers.regret import (
    InterquartileMean,
    Replayed,
    Rows,
    final_regret,
    interquartile_mean,
    trial_regrets,
)
from reports.numbers.targets import Reached, reached
from reports.numbers.tests import SIGNIFICANCE, mean
from reports.tables.render import DASH, Cell, Grid, Table

_COLUMNS = (
    "dataset", "model", "budget", "strategy", "searches", "trials", "valid_regret", "valid_regret_low",
    "valid_regret_high", "test_regret", "test_regret_low", "test_regret_high", "best_found", "median_place", "plans",
    "mean_rank", "seconds", "target_reached", "target_trials", "target_seconds",
)  # fmt: skip
_REGRETS = ("Strategy", "Searches", "Trials", "Validation regret", "Test regret")
_PLACES = ("Strategy", "Best plan", "Place", "Rank", "Time, s")
_TARGETS = ("Strategy", "Reached", "Trials", "Time, s")
_ROWS: tuple[Rows, Rows] = ("valid", "test")
_TARGET_NOTE = (
    "Target: a plan among the best hundredth by validation AUC of the seed that the search saw. Reached: share of "
    "searches. Trials and time: expected until then where one starts anew what has not reached it, all that searches "
    "spent over how many reached it (expected running time)."
)
_FEW = 10  # places that are told one by one


def regret_table(replayed: Replayed) -> Table:
    """What the plans of each strategy are worth beside the best of the table.

    Returns:
        Three grids per budget, regret, places and targets; a tidy row per strategy and budget.
    """
    grids, tidy = [], []
    for best in replayed.about.best:
        by_strategy = replayed.within(best)
        ranks = rank_strategies(by_strategy, "test")
        regrets, places, targets = [], [], []
        for strategy, runs in by_strategy.items():
            valid, test = (_final(runs, rows) for rows in _ROWS)
            found = sum(run.rank == 1 for run in runs) / len(runs)
            place = median([run.rank or 0 for run in runs])
            rank = math.nan if ranks is None else ranks.mean.get(strategy, math.nan)
            seconds, trials = mean([run.seconds for run in runs]), max(len(run.plans) for run in runs)
            name, tried = Cell(display_name(strategy)), Cell(str(trials) if trials else DASH)
            regrets.append((name, Cell(f"{len(runs):,}"), tried, *(Cell(_interval(own)) for own in (valid, test))))
            shown = f"{100 * found:.0f} %", f"{place:g}", DASH if math.isnan(rank) else f"{rank:.2f}", f"{seconds:,.1f}"
            places.append((name, *map(Cell, shown)))
            there = reached(runs, best)
            targets.append((name, *map(Cell, _shown(there))))
            tidy.append(
                {
                    "dataset": replayed.about.dataset, "model": replayed.about.model, "budget": best.budget,
                    "strategy": strategy, "searches": len(runs), "trials": trials, "valid_regret": valid.mean,
                    "valid_regret_low": valid.low, "valid_regret_high": valid.high, "test_regret": test.mean,
                    "test_regret_low": test.low, "test_regret_high": test.high, "best_found": found,
                    "median_place": place, "plans": best.plans, "mean_rank": rank, "seconds": seconds,
                    "target_reached": there.share, "target_trials": there.trials, "target_seconds": there.seconds,
                }
            )  # fmt: skip
        title = replayed.title(best)
        grids += [
            Grid(f"Regret: {title}", _REGRETS, tuple(regrets), notes=_regret_notes(replayed, best)),
            Grid(f"Places: {title}", _PLACES, tuple(places), notes=_place_notes(ranks)),
            Grid(f"Targets: {title}", _TARGETS, tuple(targets), notes=(_TARGET_NOTE,)),
        ]
    return Table(tuple(grids), _COLUMNS, tuple(tidy))


def _shown(there: Reached) -> tuple[str, str, str]:
    trials = DASH if math.isnan(there.trials) else "never" if math.isinf(there.trials) else f"{there.trials:.1f}"
    seconds = "never" if math.isinf(there.seconds) else f"{there.seconds:,.1f}"
    return f"{100 * there.share:.0f} %", trials, seconds


def _final(runs: Sequence[ReplayedRun], rows: Rows) -> InterquartileMean:
    return interquartile_mean([final_regret(run, rows) for run in runs], [run.table_seed for run in runs])


def _interval(found: InterquartileMean) -> str:
    return f"{found.mean:.5f}" + ("" if math.isnan(found.low) else f" [{found.low:.5f}, {found.high:.5f}]")


def _regret_notes(replayed: Replayed, best: BestWithin) -> tuple[str, ...]:
    about = replayed.about
    failed = [run for run in replayed.runs if run.budget == best.budget and run.error is not None]
    by_strategy = {
        name: [run for run in failed if run.strategy == name] for name in in_order(r.strategy for r in failed)
    }
    plan = CompressionPlan.from_json(best.plan, known=False)
    return (
        f"The best of {best.plans:,} plans by test AUC, mean over the table's {about.seeds} seeds: {best.test_auc:.4f} "
        f"at {short_bytes(best.bytes)} ({', '.join(f'{name} {choice}' for name, choice in plan.items())}); FE "
        f"{about.fe_test_auc:.4f} at {short_bytes(about.fe_bytes)}.",
        "Regret: AUC of the best plan minus that of the plan that a search gave back: on validation rows with the seed "
        "that it saw, and on test rows of means over the table's seeds. Interquartile mean over searches with a 95 % "
        "stratified bootstrap interval, whose strata are the table's seeds.",
        f"Search s saw the trainings of the table's seed s modulo {about.seeds}: intervals say how much depends on "
        "what searches draw, not on further seeds of training.",
        *(
            f"{len(own)} of {display_name(name)}'s searches came to nothing and {'is' if len(own) == 1 else 'are'} "
            f"left out: {own[0].error}"
            for name, own in by_strategy.items()
        ),
    )


def _place_notes(ranks: Ranks | None) -> tuple[str, ...]:
    notes = [
        "Best plan: share of searches that gave back the table's best one. Place: the median of how many plans are "
        "better by test AUC, plus one. Time: simulated, mean over searches of the sum of their trainings; of what "
        "trains for itself, its own.",
    ]
    if ranks is not None:
        of = f", mean over {ranks.seeds} search seeds" if ranks.seeds > 1 else ""
        notes.append(f"Rank: of the strategy by test regret{of}, 1 the best.")
        if not math.isnan(ranks.p_value):
            notes[-1] += (
                f" Friedman's test: p = {ranks.p_value:.2g}; ranks that differ by {ranks.critical:.2f} or more are "
                f"told apart at {SIGNIFICANCE} (Nemenyi's test)."
            )
    return tuple(notes)


def regret_words(replayed: Replayed) -> tuple[str, ...]:
    """What the searches came to, a sentence for each budget and each strategy that tries no plans."""
    sentences = []
    for best in replayed.about.best:
        title = "" if best.budget is None else f"Within {short_bytes(best.budget)}: "
        by_strategy = replayed.within(best)
        with_trials = {name: runs for name, runs in by_strategy.items() if any(run.plans for run in runs)}
        if with_trials:
            most = max(len(run.plans) for runs in with_trials.values() for run in runs)
            told = []
            for name, runs in sorted(with_trials.items(), key=lambda entry: _after(entry[1], most, "test").mean):
                own = max(len(run.plans) for run in runs)
                fewer = "" if own == most else f" ({own} trial{'s' if own > 1 else ''})"
                valid, test = (_after(runs, most, rows).mean for rows in _ROWS)
                told.append(f"{display_name(name)}{fewer} {valid:.5f} and {test:.5f}")
            sentences.append(
                f"{title}Regret of the best trial after {most}, on validation and on test rows, interquartile mean "
                f"over searches: {'; '.join(told)}"
            )
        for name, runs in by_strategy.items():
            places = sorted({run.rank for run in runs if run.rank is not None})
            if name not in with_trials and len(places) <= _FEW:
                place = "best" if places == [1] else f"{_listed(places)} best"
                seeds = f" ({len(runs)} seeds)" if len(places) > 1 else ""
                sentences.append(f"{title}The plan of {display_name(name)} is the {place} of {best.plans:,}{seeds}")
    return tuple(sentences)


def _after(runs: Sequence[ReplayedRun], trials: int, rows: Rows) -> InterquartileMean:
    own = [run for run in runs if run.plans]
    values = [trial_regrets(run, rows)[min(trials, len(run.plans)) - 1] for run in own]
    return interquartile_mean(values, [run.table_seed for run in own])


def _listed(places: Sequence[int]) -> str:
    texts = [f"{place:,}{_ordinal(place)}" for place in places]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
