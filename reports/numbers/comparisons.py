"""Each strategy against a reference: by seed, on the test rows, and against FE with a margin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.names import AUTODPQ, in_order, within, without_budget
from reports.numbers.bootstrap import Interval
from reports.numbers.power import detectable_difference, seeds_needed
from reports.numbers.predictions import auc_intervals
from reports.numbers.summary import samples_by_seed
from reports.numbers.tests import (
    SIGNIFICANCE,
    NonInferiority,
    PairedDifference,
    best_of,
    holm,
    mean,
    non_inferiority,
    paired_difference,
    two_sample_p,
)
from reports.results import RunResult, StudyResults

_BASE = "fe"
_COLUMNS = ("test_auc", "test_logloss", "valid_auc", "bytes")


@dataclass(frozen=True, slots=True)
class MetricDifference:
    """The reference minus another strategy on one metric, over the seeds that both have.

    Attributes:
        paired: Differences by seed: mean, deviation, 95 % interval and the p-value of the paired t-test.
        p_holm: That p-value after Holm's correction over all comparisons with this reference; nan where undefined.
        p_two_sample: The p-value of the paper's two-sample t-test, over all seeds of both; nan where undefined.
    """

    paired: PairedDifference
    p_holm: float
    p_two_sample: float


def metric_differences(
    samples: Mapping[str, Mapping[int, float]], reference: str, others: Sequence[str]
) -> dict[str, MetricDifference]:
    """The reference minus each other strategy, with Holm's correction over all of them.

    Args:
        samples: Strategy to seed to value of one metric.
        reference: The strategy that every other one is compared with.
        others: The other strategies.
    """
    ours = samples[reference]
    paired = [paired_difference(ours, samples[other]) for other in others]
    corrected = holm([entry.p_value for entry in paired])
    differences = {}
    for other, entry, p_holm in zip(others, paired, corrected, strict=True):
        p_two_sample = two_sample_p(list(ours.values()), list(samples[other].values()))
        differences[other] = MetricDifference(entry, p_holm, p_two_sample)
    return differences


def ratio_of_means(above: Mapping[int, float], below: Mapping[int, float], seeds: Sequence[int]) -> float:
    """The mean of ``above`` over that of ``below``, of the seeds that both have; nan where there is none."""
    common = [seed for seed in seeds if seed in above and seed in below]
    divisor = mean([below[seed] for seed in common])
    return mean([above[seed] for seed in common]) / divisor if divisor > 0 else math.nan


@dataclass(frozen=True, slots=True)
class StrategyComparison:
    """The reference against another strategy, on one dataset and model.

    Attributes:
        reference: The strategy that every other one is compared with.
        other: The other strategy.
        seeds: The seeds that both have, rising.
        compared: How many strategies the reference is compared with, this one included.
        auc: Test AUC, reference minus other; higher is better.
        logloss: Test logloss, reference minus other; lower is better.
        detectable: The smallest true difference of AUC that as many seeds would have found significant in four of five
            studies; nan where undefined.
        seeds_needed: How many seeds would find a difference as large as the one observed in four of five studies; inf
            where no number of them would, nan where undefined.
        bootstrap_seed: The first common seed, whose test rows are resampled; None without a common seed.
        bootstrap: The 95 % interval of the difference of AUC on the test rows of that seed; None where there is none.
        no_bootstrap: Why there is none; empty where there is one.
        bytes_ratio: Bytes of the other over bytes of the reference, means over the common seeds: above 1 where the
            reference needs fewer; nan where undefined.
    """

    reference: str
    other: str
    seeds: tuple[int, ...]
    compared: int
    auc: MetricDifference
    logloss: MetricDifference
    detectable: float
    seeds_needed: float
    bootstrap_seed: int | None
    bootstrap: Interval | None
    no_bootstrap: str
    bytes_ratio: float

    @property
    def significant(self) -> bool:
        """Whether the difference of AUC is significant by the paired test after Holm's correction."""
        return self.auc.p_holm < SIGNIFICANCE


@dataclass(frozen=True, slots=True)
class AgainstFE:
    """Whether a strategy is no worse than FE by more than the margin.

    Attributes:
        strategy: The strategy.
        seeds: The seeds that it has in common with FE, rising.
        test: The one-sided test on the differences of test AUC by seed, strategy minus FE.
    """

    strategy: str
    seeds: tuple[int, ...]
    test: NonInferiority


@dataclass(frozen=True, slots=True)
class ModelComparisons:
    """All comparisons of one dataset and model.

    Attributes:
        dataset: Name of the data set.
        model: Name of the model.
        budget: Bytes that the strategies compared might take at most; None where there was no limit. What compresses
            nothing is compared with those of every budget.
        reference: The strategy that every other one is compared with: in the paper's space AutoDPQ; where it did not
            run, and within a budget, the one with the best mean validation AUC; None where no strategy has one.
        strategies: The strategies with a test AUC, in the order of the tables.
        comparisons: The reference against each other strategy that ran, in the order of the tables.
        against_fe: Each strategy but FE against FE; empty where FE did not run.
    """

    dataset: str
    model: str
    budget: float | None
    reference: str | None
    strategies: tuple[str, ...]
    comparisons: tuple[StrategyComparison, ...]
    against_fe: tuple[AgainstFE, ...]

    @property
    def title(self) -> str:
        """What it is of."""
        return within(f"{self.dataset}, {self.model}", self.budget)


def compare_strategies(study: StudyResults) -> tuple[ModelComparisons, ...]:
    """All comparisons of a study; the bootstrap takes its time, so that whoever needs them twice hands them on.

    Args:
        study: The study.

    Returns:
        One entry per dataset, model and budget, in the order of ``study.pairs()``, large budgets first.

    Raises:
        AutoDPQError: A file of predictions is damaged, or does not fit the others of its seed.
    """
    return tuple(
        _compare_model(study, dataset, model, budget)
        for dataset, model in study.pairs()
        for budget in budgets_of(study, dataset, model) or (None,)
    )


def budgets_of(study: StudyResults, dataset: str, model: str) -> list[float]:
    """The budgets of the runs of a dataset and model, large ones first."""
    return sorted(set(study.records_of(dataset, model)["budget"].dropna().tolist()), reverse=True)


def _compare_model(study: StudyResults, dataset: str, model: str, budget: float | None) -> ModelComparisons:
    records = study.records_of(dataset, model)
    if budget is not None:
        records = records[records["budget"].isna() | (records["budget"] == budget)]
    ran = in_order(records["strategy"])
    samples = {column: samples_by_seed(records, ran, column) for column in _COLUMNS}
    auc = {strategy: values for strategy, values in samples["test_auc"].items() if values}
    valid = {strategy: samples["valid_auc"][strategy] for strategy in auc}
    if budget is not None:  # what takes more bytes is no rival
        valid = {strategy: values for strategy, values in valid.items() if without_budget(strategy) != strategy}
    is_ours = budget is None and AUTODPQ in auc
    reference = AUTODPQ if is_ours else best_of(valid, higher_is_better=True)
    comparisons: tuple[StrategyComparison, ...] = ()
    if reference is not None:
        others = [strategy for strategy in auc if strategy != reference]
        comparisons = _against_reference(study, study.runs_of(dataset, model), samples, reference, others)
    against_fe = tuple(
        AgainstFE(strategy, _common(values, auc[_BASE]), non_inferiority(values, auc[_BASE]))
        for strategy, values in auc.items()
        if _BASE in auc and strategy != _BASE
    )
    return ModelComparisons(dataset, model, budget, reference, tuple(auc), comparisons, against_fe)


def _common(first: Mapping[int, float], second: Mapping[int, float]) -> tuple[int, ...]:
    return tuple(sorted(first.keys() & second.keys()))


def _against_reference(
    study: StudyResults,
    runs: Sequence[RunResult],
    samples: Mapping[str, Mapping[str, Mapping[int, float]]],
    reference: str,
    others: Sequence[str],
) -> tuple[StrategyComparison, ...]:
    auc = samples["test_auc"]
    seeds = {other: _common(auc[reference], auc[other]) for other in others}
    aucs = metric_differences(auc, reference, others)
    loglosses = metric_differences(samples["test_logloss"], reference, others)
    run_of = {(run.strategy, run.seed): run for run in runs}
    intervals: dict[str, Interval | str] = {}
    for seed in dict.fromkeys(own[0] for own in seeds.values() if own):
        rivals = [other for other in others if seeds[other][:1] == (seed,)]
        found = auc_intervals(study.folder, run_of[reference, seed], [run_of[other, seed] for other in rivals])
        intervals |= dict(zip(rivals, found, strict=True))
    comparisons = []
    for other in others:
        paired = aucs[other].paired
        interval = intervals.get(other, "there is no seed in common")
        comparisons.append(
            StrategyComparison(
                reference,
                other,
                seeds[other],
                len(others),
                aucs[other],
                loglosses[other],
                detectable_difference(paired.deviation, paired.seeds),
                seeds_needed(paired.mean, paired.deviation),
                seeds[other][0] if seeds[other] else None,
                None if isinstance(interval, str) else interval,
                interval if isinstance(interval, str) else "",
                ratio_of_means(samples["bytes"][other], samples["bytes"][reference], seeds[other]),
            )
        )
    return tuple(comparisons)
