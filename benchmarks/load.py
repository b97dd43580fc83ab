"""Whether a long study stays flat: resident memory and bookkeeping over 5,000 trials of Random on a tiny model.

    python benchmarks/load.py

The study runs as the command line runs it, on 2,000 generated rows, with a recipe of two epochs, so that little but the
runner itself is left. Bookkeeping is all the time that is not the trials' own: Optuna's drawing of plans, the records,
the ledger, progress, at the start reading the data and pretraining, at the end the curve and the test metrics.
Writes docs/benchmarks/load.csv.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console

from autodpq import __version__
from autodpq.training.recipes import RECIPES, Recipe
from autodpq.trial import Outcome
from studies.config import check_config
from studies.runner import run_study
from studies.watch.progress import Progress
from studies.workers.machine import machine_name

PATH = Path(__file__).parents[1] / "docs" / "benchmarks" / "load.csv"
RECIPE = Recipe("load", embedding_dim=8, hidden=(8,), batch_size=64, patience=2, max_epochs=2)
N_ROWS = 2_000
EVERY = 500


def resident_megabytes() -> float:
    """The resident set of this process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None, "Linux says so"
    return int(found[1]) / 1000


class Measured(Progress):
    """Measures at every 500th trial.

    Attributes:
        rows: What was measured.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.rows: list[dict[str, Any]] = []
        self._training = 0.0
        self._trials = 0
        self._start = time.perf_counter()

    def trial(self, outcome: Outcome) -> None:
        """A trial ended."""
        super().trial(outcome)
        self._trials += 1
        self._training += outcome.seconds
        if self._trials % EVERY == 0:
            self.measure("trials")

    def measure(self, what: str) -> None:
        """Adds a row."""
        seconds = time.perf_counter() - self._start
        row = {
            "after": what,
            "trials": self._trials,
            "resident_mb": round(resident_megabytes(), 1),
            "seconds": round(seconds, 2),
            "training_seconds": round(self._training, 2),
            "bookkeeping_percent": round(100 * (1 - self._training / seconds), 2),
        }
        print(row, flush=True)
        self.rows.append(row)


def generate(path: Path) -> None:
    """Rows of three fields on which clicks depend."""
    rng = np.random.default_rng(0)
    fields = {name: rng.zipf(1.5, N_ROWS) % size for name, size in (("user", 300), ("item", 100), ("device", 4))}
    clicks = rng.random(N_ROWS) < 1 / (1 + np.exp(-sum(np.sin(ids) for ids in fields.values())))
    pd.DataFrame({"click": clicks.astype(int), **fields}).to_csv(path, index=False)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=5000)
    options = parser.parse_args()
    RECIPES[RECIPE.name] = RECIPE
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        generate(path)
        config = check_config(
            {
                "dataset": str(path),
                "strategies": ("random",),
                "seeds": 1,
                "recipe": RECIPE.name,
                "trials": options.trials,
                "K": (2, 4, 8),
                "D": (1, 2, 4),
                "cache_dir": str(Path(folder) / "cache"),
            }
        )
        with Measured(Console()) as progress:
            run_study(config, Path(folder) / "study", progress)
            progress.measure("the study")
    where = {"machine": machine_name(), "torch": torch.__version__, "version": __version__}
    frame = pd.DataFrame(progress.rows).assign(**where)
    frame.to_csv(PATH, index=False)
    growth = frame["resident_mb"].iloc[-2] - frame["resident_mb"].iloc[0]
    print(
        f"From trial {frame['trials'].iloc[0]} to {frame['trials'].iloc[-1]} memory grows by {growth:.1f} MB; "
        f"bookkeeping is {frame['bookkeeping_percent'].iloc[-1]:.2f} % of the time."
    )


if __name__ == "__main__":
    main()
