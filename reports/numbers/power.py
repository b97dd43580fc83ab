"""What a number of seeds can find: the power of the t-test paired by seed."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from reports.numbers.tests import SIGNIFICANCE

POWER = 0.8
MOST_SEEDS = 100_000

_gauss_legendre = cache(np.polynomial.legendre.leggauss)


def power(difference: float, spread: float, seeds: int) -> float:
    """The chance that the two-sided paired t-test at 0.05 finds a true mean difference (noncentral t, exact).

    Args:
        difference: The true mean difference.
        spread: The true standard deviation of the differences by seed.
        seeds: How many seeds.

    Returns:
        The chance; nan with fewer than two seeds or without spread.
    """
    if seeds < 2 or not spread > 0 or math.isnan(difference):
        return math.nan
    from scipy.special import gammaln, ndtr, stdtrit

    freedom = seeds - 1
    critical = float(stdtrit(freedom, 1 - SIGNIFICANCE / 2))
    centre = abs(difference) / spread * math.sqrt(seeds)
    # The noncentral t's tails as the mean, over the measured deviation in units of the true one, of normal tails:
    # scipy 1.17's own are nan at some centres, such as 15 at two seeds.
    reach = 12 / math.sqrt(2 * freedom)
    nodes, weights = _gauss_legendre(400)
    low, high = max(0.0, 1 - reach), 1 + reach
    ratios = low + (high - low) * (nodes + 1) / 2
    log_density = (
        math.log(2)
        + freedom / 2 * math.log(freedom / 2)
        - float(gammaln(freedom / 2))
        + (freedom - 1) * np.log(ratios)
        - freedom * ratios**2 / 2
    )
    found = ndtr(centre - critical * ratios) + ndtr(-centre - critical * ratios)
    return min(1.0, float(np.sum(weights * np.exp(log_density) * found) * (high - low) / 2))


def detectable_difference(spread: float, seeds: int) -> float:
    """The smallest true mean difference that so many seeds find significant with a chance of 0.8.

    Args:
        spread: Standard deviation of the differences by seed.
        seeds: How many seeds.

    Returns:
        The difference, positive; nan with fewer than two seeds or without spread.
    """
    if seeds < 2 or not spread > 0:
        return math.nan
    from scipy.optimize import brentq

    # In units of the spread: two seeds, the fewest that there are, find 11.5 of them; more seeds find less.
    return spread * float(brentq(lambda units: power(units, 1.0, seeds) - POWER, 0.0, 20.0, xtol=1e-12))


def seeds_needed(difference: float, spread: float) -> float:
    """The smallest number of seeds that finds a true mean difference with a chance of 0.8.

    Args:
        difference: The true mean difference.
        spread: Standard deviation of the differences by seed.

    Returns:
        A whole number; inf above 100,000; nan without spread.
    """
    if not spread > 0 or math.isnan(difference):
        return math.nan
    if power(difference, spread, MOST_SEEDS) < POWER:
        return math.inf
    too_few, enough = 1, MOST_SEEDS
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if power(difference, spread, middle) >= POWER else (middle, enough)
    return enough
