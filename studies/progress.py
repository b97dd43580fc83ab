"""What a person sees while a study runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from autodpq.compiled import Compilation
from autodpq.data import EncodedDataset
from autodpq.plan import CompressionPlan, Field
from autodpq.training import Epoch
from autodpq.trial import Outcome
from studies.config import RunConfig
from studies.records import Point


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


class Progress:
    """Tells strategy, seed, trial, epoch, AUC so far and time left.

    Args:
        console: Where to tell it.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1, state="", left="")
        self._runs = 0
        self._trainings: dict[str, int] = {}
        self._done = 0
        self._units = 0
        self._trial = 0
        self._best = 0.0
        self._epochs: Counter[str] = Counter()
        self._begin = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start_study(
        self,
        dataset: EncodedDataset,
        fields: Sequence[Field],
        truth: dict[str, str | float] | None,
        trainings: Mapping[str, int],
        finished: Collection[str],
    ) -> None:
        """The data is ready; ``trainings`` says about how many each run takes, by its id."""
        rows = sum(field.cardinality for field in fields)
        head = sum(field.head for field in fields)
        self.console.print(
            f"{escape(dataset.name)}: {len(dataset):,} rows, {len(fields)} fields, "
            f"{rows:,} values of which {head:,} frequent",
            soft_wrap=True,
        )
        if truth is not None:
            plan = CompressionPlan.from_json(str(truth["plan"]))
            needed = ", ".join(f"{name} {choice}" for name, choice in plan.items() if str(choice) != "full")
            self.console.print(
                f"Bayes-optimal test AUC {truth['bayes_auc']:.4f}; the plan that suffices: {needed}", soft_wrap=True
            )
        left = [run for run in trainings if run not in finished]
        done = f", {len(finished)} of them done before" if finished else ""
        self.console.print(f"{len(trainings)} runs{done}")
        self._trainings = dict(trainings)
        self._runs = len(left)
        self._units = sum(trainings[run] for run in left)
        self._bar.update(self._task, total=max(self._units, 1))
        self._begin = time.monotonic()

    def mirrored(self, address: str) -> None:
        """Trials are copied to an Optuna storage."""
        self.console.print(f"To watch the trials: optuna-dashboard {address}", markup=False, soft_wrap=True)

    def compiled(self, compilation: Compilation) -> None:
        """Training steps are compiled, or cannot be; where they were before, there is nothing to tell."""
        if compilation.failure is not None:
            self.warn(f"training steps are not compiled: {compilation.failure}")
        elif compilation.seconds > 1:
            self.console.print(f"Training steps compiled in {compilation.seconds:.0f} s", highlight=False)

    def start_run(self, run: RunConfig) -> None:
        """A run begins."""
        self._trial, self._best = 0, 0.0
        self._epochs.clear()
        self._bar.update(self._task, description=f"{run.model} seed {run.seed} {run.strategy}", state="")

    def epoch(self, epoch: Epoch) -> None:
        """An epoch ended."""
        self._best = max(self._best, epoch.metrics.auc)
        trial = f"trial {self._trial + 1} " if self._trial else ""
        state = f"{trial}epoch {epoch.number} AUC {epoch.metrics.auc:.4f}, best {self._best:.4f}"
        self._bar.update(self._task, state=state)

    def point(self, point: Point) -> None:
        """An epoch of a search or of the final training ended; trials tell of themselves."""
        self._best = max(self._best, point.valid_auc)
        if self._trial and point.phase == "search":
            return
        self._epochs[point.phase] += 1
        state = f"{point.phase} epoch {self._epochs[point.phase]} AUC {point.valid_auc:.4f}, best {self._best:.4f}"
        self._bar.update(self._task, state=state)

    def trial(self, outcome: Outcome) -> None:
        """A trial ended."""
        self._trial += 1
        self._best = max(self._best, outcome.valid_auc or 0.0)
        self._advance(1)
        self._bar.update(self._task, state=f"trial {self._trial} best AUC {self._best:.4f}")

    def warn(self, message: str) -> None:
        """Something that does not end the study, and that a person should know."""
        self.console.print(f"[yellow]Warning:[/] {escape(message)}", highlight=False, soft_wrap=True)

    def _advance(self, units: int) -> None:
        task = self._bar.tasks[0]
        self._bar.advance(self._task, units)
        left = (time.monotonic() - self._begin) * (self._units / max(task.completed, 1) - 1)
        self._bar.update(self._task, left=f"about {_duration(max(left, 0))} left")

    def end_run(self, run: RunConfig, record: dict[str, Any]) -> None:
        """A run ended."""
        self._done += 1
        self._advance(max(self._trainings[run.run_id] - self._trial, 0))
        kinds = ("failed", "pruned", "restarted")
        counts = ", ".join(f"{record[f'{kind}_trials']} {kind}" for kind in kinds if record[f"{kind}_trials"])
        trials = f", {record['trials']} trials{f' ({counts})' if counts else ''}" if record["trials"] else ""
        came_to = f"failed: {record['error']}"
        if not record["error"]:
            came_to = (
                f"test AUC {record['test_auc']:.4f}, logloss {record['test_logloss']:.4f}, "
                f"{record['parameters']:,} parameters"
            )
        self.console.print(
            f"[{self._done}/{self._runs}] {run.model} seed {run.seed} {run.strategy}: "
            f"{came_to}, {record['epochs']} epochs{trials}, "
            f"{_duration(record['seconds'])} charged, {_duration(time.monotonic() - self._begin)} so far",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
