"""What a loader hands to the encoder: a source that is read once, in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.binning import Bins
from autodpq.errors import AutoDPQError, nearest
from autodpq.plan import CompressionPlan

BATCH_ROWS = 500_000
"""Rows that are held as text at a time."""


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of a source.

    Attributes:
        values: The fields in order, every column of type String, of bags List(String), none of them empty; a missing
            value is the empty string.
        labels: uint8 [rows], 0 or 1.
        time: [rows], anything that rises with time, or None where the source has none.
        split: int8 [rows], 0 train, 1 validation, 2 test, or None where the source has no split.
        probabilities: float32 [rows], the true click probability of generated rows, or None.
        weights: float64 [rows], how much each counts, or None where all count the same.
    """

    values: pl.DataFrame
    labels: npt.NDArray[np.uint8]
    time: npt.NDArray[np.int64 | np.float64] | None = None
    split: npt.NDArray[np.int8] | None = None
    probabilities: npt.NDArray[np.float32] | None = None
    weights: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Table:
    """An opened source.

    Attributes:
        field_names: The fields in order.
        batches: The rows, to be read once.
        plan: The plan that suffices, where the rows are generated.
        bins: The bins of fields whose values are the names of bins.
        missing: Canonical texts that stand for missing values.
        separators: Of fields whose values are bags, what stands between them; empty for lists.
    """

    field_names: tuple[str, ...]
    batches: Iterable[Batch]
    plan: CompressionPlan | None = None
    bins: Mapping[str, Bins] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    separators: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where rows come from, described without reading them.

    Attributes:
        name: Name of the data set.
        where: What error messages call the source: its path, or its name.
        digest: Digest of the source's content.
        settings: What else decides the encoded rows; JSON values only.
        read: Opens the source. It is called only where the cache has no encoded copy.
    """

    name: str
    where: str
    digest: str
    settings: Mapping[str, object]
    read: Callable[[], Table]


def select_fields(
    available: Sequence[str], fields: Sequence[str] | None, exclude: Sequence[str], where: str
) -> tuple[str, ...]:
    """The fields to encode, in the source's order whatever the order they are asked in.

    Args:
        available: All columns that may be fields.
        fields: The wanted ones; None for all.
        exclude: The ones to leave out.
        where: What error messages call the source.

    Raises:
        AutoDPQError: A name is unknown or given twice, or no field is left.
    """
    known = set(available)
    twice = next((name for name, count in Counter(fields or ()).items() if count > 1), None)
    if twice is not None:
        raise AutoDPQError(f"{where}: field {twice!r} is given twice in 'fields'")
    for name in (*(fields or ()), *exclude):
        if name not in known:
            raise AutoDPQError(f"{where}: no field {name!r}{nearest(name, available)}")
    wanted = known.intersection(available if fields is None else fields).difference(exclude)
    chosen = tuple(name for name in available if name in wanted)
    if not chosen:
        raise AutoDPQError(f"{where}: no field is left to encode; give other 'fields' or 'exclude'")
    return chosen
