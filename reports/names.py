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
    AUTODPQ: "AutoDPQ",
}
BUILT_IN = tuple(_DISPLAY)


def display_name(strategy: str) -> str:
    """The name that a reader sees; a plug-in's is shown as it is."""
    return _DISPLAY.get(strategy, strategy)


def in_order(strategies: Iterable[str]) -> list[str]:
    """Each strategy once: the built-in ones in the paper's order, then the plug-ins by name."""
    present = set(strategies)
    return [name for name in BUILT_IN if name in present] + sorted(present - set(BUILT_IN))


def quantized(choice: Choice) -> tuple[int, int] | None:
    """K and D of ``dpq(K,D)``, which the paper writes without its name; None of every other choice."""
    found = re.fullmatch(r"dpq\((\d+),(\d+)\)", str(choice))
    return (int(found[1]), int(found[2])) if found else None


def choice_label(choice: Choice) -> str:
    """A choice as figures show it: ``32,8`` for ``dpq(32,8)``, and every other one by its text."""
    pair = quantized(choice)
    return f"{pair[0]},{pair[1]}" if pair else str(choice)
