"""Text columns to frequency-ranked ids, in one pass over the source and in bounded memory.

While batches arrive, each field's values get provisional codes by first appearance; when all rows are counted, the
codes are exchanged for ranks. So a source is read once, and no more than one batch of it is ever held as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.bags import as_columns
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
        cardinalities, time, split, probabilities and weights where the source has them, ``merged`` (per field,
        whether texts were several for one value) where any were, and ``columns`` (per field) where any has bags.

    Raises:
        AutoDPQError: The source has no rows, or, of rows of a weight above 0, one class only.
    """
    encoders = [FieldEncoder() for _ in table.field_names]
    bags = [number for number, name in enumerate(table.field_names) if name in table.separators]
    lengths: dict[int, list[npt.NDArray[np.uint8]]] = {number: [] for number in bags}
    columns = _Columns()
    n_rows = 0
    with ExitStack() as stack:
        codes_file = stack.enter_context((folder / _CODES).open("wb"))
        bag_files = {number: stack.enter_context(_bag_path(folder, number).open("wb")) for number in bags}
        for batch in table.batches:
            codes = []
            for number, (name, encoder) in enumerate(zip(table.field_names, encoders, strict=True)):
                if number not in lengths:
                    codes.append(encoder.add(batch.values[name]))
                    continue
                own = batch.values[name]
                bag_files[number].write(encoder.add(own.explode()).tobytes())
                lengths[number].append(own.list.len().cast(pl.UInt8).to_numpy())
            if codes:
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
    of_bags = {number: np.concatenate(parts) for number, parts in lengths.items()}
    _write_ids(folder, n_rows, [field.ranks for field in ranked], of_bags)
    if bags:
        widths = [int(of_bags[number].max()) if number in of_bags else 1 for number in range(len(ranked))]
        arrays["columns"] = np.array(widths, np.int64)
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


def _bag_path(folder: Path, number: int) -> Path:
    return folder / f"{number}.{_CODES}"


def _write_ids(
    folder: Path,
    n_rows: int,
    ranks: Sequence[npt.NDArray[np.int32]],
    bags: Mapping[int, npt.NDArray[np.uint8]],
) -> None:
    """Exchanges provisional codes for ranks, some rows at a time, and removes the codes.

    Args:
        folder: Where the codes are, and ``ids.npy`` goes.
        n_rows: Rows.
        ranks: Per field, int32 [codes].
        bags: Of the fields of bags, by their numbers, uint8 [rows]: how many values each row has.
    """
    widths = [int(bags[number].max()) if number in bags else 1 for number in range(len(ranks))]
    plain = [number for number in range(len(ranks)) if number not in bags]
    header = {"descr": "<i4", "fortran_order": False, "shape": (n_rows, sum(widths))}
    # Plain reading and writing: pages of maps would count as this process's memory.
    with ExitStack() as stack:
        codes_file = stack.enter_context((folder / _CODES).open("rb"))
        bag_files = {number: stack.enter_context(_bag_path(folder, number).open("rb")) for number in bags}
        file = stack.enter_context((folder / "ids.npy").open("wb"))
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n_rows, BATCH_ROWS):
            count = min(BATCH_ROWS, n_rows - start)
            codes = np.fromfile(codes_file, np.int32, count * len(plain)).reshape(count, len(plain))
            for column, number in enumerate(plain):
                codes[:, column] = ranks[number][codes[:, column]]
            parts = dict(zip(plain, codes.T[:, :, None], strict=True))
            for number, lengths in bags.items():
                own = lengths[start : start + count]
                values = ranks[number][np.fromfile(bag_files[number], np.int32, int(own.sum(dtype=np.int64)))]
                parts[number] = as_columns(values, own, widths[number])
            ids = np.concatenate([parts[number] for number in range(len(ranks))], 1) if bags else codes
            ids.astype("<i4", copy=False).tofile(file)
    for path in (folder / _CODES, *(_bag_path(folder, number) for number in bags)):
        path.unlink()


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
