"""Rows in one parquet file, with what they are of in its metadata: sealed, with a digest of the rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autodpq.errors import AutoDPQError, one_line
from autodpq.files import write_whole
from autodpq.records.files import damage_told
from autodpq.records.folder import entries
from autodpq.records.schema import Entries
from autodpq.seals import opened, sealed

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS, _FORMAT = "rows", "format"
_CHUNK = 1000  # rows whose text is made at once


def _digest(rows: Sequence[Mapping[str, Any]]) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(rows), _CHUNK):
        digest.update(json.dumps(rows[start : start + _CHUNK], separators=(",", ":")).encode())
    return digest.hexdigest()


def write_rows(path: Path, kind: str, version: int, about: Entries, rows: Sequence[Entries], schema: pa.Schema) -> None:
    """Writes rows whole or not at all.

    Args:
        path: The file.
        kind: What the file is, the name of its metadata.
        version: Of its format.
        about: What its rows are of.
        rows: The rows.
        schema: Their columns.

    Raises:
        AutoDPQError: It cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = [entries(row) for row in rows]
    known = sealed(json.loads(json.dumps({_FORMAT: version, **entries(about), _ROWS: _digest(values)})))
    buffer = pa.BufferOutputStream()
    table = pa.Table.from_pylist(values, schema.with_metadata({kind: json.dumps(known)}))
    pq.write_table(table, buffer, compression="zstd")
    write_whole(path, buffer.getvalue().to_pybytes())


def read_rows(
    path: Path, kind: str, version: int, advice: str, made_by: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Reads what :func:`write_rows` wrote.

    Args:
        path: The file.
        kind: What it must be.
        version: The format that is read.
        advice: What to do where it is damaged.
        made_by: The command that writes such files.

    Returns:
        What the rows are of, and the rows.

    Raises:
        AutoDPQError: It cannot be read, is something else, was cut short or altered, or is of another format.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with damage_told(path, advice):
        content = path.read_bytes()
        try:
            table = pq.read_table(pa.BufferReader(content))
            rows = table.to_pylist()
        except Exception as error:  # of many kinds, by what was altered
            raise AutoDPQError(one_line(error)) from None
    known = (table.schema.metadata or {}).get(kind.encode())
    if known is None:
        raise AutoDPQError(f"{path}: it is no file as {made_by} writes it")
    with damage_told(path, advice):
        found = json.loads(known)[_FORMAT]
    if found != version:
        newer = isinstance(found, int) and found > version
        raise AutoDPQError(
            f"{path}: it is of format {found}, and this version of autodpq reads format {version}: "
            + ("upgrade autodpq" if newer else f"have {made_by} write it anew")
        )
    with damage_told(path, advice):
        about = opened(known)
        if _digest(rows) != about.pop(_ROWS):
            raise AutoDPQError("its rows are not those that were written")
    del about[_FORMAT]
    return about, [{name: tuple(v) if isinstance(v, list) else v for name, v in row.items()} for row in rows]
