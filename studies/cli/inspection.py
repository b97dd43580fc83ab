"""What a data set is like before anything is trained: fields, rare values, a threshold, a split, what plans cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import polars as pl

from autodpq.choices import DPQ, Full, Others
from autodpq.costs import band_bytes
from autodpq.data import EncodedDataset, dataset_spec, split_dataset
from autodpq.data.dataset import rarest_counts
from autodpq.data.registry import DatasetSpec
from autodpq.data.source import BATCH_ROWS
from autodpq.data.splits import resolve_method
from autodpq.data.values import canonical_text
from autodpq.errors import AutoDPQError
from autodpq.plan import column_slices
from autodpq.training.recipes import Recipe, find_recipe
from reports.tables.audit import AuditRow, audit_rows
from studies.prepared import SPLIT_SEED, load_rows

RARE_SAMPLES = 0.1
"""The share of samples with a rare value up to which a threshold is suggested."""
RARE_VALUES = 0.05
"""The share of all values that must be rare, lest there be next to nothing to search."""
THRESHOLDS = (2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200, 300, 500, 700, 1000)

BUDGETS = (0.1, 0.25, 0.5)
"""Shares of FE's bytes that are suggested, the smallest that a plan is surely within."""

_SHOWN_VALUES = 3
_MANY = 100  # distinct whole numbers from which on a person should be asked whether they are a quantity


@dataclass(frozen=True)
class FieldInspection:
    """One field.

    Attributes:
        name: Its name.
        kind: ``categorical``, ``binned``, or ``bags`` of several values a sample.
        cardinality: Distinct values.
        head: Values that are frequent at the threshold.
        rare_samples: Share of all samples that hold a rare value of it.
        values: Its most frequent values, the missing one as None.
        is_whole: Whether its values are many, and whole numbers alone.
    """

    name: str
    kind: str
    cardinality: int
    head: int
    rare_samples: float
    values: tuple[str | None, ...]
    is_whole: bool

    @property
    def rare_values(self) -> float:
        """Share of its values that are rare."""
        return 1 - self.head / self.cardinality


@dataclass(frozen=True)
class BandInspection:
    """One band of the wide space.

    Attributes:
        name: What plans call it.
        values: How many values it has.
        most: How many samples its most frequent value has.
        least: How many its rarest has.
        samples: Share of all samples that hold a value of it.
        bytes: What its rows take in 16-bit floats.
    """

    name: str
    values: int
    most: int
    least: int
    samples: float
    bytes: int


@dataclass(frozen=True)
class Inspection:
    """One data set.

    Attributes:
        name: Its name.
        rows: Samples.
        clicks: Share of clicks.
        threshold: What the fields are shown at: what was asked for, else what a run takes.
        is_asked: Whether the threshold was asked for.
        rare_samples: Share of samples that hold a rare value of any field at the threshold.
        suggested: The threshold of :func:`suggest_threshold`; None where there is none.
        suggested_samples: Share of samples that hold a rare value at it, of fields that do not name rows; else 0.
        budget: The smallest of :data:`BUDGETS` that a plan of the wide space is within.
        fields: The fields.
        split: How a run would split it, in words.
        embedding_dim: X.
        plans: What uniform plans cost at the threshold.
        bands: The bands of the wide space.
        notes: What was done to values, and what a person should look at.
    """

    name: str
    rows: int
    clicks: float
    threshold: int
    is_asked: bool
    rare_samples: float
    suggested: int | None
    suggested_samples: float
    budget: float
    fields: tuple[FieldInspection, ...]
    split: str
    embedding_dim: int
    plans: tuple[AuditRow, ...]
    bands: tuple[BandInspection, ...]
    notes: tuple[str, ...]


def inspect_data(
    loading: Mapping[str, Any],
    threshold: int | None = None,
    bands: Literal["auto"] | tuple[int, ...] = "auto",
) -> Inspection:
    """Looks at a data set.

    Args:
        loading: Where it comes from: options of :data:`studies.prepared.LOADING`.
        threshold: From how many samples on a value is frequent; None for what a run takes.
        bands: Of the wide space, as a run takes them.

    Raises:
        AutoDPQError: It cannot be had, or the threshold is above every count, or there are no such bands.
    """
    spec, dataset = dataset_spec(loading["dataset"]), load_rows(loading)
    taken = spec.threshold if threshold is None else threshold
    sizes, n_rows = dataset.fields(taken), len(dataset)
    # A row's identifier would make every sample one of a rare value; it is none that a person leaves in.
    naming = dataset.row_names()
    telling = [column for column, size in enumerate(sizes) if size.name not in naming]
    telling = telling or list(range(len(sizes)))
    rarest = _rarest_counts(dataset, telling)
    suggested = suggest_threshold(rarest, np.concatenate([dataset.counts[column] for column in telling]))
    words = dataset.vocabulary()
    fields = tuple(
        FieldInspection(
            size.name,
            "binned" if size.name in dataset.binned else "bags" if size.name in dataset.bags else "categorical",
            size.cardinality,
            size.head,
            _share_from(dataset, place, size.head),
            *_values(words.filter(pl.col("field") == size.name)["value"], size.name in dataset.binned),
        )
        for place, size in enumerate(sizes)
    )
    return Inspection(
        name=dataset.name,
        rows=n_rows,
        clicks=float(dataset.labels.mean()),
        threshold=taken,
        is_asked=threshold is not None,
        rare_samples=int(_rarest_counts(dataset, range(len(sizes)))[:taken].sum()) / n_rows,
        suggested=suggested,
        suggested_samples=0.0 if suggested is None else int(rarest[:suggested].sum()) / n_rows,
        budget=_budget(dataset, bands, find_recipe(spec.recipe)),
        fields=fields,
        split=_split_in_words(dataset, spec.split_method),
        embedding_dim=spec.embedding_dim,
        plans=tuple(audit_rows(sizes, _choices(spec), spec.embedding_dim)),
        bands=tuple(_bands(dataset, bands, spec.embedding_dim)),
        notes=(*dataset.notes(), *_advice([field for field in fields if field.name not in naming], spec)),
    )


def _bands(
    dataset: EncodedDataset, bands: Literal["auto"] | tuple[int, ...], embedding_dim: int
) -> Iterator[BandInspection]:
    for place, (field, counts) in enumerate(zip(dataset.banded(bands), dataset.counts, strict=True)):
        for band in field.bands:
            own = counts[band.start : band.stop]
            cost = band_bytes(band, Full(), embedding_dim, first_order=False, compact=True)
            samples = _share_from(dataset, place, band.start, band.stop)
            yield BandInspection(band.name, band.n_rows, int(own[0]), int(own[-1]), samples, cost)


def suggest_threshold(
    rarest: np.ndarray[Any, np.dtype[np.int64]], counts: np.ndarray[Any, np.dtype[np.int64]]
) -> int | None:
    """The largest of :data:`THRESHOLDS` at which at most a tenth of the samples holds a rare value of any field.

    Compression of rare values cannot do harm beyond the samples that hold one, and saves the more the more values are
    rare. MovieLens-1M's 40, the paper's, leaves about 5 % of its samples with one. At each threshold that is suggested
    some value is frequent and at least :data:`RARE_VALUES` of all are rare; where every such threshold leaves more than
    a tenth of the samples with a rare value, it is the least of them.

    Args:
        rarest: int64 [counts]: how many samples there are by the count of their rarest value.
        counts: int64 [values]: how many samples each value of any field has.

    Returns:
        The threshold; None where none leaves anything to search.
    """
    shares = np.cumsum(rarest) / rarest.sum()
    searched = [t for t in THRESHOLDS if t <= counts.max() and (counts < t).mean() >= RARE_VALUES]
    fitting = [t for t in searched if (shares[t - 1] if t <= len(shares) else 1.0) <= RARE_SAMPLES]
    return max(fitting, default=min(searched, default=None))


def _budget(dataset: EncodedDataset, bands: Literal["auto"] | tuple[int, ...], recipe: Recipe) -> float:
    """The smallest of :data:`BUDGETS` that a plan of one row for each band is within, as DeepFM has it."""
    own = [band for field in dataset.banded(bands) for band in field.bands]
    dense, dim = dense_at_most(len(dataset.field_names), recipe), recipe.embedding_dim
    full = sum(band_bytes(band, Full(), dim, first_order=True, compact=False) for band in own)
    least = sum(band_bytes(band, Others(), dim, first_order=True, compact=True) for band in own) + 2 * dense
    # Half is enough for all rows in 16 bits.
    return next((share for share in BUDGETS if least <= share * full), BUDGETS[-1])


def dense_at_most(n_fields: int, recipe: Recipe) -> int:
    """No fewer floats than DeepFM has beside its tables: its own layers are not built, which takes torch."""
    widths = (n_fields * recipe.embedding_dim, *recipe.hidden, 1)
    return 1 + sum((before + 5) * after for before, after in pairwise(widths))


def _rarest_counts(dataset: EncodedDataset, places: Sequence[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many samples there are by the count of their rarest value of some fields; some rows at a time, for there may
    be many."""
    counts = [own if place in places else own[:0] for place, own in enumerate(dataset.counts)]
    largest = max(int(own[0]) for own in counts if len(own))
    total = np.zeros(largest + 1, np.int64)
    for start in range(0, len(dataset), BATCH_ROWS):
        rarest = rarest_counts(dataset.ids[start : start + BATCH_ROWS], counts, dataset.columns)
        total += np.bincount(rarest, minlength=len(total))
    return total


def _share_from(dataset: EncodedDataset, place: int, start: int, stop: int | None = None) -> float:
    """The share of samples that hold an id of a field within bounds."""
    if dataset.columns[place] == 1:
        return int(dataset.counts[place][start:stop].sum()) / len(dataset)
    own, found = column_slices(dataset.columns)[place], 0
    for first in range(0, len(dataset), BATCH_ROWS):
        ids = dataset.ids[first : first + BATCH_ROWS, own]
        inside = ids >= start if stop is None else (ids >= start) & (ids < stop)
        found += int(inside.any(1).sum())
    return found / len(dataset)


def _values(values: pl.Series, is_binned: bool) -> tuple[tuple[str | None, ...], bool]:
    """The first values, and whether all are whole numbers and many."""
    shown = tuple(canonical_text(value) or None for value in values.head(_SHOWN_VALUES))
    if is_binned or len(values) <= _MANY:
        return shown, False
    return shown, values.replace("", None).drop_nulls().str.contains(r"^-?\d+(?:\.0+)?$").all()


def _choices(spec: DatasetSpec) -> tuple[DPQ, ...]:
    """The first, the middle and the last of the pairs that a run would try."""
    pairs = [DPQ(k, d) for k in spec.K for d in spec.D]
    return pairs[0], pairs[len(pairs) // 2], pairs[-1]


def _split_in_words(dataset: EncodedDataset, method: str) -> str:
    how = {
        "random": "at random, 8:1:1",
        "time": "by time, 8:1:1, the newest rows for the test",
        "column": "as the split column says",
    }[resolve_method(dataset, method)]
    try:
        parts = split_dataset(dataset, SPLIT_SEED, method).parts()
    except AutoDPQError as error:
        return f"{how}, but that cannot be: {error}"
    return f"{how} ({', '.join(f'{name} {len(rows):,}' for name, rows in parts.items())} rows)"


def _advice(fields: Sequence[FieldInspection], spec: DatasetSpec) -> list[str]:
    """What a person should look at in data of their own."""
    whole = [field.name for field in fields if field.is_whole]
    if "numeric" not in spec.options or not whole:
        return []
    return [f"Whole numbers count as names of things: {', '.join(whole)}; a quantity among them is binned by --numeric"]
