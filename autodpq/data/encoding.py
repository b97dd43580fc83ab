"""Text columns to frequency-ranked ids, in one pass over the source and in bounded memory.

While batches arrive, each field's values get provisional codes by first appearance; when all rows are counted, the
codes are exchanged for ranks. So a source is read once, and no more than one batch of it is ever held as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.source import BATCH_ROWS, Table
from autodpq.data.values import canonical_texts, distinct
from autodpq.errors import AutoDPQError

_CODES = "codes.partial"


class FieldEncoder:
    """Counts one field's values and gives each a provisional code by first appearance."""

    def __init__(self) -> None:
        self._known = pl.DataFrame(schema={"value": pl.String, "code": pl.Int32})
        self._counts = np.zeros(0, np.int64)

    def add(self, values: pl.Series) -> npt.NDArray[np.int32]:
        """Counts the values of a batch.

        Args:
            values: String [rows], without nulls.

        Returns:
            int32 [rows], the provisional codes.
        """
        words, indices = distinct(values)
        local = pl.DataFrame({"value": words})
        found = local.join(self._known, on="value", how="left", maintain_order="left")
        is_new = found["code"].is_null().to_numpy()
        codes = found["code"].fill_null(-1).to_numpy().copy()
        size = len(self._known)
        codes[is_new] = np.arange(size, size + int(is_new.sum()), dtype=np.int32)
        fresh = local.filter(is_new).with_columns(pl.Series("code", codes[is_new], dtype=pl.Int32))
        self._known = pl.concat([self._known, fresh], rechunk=True)
        counts = np.zeros(len(self._known), np.int64)
        counts[:size] = self._counts
        counts[codes] += np.bincount(indices, minlength=len(codes))
        self._counts = counts
        result: npt.NDArray[np.int32] = codes[indices]
        return result

    def ranked(self) -> Ranked:
        """Ranks by falling count, ties by value (in the order of its UTF-8 bytes, for numbers too).

        Where texts are several for one value, they share a rank, and the value is called by its canonical text.
        Elsewhere values keep the text that they came with, and so their ranks: look-ups find them by any.
        """
        known = self._known.with_columns(pl.Series("count", self._counts))
        as_read = known["value"]
        texts = canonical_texts(as_read)
        if texts is not as_read and texts.n_unique() < len(texts):
            known = known.with_columns(texts.alias("value"))
            order = known.group_by("value").agg(pl.col("count").sum()).sort("count", "value", descending=[True, False])
            ranks = known.join(order.with_row_index("rank"), on="value", how="left", maintain_order="left")["rank"]
            return Ranked(ranks.cast(pl.Int32).to_numpy(), order["count"].to_numpy(), order["value"], True)
        order = known.sort("count", "value", descending=[True, False])
        by_rank = order["code"].to_numpy()
        rank = np.empty(len(by_rank), np.int32)
        rank[by_rank] = np.arange(len(by_rank), dtype=np.int32)
        return Ranked(rank, order["count"].to_numpy(), order["value"], False)


@dataclass(frozen=True)
class Ranked:
    """One field's values by rank.

    Attributes:
        ranks: int32 [codes], from provisional code to rank.
        counts: int64 [values], by rank.
        values: String [values], by rank.
        merged: Whether texts were several for one value.
    """

    ranks: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]
    values: pl.Series
    merged: bool


@dataclass
class _Columns:
    """What a source has beside its fields, gathered batch by batch."""

    parts: dict[str, list[npt.NDArray[np.generic]]] = field(default_factory=dict)

    def add(self, name: str, values: npt.NDArray[np.generic] | None) -> None:
        if values is not None:
            self.parts.setdefault(name, []).append(values)

    def joined(self) -> dict[str, npt.NDArray[np.generic]]:
        return {name: np.concatenate(parts) for name, parts in self.parts.items()}


def encode_table(table: Table, folder: Path, where: str) -> dict[str, npt.NDArray[np.generic]]:
    """Encodes a source into a folder: ``ids.npy``, ``vocabulary.parquet`` and one ``.npy`` file per other column.

    Args:
        table: The opened source.
        folder: An empty folder.
        where: What error messages call the source.

    Returns:
        The columns beside the ids, as written: labels, counts (the fields' counts, one after another),
        cardinalities, time, split, probabilities and weights where the source has them, and ``merged`` (per field,
        whether texts were several for one value) where any were.

    Raises:
        AutoDPQError: The source has no rows, or, of rows of a weight above 0, one class only.
    """
    encoders = [FieldEncoder() for _ in table.field_names]
    columns = _Columns()
    n_rows = 0
    codes_path = folder / _CODES
    with codes_path.open("wb") as codes_file:
        for batch in table.batches:
            codes = [encoder.add(batch.values[name]) for name, encoder in zip(table.field_names, encoders, strict=True)]
            codes_file.write(np.stack(codes, axis=1).tobytes())
            n_rows += len(batch.labels)
            columns.add("labels", batch.labels)
            columns.add("time", batch.time)
            columns.add("split", batch.split)
            columns.add("probabilities", batch.probabilities)
            columns.add("weights", batch.weights)
    if n_rows == 0:
        raise AutoDPQError(f"{where}: there are no rows in it")
    arrays = columns.joined()
    check_classes(arrays["labels"], where)
    if "weights" in arrays:
        _check_weighted(arrays["labels"][arrays["weights"].astype(np.float64) > 0], where)
    ranked = [encoder.ranked() for encoder in encoders]
    arrays["counts"] = np.concatenate([field.counts for field in ranked])
    arrays["cardinalities"] = np.array([len(field.counts) for field in ranked], np.int64)
    if any(field.merged for field in ranked):
        arrays["merged"] = np.array([field.merged for field in ranked])
    _write_ids(codes_path, folder / "ids.npy", n_rows, [field.ranks for field in ranked])
    _write_vocabulary(folder / "vocabulary.parquet", table, [field.values for field in ranked])
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values, allow_pickle=False)
    return arrays


def check_classes(labels: npt.NDArray[np.generic], where: str) -> None:
    """Refuses labels of one class: nothing can be learned from them, and AUC is undefined.

    Raises:
        AutoDPQError: All labels are equal.
    """
    if (labels == labels[0]).all():
        raise AutoDPQError(f"{where}: every label is {labels[0]}; both 0 and 1 are needed")


def _check_weighted(labels: npt.NDArray[np.generic], where: str) -> None:
    """Refuses labels of one class, or none, of the rows whose weight is above 0."""
    if not len(labels):
        raise AutoDPQError(f"{where}: every weight is 0, so that no row counts; give 'weight_column' another column")
    check_classes(labels, f"{where}, rows of a weight above 0")


def _write_ids(codes_path: Path, path: Path, n_rows: int, ranks: Sequence[npt.NDArray[np.int32]]) -> None:
    """Exchanges provisional codes for ranks, some rows at a time, and removes the codes."""
    width = len(ranks)
    header = {"descr": "<i4", "fortran_order": False, "shape": (n_rows, width)}
    # Plain reading and writing: pages of maps would count as this process's memory.
    with codes_path.open("rb") as codes_file, path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n_rows, BATCH_ROWS):
            count = min(BATCH_ROWS, n_rows - start)
            codes = np.fromfile(codes_file, np.int32, count * width).reshape(count, width)
            for column, rank in enumerate(ranks):
                codes[:, column] = rank[codes[:, column]]
            codes.astype("<i4", copy=False).tofile(file)
    codes_path.unlink()


def _write_vocabulary(path: Path, table: Table, values: Sequence[pl.Series]) -> None:
    """Writes what every id stands for, in the order of the fields and of the ids; of bins the least number too."""
    frames = []
    for name, column in zip(table.field_names, values, strict=True):
        frame = pl.select(
            pl.lit(name).alias("field"), pl.int_range(len(column), dtype=pl.Int32).alias("id"), column.alias("value")
        )
        if table.bins:
            bins = table.bins.get(name)
            edges = {} if bins is None else dict(zip(bins.names, bins.edges.tolist(), strict=True))
            least = [edges.get(value) for value in column] if edges else None
            frame = frame.with_columns(pl.Series("at_least", least or [None] * len(column), pl.Float64))
        frames.append(frame)
    pl.concat(frames).write_parquet(path)
