"""What a packed file holds, to the byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autodpq.choices.dpq import code_bits
from autodpq.costs import band_ledgers
from autodpq.errors import AutoDPQError
from autodpq.packed.file import PackedFile, open_packed
from autodpq.packed.spec import BAND_NUMBERS
from autodpq.packed.table import PackedTable
from autodpq.plan import CompressionPlan, Field
from reports.names import quantized
from reports.tables.render import Cell, Grid, Table

# Per array of a table that has a name here: its column, a short title, for the terminal is narrow, and a long one.
_PARTS = {
    "rows": ("row_bytes", "Rows", "rows of their own"),
    "scales": ("scale_bytes", "Scales", "scales of int8 rows"),
    "centroids": ("centroid_bytes", "Centroids", "centroids"),
    "codes": ("code_bytes", "Codes", "codes"),
    "head_ids": ("head_id_bytes", "Ids", "ids of frequent rows"),
    "first_order": ("first_order_bytes", "1st order", "first-order weights"),
    "weight_scale": ("weight_scale_bytes", "Its scale", "scales of first-order weights"),
}
_COLUMNS = ("table", "rows", "frequent", "choice", "parameters", "parameters_in_full", "code_bits")

_Parts = Mapping[str, tuple[str, str, str]]


def file_audit_table(path: Path) -> Table:
    """The tables of a packed file, what each takes, and the parts that the file's size is the sum of.

    Raises:
        AutoDPQError: It is no packed file, or is cut off or altered.
    """
    packed = open_packed(path)
    # A kind of choice may have arrays of its own, which go by their names.
    bands = [band for table in packed.tables for band in table.bands()]
    own = dict.fromkeys(part for band in bands for part in band.arrays if part not in _PARTS)
    parts = {**_PARTS, **{part: (f"{part}_bytes", part, part) for part in own}}
    records = tuple(_record(band, parts) for band in bands)
    grids = (_tables_grid(packed, records), _bytes_grid(parts, records), _parts_grid(packed, parts, records))
    return Table(grids, (*_COLUMNS, *(column for column, _, _ in parts.values()), "bytes"), records)


def file_audit_text(path: Path) -> str:
    """What :func:`file_audit_table` gives, as plain text at most 100 columns wide."""
    return file_audit_table(path).to_text()


def _record(table: PackedTable, parts: _Parts) -> Mapping[str, Any]:
    (spec,) = table.spec.tables
    field = Field(spec.name, spec.n_rows, spec.n_rows - spec.tail)
    (cost,) = band_ledgers(field, CompressionPlan({spec.name: spec.choice}), spec.dim, spec.compact)
    arrays = table.arrays
    sizes = {column: arrays[part].nbytes if part in arrays else 0 for part, (column, _, _) in parts.items()}
    pair = quantized(spec.choice)
    return {
        "table": spec.name,
        "rows": spec.n_rows,
        "frequent": spec.n_rows - spec.tail,
        "choice": str(spec.choice),
        "parameters": cost.parameters,
        "parameters_in_full": spec.n_rows * spec.dim,
        "code_bits": code_bits(pair[0]) if pair else None,
        **sizes,
        "bytes": sum(sizes.values()),
    }


def _tables_grid(packed: PackedFile, records: tuple[Mapping[str, Any], ...]) -> Grid:
    columns = ("rows", "frequent", "choice", "code_bits", "parameters", "parameters_in_full")
    rows = tuple((Cell(record["table"]), *(_cell(record[column]) for column in columns)) for record in records)
    header = ("Table", "Rows", "Frequent", "Rare by", "Bits/code", "Space", "Space in full")
    notes = ["Space: parameters as the paper counts them, a code being one.", *_metrics_note(packed.manifest.about)]
    calibration = packed.manifest.calibration
    if calibration is not None:
        notes.append(f"Logits are calibrated: times {calibration.scale:.6g}, plus {calibration.shift:.6g}.")
    for name, bag in packed.manifest.bags.items():
        notes.append(f"{name}: bags of values, {bag.columns} at most in training; their mean is what is read.")
    return Grid(_title(packed), header, rows, notes=tuple(notes))


def _title(packed: PackedFile) -> str:
    manifest, data = packed.manifest, _mapping(packed.manifest.about, "data")
    title = f"{packed.path.name}: format {manifest.format}, {manifest.kind}"
    if manifest.model is not None:
        title += f" {manifest.model.name}"
    if "strategy" in manifest.about:
        title += f", {manifest.about['strategy']}"
    if "name" in data:
        title += f" on {data['name']}"
    if "seed" in manifest.about:
        title += f", seed {manifest.about['seed']}"
    return title


def _metrics_note(about: Mapping[str, Any]) -> list[str]:
    """What the model reached when it was trained, as far as the file says so."""
    metrics = _mapping(about, "metrics")
    names = {"test_auc": "test AUC", "test_logloss": "test logloss", "valid_auc": "validation AUC"}
    names["valid_logloss"] = "validation logloss"
    found = {name: metrics.get(key) for key, name in names.items()}
    parts = [f"{name} {value:.5f}" for name, value in found.items() if isinstance(value, int | float)]
    return [f"As trained: {', '.join(parts)}."] if parts else []


def _mapping(about: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    # Whoever writes a file may say anything about it.
    value = about.get(key)
    return value if isinstance(value, dict) else {}


def _bytes_grid(parts: _Parts, records: tuple[Mapping[str, Any], ...]) -> Grid:
    titles = {column: title for column, title, _ in parts.values()} | {"bytes": "Sum"}
    columns = [column for column in titles if any(record[column] for record in records)]
    rows = tuple((Cell(record["table"]), *(_cell(record[column]) for column in columns)) for record in records)
    notes = []
    if "row_bytes" in columns:
        notes.append("Rows: frequent rows, and under others the one that the rare share.")
    if "head_id_bytes" in columns:
        notes.append("Ids: those that have a row, listed where ids are no frequency ranks.")
    return Grid("Bytes by table", ("Table", *(titles[column] for column in columns)), rows, notes=tuple(notes))


def _cell(value: int | str | None) -> Cell:
    return Cell("" if value is None else value if isinstance(value, str) else f"{value:,}")


def _parts_grid(packed: PackedFile, parts: _Parts, records: tuple[Mapping[str, Any], ...]) -> Grid:
    sizes = {title: sum(int(record[column]) for record in records) for column, _, title in parts.values()}
    of_tables = [table.arrays.get(BAND_NUMBERS) for table in packed.tables]
    sizes["numbers of ids' bands"] = sum(array.nbytes for array in of_tables if array is not None)
    sizes["other weights"] = sum(size for name, size in packed.sizes.items() if name.startswith("dense."))
    sizes["header and manifest"] = packed.sizes["header"]
    total, size = sum(sizes.values()), packed.path.stat().st_size
    if total != size:
        raise AutoDPQError(f"{packed.path}: its parts are {total:,} bytes, the file is {size:,}; export it again")
    rows = [(Cell(name), Cell(f"{value:,}"), Cell(f"{value / size:.1%}")) for name, value in sizes.items() if value]
    rows.append((Cell("the file"), Cell(f"{size:,}"), Cell("100.0%")))
    parameters, full = (sum(record[name] for record in records) for name in ("parameters", "parameters_in_full"))
    served = sum(table.resident_bytes for table in packed.tables) + sizes["other weights"]
    weights = sum(table.spec.n_rows for table in packed.tables if table.spec.first_order)
    whole = 4 * (full + weights) + sizes["other weights"]
    notes = [
        f"Space {parameters:,} of {full:,} in full ({parameters / full:.1%}).",
        *_codes_note(packed),
        f"In memory when served: {served:,} bytes; not compressed, in float32: {whole:,}.",
    ]
    whole = len(rows) - 1
    side = packed.manifest.vocabulary
    if side is not None:
        path = packed.path.with_name(side.name)
        found = f"{path.stat().st_size:,}" if path.is_file() else "missing"
        rows.append((Cell("vocabulary, beside it"), Cell(found), Cell("")))
        kind = "texts of values" if side.hash is None else f"hashes of values ({side.hash})"
        notes.append(f"Not counted: the vocabulary {side.name}, {kind}.")
    return Grid("Parts of the file", ("Part", "Bytes", "Share"), tuple(rows), frozenset({whole}), tuple(notes))


def _codes_note(packed: PackedFile) -> list[str]:
    """How many bits the codes take, by what they are made of."""
    rows: Counter[tuple[int, int]] = Counter()
    n_bytes = 0
    for band in (band for table in packed.tables for band in table.bands()):
        (spec,) = band.spec.tables
        pair = quantized(spec.choice)
        if pair is not None:
            rows[pair] += spec.tail
            n_bytes += band.arrays["codes"].nbytes
    parts = [f"{n:,} x {D} x {code_bits(K)}" for (K, D), n in rows.items()]
    bits = sum(n * D * code_bits(K) for (K, D), n in rows.items())
    note = f"Codes, rows x D x bits: {' + '.join(parts)} = {bits:,} bits, in {n_bytes:,} bytes."
    return [note] if parts else []
