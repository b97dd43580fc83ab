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
    bins = sorted((own.bin for run in runs for own in run.reliability), key=lambda own: own.mean_prediction)
    total, before = sum(own.counts_for for own in bins), 0.0
    groups: dict[int, list[Bin]] = {}
    for own in bins:
        middle = int((2 * before + own.counts_for) * N_BINS // (2 * total))
        groups.setdefault(middle, []).append(own)
        before += own.counts_for
    return [_joined(group) for group in groups.values()]


def _joined(bins: Sequence[Bin]) -> Bin:
    total = sum(own.counts_for for own in bins)
    predicted, rate = (
        math.fsum(own.counts_for * value for own, value in zip(bins, values, strict=True)) / total
        for values in ([own.mean_prediction for own in bins], [own.click_rate for own in bins])
    )
    samples = sum(own.samples for own in bins)
    if all(own.weight is None for own in bins):
        return Bin(samples, predicted, rate)
    squares = math.fsum(own.counts_for**2 / own.tells_as for own in bins)
    return Bin(samples, predicted, rate, total, total**2 / squares)
