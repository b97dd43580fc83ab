"""New rows from files to an updated model, and what changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.choices.base import layout_bytes
from autodpq.data.dataset import Samples
from autodpq.data.encoding import check_classes
from autodpq.data.readers.columns import ColumnReader
from autodpq.data.readers.files import OwnFiles, known_file
from autodpq.errors import AutoDPQError
from autodpq.packed.file import PackedFile
from autodpq.packed.load import installed_model
from autodpq.packed.updating.delta import write_delta
from autodpq.packed.updating.update import Growth, Updated, changed_rows, growths, open_to_update, update
from autodpq.packed.vocabulary.lookup import Vocabulary
from autodpq.packed.vocabulary.words import Words
from autodpq.training.recipes import Recipe, find_recipe
from reports.tables.render import Cell, Grid, Table
from studies.exported.labelled import check_named, labelled_batches, number_texts
from studies.prepared import SPLIT_SEED
from studies.workers.machine import choose_device, torch_settings

HELD_OUT = 0.1
"""The share of the new rows that nothing is learned from."""


@dataclass(frozen=True)
class UpdatedFile:
    """What came out.

    Attributes:
        updated: The new model, and how the old one went on.
        old: The old file.
        rows: Rows that were learned from, and that were held out.
        delta: The delta from the old file to the new one.
    """

    updated: Updated
    old: PackedFile
    rows: tuple[int, int]
    delta: Path


def update_file(
    model: Path,
    input: Path,
    out: Path,
    *,
    label: str,
    time_column: str | None,
    recipe: str | None,
    device: str,
) -> UpdatedFile:
    """Trains an exported model on with new rows; writes it, its vocabulary, and the delta beside them.

    Args:
        model: A packed file of a network, its vocabulary beside it.
        input: One file, a folder or a pattern as data sets are, with labels and a column per field.
        out: Where to, NAME.safetensors; the delta is NAME.delta.safetensors.
        label: The column of labels.
        time_column: What says when; the newest tenth of the rows is held out, and of rows without it any tenth.
        recipe: How models are trained; None for the recipe that the model was trained by.
        device: auto, cpu or cuda.

    Raises:
        AutoDPQError: A file cannot be used or written, a column is missing, or rows are of one class.
    """
    if out.suffix != ".safetensors":
        raise AutoDPQError(f"{out}: a packed file ends in .safetensors")
    if out.resolve() == model.resolve():
        raise AutoDPQError(f"{out}: this is the model that is updated, which the delta goes with; give another --out")
    old, vocabulary = open_to_update(model)
    assert old.manifest.model is not None, "what can be updated has one"
    kind = installed_model(model, old.manifest.model.name)
    how, where = _recipe_of(old, recipe), choose_device(device)
    rows = _read(known_file(input), vocabulary, input, label, time_column)
    own = growths(old, vocabulary, rows.new_values())
    train, valid = _parts(rows.samples(own), rows.time, str(input))
    with torch_settings():
        updated = update(old, own, train, valid, how, out, model=kind, device=where)
    delta = out.with_suffix(".delta.safetensors")
    write_delta(delta, model, out)
    return UpdatedFile(updated, old, (len(train), len(valid)), delta)


def _recipe_of(packed: PackedFile, given: str | None) -> Recipe:
    """The recipe that is given, else the one that the file names."""
    if given is not None:
        return find_recipe(given)
    name = packed.manifest.about.get("recipe")
    if not isinstance(name, str):
        raise AutoDPQError(f"{packed.path}: it does not say by which recipe it was trained; give one by --recipe")
    try:
        return find_recipe(name)
    except AutoDPQError as error:
        raise AutoDPQError(f"{packed.path}: its recipe: {error}; give one by --recipe") from None


@dataclass
class _Field:
    """The values of a field that are not known, numbered as they come."""

    words: bool
    numbers: dict[str, int]

    def number(self, ids: npt.NDArray[np.int32], texts: pl.Series) -> None:
        """Puts -2, -3, ... for values never seen; where a field's values cannot grow -1 stays."""
        unseen = np.flatnonzero(ids < 0)
        ids[unseen] = -2 - number_texts(texts.gather(unseen), self.numbers)


@dataclass(frozen=True)
class _Rows:
    """New rows.

    Attributes:
        ids: int32 [rows, fields]; below -1 those of values that are not known.
        labels: uint8 [rows].
        time: [rows], or None.
        fields: By name what is not known of each.
    """

    ids: npt.NDArray[np.int32]
    labels: npt.NDArray[np.uint8]
    time: npt.NDArray[np.int64 | np.float64] | None
    fields: dict[str, _Field]

    def new_values(self) -> dict[str, pl.Series]:
        """The values that are not known, by field."""
        return {name: pl.Series(list(own.numbers), dtype=pl.String) for name, own in self.fields.items()}

    def samples(self, growths: tuple[Growth, ...]) -> Samples:
        """The rows in the ids of tables that have grown."""
        ids = np.empty_like(self.ids)
        for column, (growth, own) in enumerate(zip(growths, self.fields.values(), strict=True)):
            rank = dict(zip(growth.values, range(len(growth.values)), strict=True))
            new = np.array([growth.first + rank[value] for value in own.numbers], np.int32)
            found = self.ids[:, column].copy()
            is_new = found < -1
            found[is_new] = new[-2 - found[is_new]]
            found[found == -1] = growth.spec.fallback
            ids[:, column] = found
        return Samples(ids, self.labels)


def _read(files: OwnFiles, vocabulary: Vocabulary, input: Path, label: str, time_column: str | None) -> _Rows:
    names = files.column_names()
    vocabulary.check_columns(names, str(input))
    check_named(names, [("label", label), ("time-column", time_column)], str(input))
    if label in vocabulary.fields:
        raise AutoDPQError(f"{input}: column {label!r} is a field of the model, and no label; give --label")
    columns = list(dict.fromkeys([label, *vocabulary.fields, *(() if time_column is None else (time_column,))]))
    fields = {name: _Field(isinstance(vocabulary.values(name), Words), {}) for name in vocabulary.fields}
    reader, ids, labels, times = ColumnReader(files.where), [], [], []
    for path, frame, of_batch in labelled_batches(files, columns, label, reader):
        labels.append(of_batch)
        if time_column is not None:
            times.append(reader.time(frame[time_column]))
        found = vocabulary.look_up(frame, path)
        for place, (name, own) in enumerate(fields.items()):
            if own.words and (found[:, place] < 0).any():
                own.number(found[:, place], reader.text(frame[name]))
        ids.append(found)
    time = None if time_column is None else np.concatenate(times)
    return _Rows(np.concatenate(ids), np.concatenate(labels), time, fields)


def _parts(rows: Samples, time: npt.NDArray[np.int64 | np.float64] | None, where: str) -> tuple[Samples, Samples]:
    """Rows to learn from, and those that are held out."""
    if time is None:
        order = np.random.Generator(np.random.PCG64(SPLIT_SEED)).permutation(len(rows))
    else:
        order = np.argsort(time, kind="stable")
    n_train = len(rows) - max(round(HELD_OUT * len(rows)), 1)
    if n_train < 1:
        raise AutoDPQError(f"{where}: it has one row; give more")
    parts = []
    for what, own in (("rows to learn from", order[:n_train]), ("tenth that is held out", order[n_train:])):
        own = np.sort(own)
        check_classes(rows.labels[own], f"{where}, the {what}")
        parts.append(Samples(rows.ids[own], rows.labels[own]))
    return parts[0], parts[1]


def updated_table(done: UpdatedFile) -> Table:
    """What changed, table by table."""
    updated, rows, records = done.updated, [], []
    for old, new, growth in zip(done.old.tables, updated.packed.tables, updated.growths, strict=True):
        changed = changed_rows(old, new, growth)
        sizes = [layout_bytes(table.spec.layout) for table in (old, new)]
        record = {
            "field": growth.spec.name,
            "values": growth.spec.n_rows,
            "new": len(growth.values),
            "changed": changed,
            "bytes_before": sizes[0],
            "bytes": sizes[1],
        }
        records.append(record)
        rows.append((Cell(growth.spec.name), *(Cell(f"{number:,}") for number in list(record.values())[1:])))
    header = ("Field", "Rows", "New", "Changed", "Bytes", "Bytes now")
    notes = ("Changed: rows of values that were known whose embedding is another than before.",)
    return Table((Grid("What changed", header, tuple(rows), notes=notes),), tuple(records[0]), tuple(records))


def updated_lines(done: UpdatedFile) -> Iterator[str]:
    """What came out, in words."""
    updated, (n_train, n_valid) = done.updated, done.rows
    before, after = updated.before, updated.after
    yield (
        f"{n_train:,} rows learned from, {n_valid:,} held out: AUC {before.auc:.4f} before, {after.auc:.4f} after "
        f"({after.auc - before.auc:+.4f}), logloss {before.logloss:.4f} before, {after.logloss:.4f} after; the best of "
        f"{updated.epochs} epochs was epoch {updated.best_epoch}"
    )
    if after.auc < before.auc:
        yield "Warning: on the rows that were held out the update is worse than the model was; give more rows"
    out = updated.packed.path
    size, delta = out.stat().st_size, done.delta.stat().st_size
    side = updated.packed.manifest.vocabulary
    assert side is not None, "what is updated has one"
    beside = out.with_name(side.name)
    total = size + beside.stat().st_size
    yield f"{out}: {size:,} bytes; {beside}: {beside.stat().st_size:,} bytes"
    yield f"{done.delta}: {delta:,} bytes, {delta / total:.1%} of both, for 'patch' where the old model is in use"
