"""Lines of ``autodpq-study list``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator


def _first_line(thing: type) -> str:
    return (inspect.getdoc(thing) or "").splitlines()[0]


def list_lines(what: str) -> Iterator[str]:
    """One line for each strategy, model or data set: name, options or sizes, what it is."""
    if what == "datasets":
        from autodpq.data import list_datasets

        for spec in list_datasets():
            yield f"{spec.name:<14}{spec.description} (threshold {spec.threshold})"
    elif what == "models":
        from autodpq.models import MODELS

        for name, model in MODELS.items():
            yield f"{name:<14}{_first_line(model)}"
    else:
        import baselines  # noqa: F401 (registers them)
        from autodpq.strategy import STRATEGIES
        from studies.config import ALL_STRATEGIES

        for name in sorted(STRATEGIES, key=lambda name: (name not in ALL_STRATEGIES, name)):
            signature = inspect.signature(STRATEGIES[name])
            shown = ", ".join(f"{option.name}={option.default!r}" for option in signature.parameters.values())
            yield f"{name:<14}{_first_line(STRATEGIES[name])}" + (f" Options: {shown}." if shown else "")
