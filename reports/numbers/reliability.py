"""Clicks by prediction, over the runs of a strategy."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autodpq.metrics import N_BINS, Bin
from reports.results import RunResult


def pooled_bins(runs: Sequence[RunResult]) -> list[Bin]:
    """The bins of several runs as those of one: by rising prediction, joined to as many as one run has at most.

    Args:
        runs: At least one of them with bins.
    """
    bins = sorted((own for run in runs for own in run.reliability), key=lambda own: own.mean_prediction)
    total, before = sum(own.samples for own in bins), 0
    groups: dict[int, list[Bin]] = {}
    for own in bins:
        middle = (2 * before + own.samples) * N_BINS // (2 * total)
        groups.setdefault(middle, []).append(Bin(own.samples, own.mean_prediction, own.click_rate))
        before += own.samples
    return [_joined(group) for group in groups.values()]


def _joined(bins: Sequence[Bin]) -> Bin:
    samples = sum(own.samples for own in bins)
    predicted = math.fsum(own.samples * own.mean_prediction for own in bins) / samples
    return Bin(samples, predicted, math.fsum(own.samples * own.click_rate for own in bins) / samples)
