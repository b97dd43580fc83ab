"""Training, validation and test rows: at random, by time, or as a column says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from autodpq.data.dataset import EncodedDataset
from autodpq.errors import AutoDPQError

FRACTIONS = (0.8, 0.1, 0.1)
"""Shares of training, validation and test rows (the paper's 8:1:1)."""

SPLIT_METHODS = ("auto", "random", "time", "column")


@dataclass(frozen=True)
class Split:
    """Three disjoint parts of a data set's rows.

    Attributes:
        train: int64, row indices in rising order.
        valid: int64, row indices in rising order.
        test: int64, row indices in rising order.
    """

    train: npt.NDArray[np.int64]
    valid: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]

    def parts(self) -> dict[str, npt.NDArray[np.int64]]:
        """The parts by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


def random_split(n_rows: int, seed: int, fractions: tuple[float, float, float] = FRACTIONS) -> Split:
    """Splits at random; the same rows and seed give the same split.

    Args:
        n_rows: Number of rows.
        seed: Seed of the permutation.
        fractions: Shares of training, validation and test rows.

    Raises:
        AutoDPQError: The fractions do not add up, or a part is empty.
    """
    return _cut(np.random.Generator(np.random.PCG64(seed)).permutation(n_rows), fractions)


def stratified_split(
    labels: npt.NDArray[np.integer], seed: int, fractions: tuple[float, float, float] = FRACTIONS
) -> Split:
    """Splits each class at random, so that every part has both: for data of few clicks.

    Args:
        labels: [rows], 0 or 1.
        seed: Seed of the permutations.
        fractions: Shares of training, validation and test rows.

    Raises:
        AutoDPQError: The fractions do not add up, or a class has fewer than three rows, one for each part.
    """
    _check_fractions(fractions)
    generator = np.random.Generator(np.random.PCG64(seed))
    parts: list[list[npt.NDArray[np.integer]]] = [[], [], []]
    for label in range(2):
        rows = generator.permutation(np.flatnonzero(labels == label))
        if len(rows) < len(parts):
            raise AutoDPQError(f"{len(rows)} rows have the label {label}, too few for one in each part; get more rows")
        valid, test = (max(1, round(len(rows) * fraction)) for fraction in fractions[1:])
        valid = min(valid, len(rows) - 2)
        test = min(test, len(rows) - 1 - valid)
        for part, own in zip(parts, np.split(rows, [len(rows) - valid - test, len(rows) - test]), strict=True):
            part.append(own)
    return _split("give more rows", *map(np.concatenate, parts))


def chronological_split(
    time: npt.NDArray[np.integer | np.floating], fractions: tuple[float, float, float] = FRACTIONS
) -> Split:
    """Splits by time: the oldest rows train, the newest test; rows of equal time keep the source's order.

    Args:
        time: [rows], anything that rises with time.
        fractions: Shares of training, validation and test rows.

    Raises:
        AutoDPQError: The fractions do not add up, or a part is empty.
    """
    return _cut(np.argsort(time, kind="stable"), fractions)


def column_split(split_column: npt.NDArray[np.integer]) -> Split:
    """Splits as a column says.

    Args:
        split_column: [rows], 0 train, 1 validation, 2 test.

    Raises:
        AutoDPQError: A part is empty.
    """
    return _split("the column gives it no row", *(np.flatnonzero(split_column == part) for part in range(3)))


def resolve_method(dataset: EncodedDataset, method: str) -> str:
    """What a data set is split by: ``auto`` is by the split column where there is one, else by time where there is one,
    else at random; every other method is itself."""
    if method != "auto":
        return method
    return "column" if dataset.split_column is not None else "time" if dataset.time is not None else "random"


def split_dataset(
    dataset: EncodedDataset,
    seed: int,
    method: str = "auto",
    fractions: tuple[float, float, float] = FRACTIONS,
) -> Split:
    """Splits a data set.

    Args:
        dataset: The data set.
        seed: Seed of the random split; the others do not draw.
        method: "random" (within each class where a part would else have one class only), "time", "column", or "auto"
            (see :func:`resolve_method`).
        fractions: Shares of training, validation and test rows; a split column ignores them.

    Raises:
        AutoDPQError: The method is unknown, the data lacks what it needs, a part is empty or has one class only.
    """
    match resolve_method(dataset, method):
        case "random":
            cut = partial(_random_of_both_classes, dataset.labels, seed, fractions)
        case "time":
            if dataset.time is None:
                raise AutoDPQError(f"data set {dataset.name!r} has no time to split by; use the method 'random'")
            cut = partial(chronological_split, dataset.time, fractions)
        case "column":
            if dataset.split_column is None:
                raise AutoDPQError(f"data set {dataset.name!r} has no split column; use the method 'random'")
            cut = partial(column_split, dataset.split_column)
        case _:
            raise AutoDPQError(f"unknown split method {method!r}; expected one of {', '.join(SPLIT_METHODS)}")
    try:
        split = cut()
    except AutoDPQError as error:
        raise AutoDPQError(f"data set {dataset.name!r}: {error}") from None
    for part, rows in split.parts().items():
        labels = dataset.labels[rows]
        of = f"the {part} part"
        if dataset.weights is not None:
            labels = labels[dataset.weights[rows] > 0]
            of = f"those of the {part} part whose weight is above 0"
        if not len(labels) or labels.min() == labels.max():
            every = f"every label of {of} is {labels[0]}" if len(labels) else f"every weight of the {part} part is 0"
            raise AutoDPQError(f"data set {dataset.name!r}: {every}; split otherwise or give more rows")
    return split


def _random_of_both_classes(labels: npt.NDArray[np.uint8], seed: int, fractions: tuple[float, float, float]) -> Split:
    """At random; within each class only where a part would else have one, for splits of old must come out again."""
    split = random_split(len(labels), seed, fractions)
    if all(labels[rows].min() < labels[rows].max() for rows in split.parts().values()):
        return split
    return stratified_split(labels, seed, fractions)


def _cut(order: npt.NDArray[np.integer], fractions: tuple[float, float, float]) -> Split:
    """Cuts an order of all rows into three parts."""
    _check_fractions(fractions)
    first = round(len(order) * fractions[0])
    second = round(len(order) * (fractions[0] + fractions[1]))
    return _split("give more rows or other shares", order[:first], order[first:second], order[second:])


def _check_fractions(fractions: tuple[float, float, float]) -> None:
    # Positively put, so that a NaN does not pass.
    if not (len(fractions) == 3 and min(fractions) > 0 and abs(sum(fractions) - 1) < 1e-9):
        raise AutoDPQError(f"split fractions {fractions}: three positive numbers that add up to 1 are needed")


def _split(advice: str, *parts: npt.NDArray[np.integer]) -> Split:
    # Rising order, so that reading a part from the memory-mapped file goes forward only.
    train, valid, test = (np.sort(part).astype(np.int64) for part in parts)
    for name, rows in (("train", train), ("valid", valid), ("test", test)):
        if len(rows) == 0:
            raise AutoDPQError(f"the {name} part of the split is empty; {advice}")
    return Split(train, valid, test)
