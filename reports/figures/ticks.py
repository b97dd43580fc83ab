"""Where axes begin and end, and which values are written beside them."""

from __future__ import annotations

import math
from collections.abc import Callable

Ticks = tuple[tuple[float, str], ...]


def linear_ticks(low: float, high: float, label: Callable[[float], str] | None = None, most: int = 6) -> Ticks:
    """Round numbers between low and high, at most so many, with as many decimals as their step needs."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if span / (factor * power) <= most)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) + (1 if round(step / power, 6) == 2.5 else 0)
    first = math.ceil(low / step - 1e-9)
    values = [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]
    return tuple((value, label(value) if label else f"{value + 0.0:.{decimals}f}") for value in values)


def log_ticks(low: float, high: float, label: Callable[[float], str], most: int = 6) -> Ticks:
    """Ticks of a logarithmic axis: round parts of each decade, as many as there is room for; linear ones where it
    is short."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        values = [factor * 10.0**decade for decade in decades for factor in factors]
        inside = [value for value in values if low <= value <= high]
        if len(inside) <= most:
            if len(inside) < 3:
                return linear_ticks(low, high, label, most - 1)
            return tuple((value, label(value)) for value in inside)
    return tuple((value, label(value)) for value in inside[:: math.ceil(len(inside) / most)])


def padded(low: float, high: float, share: float, least_span: float) -> tuple[float, float]:
    """A range with room on both sides, and not so narrow that noise would look like a difference."""
    padding = max(share * (high - low), (least_span - (high - low)) / 2)
    return low - padding, high + padding


def format_bytes(value: float) -> str:
    """Bytes with a decimal unit, such as ``700 kB``."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            return f"{value / factor:.4g} {unit}"
    return f"{value:.0f} B"


def compact(count: float) -> str:
    """A count in few letters, such as ``30k``."""
    for factor, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= factor:
            return f"{count / factor:.3g}{unit}"
    return f"{count:.0f}"
