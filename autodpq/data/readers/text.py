"""Delimited text, read as strings in batches, with errors that name the file and the line."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv

from autodpq.data.source import BATCH_ROWS
from autodpq.errors import AutoDPQError

_BLOCK_BYTES = 16 << 20
"""What is parsed at a time; no line can be longer."""
_WRONG_COUNT = re.compile(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)")
_BAD_TEXT = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?.*invalid UTF8")
_FEATURES = re.compile(r"\S+( +\d+:\S+)+\s*$")
_RECBOLE_TYPE = re.compile(r":(token|float)(_seq)?$")
_BY_TABS = (".tsv", ".inter")
PANDAS_INDEX = "__index_level_0__"
"""What pandas calls the index of a frame that has no name, in parquet."""
LIBSVM_ADVICE = "write a table with a column for each field, and the label in one called click"
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What a name cannot hold, since no message of one line could show it: control characters, and halves of others."""


@dataclass(frozen=True)
class Delimited:
    """A delimited text and how to read it.

    Attributes:
        where: What error messages call it.
        content: Its path, or its bytes.
        names: The names of all its columns.
        separator: One byte.
        quoted: Whether values may stand in double quotes.
        header: Whether the first line is a header, to be skipped.
    """

    where: str
    content: Path | bytes
    names: Sequence[str]
    separator: str = ","
    quoted: bool = False
    header: bool = True

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The rows of some columns, all of type String, in batches.

        Raises:
            AutoDPQError: The file cannot be read, is cut short, has rows of another length or is not UTF-8.
        """
        waiting: list[pa.RecordBatch] = []
        n_waiting = 0
        try:
            for batch in self._open(columns, use_threads=True):
                waiting.append(batch)
                n_waiting += batch.num_rows
                if n_waiting >= BATCH_ROWS:
                    yield _frame(waiting)
                    waiting, n_waiting = [], 0
        except pa.ArrowException as error:
            raise self._explain(error, columns) from None
        except OSError as error:
            raise unreadable(self.where, error) from None
        if waiting:
            yield _frame(waiting)

    def _open(self, columns: Sequence[str], *, use_threads: bool) -> arrow_csv.CSVStreamingReader:
        content = self.content
        is_path = isinstance(content, Path)
        stream = pa.input_stream(
            str(content) if is_path else pa.BufferReader(content),
            compression="gzip" if isinstance(content, Path) and is_gzip(content) else None,
        )
        return arrow_csv.open_csv(
            stream,
            read_options=arrow_csv.ReadOptions(
                column_names=list(self.names),
                skip_rows=int(self.header),
                block_size=_BLOCK_BYTES,
                use_threads=use_threads,
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.separator,
                quote_char='"' if self.quoted else False,
                newlines_in_values=self.quoted,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(self.names, pa.string()), include_columns=list(columns)
            ),
        )

    def _explain(self, error: Exception, columns: Sequence[str]) -> AutoDPQError:
        """The error in words. Only a reading without threads knows the line, so the file is read once more."""
        try:
            for _ in self._open(columns, use_threads=False):
                pass
        except OSError as again:
            return unreadable(self.where, again)
        except pa.ArrowException as again:
            error = again
        text = str(error)
        # These first: what they quote of the file may hold any words.
        if match := _WRONG_COUNT.search(text):
            return AutoDPQError(
                f"{self.where}{self._line(match[1])}: {match[3]} columns where {match[2]} are expected; correct or "
                "remove the line"
            )
        if match := _BAD_TEXT.search(text):
            column = self.names[int(match[1])]
            return AutoDPQError(
                f"{self.where}{self._line(match[2])}, column {column!r}: not UTF-8 text; save the file as UTF-8"
            )
        if "Empty CSV file" in text or "Could not skip initial" in text:
            return AutoDPQError(f"{self.where}: the file has no rows")
        if "straddling object" in text:
            limit = f"{_BLOCK_BYTES >> 20} MiB"
            return AutoDPQError(f"{self.where}: a row is longer than {limit}; is a quote not closed, or this no text?")
        return AutoDPQError(f"{self.where}: cannot be read as delimited text: {_one_line(text)}")

    def _line(self, filled: str | None) -> str:
        """Names the line that a parser's number means: it does not count the empty lines, people's editors do."""
        if filled is None:
            return ""
        content = self.content
        try:
            with io.BytesIO(content) if isinstance(content, bytes) else open_bytes(content) as file:
                numbers = (number for number, line in enumerate(file, 1) if line.strip(b"\r\n"))
                return f", line {next(itertools.islice(numbers, int(filled) - 1, None), filled)}"
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(self.where, error) from None


def is_gzip(path: Path) -> bool:
    """Whether a file is compressed, by its name."""
    return path.suffix.lower() == ".gz"


def open_bytes(path: Path) -> gzip.GzipFile | io.BufferedReader:
    """Opens a file, compressed or not, for reading."""
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")


def read_header(path: Path) -> list[str]:
    """The column names in the first line of a delimited file; errors are those of :func:`read_dialect`."""
    return read_dialect(path)[1]


def read_dialect(path: Path) -> tuple[str, list[str]]:
    """What :func:`first_line` gives, the names being a header's.

    Raises:
        AutoDPQError: As there, or a column is named twice or not at all.
    """
    separator, names = first_line(path)
    check_names(names, str(path))
    return separator, names


def first_line(path: Path) -> tuple[str, list[str]]:
    """The separator and the column names in the first line of a delimited file.

    The separator is a comma where there is one, else a tab, a semicolon or a bar; a tab first in files that are named
    for it. The first column may have no name, as the index of a frame that pandas has written: it is called
    :data:`PANDAS_INDEX`. RecBole's types, as in ``click:float``, are no part of names in its files.

    Raises:
        AutoDPQError: The file is missing, empty, not text, or has one column only.
    """
    try:
        with open_bytes(path) as file:
            line = file.readline(_BLOCK_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(str(path), error) from None
    if not line.strip():
        raise AutoDPQError(f"{path}: the file is empty, or begins with an empty line; a header line is needed")
    for magic, kind in ((b"PAR1", "a parquet"), (b"\x1f\x8b", "a gzip"), (b"PK\x03\x04", "a zip")):
        if line.startswith(magic):
            raise AutoDPQError(f"{path}: this is {kind} file, not comma-separated text; name it so")
    if len(line) == _BLOCK_BYTES:
        limit = f"{_BLOCK_BYTES >> 20} MiB"
        raise AutoDPQError(f"{path}, line 1: longer than {limit}; a header of comma-separated names is needed")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise AutoDPQError(f"{path}, line 1: not UTF-8 text; save the file as UTF-8") from None
    if "\r" in text.rstrip("\r\n"):
        raise AutoDPQError(f"{path}, line 1: a carriage return within the line; save the file with line feeds")
    by_tabs = _suffix(path) in _BY_TABS
    names: list[str] = []
    for separator in "\t,;|" if by_tabs else ",\t;|":
        try:
            names = next(csv.reader([text], strict=True, delimiter=separator))
        except csv.Error as error:
            raise AutoDPQError(
                f"{path}, line 1: not a header of comma-separated names ({error}); is a quote not closed?"
            ) from None
        if len(names) > 1:
            break
    else:
        if _FEATURES.match(text):
            raise AutoDPQError(f"{path}: this is LIBSVM's format, which has no fields; {LIBSVM_ADVICE}")
        raise AutoDPQError(f"{path}: only one column is found; values must be separated by commas, tabs, ; or |")
    names[0] = names[0] or PANDAS_INDEX
    if _suffix(path) == ".inter":
        names = [_RECBOLE_TYPE.sub("", name) for name in names]
    return separator, names


def has_rows(path: Path) -> bool:
    """Whether anything follows the header; the reader refuses a header that no line break ends.

    Raises:
        AutoDPQError: The file cannot be read.
    """
    try:
        with open_bytes(path) as file:
            file.readline()
            return bool(file.read(1))
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(str(path), error) from None


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def check_names(names: Sequence[str], where: str) -> None:
    """Refuses columns that share a name or have none, and names that cannot be shown in a line.

    Raises:
        AutoDPQError: There is such a column.
    """
    known: set[str] = set()
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise AutoDPQError(f"{where}: column {number} has no name; name every column in the header")
        if UNPRINTABLE.search(name):
            raise AutoDPQError(f"{where}: column {number} is called {name!r}, with a control character; rename it")
        if name in known:
            raise AutoDPQError(f"{where}: two columns are called {name!r}; rename one")
        known.add(name)


def text_frames(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Some columns of delimited text in batches, all of type String.

    Args:
        path: The file.
        columns: The wanted ones.

    Raises:
        AutoDPQError: The file cannot be read, is cut short, has no rows or rows of another length, or is not UTF-8.
    """
    row = 0
    separator, names = read_dialect(path)
    for frame in Delimited(str(path), path, names, separator, quoted=True).batches(columns):
        # A quote that is never closed swallows the lines after it without a parser's error.
        for column in frame:
            broken = column.str.contains("\n", literal=True)
            if broken.any():
                at = row + int(broken.arg_max() or 0) + 1
                raise AutoDPQError(f"{path}, row {at}, column {column.name!r}: a line break; is a quote not closed?")
        yield frame
        row += len(frame)


def unreadable(where: str, error: BaseException) -> AutoDPQError:
    """Says why a file cannot be read."""
    text = str(error)
    if isinstance(error, EOFError) or "Truncated" in text or "end-of-stream" in text:
        return AutoDPQError(f"{where}: the gzip file is cut short; get it again")
    if isinstance(error, gzip.BadGzipFile | zlib.error) or "zlib" in text:
        return AutoDPQError(f"{where}: this is no gzip file, or a damaged one; get it again")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else _one_line(text)
    return AutoDPQError(f"{where}: cannot be read: {reason}")


def _frame(batches: list[pa.RecordBatch]) -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches(batches))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
