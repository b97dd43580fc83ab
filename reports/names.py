"""How strategies are named, ordered and compared, and choices named, in every table and figure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from autodpq.choices import Choice

AUTODPQ = "autodpq"
CONTROL = "fe-continued"

_DISPLAY = {
    "fe": "FE",
    CONTROL: "FE-continued",
    "others": "Others",
    "grid": "Grid",
    "random": "Random",
    "tpe": "TPE",
    "nsga2": "NSGA-II",
    "random-ray": "Random (Ray)",
    "asha": "ASHA",
    "sensitivity": "Sensitivity",
    AUTODPQ: "AutoDPQ",
}
BUILT_IN = tuple(_DISPLAY)


_WITHIN = " within "
_SIZES = (("MB", 10**6), ("kB", 10**3), ("B", 1))


def short_bytes(n_bytes: float) -> str:
    """Bytes as people read them: 93.2 kB."""
    unit, size = next(entry for entry in _SIZES if n_bytes >= entry[1] or entry[1] == 1)
    number = n_bytes / size
    return f"{number:.3g} {unit}" if number < 999.5 and size > 1 else f"{number:,.0f} {unit}"


def within(strategy: str, budget: float | None) -> str:
    """A strategy, and the budget of bytes that it is held to."""
    return strategy if budget is None else f"{strategy}{_WITHIN}{short_bytes(budget)}"


def without_budget(strategy: str) -> str:
    """The strategy alone of what :func:`within` gives."""
    return strategy.partition(_WITHIN)[0]


def display_name(strategy: str) -> str:
    """The name that a reader sees; a plug-in's is shown as it is."""
    alone = without_budget(strategy)
    return _DISPLAY.get(alone, alone) + strategy[len(alone) :]


def in_order(strategies: Iterable[str]) -> list[str]:
    """Each strategy once: the built-in ones in the paper's order, then the plug-ins by name; large budgets first."""

    def place(name: str) -> tuple[int, str, float]:
        alone, _, budget = name.partition(_WITHIN)
        known = BUILT_IN.index(alone) if alone in BUILT_IN else len(BUILT_IN)
        return known, alone if known == len(BUILT_IN) else "", -_size(budget)

    return sorted(set(strategies), key=place)


def _size(text: str) -> float:
    """What :func:`short_bytes` wrote; 0 where it did not."""
    found = re.fullmatch(r"([\d,.]+) ([kM]?B)", text)
    return float(found[1].replace(",", "")) * dict(_SIZES)[found[2]] if found else 0.0


def quantized(choice: Choice) -> tuple[int, int] | None:
    """K and D of ``dpq(K,D)``, which the paper writes without its name; None of every other choice."""
    found = re.fullmatch(r"dpq\((\d+),(\d+)\)", str(choice))
    return (int(found[1]), int(found[2])) if found else None


def choice_label(choice: Choice) -> str:
    """A choice as figures show it: ``32,8`` for ``dpq(32,8)``, and every other one by its text."""
    pair = quantized(choice)
    return f"{pair[0]},{pair[1]}" if pair else str(choice)
