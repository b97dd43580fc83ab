"""Criteo's display advertising challenge (Kaggle, 2014): ``train.txt``, or compressed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from autodpq.data.cache import cache_root, load_cached
from autodpq.data.dataset import EncodedDataset
from autodpq.data.digest import file_digest, remembered_digest
from autodpq.data.options import LoadOptions
from autodpq.data.readers.columns import ColumnReader
from autodpq.data.readers.text import Delimited
from autodpq.data.sets.folders import published_file
from autodpq.data.source import Batch, Source, Table, select_fields

INTEGERS = tuple(f"I{number}" for number in range(1, 14))
CATEGORIES = tuple(f"C{number}" for number in range(1, 27))
FIELDS = (*INTEGERS, *CATEGORIES)
ORIGIN = "https://ailab.criteo.com/ressources/"

_FILES = ("train.txt", "train.txt.gz")


def load_criteo(options: LoadOptions) -> EncodedDataset:
    """Loads Criteo's training file: 13 integer columns, made categories by :func:`bucketed`, and 26 categories.

    Raises:
        AutoDPQError: The file is missing, damaged, or not Criteo's.
    """
    cache = cache_root(options.cache_dir)
    path = published_file(options.data_dir, "criteo", _FILES, ORIGIN)
    field_names = select_fields(FIELDS, options.fields, options.exclude, "criteo")
    source = Source(
        name="criteo",
        where=str(path),
        digest=remembered_digest([path], lambda: file_digest(path), cache, "file"),
        settings={"loader": "criteo", "fields": field_names},
        read=lambda: Table(field_names, _batches(path, field_names)),
    )
    return load_cached(source, cache)


def bucketed(numbers: pl.Series) -> pl.Series:
    """Integers as categories: x above 2 as floor(ln(x)^2), else x itself; a missing one is the empty category.

    This is the customary recipe, in which 3 and 4 share the category of 1.

    Args:
        numbers: Int64 [rows].

    Returns:
        String [rows].
    """
    logarithm = numbers.clip(lower_bound=3).cast(pl.Float64).log()
    large = (logarithm**2).floor().cast(pl.Int64)
    return large.zip_with((numbers > 2).fill_null(False), numbers).cast(pl.String).fill_null("")


def _batches(path: Path, field_names: tuple[str, ...]) -> Iterator[Batch]:
    reader = ColumnReader(str(path))
    text = Delimited(str(path), path, ("label", *FIELDS), separator="\t", header=False)
    for frame in text.batches(("label", *field_names)):
        labels = reader.labels(frame["label"])
        columns = [
            bucketed(reader.integers(frame[name])).alias(name) if name in INTEGERS else frame[name]
            for name in field_names
        ]
        yield Batch(values=pl.DataFrame(columns), labels=labels)
        reader.advance(len(frame))
