"""Two exported models on the same labelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.encoding import check_classes
from autodpq.data.readers.columns import ColumnReader
from autodpq.data.readers.files import OwnFiles, known_file
from autodpq.errors import AutoDPQError
from autodpq.packed.scoring import probabilities
from autodpq.packed.vocabulary.lookup import UNSEEN
from autodpq.serving import ServedModel, open_model
from reports.numbers.release import Column, Release, Scored, compare_release
from studies.exported.labelled import check_named, labelled_batches, number_texts
from studies.exported.predict import score_of


def compare_files(old: Path, new: Path, input: Path, label: str, slices: Sequence[str]) -> Release:
    """Scores rows by two models, in one pass over them.

    Args:
        old: The packed file of a network, its vocabulary beside it.
        new: Another one; it may have other fields.
        input: One file, a folder or a pattern as data sets are, with the fields of both models.
        label: The column of labels.
        slices: Columns, fields or not, by which the rows are sliced too.

    Raises:
        AutoDPQError: A file cannot be read, ``input`` lacks a column or has no rows, or its labels are of one class.
    """
    models, files = [_Model(path) for path in (old, new)], known_file(input)
    names = files.column_names()
    for model in models:
        model.served.vocabulary.check_columns(names, f"{input}, for {model.path}")
    check_named(names, [("label", label), *(("slice", column) for column in slices)], str(input))
    for model in models:
        if label in model.served.field_names:
            raise AutoDPQError(f"{input}: column {label!r} is a field of {model.path}, and no label; give --label")
    used = [label, *slices, *(name for model in models for name in model.served.field_names)]
    labels, sliced = _read(files, list(dict.fromkeys(used)), label, slices, models)
    columns = [Column(name, *sliced[name].joined()) for name in slices]
    check_classes(labels, str(input))
    first, second = (model.scored(len(labels)) for model in models)
    return compare_release(labels, first, second, columns)


class _Model:
    """A model, and what it says of the rows so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.served: ServedModel = open_model(path)
        self.served.vocabulary  # noqa: B018 - what is wrong with it shows before rows are read
        self._score = score_of(self.served, path)
        self._found: list[npt.NDArray[np.float64]] = []
        self._unseen = 0

    def add(self, frame: pl.DataFrame, where: str) -> None:
        """Scores rows."""
        vocabulary = self.served.vocabulary
        ids, widths = vocabulary.look_up_bags(frame, where)
        self._unseen += int((ids == UNSEEN).any(1).sum())
        self._found.append(probabilities(self._score(vocabulary.with_fallbacks(ids, widths), widths)))

    def scored(self, n_rows: int) -> Scored:
        """What it said of all rows."""
        side = self.served.manifest.vocabulary
        beside = 0 if side is None else self.path.with_name(side.name).stat().st_size
        size = self.path.stat().st_size
        return Scored(str(self.path), np.concatenate(self._found), self._unseen / n_rows, size, beside)


class _Sliced:
    """The values of a column so far, whatever their type."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._found: list[npt.NDArray[np.int64]] = []

    def add(self, texts: pl.Series) -> None:
        """Takes texts, a missing value being the empty one."""
        self._found.append(number_texts(texts, self._numbers))

    def joined(self) -> tuple[list[str], npt.NDArray[np.int64]]:
        """The values, and the number of each row's."""
        return list(self._numbers), np.concatenate(self._found)


def _read(
    files: OwnFiles, columns: Sequence[str], label: str, slices: Sequence[str], models: Sequence[_Model]
) -> tuple[npt.NDArray[np.uint8], dict[str, _Sliced]]:
    """Reads all rows; gives labels, uint8 [rows], and the values of the columns that rows are sliced by."""
    reader = ColumnReader(files.where)
    labels: list[npt.NDArray[np.uint8]] = []
    sliced = {name: _Sliced() for name in slices}
    for path, frame, own in labelled_batches(files, columns, label, reader):
        labels.append(own)
        for name, values in sliced.items():
            values.add(reader.text(frame[name]))
        for model in models:
            model.add(frame, path)
    return np.concatenate(labels), sliced


def gate_line(release: Release, max_loss: float) -> tuple[bool, str]:
    """Whether the new model may be released, and why, in one line.

    Args:
        release: Both models.
        max_loss: How much AUC the new one may lose.
    """
    passes, found = -release.auc.value <= max_loss, release.auc
    word = "within" if passes else "worse than"
    interval = f"[{found.low:+.4f}, {found.high:+.4f}]"
    return passes, f"AUC changes by {found.value:+.4f} {interval}: {word} what --max-loss {max_loss:g} allows"
