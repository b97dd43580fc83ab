"""Columns of numbers as categories: which of one's own columns are binned, and where the bins are cut.

The rule. A column is binned where every value is a number (or missing) and at least one is not whole, or where
``numeric`` names it; columns of text in a parquet or Arrow file only where ``numeric`` names them. Whole numbers are
identifiers until a person says otherwise: that is what they mostly are in click logs, and pandas makes decimal numbers
of whole ones as soon as a value is missing.

The bins. Edges are values at equal steps of rank (quantiles), at most 100 bins of about 50 rows or more each, fewer
where values are the same. A column with no more distinct numbers than that has one bin for each of them, so that
nothing is lost. Edges are computed from all rows, whatever the scope of counting: they tell of values, never of labels.
Up to a million rows count them all; beyond, every 2nd, 4th, ... number does, so that memory stays bounded. A missing
number is a value of its own. A bin holds the numbers from its edge on and below the next one; the first begins at
minus infinity, so that every number has a bin, those never seen too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.values import as_text

MAX_BINS = 100
BIN_ROWS = 50
"""Rows that a bin holds at least, about."""

_SAMPLE = 1 << 20
MISSING_NUMBERS = ("", "na", "n/a", "nan", "null", "none", r"\n")
"""What stands for a missing number, in small letters: the spellings of pandas, R and databases."""


def as_numbers(
    column: pl.Series, where: str, row: int | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """A column, of numbers or of their texts, as numbers.

    Args:
        column: The column, or a part of its rows.
        where: What error messages call the source.
        row: Rows of the source before these; None where that is not known.

    Returns:
        float64 [rows], NaN where a value is missing or no number; bool [rows], whether it is no number.

    Raises:
        AutoDPQError: The column holds no single values, or a date that cannot be written.
    """
    # 0.1 in 32 bits is another number than in 64: its text is the same, as it was in a CSV.
    if column.dtype == pl.Float64 or column.dtype.is_integer() or column.dtype.is_decimal():
        return column.cast(pl.Float64).to_numpy(), np.zeros(len(column), np.bool_)
    import pyarrow as pa
    import pyarrow.compute as pc

    # Arrow trims, not polars: see as_text.
    trimmed = pc.utf8_trim_whitespace(as_text(column, where, row).to_arrow())
    numbers = pl.Series(pl.from_arrow(trimmed), dtype=pl.String).cast(pl.Float64, strict=False).to_numpy()
    wrong = np.isnan(numbers)
    if wrong.any():
        missing = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(MISSING_NUMBERS, trimmed.type))
        wrong &= ~np.asarray(missing)
    return numbers, wrong


@dataclass(frozen=True, eq=False)
class Bins:
    """The bins of one column.

    Attributes:
        edges: float64 [bins], rising: the least number of each bin; that of the first is minus infinity.
    """

    edges: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.edges)

    @property
    def names(self) -> list[str]:
        """What people and vocabularies call the bins, as ``[0.5, 1.25)``."""
        bounds = [*map(_shortest, self.edges.tolist()), "inf"]
        return [f"[{low}, {high})" for low, high in pairwise(bounds)]

    def indices(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """The bin of each number, int64 [rows]."""
        return np.searchsorted(self.edges, numbers, side="right") - 1

    def text(self, column: pl.Series, where: str, row: int | None = None) -> pl.Series:
        """The names of the bins of a column, the empty text where a number is missing."""
        numbers, _ = as_numbers(column, where, row)
        missing = np.isnan(numbers)
        names = pl.Series(column.name, self.names, dtype=pl.String).gather(self.indices(np.where(missing, 0, numbers)))
        return names.zip_with(pl.Series(~missing), pl.Series([""]))


def _shortest(number: float) -> str:
    return repr(number).removesuffix(".0")


class NumberSurvey:
    """What is learnt of one column, batch by batch, in bounded memory, whatever the batches are.

    Attributes:
        has_fraction: Whether a number is not whole.
    """

    def __init__(self) -> None:
        self.has_fraction = False
        self._is_wrong = False
        self._seen = 0
        self._stride = 1
        self._sample = np.zeros(0)

    def add(self, column: pl.Series, where: str, row: int | None = None) -> int | None:
        """Learns of some rows.

        Returns:
            The index among them of the first value that is no number, after which nothing more is learnt; None where
            all are numbers or missing.

        Raises:
            AutoDPQError: The column holds no single values, or a date that cannot be written.
        """
        if self._is_wrong:
            return None
        numbers, wrong = as_numbers(column, where, row)
        if wrong.any():
            self._is_wrong, self._sample = True, np.zeros(0)
            return int(wrong.argmax())
        present = numbers[~np.isnan(numbers)]
        self.has_fraction = self.has_fraction or bool((np.floor(present) != present).any())
        self._sample = np.concatenate([self._sample, present[-self._seen % self._stride :: self._stride]])
        self._seen += len(present)
        while len(self._sample) > _SAMPLE:
            self._sample, self._stride = self._sample[::2], 2 * self._stride
        return None

    @property
    def has_numbers(self) -> bool:
        """Whether there is any number, and nothing else but missing ones."""
        return not self._is_wrong and self._seen > 0

    def bins(self) -> Bins:
        """Bins of about equally many rows; one for each distinct number where there are few."""
        limit = min(MAX_BINS, max(2, self._seen // BIN_ROWS))
        ordered = np.sort(self._sample + 0.0)  # -0.0 is 0.0
        edges = np.unique(ordered)
        if len(edges) > limit:
            edges = np.unique(ordered[np.arange(limit) * len(ordered) // limit])
        edges[0] = -np.inf
        return Bins(edges)
