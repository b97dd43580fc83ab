"""Scalars for TensorBoard: one folder per run."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autodpq.errors import AutoDPQError
from autodpq.files import writing
from autodpq.records.schema import TrialLine
from autodpq.training.fit import Epoch
from studies.folder.records import Point

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from studies.config import RunConfig

FOLDER = "tensorboard"


class Scalars:
    """Writes what a run comes to, epoch by epoch and trial by trial.

    Args:
        folder: A folder per run is made in it; one of an earlier try of the same run is replaced.

    Raises:
        AutoDPQError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise AutoDPQError("--tensorboard: needs TensorBoard: pip install 'autodpq[tensorboard]'") from None
        self._open = SummaryWriter
        self.folder = folder
        self._writer: SummaryWriter | None = None
        self._steps: Counter[str] = Counter()
        self._best = 0.0

    def start_run(self, run: RunConfig) -> None:
        """A run begins."""
        self.close()
        name = f"{run.data['name']}-{run.model}-{run.strategy}-seed{run.seed}-{run.run_id}"
        path = self.folder / "".join(letter if letter.isalnum() or letter in "-_.=" else "_" for letter in name)
        with writing(path):
            if path.exists():
                shutil.rmtree(path)
            self._writer = self._open(str(path))
        self._steps.clear()
        self._best = 0.0

    def epoch(self, epoch: Epoch) -> None:
        """An epoch of a training ended here; x counts the run's epochs."""
        self._add("epoch/valid_auc", epoch.metrics.auc)
        self._add("epoch/valid_logloss", epoch.metrics.logloss)

    def point(self, point: Point) -> None:
        """A point of the anytime curve; x counts the points of its phase."""
        self._add(f"{point.phase}/valid_auc", point.valid_auc)

    def trial(self, line: TrialLine) -> None:
        """A trial ended; x is its number. A failed or pruned one has no AUC of its own."""
        if line.valid_auc is not None:
            self._best = max(self._best, line.valid_auc)
            self._add("trial/valid_auc", line.valid_auc, line.number)
        self._add("trial/best_valid_auc", self._best, line.number)
        self._add("trial/bytes", float(line.bytes), line.number)
        self._add("trial/epochs", float(line.epochs), line.number)

    def end_run(self, record: dict[str, Any]) -> None:
        """A run ended; a failed one has no numbers."""
        for name in ("test_auc", "test_logloss", "valid_auc", "valid_logloss", "parameters", "bytes", "seconds"):
            if record[name] is not None:
                self._add(f"result/{name}", float(record[name]), 0)
        self.close()

    def close(self) -> None:
        """Writes what is left of the run."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _add(self, name: str, value: float, step: int | None = None) -> None:
        if self._writer is None:
            return
        if step is None:
            step = self._steps[name]
            self._steps[name] += 1
        self._writer.add_scalar(name, value, step)
