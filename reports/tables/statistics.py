"""The table of statistics: each strategy, and the reference against every other one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from autodpq.records.result import Floors
from reports.names import AUTODPQ, display_name
from reports.numbers.comparisons import MetricDifference, ModelComparisons, StrategyComparison, compare_strategies
from reports.numbers.floors import floors_of
from reports.numbers.power import MOST_SEEDS, POWER
from reports.numbers.summary import AUC, BYTES, LOGLOSS, Metric, Summary, format_measured, summarize
from reports.numbers.tests import MARGIN, SIGNIFICANCE
from reports.results import StudyResults
from reports.tables.floors import floor_notes, floor_records, floor_rows
from reports.tables.render import DASH, Cell, Grid, Table
from reports.tables.sentences import interval_text, non_inferiority_word, signed, size_text

Row = tuple[Cell, ...]

_METRICS = (AUC, LOGLOSS, BYTES)
_COLUMNS = (
    "dataset", "model", "strategy", "seeds", "auc_mean", "auc_std", "logloss_mean", "logloss_std", "bytes_mean",
    "bytes_std", "reference", "common_seeds",
    *(f"{metric}_{column}" for metric in ("auc", "logloss") for column in (
        "difference", "difference_std", "low", "high", "p_paired", "p_holm", "p_two_sample",
    )),
    "significant", "detectable", "seeds_needed", "bootstrap_seed", "bootstrap_difference", "bootstrap_low",
    "bootstrap_high", "bootstrap_rows", "bootstrap_resamples", "bytes_ratio", "fe_seeds", "fe_difference", "fe_low",
    "fe_p", "fe_verdict",
)  # fmt: skip


def statistics_table(study: StudyResults, comparisons: Sequence[ModelComparisons] | None = None) -> Table:
    """Means and deviations, differences by seed with their tests, and the intervals over test rows.

    Args:
        study: The study.
        comparisons: Its comparisons, where they have been computed.

    Returns:
        Per dataset and model a grid of the strategies, and two of the comparisons where there are any; one tidy row
        per strategy, whose differences are the reference's value minus the strategy's.

    Raises:
        AutoDPQError: A file of predictions is damaged, or does not fit the others of its seed.
    """
    grids: list[Grid] = []
    tidy: list[Mapping[str, object]] = []
    for entry in compare_strategies(study) if comparisons is None else comparisons:
        records = study.records_of(entry.dataset, entry.model)
        summaries = [summarize(records, entry.strategies, metric) for metric in _METRICS]
        floors = floors_of(study.runs_of(entry.dataset, entry.model))
        grids.append(_strategies_grid(entry, summaries, floors))
        if entry.comparisons:
            grids += [_seeds_grid(entry), _rows_grid(entry)]
        tidy += _tidy_floors(entry, floors)
        tidy += [_tidy_row(entry, summaries, strategy) for strategy in entry.strategies]
    return Table(tuple(grids), _COLUMNS, tuple(tidy))


def _strategies_grid(entry: ModelComparisons, summaries: Sequence[Summary], floors: Sequence[Floors]) -> Grid:
    auc, logloss, _ = summaries
    tests = {against.strategy: against.test for against in entry.against_fe}
    blank = [Cell("")] * (4 if tests else 0)
    rows = [(name, Cell(DASH), *cells, *blank) for name, *cells in floor_rows(floors, (AUC, LOGLOSS))]
    rules = frozenset({len(rows)} if rows else ())
    for strategy in entry.strategies:
        cells = [str(len(auc.samples[strategy])), _measured(auc, strategy), _measured(logloss, strategy)]
        if strategy in tests:
            test = tests[strategy]
            cells += [_difference(test.mean), _difference(test.low), _p(test.p_value), non_inferiority_word(test)]
        elif tests:
            cells += [""] * 4
        rows.append(_row(strategy, cells))
    header: tuple[str, ...] = ("Strategy", "Seeds", "AUC", "Logloss")
    notes = ["Test data; mean ± sample standard deviation over seeds."]
    if tests:
        header += ("Minus FE", "At least", "p", "Than FE")
        notes.append(
            "Minus FE: mean difference of AUC from FE over common seeds; at least: lower end of its one-sided "
            f"{1 - SIGNIFICANCE:.0%} interval. p: one-sided t-test, paired by seed, of a loss of {MARGIN:g} or more "
            f"against FE; no worse: p < {SIGNIFICANCE}; worse: p > {1 - SIGNIFICANCE}, the loss is larger. Not "
            "corrected for the number of strategies."
        )
    else:
        notes.append("Nothing is tested against FE: it did not run, or nothing else did.")
    if not entry.comparisons:
        notes.append(_why_nothing(entry))
    notes += floor_notes(floors)
    return Grid(f"Statistics: {entry.title}", header, tuple(rows), rules, tuple(notes))


def _seeds_grid(entry: ModelComparisons) -> Grid:
    rows = []
    for comparison in entry.comparisons:
        auc = comparison.auc
        cells = [str(len(comparison.seeds)), *_paired_cells(auc), _p(auc.p_two_sample)]
        cells += [_size(comparison.detectable), _count(comparison.seeds_needed)]
        rows.append(_row(comparison.other, cells))
    name = display_name(entry.reference or "")
    notes = [
        f"AUC: {name} minus the other, mean over their common seeds; SD: sample standard deviation of these "
        f"differences; interval: {1 - SIGNIFICANCE:.0%} of the t-distribution, not corrected.",
        f"p: two-sided t-test paired by seed. Holm: the same corrected for {_comparisons(len(rows))}; verdicts go by "
        "it, for runs of one seed share what the seed decides, and of many comparisons one is significant by chance. "
        "Paper: the two-sample t-test of Table 1, over all seeds, not corrected.",
        f"Seen: the smallest true difference that so many seeds find significant in {POWER:.0%} of studies, given SD; "
        "needed: how many seeds find the measured one so. Both for a single comparison.",
    ]
    if max(len(comparison.seeds) for comparison in entry.comparisons) < 2:
        notes = [f"AUC: {name} minus the other on their common seed; one seed gives no deviation and no test."]
    if entry.reference != AUTODPQ:
        why = "AutoDPQ did not run; " if entry.budget is None else ""
        notes.insert(0, f"{why}{name} has the best mean validation AUC and is compared with the rest.")
    notes += _no_spread(entry.comparisons, AUC)
    header = ("Against", "Seeds", "AUC", "SD", "95% interval", "p", "Holm", "Paper", "Seen", "Needed")
    return Grid(f"{name} against each, AUC: {entry.title}", header, tuple(rows), notes=tuple(notes))


def _rows_grid(entry: ModelComparisons) -> Grid:
    rows = []
    missing: dict[str, list[str]] = {}
    for comparison in entry.comparisons:
        cells = _paired_cells(comparison.logloss)
        del cells[1]  # the deviation, for which there is no room; the CSV has it
        interval = comparison.bootstrap
        if interval is None:
            missing.setdefault(comparison.no_bootstrap, []).append(display_name(comparison.other))
            cells += [DASH] * 3
        else:
            cells += [str(comparison.bootstrap_seed), _difference(interval.difference)]
            cells.append(_interval(interval.low, interval.high))
        cells.append(DASH if math.isnan(comparison.bytes_ratio) else f"{comparison.bytes_ratio:,.2f}")
        rows.append(_row(comparison.other, cells))
    name = display_name(entry.reference or "")
    notes = [f"Logloss: as AUC above; lower is better. Bytes: the other's in units of {name}'s, over common seeds."]
    notes += _no_spread(entry.comparisons, LOGLOSS)
    found = [comparison.bootstrap for comparison in entry.comparisons if comparison.bootstrap is not None]
    if found:
        least = min(interval.resamples for interval in found)
        notes.append(
            "Rows: difference of AUC on the first common seed, with the 95% percentile interval over "
            f"{least:,} resamples of its {found[0].rows:,} test rows, the same for all strategies. It says what other "
            "test rows would have shown of these two networks, not what other seeds would."
        )
    notes += [f"{', '.join(names)}: no interval over test rows, for {reason}." for reason, names in missing.items()]
    header = ("Against", "Logloss", "95% interval", "p", "Holm", "Seed", "Rows", "95% interval", "Bytes")
    title = f"{name} against each, Logloss, test rows and bytes: {entry.title}"
    return Grid(title, header, tuple(rows), notes=tuple(notes))


def _no_spread(comparisons: Sequence[StrategyComparison], metric: Metric) -> list[str]:
    names = [
        display_name(comparison.other)
        for comparison in comparisons
        if (comparison.auc if metric is AUC else comparison.logloss).paired.deviation == 0
    ]
    title = metric.title
    return [f"{', '.join(names)}: {title} differs by the same for every seed; no interval, no test."] if names else []


def _why_nothing(entry: ModelComparisons) -> str:
    if len(entry.strategies) < 2:
        return "Nothing to compare: fewer than two strategies have a test AUC."
    return "Nothing to compare with: AutoDPQ did not run, and no strategy has a validation AUC to be chosen by."


def _comparisons(count: int) -> str:
    return f"the {count} comparisons of this table" if count > 1 else "one comparison, which changes nothing"


def _row(strategy: str, cells: Sequence[str]) -> Row:
    return (Cell(display_name(strategy)), *map(Cell, cells))


def _measured(summary: Summary, strategy: str) -> str:
    mean = summary.mean(strategy)
    decimals = summary.metric.decimals
    return DASH if math.isnan(mean) else format_measured(mean, summary.deviation(strategy), decimals)


def _paired_cells(difference: MetricDifference) -> list[str]:
    paired = difference.paired
    spread = DASH if math.isnan(paired.deviation) else f"{paired.deviation:.5f}"
    interval = _interval(paired.low, paired.high)
    return [_difference(paired.mean), spread, interval, _p(paired.p_value), _p(difference.p_holm)]


def _size(value: float) -> str:
    return DASH if math.isnan(value) else size_text(value)


def _difference(value: float) -> str:
    return DASH if math.isnan(value) else signed(value)


def _interval(low: float, high: float) -> str:
    return DASH if math.isnan(low) else interval_text(low, high)


def _p(value: float) -> str:
    return DASH if math.isnan(value) else "<0.0001" if value < 1e-4 else f"{value:.2g}"


def _count(value: float) -> str:
    return DASH if math.isnan(value) else f">{MOST_SEEDS:,}" if math.isinf(value) else f"{value:,.0f}"


def _tidy_floors(entry: ModelComparisons, floors: Sequence[Floors]) -> list[Mapping[str, object]]:
    rows: dict[object, dict[str, object]] = {}
    for record in floor_records(floors):
        start = {"dataset": entry.dataset, "model": entry.model, "strategy": record["strategy"]}
        row = rows.setdefault(record["strategy"], {**start, "seeds": record["seeds"]})
        row |= {f"{record['metric']}_mean": record["mean"], f"{record['metric']}_std": record["std"]}
    return list(rows.values())


def _tidy_row(entry: ModelComparisons, summaries: Sequence[Summary], strategy: str) -> Mapping[str, object]:
    row: dict[str, object] = {"dataset": entry.dataset, "model": entry.model, "strategy": strategy}
    row["seeds"] = len(summaries[0].samples[strategy])
    for summary in summaries:
        key = summary.metric.key
        row |= {f"{key}_mean": summary.mean(strategy), f"{key}_std": summary.deviation(strategy)}
    for comparison in entry.comparisons:
        if comparison.other == strategy:
            row |= _tidy_comparison(comparison)
    for against in entry.against_fe:
        if against.strategy == strategy:
            test = against.test
            row |= {"fe_seeds": test.seeds, "fe_difference": test.mean, "fe_low": test.low, "fe_p": test.p_value}
            row["fe_verdict"] = non_inferiority_word(test)
    return row


def _tidy_comparison(comparison: StrategyComparison) -> Mapping[str, object]:
    row: dict[str, object] = {"reference": comparison.reference, "common_seeds": len(comparison.seeds)}
    for key, difference in ((AUC.key, comparison.auc), (LOGLOSS.key, comparison.logloss)):
        paired = difference.paired
        row |= {f"{key}_difference": paired.mean, f"{key}_difference_std": paired.deviation}
        row |= {f"{key}_low": paired.low, f"{key}_high": paired.high, f"{key}_p_paired": paired.p_value}
        row |= {f"{key}_p_holm": difference.p_holm, f"{key}_p_two_sample": difference.p_two_sample}
    row |= {"significant": comparison.significant, "detectable": comparison.detectable}
    row |= {"seeds_needed": comparison.seeds_needed, "bytes_ratio": comparison.bytes_ratio}
    interval = comparison.bootstrap
    if interval is not None:
        row |= {"bootstrap_seed": comparison.bootstrap_seed, "bootstrap_difference": interval.difference}
        row |= {"bootstrap_low": interval.low, "bootstrap_high": interval.high}
        row |= {"bootstrap_rows": interval.rows, "bootstrap_resamples": interval.resamples}
    return row
