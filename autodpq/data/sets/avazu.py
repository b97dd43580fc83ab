"""Avazu's click logs (Kaggle, 2014): ``train.gz`` as Kaggle ships it, or extracted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autodpq.data.cache import cache_root, load_cached
from autodpq.data.dataset import EncodedDataset
from autodpq.data.digest import file_digest, remembered_digest
from autodpq.data.options import LoadOptions
from autodpq.data.readers.columns import ColumnReader
from autodpq.data.readers.text import Delimited, read_dialect
from autodpq.data.sets.folders import published_file
from autodpq.data.source import Batch, Source, Table, select_fields
from autodpq.errors import AutoDPQError

FIELDS = (
    *("hour", "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category"),
    *("device_id", "device_ip", "device_model", "device_type", "device_conn_type"),
    *("C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21"),
)
ORIGIN = "https://www.kaggle.com/c/avazu-ctr-prediction/data"

_FILES = ("train.gz", "train.csv", "train.csv.gz")


def load_avazu(options: LoadOptions) -> EncodedDataset:
    """Loads Avazu's training file: 22 fields, every column but ``id`` and ``click``; the hour is kept as time too.

    Raises:
        AutoDPQError: The file is missing, damaged, or not Avazu's.
    """
    cache = cache_root(options.cache_dir)
    path = published_file(options.data_dir, "avazu", _FILES, ORIGIN)
    field_names = select_fields(FIELDS, options.fields, options.exclude, "avazu")
    source = Source(
        name="avazu",
        where=str(path),
        digest=remembered_digest([path], lambda: file_digest(path), cache, "file"),
        settings={"loader": "avazu", "fields": field_names},
        read=lambda: Table(field_names, _batches(path, field_names)),
    )
    return load_cached(source, cache)


def _batches(path: Path, field_names: tuple[str, ...]) -> Iterator[Batch]:
    separator, names = read_dialect(path)
    for name in ("click", *FIELDS):
        if name not in names:
            raise AutoDPQError(f"{path}: column {name!r} is missing; this is not the training file of {ORIGIN}")
    reader = ColumnReader(str(path))
    columns = list(dict.fromkeys(("click", "hour", *field_names)))
    for frame in Delimited(str(path), path, names, separator).batches(columns):
        yield Batch(
            values=frame.select(field_names),
            labels=reader.labels(frame["click"]),
            time=reader.time(frame["hour"]),  # YYMMDDHH: as an integer it rises with time
        )
        reader.advance(len(frame))
