"""A study of some hundred rows from Python, for tests of what runs it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from autodpq.plugins.options import split_names
from studies.config import check_config
from studies.runner import run_study
from studies.watch.progress import Progress

Run = Callable[..., pd.DataFrame]
PARTS = {"train": 500, "valid": 130, "test": 70}


def small_study(folder: Path) -> Run:
    """Runs strategies, by name, on rows that are made in a folder; its studies lie there, too."""
    rng = np.random.default_rng(5)
    n_rows = sum(PARTS.values())
    user, item = (rng.zipf(1.6, n_rows) % 60 for _ in range(2))
    labels = (rng.random(n_rows) < 1 / (1 + np.exp(-np.sin(user) - np.cos(item)))).astype(int)
    part = [name for name, size in PARTS.items() for _ in range(size)]
    path = folder / "own.csv"
    pd.DataFrame({"click": labels, "user": user, "item": item, "part": part}).to_csv(path, index=False)

    def study(
        strategies: str,
        name: str = "study",
        *,
        told: io.StringIO | None = None,
        console: Console | None = None,
        **values: Any,
    ) -> pd.DataFrame:
        config = {
            "dataset": str(path),
            "strategies": tuple(split_names(strategies)),
            "seeds": 1,
            "K": (4,),
            "D": (2,),
            "split_column": "part",
            "cache_dir": str(folder / "cache"),
            **values,
        }
        checked = check_config(config)
        with Progress(console or Console(file=told or io.StringIO()), checked.log_level) as progress:
            return run_study(checked, folder / name, progress)

    return study
