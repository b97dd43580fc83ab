"""What a person sees while a study runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from autodpq.data import EncodedDataset
from autodpq.plan import CompressionPlan, Field, bands_of
from autodpq.records.result import Floors
from autodpq.records.schema import TrialLine
from autodpq.training.fit import Epoch
from autodpq.training.step import Compilation
from autodpq.trial import Outcome
from reports.tables.floors import floors_text
from studies.config import RunConfig
from studies.folder.records import Point
from studies.watch.tensorboard import Scalars

LogLevel = Literal["debug", "info", "warning"]
_SEVERITY: dict[LogLevel, int] = {"debug": 0, "info": 1, "warning": 2}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


class Progress:
    """Tells strategy, seed, trial, epoch, AUC so far and time left.

    Args:
        console: Where to tell it.
        level: Beside the bar: ``debug`` tells every epoch and trial, ``info`` every run, ``warning`` what goes wrong.

    Attributes:
        scalars: Is told too, for TensorBoard; None for nowhere.
    """

    def __init__(self, console: Console, level: LogLevel = "info") -> None:
        self.console = console
        self.level = level
        self.scalars: Scalars | None = None
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
        self._run = ""
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
        if self.scalars is not None:
            self.scalars.close()

    def _say(self, level: LogLevel, text: str) -> None:
        """Prints a line; where every epoch is told, with the time of day."""
        if _SEVERITY[level] >= _SEVERITY[self.level]:
            clock = f"{time.strftime('%H:%M:%S')} " if self.level == "debug" else ""
            self.console.print(f"{clock}{text}", markup=False, highlight=False, soft_wrap=True)

    def start_study(
        self,
        dataset: EncodedDataset,
        fields: Sequence[Field],
        threshold: int,
        truth: dict[str, str | float] | None,
        trainings: Mapping[str, int],
        finished: Collection[str],
    ) -> None:
        """The data is ready; ``trainings`` says about how many each run takes, by its id."""
        rows = sum(field.cardinality for field in fields)
        head = sum(field.head for field in fields)
        told = f"{head:,} of them frequent (in {threshold:,} rows or more)"
        if not head:
            told = f"in {len(bands_of(fields))} bands"
        self._say("info", f"{dataset.name}: {len(dataset):,} rows, {len(fields)} fields, {rows:,} values, {told}")
        for note in dataset.notes():
            self._say("info", note)
        if truth is not None:
            plan = CompressionPlan.from_json(str(truth["plan"]))
            needed = ", ".join(f"{name} {choice}" for name, choice in plan.items() if str(choice) != "full")
            self._say("info", f"Bayes-optimal test AUC {truth['bayes_auc']:.4f}; the plan that suffices: {needed}")
        done = f", {len(finished)} of them done before" if finished else ""
        self._say("info", f"{len(trainings)} runs{done}")
        self._trainings, self._runs, self._units = {}, 0, 0
        self.add_runs(trainings, finished)
        self._begin = time.monotonic()

    def add_runs(self, trainings: Mapping[str, int], finished: Collection[str]) -> None:
        """More runs are asked for, for what those before them came to."""
        left = [run for run in trainings if run not in finished]
        self._trainings |= trainings
        self._runs += len(left)
        self._units += sum(trainings[run] for run in left)
        self._bar.update(self._task, total=max(self._units, 1))

    def mirrored(self, address: str) -> None:
        """Trials are copied to an Optuna storage."""
        self._say("info", f"To watch the trials: optuna-dashboard {address}")

    def watched(self, folder: Path) -> None:
        """Scalars are written for TensorBoard."""
        self._say("info", f"To watch the curves: tensorboard --logdir {folder}")

    def compiled(self, compilation: Compilation) -> None:
        """Training steps are compiled, or cannot be; where they were before, there is nothing to tell."""
        if compilation.failure is not None:
            self.warn(f"training steps are not compiled: {compilation.failure}")
        elif compilation.seconds > 1:
            self._say("info", f"Training steps compiled in {compilation.seconds:.0f} s")

    def measured(self, chosen: str, taken: Mapping[str, float]) -> None:
        """How long steps take on each device, in milliseconds, and which one is taken."""
        times = ", ".join(f"{milliseconds:.1f} ms on {device}" for device, milliseconds in taken.items())
        self._say("info", f"Device {chosen}: a step of FE and one of a plan take {times}")

    def given(self, path: str, n_known: int, n_values: int) -> None:
        """FE starts from the weights of a file."""
        self._say("info", f"FE starts from {path}, which knows {n_known:,} of {n_values:,} values")

    def start_floors(self) -> None:
        """The floors of a split are being fitted."""
        self._bar.update(self._task, description="additive model", state="")

    def floors(self, floors: Floors) -> None:
        """What the models of a split have to be better than."""
        self._say("info", f"Floors on test rows: {floors_text([floors])}")

    def start_run(self, run: RunConfig) -> None:
        """A run begins."""
        self._trial, self._best = 0, 0.0
        self._epochs.clear()
        self._run = f"{run.model} seed {run.seed} {run.within}"
        self._bar.update(self._task, description=self._run, state="")
        self._say("debug", f"{self._run} ({run.run_id}) begins")
        if self.scalars is not None:
            self.scalars.start_run(run)

    def epoch(self, epoch: Epoch) -> None:
        """An epoch ended."""
        self._best = max(self._best, epoch.metrics.auc)
        trial = f"trial {self._trial + 1} " if self._trial else ""
        self._state(f"{trial}epoch {epoch.number} AUC {epoch.metrics.auc:.4f}, best {self._best:.4f}")
        if self.scalars is not None:
            self.scalars.epoch(epoch)

    def point(self, point: Point) -> None:
        """An epoch of a search or of the final training ended; trials tell of themselves."""
        self._best = max(self._best, point.valid_auc)
        if self.scalars is not None:
            self.scalars.point(point)
        if self._trial and point.phase == "search":
            return
        self._epochs[point.phase] += 1
        self._state(f"{point.phase} epoch {self._epochs[point.phase]} AUC {point.valid_auc:.4f}, best {self._best:.4f}")

    def trial(self, outcome: Outcome) -> None:
        """A trial ended."""
        self._trial += 1
        self._best = max(self._best, outcome.valid_auc or 0.0)
        self._advance(1)
        own = f" AUC {outcome.valid_auc:.4f}," if outcome.valid_auc is not None else f" {outcome.kind},"
        self._state(f"trial {self._trial}{own} best {self._best:.4f}")
        if outcome.traceback is not None:
            self.traceback(outcome.traceback)

    def traceback(self, lines: str) -> None:
        """Code failed there."""
        self._say("debug", lines.rstrip())

    def trial_line(self, line: TrialLine) -> None:
        """A line of ``trials.jsonl`` was written, or read back."""
        if self.scalars is not None:
            self.scalars.trial(line)

    def _state(self, state: str) -> None:
        self._bar.update(self._task, state=state)
        self._say("debug", f"{self._run}: {state}")

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
        if self.scalars is not None:
            self.scalars.end_run(record)
        self._say(
            "warning" if record["error"] else "info",
            f"[{self._done}/{self._runs}] {run.model} seed {run.seed} {run.within}: "
            f"{came_to}, {record['epochs']} epochs{trials}, "
            f"{_duration(record['seconds'])} charged, {_duration(time.monotonic() - self._begin)} so far",
        )
