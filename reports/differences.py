"""One strategy against several on one metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.stats import PairedDifference, holm, mean, paired_difference, two_sample_p


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
