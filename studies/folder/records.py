"""The records of a study: one folder per run, one row per finished run."""

from __future__ import annotations

import hashlib
import io
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from autodpq.data import Samples
from autodpq.errors import AutoDPQError
from autodpq.files import remove_parts, whole_file, write_whole, writing
from autodpq.plan import CompressionPlan
from autodpq.records.files import LINE_ANEW, damage_told, drop_cut_line
from autodpq.records.folder import append_curve, append_trial, read_trials, write_result
from autodpq.records.result import FinishedResult, Result
from autodpq.records.schema import CurveLine, TrialLine
from autodpq.training.network import Network
from autodpq.training.trainer import Trainer
from autodpq.trial import Phase, Trial
from studies.folder.models import records_frame


def save_state(path: Path, state: Mapping[str, Tensor]) -> None:
    """Writes weights, with their digest, whole or not at all."""
    weights = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with whole_file(path) as temporary:
        save_file(weights, temporary, {_DIGEST: weights_digest(weights)})


def load_state(path: Path) -> dict[str, Tensor]:
    """Reads weights, and checks their digest; earlier versions wrote none.

    Raises:
        AutoDPQError: The file is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
        if about and about.get(_DIGEST) != weights_digest(weights):
            raise ValueError("they are not those that were written")
    except Exception as error:
        raise AutoDPQError(f"{path}: not readable as weights ({error}); delete it to measure it anew") from None
    return weights


_DIGEST = "sha256"


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Hexadecimal SHA-256 of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Point:
    """A point on the anytime curve.

    Attributes:
        seconds: Since the run began.
        phase: Phase it belongs to.
        valid_auc: Validation AUC reached.
        reached_by: The network or trial that reached it, where it is the best so far.
    """

    seconds: float
    phase: Phase
    valid_auc: float
    reached_by: Network | Trial | None


class RunFolder:
    """The folder of one run; a :class:`autodpq.search.task.Journal`.

    Args:
        path: The folder.
        trainer: Prices the plans of trials that are read back.
        on_point: Called with every point of the anytime curve.
        on_line: Called with every line of ``trials.jsonl``, those that are read back first.

    Raises:
        AutoDPQError: What was left is damaged, or cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        trainer: Trainer,
        on_point: Callable[[Point], None] | None = None,
        on_line: Callable[[TrialLine], None] | None = None,
    ) -> None:
        self.path = path
        self.trainer = trainer
        self.on_point = on_point
        self.on_line = on_line
        self.points: list[Point] = []
        drop_cut_line(path / "trials.jsonl")
        lines = read_trials(path / "trials.jsonl")
        self._finished = self._with_weights([self._read_trial(line, number) for number, line in enumerate(lines, 1)])
        if on_line is not None:
            for line in lines[: len(self._finished)]:
                on_line(line)
        # Points are told again, by the trials that are read back or by a search that begins anew.
        with writing(path / "curve.jsonl"):
            (path / "curve.jsonl").unlink(missing_ok=True)

    def _read_trial(self, line: TrialLine, number: int) -> Trial:
        with damage_told(f"{self.path / 'trials.jsonl'}, line {number}", LINE_ANEW):
            plan = CompressionPlan.from_json(line.plan)
            return Trial(
                line.number,
                plan,
                line.state,
                line.valid_auc,
                line.valid_logloss,
                self.trainer.ledger(plan),
                line.seconds,
                line.epochs,
                line.error,
                line.valid_aucs,
                line.attempts,
                line.traceback,
            )

    def _with_weights(self, trials: list[Trial]) -> list[Trial]:
        """The trials before the first best-so-far one whose weights are gone; the file forgets the rest."""
        best = -math.inf
        for number, trial in enumerate(trials):
            if trial.valid_auc is not None and trial.valid_auc > best:
                best = trial.valid_auc
                if not self._incumbent(trial.number).exists():
                    path = self.path / "trials.jsonl"
                    write_whole(path, b"".join(path.read_bytes().splitlines(keepends=True)[:number]))
                    return trials[:number]
        return trials

    def finished_trials(self) -> Sequence[Trial]:
        """Trials that an interrupted run had finished."""
        return self._finished

    def add_trial(self, trial: Trial, state: Mapping[str, Tensor] | None) -> None:
        """Records a trial; its weights first, so that no line stands without them."""
        if state is not None:
            path = self._incumbent(trial.number)
            with writing(path.parent):
                path.parent.mkdir(exist_ok=True)
            save_state(path, state)
        line = TrialLine(
            number=trial.number,
            plan=trial.plan.to_json(),
            state=trial.state,
            valid_auc=trial.valid_auc,
            valid_logloss=trial.valid_logloss,
            parameters=trial.ledger.parameters,
            bytes=trial.ledger.bytes,
            seconds=dict(trial.seconds),
            epochs=trial.epochs,
            error=trial.error,
            valid_aucs=trial.valid_aucs,
            attempts=trial.attempts,
            traceback=trial.traceback,
        )
        append_trial(self.path / "trials.jsonl", line)
        if self.on_line is not None:
            self.on_line(line)

    def add_point(self, seconds: float, phase: Phase, valid_auc: float, reached_by: Network | Trial | None) -> None:
        """Records a point; a network is copied, for its test value is computed after the search."""
        kept = deepcopy(reached_by) if isinstance(reached_by, Network) else reached_by
        point = Point(seconds, phase, valid_auc, kept)
        self.points.append(point)
        if self.on_point is not None:
            self.on_point(point)
        append_curve(self.path / "curve.jsonl", CurveLine(seconds=seconds, phase=phase, valid_auc=valid_auc))

    def network_of(self, trial: Trial) -> Network:
        """The network that a best-so-far trial left."""
        with torch.no_grad():
            network = self.trainer.build(trial.plan)
            network.load_state_dict(load_state(self._incumbent(trial.number)))
        return network

    def _incumbent(self, number: int) -> Path:
        return self.path / "incumbents" / f"{number}.safetensors"

    def keep_predictions(self, rows: Samples, probabilities: npt.NDArray[np.float64]) -> str:
        """Keeps what the final network says of the test rows, for intervals of differences between runs.

        Args:
            rows: The test rows.
            probabilities: float64 [rows].

        Returns:
            Hexadecimal SHA-256 of the file.
        """
        buffer = io.BytesIO()
        columns = {"label": rows.labels, "probability": probabilities}
        if rows.weights is not None:
            columns["weight"] = rows.weights
        pd.DataFrame(columns).to_parquet(buffer, index=False, compression="zstd")
        write_whole(self.path / "predictions.parquet", buffer.getvalue())
        return hashlib.sha256(buffer.getvalue()).hexdigest()

    def finish(self, result: Result | FinishedResult) -> None:
        """Writes the result, which makes the run done, and drops what only the run needed."""
        write_result(self.path / "result.json", result)
        _drop_incumbents(self.path)


def _drop_incumbents(run: Path) -> None:
    folder = run / "incumbents"
    with writing(folder):
        if folder.exists():
            shutil.rmtree(folder)


_RUN = "[0-9a-f]" * 12
# What is written by whoever holds the study. Reports are written beside it, and what else lies here is not its own.
_WRITTEN = (
    *("study.json", "asked.json", "records.csv", "records.parquet", "frame.parquet*"),
    *("pretrained/*.json", "pretrained/*.safetensors"),
    *(f"models/{_RUN}.safetensors", f"models/{_RUN}????.vocabulary.parquet"),
    *(f"runs/{_RUN}/{name}" for name in ("config.json", "result.json", "trials.jsonl", "predictions.parquet")),
    f"runs/{_RUN}/incumbents/*.safetensors",
)


def clear_up(study: Path) -> None:
    """Removes what killed processes left in a study: parts of files, and weights that only a finished run had needed.

    Args:
        study: The study's folder, where no other study runs.

    Raises:
        AutoDPQError: Something cannot be removed.
    """
    remove_parts(study, _WRITTEN)
    for path in (study / "runs").glob("*/incumbents"):
        if path.with_name("result.json").exists():
            _drop_incumbents(path.parent)


def write_records(study: Path) -> pd.DataFrame:
    """Gathers the rows of all finished runs into ``records.csv`` and ``records.parquet``."""
    frame = records_frame(study)
    write_whole(study / "records.csv", frame.to_csv(index=False))
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    write_whole(study / "records.parquet", buffer.getvalue())
    return frame
