"""How strategies are named, ordered and compared in every table and figure."""

from __future__ import annotations

from collections.abc import Iterable

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
