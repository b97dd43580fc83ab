"""One's own data: a label column of 0 and 1; every other column is a field, those of decimal numbers in bins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from autodpq.data.bags import find_separator, read_multi, split_bags
from autodpq.data.binning import Bins, NumberSurvey
from autodpq.data.cache import cache_root, load_cached
from autodpq.data.dataset import EncodedDataset
from autodpq.data.digest import remembered_digest
from autodpq.data.options import LoadOptions
from autodpq.data.readers.columns import ColumnReader
from autodpq.data.readers.files import OwnFiles
from autodpq.data.readers.text import PANDAS_INDEX
from autodpq.data.source import Batch, Source, Table, select_fields
from autodpq.data.values import canonical_text, is_one_of
from autodpq.errors import AutoDPQError, nearest

_BINNING = 1
"""Goes up when the same numbers would be binned otherwise."""


@dataclass(frozen=True)
class _Roles:
    """Which column is what."""

    label: str
    fields: tuple[str, ...]
    split: str | None
    time: str | None
    weight: str | None

    @property
    def columns(self) -> list[str]:
        named = (self.label, *self.fields, self.split, self.time, self.weight)
        return list(dict.fromkeys(name for name in named if name is not None))


def load_table(files: OwnFiles, options: LoadOptions) -> EncodedDataset:
    """Loads one's own data. Every distinct value of a field is a category, or the bin that its number lies in.

    Files of a folder that are named train, valid and test are the parts of its split.

    Raises:
        AutoDPQError: A file cannot be read, or a column is missing or holds what it must not.
    """
    if options.split_column is None and files.split_column is not None:
        options = replace(options, split_column=files.split_column)
    missing = tuple(sorted({*map(canonical_text, options.missing)} - {""}))
    cache = cache_root(options.cache_dir)
    kind = "file" if len(files.parts) == 1 else "files"
    source = Source(
        name=files.name,
        where=files.where,
        digest=remembered_digest([part.path for part in files.parts], files.digest, cache, kind),
        settings={
            "loader": "table",
            "kind": files.kind,
            "binning": _BINNING,
            "label": options.label,
            "fields": options.fields,
            "exclude": options.exclude,
            "numeric": options.numeric,
            "split_column": options.split_column,
            "time_column": options.time_column,
            # Earlier versions did not know these: what was encoded by them keeps its name.
            **({"missing": missing} if missing else {}),
            **({"multi": options.multi} if options.multi else {}),
            **({"weight_column": options.weight_column} if options.weight_column is not None else {}),
        },
        read=lambda: _read(files, options, missing),
    )
    return load_cached(source, cache)


def _read(files: OwnFiles, options: LoadOptions, missing: tuple[str, ...]) -> Table:
    roles = _roles(files.column_names(), options, files.where)
    types = {} if files.is_text else files.types(roles.columns)
    multi = read_multi(options.multi, roles.fields, files.where)
    for name in options.numeric:
        if name in multi:
            raise AutoDPQError(f"{files.where}: field {name!r} is in 'numeric' and in 'multi'; give one of them")
    rows = _Rows(files, tuple(name for name in roles.fields if name not in multi), missing)
    bins = _find_bins(rows, types, options.numeric)
    separators = _separators(files, multi)
    return Table(
        roles.fields, _batches(rows, roles, bins, separators), bins=bins, missing=missing, separators=separators
    )


def _separators(files: OwnFiles, multi: Mapping[str, str | None]) -> dict[str, str]:
    """What stands between the values of each field of several, by the first batch where nobody says it."""
    unknown = [name for name, separator in multi.items() if separator is None]
    found = {name: separator for name, separator in multi.items() if separator is not None}
    for path, frame in files.frames(unknown) if unknown else ():
        return found | {name: find_separator(frame[name], str(path)) for name in unknown}
    return found | dict.fromkeys(unknown, "")


@dataclass(frozen=True)
class _Rows:
    """The rows of files, in which some texts stand for missing values of fields.

    Attributes:
        files: The files.
        fields: The fields of one value a row.
        missing: Canonical texts.
    """

    files: OwnFiles
    fields: tuple[str, ...]
    missing: tuple[str, ...]

    def frames(self, columns: Sequence[str]) -> Iterator[tuple[Path, pl.DataFrame]]:
        """Some columns in batches, each with the file that it is of; what stands for a missing value is null."""
        for path, frame in self.files.frames(columns):
            if self.missing:
                own = [name for name in columns if name in self.fields]
                frame = frame.with_columns(self._without(frame[name], path) for name in own)
            yield path, frame

    def _without(self, column: pl.Series, path: Path) -> pl.Series:
        return column.set(pl.Series(is_one_of(column, self.missing, str(path))), None)


def _roles(names: Sequence[str], options: LoadOptions, where: str) -> _Roles:
    columns = ("split_column", "time_column", "weight_column")
    special = {"label": options.label, **{option: getattr(options, option) for option in columns}}
    for option, name in special.items():
        if name is not None and name not in names:
            raise AutoDPQError(f"{where}: no column {name!r}, which '{option}' names{nearest(name, names)}")
    if options.label in (options.split_column, options.time_column):
        raise AutoDPQError(f"{where}: column {options.label!r} is the label; it cannot be the split or the time too")
    for option, name in special.items():
        if option != "weight_column" and name is not None and name == options.weight_column:
            what = option.removesuffix("_column")
            raise AutoDPQError(f"{where}: column {name!r} is the {what}; it cannot be the weight too")
    for option, name in special.items():
        for asked in ("fields", "numeric"):
            if name is not None and name in (getattr(options, asked) or ()):
                what = option.removesuffix("_column")
                raise AutoDPQError(f"{where}: column {name!r} is the {what}; it cannot be a field too")
    # The index of a frame that pandas has written says nothing of a click.
    available = [name for name in names if name not in (*special.values(), PANDAS_INDEX)]
    # What is no field anyway may be excluded: people list the columns that they do not want.
    exclude = [name for name in options.exclude if name not in (*special.values(), PANDAS_INDEX)]
    fields = select_fields(available, options.fields, exclude, where)
    for name in options.numeric:
        if name not in fields:
            raise AutoDPQError(f"{where}: no field {name!r}, which 'numeric' names{nearest(name, fields)}")
    return _Roles(options.label, fields, options.split_column, options.time_column, options.weight_column)


def _find_bins(rows: _Rows, types: Mapping[str, pa.DataType], numeric: Sequence[str]) -> dict[str, Bins]:
    """The bins of the fields that are binned, in a pass over the columns that may be such; see :mod:`.binning`."""
    files, fields = rows.files, rows.fields
    if files.is_text:
        first = _numbers_at_first(rows)
        likely = [name for name in fields if name in numeric or name in first]
    else:
        likely = [name for name in fields if name in numeric or _has_decimals(types[name])]
    surveys = {name: NumberSurvey() for name in likely}
    if likely:
        reader = ColumnReader(files.where)
        for path, frame in rows.frames(likely):
            reader.begin(str(path))
            for name, survey in surveys.items():
                wrong = survey.add(frame[name], reader.where, reader.row)
                if wrong is not None and name in numeric:
                    raise AutoDPQError(
                        f"{reader.where}, row {reader.row + wrong + 1}, column {name!r}: "
                        f"{str(frame[name][wrong])[:40]!r} is no number, which 'numeric' needs; 'missing' names "
                        "the texts that stand for a missing one"
                    )
            reader.advance(len(frame))
    for name in numeric:
        if not surveys[name].has_numbers:
            raise AutoDPQError(f"{files.where}, column {name!r}: there is no number in it, which 'numeric' needs")
    return {
        name: survey.bins()
        for name, survey in surveys.items()
        if survey.has_numbers and (survey.has_fraction or name in numeric)
    }


def _numbers_at_first(rows: _Rows) -> set[str]:
    """The columns of text that hold numbers alone in the first batch, lest all be looked through to the end."""
    for _, frame in rows.frames(rows.fields):
        return {name for name in rows.fields if NumberSurvey().add(frame[name], rows.files.where) is None}
    return set()


def _has_decimals(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_floating(dtype) or pa.types.is_decimal(dtype))


def _batches(rows: _Rows, roles: _Roles, bins: Mapping[str, Bins], separators: Mapping[str, str]) -> Iterator[Batch]:
    reader = ColumnReader(rows.files.where)

    def text(column: pl.Series) -> pl.Series:
        if column.name in bins:
            return bins[column.name].text(column, reader.where, reader.row)
        if column.name in separators:
            values, lengths = split_bags(column, separators[column.name], rows.missing, reader.where, reader.row)
            offsets = np.concatenate([[0], np.cumsum(lengths)])
            lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values.to_arrow())
            return pl.Series(column.name, pl.from_arrow(lists))
        return reader.text(column)

    for path, frame in rows.frames(roles.columns):
        reader.begin(str(path))
        yield Batch(
            values=pl.DataFrame([text(frame[name]) for name in roles.fields]),
            labels=reader.labels(frame[roles.label]),
            time=None if roles.time is None else reader.time(frame[roles.time]),
            split=None if roles.split is None else reader.split(frame[roles.split]),
            weights=None if roles.weight is None else reader.weights(frame[roles.weight]),
        )
        reader.advance(len(frame))
