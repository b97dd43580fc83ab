"""The paper's published numbers, read from ``paper.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from reports.names import display_name


@cache
def paper() -> dict[str, Any]:
    """All of ``paper.toml``."""
    return tomllib.loads(resources.files("reports").joinpath("paper.toml").read_text(encoding="utf-8"))


def _printed(strategies: list[str], columns: dict[str, Any], metric: str, strategy: str) -> str | None:
    name = display_name(strategy)
    if name not in strategies or metric not in columns:
        return None
    value = columns[metric][strategies.index(name)]
    return value if isinstance(value, str) else f"{value:.4f}"


def _table1(dataset: str) -> dict[str, Any]:
    """What Table 1 prints of a data set, by model; a data set may be called as another key of the table."""
    columns = paper()["table1"].get(dataset, {})
    return columns if isinstance(columns, dict) else {}


def table1_value(dataset: str, model: str, metric: str, strategy: str) -> str | None:
    """What the paper's Table 1 prints for ``auc``, ``logloss`` or ``space``; None where it prints nothing."""
    strategies = paper()["table1"]["strategies"]
    return _printed(strategies, _table1(dataset).get(model, {}), metric, strategy)


def table2_value(dataset: str, model: str, metric: str, strategy: str) -> str | None:
    """What the paper's Table 2 prints for ``auc``, ``logloss`` or ``space``; None where it prints nothing."""
    table = paper()["table2"]
    columns = table.get(model, {}) if dataset == table["dataset"] else {}
    return _printed(table["strategies"], columns, metric, strategy)


def table1_improvement(dataset: str, model: str, metric: str) -> str | None:
    """The relative improvement that the paper's Table 1 prints, such as ``0.43%``."""
    improvement: dict[str, str] = _table1(dataset).get(model, {}).get("rel_improvement", {})
    return improvement.get(metric)


def printed_spaces(dataset: str) -> dict[str, str]:
    """The Space that the paper's Table 1 prints per strategy (as the paper names them), such as ``216k``."""
    for columns in _table1(dataset).values():
        return dict(zip(paper()["table1"]["strategies"], columns["space"], strict=True))
    return {}


def figure3_curves(dataset: str, model: str) -> dict[str, list[tuple[float, float]]]:
    """The paper's Figure 3: (ln(time / FE's training time), test AUC) per strategy, as the paper names them."""
    figure = dict(paper()["figure3"])
    if (figure.pop("dataset"), figure.pop("model")) != (dataset, model):
        return {}
    return {name: [(x, y) for x, y in points] for name, points in figure.items()}
