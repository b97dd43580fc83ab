"""Data sets in memory, which need no torch."""

from __future__ import annotations

import numpy as np

from autodpq.data import EncodedDataset


def make_dataset(
    columns: dict[str, list[int]], labels: list[int], split: list[int] | None = None, name: str = "own"
) -> EncodedDataset:
    """A data set of ids that are frequency ranks already."""
    ids = np.array(list(columns.values()), np.int32).T
    return EncodedDataset(
        name=name,
        field_names=tuple(columns),
        ids=ids,
        labels=np.array(labels, np.uint8),
        counts=tuple(np.bincount(column).astype(np.int64) for column in ids.T),
        time=None,
        split_column=None if split is None else np.array(split, np.int8),
        fingerprint="f" * 64,
    )
