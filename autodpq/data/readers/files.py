"""The files that one's own data lies in: one file, a folder of files, or a pattern that names some."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pyarrow as pa

from autodpq.data.digest import file_digest
from autodpq.data.readers.arrow import ARROW_SUFFIXES, common_type, file_batches, file_schema, to_series
from autodpq.data.readers.columns import SPLIT_PARTS
from autodpq.data.readers.text import (
    LIBSVM_ADVICE,
    UNPRINTABLE,
    check_names,
    first_line,
    has_rows,
    read_header,
    text_frames,
)
from autodpq.errors import AutoDPQError, nearest
from autodpq.plugins.registry import home_expanded

_TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".inter")
TEXT_SUFFIXES = (*_TEXT_SUFFIXES, *(f"{suffix}.gz" for suffix in _TEXT_SUFFIXES))
SUFFIXES = (*TEXT_SUFFIXES, ".parquet", *ARROW_SUFFIXES)
_UNPACK = "unpack it, or compress it by gzip"
_CONVERSIONS = {
    **dict.fromkeys((".jsonl", ".ndjson"), "polars.read_ndjson(FILE).write_parquet(NAME) makes a table that can be"),
    ".json": "polars.read_json(FILE).write_parquet(NAME) makes a table that can be",
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV in UTF-8"),
    **dict.fromkeys(
        (".pkl", ".pickle"),
        "a pickle is code that runs when it is read: if you trust it, pandas.read_pickle(FILE).to_parquet(NAME)",
    ),
    **dict.fromkeys((".libfm", ".libsvm", ".svm", ".ffm"), LIBSVM_ADVICE),
    ".orc": "pandas.read_orc(FILE).to_parquet(NAME) makes a table that can be",
    ".avro": "polars.read_avro(FILE).write_parquet(NAME) makes a table that can be",
    **dict.fromkeys((".h5", ".hdf5"), "pandas.read_hdf(FILE).to_parquet(NAME) makes a table that can be"),
    **dict.fromkeys((".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z"), _UNPACK),
    **dict.fromkeys((".db", ".sqlite", ".duckdb"), "write the rows of a query as parquet or CSV"),
}
"""What to do with files of other kinds, by how their names end."""

SPLIT = "split"
"""The column of a folder's files that are named after the parts of a split, or lie in folders as split=train."""

_PART_OF = {spelling: part for part, spellings in SPLIT_PARTS.items() for spelling in spellings}
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Part:
    """One file of a table.

    Attributes:
        path: The file.
        name: Its path within the folder, parts separated by slashes.
        values: What folders on the way say of all its rows, as ``day=2024-05-31`` does.
    """

    path: Path
    name: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OwnFiles:
    """A table of one's own, in one file or several of the same columns, whose rows follow each other.

    Attributes:
        name: What the data set is called.
        where: What error messages call all of it.
        parts: The files, in the order of their names.
    """

    name: str
    where: str
    parts: tuple[Part, ...]

    @property
    def is_text(self) -> bool:
        """Whether it is delimited text, in which nothing has a type."""
        return _is_text(self.parts[0].path)

    @property
    def kind(self) -> str:
        """How the content is read, by the name: the same bytes as .csv or .parquet are not the same table."""
        path = self.parts[0].path
        if self.is_text:
            plain = path.name.lower().removesuffix(".gz")
            return "csv" if plain.endswith(".csv") else Path(plain).suffix[1:]
        return "arrow" if path.suffix.lower() in ARROW_SUFFIXES else "parquet"

    @property
    def split_column(self) -> str | None:
        """The column that says which file is which part of a split; None where files do not say it."""
        said = {part.values.get(SPLIT) for part in self.parts}
        return SPLIT if said == {*SPLIT_PARTS} else None

    def digest(self) -> str:
        """Digest of the content, and of the names where there are several files: folders' names are values."""
        if len(self.parts) == 1 and not self.parts[0].values:
            return file_digest(self.parts[0].path)
        total = hashlib.sha256()
        for part in self.parts:
            total.update(f"{len(part.name)}:{part.name}:{file_digest(part.path)}\n".encode())
        return total.hexdigest()

    def column_names(self) -> list[str]:
        """All columns that any file has, in the order in which they are found.

        Raises:
            AutoDPQError: A file cannot be read, or names a column twice or not at all.
        """
        if self.is_text:
            return self._header()
        found: dict[str, None] = {}
        for part in self.parts:
            schema = file_schema(part.path)
            check_names(schema.names, str(part.path))
            found |= dict.fromkeys((*schema.names, *part.values))
        return list(found)

    def _header(self) -> list[str]:
        """The columns of text, which all files have."""
        first = self.parts[0]
        names = read_header(first.path)
        for part in self.parts[1:]:
            odd = next(iter({*names} ^ {*first_line(part.path)[1]}), None)
            if odd is not None:
                raise AutoDPQError(
                    f"{part.path}: column {odd!r} is not in both it and {first.path}; write every file with the same "
                    "header (in Spark, option('header', True))"
                )
        return [*names, *(name for name in first.values if name not in names)]

    def types(self, columns: Sequence[str]) -> dict[str, pa.DataType]:
        """The types of some columns of a parquet or Arrow table, the same in all files or as good as.

        Raises:
            AutoDPQError: A file lacks a column, or has values of another kind in it; names both.
        """
        found: dict[str, pa.DataType] = {}
        first: dict[str, Part] = {}
        for part in self.parts:
            schema = file_schema(part.path)
            for name in columns:
                if name not in schema.names and name not in part.values:
                    owner = next(p for p in self.parts if name in (*file_schema(p.path).names, *p.values))
                    raise AutoDPQError(
                        f"{part.path}: column {name!r} is missing, which {owner.path} has; write the files with the "
                        "same columns, or exclude it"
                    )
                dtype = schema.field(name).type if name in schema.names else pa.string()
                common = common_type(found[name], dtype) if name in found else dtype
                if common is None:
                    raise AutoDPQError(
                        f"{part.path}, column {name!r}: values of type {dtype}, where {first[name].path} has "
                        f"{found[name]}; write the files with the same types, or exclude it"
                    )
                if name not in found or pa.types.is_null(found[name]):
                    first[name] = part
                found[name] = common
        return found

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[Path, pa.RecordBatch]]:
        """Some columns of a parquet or Arrow table in batches, each with the file that it is of.

        Raises:
            AutoDPQError: A file is damaged, or a text is not UTF-8.
        """
        for part in self.parts:
            if not part.values:
                yield from ((part.path, batch) for batch in file_batches(part.path, columns))
                continue
            present = [name for name in columns if name in file_schema(part.path).names]
            for batch in file_batches(part.path, present):
                arrays = [
                    batch.column(name) if name in present else pa.repeat(pa.scalar(part.values[name]), batch.num_rows)
                    for name in columns
                ]
                yield part.path, pa.RecordBatch.from_arrays(arrays, list(columns))

    def frames(self, columns: Sequence[str]) -> Iterator[tuple[Path, pl.DataFrame]]:
        """Some columns in batches, each with the file that it is of; those of text are of type String.

        Raises:
            AutoDPQError: A file cannot be read, is damaged or cut short, or has rows of another length.
        """
        if self.is_text:
            for part in filter(lambda part: has_rows(part.path), self.parts):
                said = {name: value for name, value in part.values.items() if name in columns}
                for frame in text_frames(part.path, [name for name in columns if name not in said]):
                    constant = [pl.lit(value).alias(name) for name, value in said.items()]
                    yield part.path, frame.with_columns(constant).select(columns)
            return
        for path, batch in self.batches(columns):
            yield path, pl.DataFrame([to_series(name, batch.column(name), path) for name in columns])


def find_files(given: str) -> OwnFiles | None:
    """The table of a path or pattern; None where there is nothing of that name.

    Raises:
        AutoDPQError: It is no kind of file that can be read, or a folder or pattern of several kinds.
    """
    path = home_expanded(given)
    if UNPRINTABLE.search(given):
        raise AutoDPQError(f"{given!r}: the path has a control character, or one that is not UTF-8; rename it")
    try:
        if path.is_dir():
            names = (name for name in path.rglob("*") if name.is_file())
            return _several(path, given, [name for name in names if not _is_hidden(name.relative_to(path))])
        if path.exists():
            return OwnFiles(_table_name(path), str(path), (Part(path, path.name),))
    except OSError as error:
        raise AutoDPQError(f"{path}: cannot be read: {error.strerror}") from None
    if not is_pattern(given):
        return None
    found = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - a pattern may begin at /
    if not found:
        return None
    root = Path(*path.parts[: next(n for n, part in enumerate(path.parts) if is_pattern(part))])
    return _several(root, given, [name for name in found if name.is_file() and not _is_hidden(name.relative_to(root))])


def is_pattern(text: str) -> bool:
    """Whether a text is a pattern that names several files."""
    return glob.has_magic(text)


def known_file(path: Path) -> OwnFiles:
    """The table of a path or pattern that a person has named as such.

    Raises:
        AutoDPQError: There is no such file, or it cannot be used.
    """
    files = find_files(str(path))
    if files is None:
        if is_pattern(str(path)):
            raise AutoDPQError(f"{path}: no file matches this pattern")
        _table_name(path)
        raise AutoDPQError(f"{path}: cannot be read: there is no such file{nearest(str(path), files_beside(path))}")
    return files


def files_beside(path: Path) -> list[str]:
    """The files that can be read in the folder of a path, as the path names them."""
    if not path.parent.is_dir():
        return []
    return sorted(str(other) for other in path.parent.iterdir() if other.name.lower().endswith(SUFFIXES))


def _table_name(path: Path) -> str:
    """The file's name without its suffix.

    Raises:
        AutoDPQError: The suffix is none of those that can be read.
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.name[: -len(suffix)]
    known = ", ".join((*_TEXT_SUFFIXES, ".csv.gz", ".parquet", *ARROW_SUFFIXES))
    advice = _CONVERSIONS.get(path.suffix.lower(), f"expected one of {known}, or a folder")
    raise AutoDPQError(f"{path}: this kind of file cannot be read; {advice}")


def _several(root: Path, given: str, paths: Sequence[Path]) -> OwnFiles:
    """The files of a folder or pattern, all parquet or all text: one of another kind would be left out unseen."""
    # Spark writes a part of no bytes where it has no rows.
    if paths and all(map(_is_text, paths)):
        paths = [path for path in paths if path.stat().st_size] or paths
    else:
        others = sorted(path for path in paths if path.suffix.lower() != ".parquet")
        if len(others) == len(paths):
            raise AutoDPQError(f"{given}: there is no parquet file and no CSV in it; of other kinds give one file")
        if others:
            raise AutoDPQError(
                f"{given}: {others[0].relative_to(root)} is no parquet file; move it away, or give a pattern as "
                f"'{root / '**' / '*.parquet'}'"
            )
    named = [_PART_OF.get(_stem(path), "") for path in paths]
    are_splits = sorted(named) == sorted(SPLIT_PARTS)
    parts = []
    for path, split in zip(paths, named, strict=True):
        name = path.relative_to(root)
        if UNPRINTABLE.search(str(name)):
            raise AutoDPQError(f"{str(path)!r}: the path has a control character, or one that is not UTF-8; rename it")
        values = dict(folder.split("=", 1) for folder in name.parts[:-1] if "=" in folder)
        values = {key: _partition_value(text) for key, text in values.items()}
        if are_splits and SPLIT not in _names(path):
            values[SPLIT] = split
        parts.append(Part(path, name.as_posix(), values))
    return OwnFiles(root.resolve().name or "data", given, tuple(sorted(parts, key=lambda part: part.name)))


def _partition_value(text: str) -> str:
    return "" if text == _NO_VALUE else unquote(text)


def _is_text(path: Path) -> bool:
    return path.name.lower().endswith(TEXT_SUFFIXES)


def _stem(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).stem


def _names(path: Path) -> list[str]:
    names: list[str] = read_header(path) if _is_text(path) else file_schema(path).names
    return names


def _is_hidden(name: Path) -> bool:
    """Whether a file is none of the table's, as Spark's _SUCCESS and .crc files are."""
    return any(part.startswith((".", "_")) and "=" not in part for part in name.parts)
