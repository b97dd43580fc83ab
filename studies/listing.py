"""Lines of ``autodpq-study list``."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from autodpq.errors import AutoDPQError
from autodpq.options import signature
from autodpq.plugins import Known


def _first_line(thing: object) -> str:
    return next(iter((inspect.getdoc(thing) or "").splitlines()), "")


def _options(thing: type) -> str:
    """The options of a class with their defaults; those without one as they are."""
    try:
        shown = ", ".join(
            option.name if option.default is option.empty else f"{option.name}={option.default!r}"
            for option in signature(thing).values()
        )
    except AutoDPQError as error:
        return f" {error}"
    return f" Options: {shown}." if shown else ""


def list_lines(what: str) -> Iterator[str]:
    """One line for each strategy, model or data set: name, origin, what it is, its options or threshold."""
    known: list[Known[Any]]
    if what == "datasets":
        from autodpq.data import DATASETS

        known = list(DATASETS.known())
        texts = {
            spec.name: f"{spec.description} (threshold {spec.threshold})"
            for spec in (entry.thing for entry in known)
            if spec is not None
        }
    elif what == "models":
        from autodpq.models import MODELS

        known = list(MODELS.known())
        texts = {entry.name: _first_line(entry.thing) for entry in known if entry.thing is not None}
    else:
        from autodpq.strategy import STRATEGIES
        from studies.config import ALL_STRATEGIES

        known = sorted(
            STRATEGIES.known(),
            key=lambda entry: (entry.name not in ALL_STRATEGIES, entry.origin != "built in", entry.name),
        )
        texts = {
            entry.name: f"{_first_line(entry.thing)}{_options(entry.thing)}"
            for entry in known
            if entry.thing is not None
        }
    yield from _lines(known, texts)


def _lines(known: Iterable[Known[Any]], texts: dict[str, str]) -> Iterator[str]:
    entries = list(known)
    names, origins = (max(map(len, column)) + 2 for column in zip(*((e.name, e.origin) for e in entries), strict=True))
    for entry in entries:
        text = texts[entry.name] if entry.error is None else f"cannot be used: {entry.error}"
        yield f"{entry.name:<{names}}{entry.origin:<{origins}}{text}"
