"""MovieLens-1M (Harper and Konstan, 2015) in GroupLens' layout, from its archive or its folder."""

from __future__ import annotations

import errno
import hashlib
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from autodpq.data.cache import cache_root, load_cached
from autodpq.data.dataset import EncodedDataset
from autodpq.data.digest import remembered_digest
from autodpq.data.options import LoadOptions
from autodpq.data.readers.columns import ColumnReader
from autodpq.data.readers.text import Delimited
from autodpq.data.sets.download import download
from autodpq.data.sets.folders import data_folder, find_file
from autodpq.data.source import Batch, Source, Table, select_fields
from autodpq.errors import AutoDPQError

FIELDS = ("user", "movie", "gender", "age", "occupation", "zip", "genres", "year")
URL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
MD5 = "c4d9eecfca2ab87c1945afe126590906"

_ARCHIVE = "ml-1m.zip"
_MOST_BYTES = 64 << 20
"""No table is as large: the published ones have 24 MB at most."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What reading an archive may raise where its bytes are not as they should be."""

_COLUMNS = {
    "ratings.dat": ("user", "movie", "rating", "time"),
    "users.dat": ("user", "gender", "age", "occupation", "zip"),
    "movies.dat": ("movie", "title", "genres"),
}


@dataclass(frozen=True)
class _Files:
    """The three tables, wherever they are: in the archive or in its extracted folder."""

    path: Path

    @property
    def paths(self) -> list[Path]:
        return [self.path] if self.path.is_file() else [self.path / name for name in _COLUMNS]

    def where(self, name: str) -> str:
        return str(self.path / name)

    def read(self) -> dict[str, bytes]:
        """The content of each table.

        Raises:
            AutoDPQError: A table is missing, or the archive is none or is damaged.
        """
        if self.path.is_file():
            return self._read_archive()
        try:
            return {name: (self.path / name).read_bytes() for name in _COLUMNS}
        except OSError as error:
            raise AutoDPQError(f"{error.filename}: cannot be read: {error.strerror}; {_advice()}") from None

    def _read_archive(self) -> dict[str, bytes]:
        """Reads the members into memory; nothing is unpacked to disk."""
        content = {}
        try:
            with zipfile.ZipFile(self.path) as archive:
                for name in _COLUMNS:
                    with archive.open(f"ml-1m/{name}") as member:
                        content[name] = member.read(_MOST_BYTES + 1)
                    if len(content[name]) > _MOST_BYTES:
                        raise AutoDPQError(
                            f"{self.where(name)}: larger than {_MOST_BYTES >> 20} MiB, so not the published file; "
                            f"{_advice()}"
                        )
        except KeyError:
            raise AutoDPQError(f"{self.path}: ml-1m/{name} is not in the archive; {_advice()}") from None
        except (*_DAMAGED, OSError) as error:
            # Of places outside the file, which a damaged archive names, the system says that they are invalid.
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise AutoDPQError(f"{self.path}: cannot be read: {error.strerror}") from None
            raise AutoDPQError(f"{self.path}: no zip archive, or one cut short or damaged; {_advice()}") from None
        return content

    def digest(self) -> str:
        """Digest of the tables, the same for the archive and for its extracted folder."""
        total = hashlib.sha256()
        for name, content in self.read().items():
            total.update(f"{name}:{len(content)}:".encode() + content)
        return total.hexdigest()


def load_movielens1m(options: LoadOptions) -> EncodedDataset:
    """Loads MovieLens-1M: 1,000,209 ratings; eight fields; a rating above ``label_above`` is a click.

    Raises:
        AutoDPQError: The files are missing or damaged, or cannot be downloaded.
    """
    cache = cache_root(options.cache_dir)
    files = _find(options, cache)
    field_names = select_fields(FIELDS, options.fields, options.exclude, "movielens1m")
    digest = remembered_digest(files.paths, files.digest, cache, "movielens1m")
    source = Source(
        name="movielens1m",
        where=str(files.path),
        digest=digest,
        settings={"loader": "movielens1m", "fields": field_names, "label_above": float(options.label_above)},
        read=lambda: Table(field_names, _batches(files, field_names, options.label_above)),
    )
    return load_cached(source, cache)


def _advice() -> str:
    return f"get {_ARCHIVE} from {URL} and name its folder with data_dir or AUTODPQ_DATA"


def _find(options: LoadOptions, cache: Path) -> _Files:
    folder = data_folder(options.data_dir)
    if folder is None:
        return _Files(download(URL, MD5, cache / "downloads" / _ARCHIVE, _advice()))
    path = find_file(folder, "ml-1m", [_ARCHIVE, "ratings.dat"])
    if path is None:
        raise AutoDPQError(f"{folder}: neither {_ARCHIVE} nor ml-1m/ratings.dat is in it; {_advice()}")
    return _Files(path if path.name == _ARCHIVE else path.parent)


def _batches(files: _Files, field_names: tuple[str, ...], label_above: float) -> Iterator[Batch]:
    """The ratings in the file's order, with what is known of their user and their movie."""
    content = files.read()
    tables = {name: _parse(files.where(name), content[name], columns) for name, columns in _COLUMNS.items()}
    users = tables["users.dat"].with_columns(pl.col("zip").str.split("-").list.first())
    movies = tables["movies.dat"].with_columns(
        pl.col("title").str.extract(r"\((\d{4})\)\s*$").fill_null("").alias("year")
    )
    ratings = tables["ratings.dat"]
    for table, key, file in ((users, "user", "users.dat"), (movies, "movie", "movies.dat")):
        _check_keys(ratings, table, key, files.where("ratings.dat"), files.where(file))
    reader = ColumnReader(files.where("ratings.dat"))
    joined = ratings.join(users, on="user", how="left", maintain_order="left").join(
        movies, on="movie", how="left", maintain_order="left"
    )
    time = reader.time(joined["time"])
    rating = reader.integers(joined["rating"])
    if rating.null_count() or not rating.is_between(1, 5).all():
        row = int((rating.is_null() | ~rating.is_between(1, 5)).fill_null(True).arg_max() or 0) + 1
        raise AutoDPQError(f"{reader.where}, row {row}, column 'rating': a rating from 1 to 5 is expected")
    yield Batch(
        values=joined.select(field_names),
        labels=(rating.to_numpy() > label_above).astype(np.uint8),
        time=None if (time == time[0]).all() else time,
    )


def _parse(where: str, content: bytes, columns: tuple[str, ...]) -> pl.DataFrame:
    """A table whose values are separated by "::" in Latin-1."""
    # A separator of one byte lets the fast parser read it; this one cannot occur in text.
    text = content.replace(b"::", b"\x1f").decode("latin-1").encode()
    frames = list(Delimited(where, text, columns, separator="\x1f", header=False).batches(columns))
    if not frames:
        raise AutoDPQError(f"{where}: the file has no rows; {_advice()}")
    return pl.concat(frames)


def _check_keys(ratings: pl.DataFrame, table: pl.DataFrame, key: str, where: str, where_table: str) -> None:
    """Refuses a table that lists a key twice, and ratings whose key it lacks: the join would add or lose rows."""
    again = ~table[key].is_first_distinct()
    if again.any():
        row = int(again.arg_max() or 0)
        raise AutoDPQError(f"{where_table}, row {row + 1}: {key} {table[key][row]!r} is listed twice; remove one")
    missing = ~ratings[key].is_in(table[key].implode())
    if missing.any():
        row = int(missing.arg_max() or 0)
        raise AutoDPQError(f"{where}, row {row + 1}: {key} {ratings[key][row]!r} is not in {where_table}")
