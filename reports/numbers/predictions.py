"""What runs say of the test rows, read when an interval asks for it."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autodpq.errors import AutoDPQError
from autodpq.metrics import auc, both_classes
from autodpq.records.files import damaged
from reports.names import display_name
from reports.numbers.bootstrap import Interval, RankedPredictions, bootstrap_differences
from reports.results import RunResult

_CLOSE = 1e-9  # what another order of summing may change
_COLUMNS = {"label": "uint8", "probability": "double"}
_WEIGHTED = {**_COLUMNS, "weight": "double"}


def auc_intervals(folder: Path, reference: RunResult, others: Sequence[RunResult]) -> list[Interval | str]:
    """Bootstrap intervals of the difference in test AUC between runs of one dataset, model and seed.

    One file is read at a time, and only the ranks of its rows are kept.

    Args:
        folder: The study's folder.
        reference: The run that every other one is compared with.
        others: The other runs; their test rows are the reference's, in the same order.

    Returns:
        Per other run the interval of AUC(reference) - AUC(other), or why there is none.

    Raises:
        AutoDPQError: A file is damaged, or does not fit the reference's.
    """
    if not others:
        return []
    path = _path(folder, reference)
    if not path.is_file():
        return [_not_kept(reference)] * len(others)
    labels, probabilities, weights = read_predictions(path, reference)
    if not both_classes(labels, weights):
        return [f"the test rows of seed {reference.seed} are of one class"] * len(others)
    ranked = RankedPredictions(labels, probabilities, weights)
    rivals: dict[int, RankedPredictions] = {}
    for index, run in enumerate(others):
        path = _path(folder, run)
        if path.is_file():
            own_labels, probabilities, own_weights = read_predictions(path, run)
            columns: tuple[tuple[str, object, object], ...] = (
                ("labels", own_labels, labels), ("weights", own_weights, weights),
            )  # fmt: skip
            for name, own, known in columns:
                if not np.array_equal(np.asarray(own), np.asarray(known)):
                    raise _damaged(path, f"its {name} are not those of {_path(folder, reference)}, of the same seed")
            rivals[index] = RankedPredictions(own_labels, probabilities, own_weights)
    found = bootstrap_differences(ranked, list(rivals.values()), len(labels), seed=reference.seed)
    intervals = dict(zip(rivals, found, strict=True))
    return [intervals.get(index, _not_kept(run)) for index, run in enumerate(others)]


def read_predictions(
    path: Path, run: RunResult
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
    """Reads a run's ``predictions.parquet``, and holds it against the run's result.

    Args:
        path: The file.
        run: The run; it counts the rows, knows their AUC and, if it is no run of an earlier version, the file's digest.

    Returns:
        Labels, uint8 [rows], 0 or 1; probabilities, float64 [rows], from 0 to 1; how much each row counts, float64
        [rows], or None where all count the same.

    Raises:
        AutoDPQError: It cannot be read, or holds something else.
    """
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    rows = run.headroom.samples
    try:
        content = path.read_bytes()
        if run.predictions is not None and hashlib.sha256(content).hexdigest() != run.predictions:
            raise ValueError("its content is not what the run wrote")
        with pq.ParquetFile(io.BytesIO(content)) as file:
            types = {field.name: str(field.type) for field in file.schema_arrow}
            needed = _WEIGHTED if run.is_weighted else _COLUMNS
            if types != needed:
                raise ValueError(f"its columns are {types}, {needed} are needed")
            if file.metadata.num_rows != rows:
                raise ValueError(f"it has {file.metadata.num_rows} rows, the run has {rows} test samples")
            table = file.read()
        if any(column.null_count for column in table.columns):
            raise ValueError("a value is missing")
        labels, probabilities, *others = (table.column(name).to_numpy() for name in needed)
        weights = others[0] if others else None
        if len(labels) != rows:
            raise ValueError(f"it is cut off after {len(labels)} of {rows} rows")
        if labels.max(initial=0) > 1:
            raise ValueError(f"row {int(np.argmax(labels > 1)) + 1} has the label {labels.max()}, not 0 or 1")
        outside = ~((probabilities >= 0) & (probabilities <= 1))  # so that nan is outside
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(f"row {row + 1} has the probability {probabilities[row]}, not one from 0 to 1")
        if weights is not None and not ((weights >= 0) & (weights < math.inf)).all():
            raise ValueError("a weight is negative, or no number")
        if run.test_auc is not None and both_classes(labels, weights):
            found = auc(probabilities, labels, weights)
            if not math.isclose(found, run.test_auc, rel_tol=0, abs_tol=_CLOSE):
                raise ValueError(f"its AUC is {found:.6f}, that of the run's result {run.test_auc:.6f}")
    except (OSError, ValueError, ArrowException) as error:
        raise _damaged(path, str(error)) from None
    return labels, probabilities, weights


def _path(folder: Path, run: RunResult) -> Path:
    return folder / "runs" / run.run / "predictions.parquet"


def _not_kept(run: RunResult) -> str:
    return f"the predictions of {display_name(run.strategy)}, seed {run.seed}, were not kept"


def _damaged(path: Path, reason: str) -> AutoDPQError:
    return damaged(path, reason, "remove it, and the report goes without what needs it")
