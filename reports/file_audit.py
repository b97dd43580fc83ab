"""What a packed file holds, to the byte."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autodpq.errors import AutoDPQError
from autodpq.ledger import code_bits, field_ledger
from autodpq.packed.file import PackedFile, open_packed
from autodpq.packed.table import PackedTable
from autodpq.plan import DPQ, CompressionPlan, Field, Full
from reports.render import Cell, Grid, Table

# Per array of a table, its column and what people call it.
_PARTS = {
    "rows": ("row_bytes", "rows of their own"),
    "scales": ("scale_bytes", "scales of int8 rows"),
    "centroids": ("centroid_bytes", "centroids"),
    "codes": ("code_bytes", "codes"),
    "head_ids": ("head_id_bytes", "ids of frequent rows"),
    "first_order": ("first_order_bytes", "first-order weights"),
}
_SIZES = tuple(column for column, _ in _PARTS.values())
_COLUMNS = ("table", "rows", "frequent", "choice", "parameters", "parameters_in_full", *_SIZES, "bytes")


def file_audit_table(path: Path) -> Table:
    """The tables of a packed file, what each takes, and the parts that the file's size is the sum of.

    Raises:
        AutoDPQError: It is no packed file, or is cut off or altered.
    """
    packed = open_packed(path)
    records = tuple(_record(table) for table in packed.tables)
    return Table((_tables_grid(packed, records), _parts_grid(packed, records)), _COLUMNS, records)


def file_audit_text(path: Path) -> str:
    """What :func:`file_audit_table` gives, as plain text at most 100 columns wide."""
    return file_audit_table(path).to_text()


def _record(table: PackedTable) -> Mapping[str, Any]:
    spec = table.spec
    field = Field(spec.name, spec.n_rows, spec.n_rows - spec.tail)
    cost = field_ledger(field, CompressionPlan({spec.name: spec.choice}), spec.dim)
    arrays = table.arrays
    sizes = {column: arrays[part].nbytes if part in arrays else 0 for part, (column, _) in _PARTS.items()}
    return {
        "table": spec.name,
        "rows": spec.n_rows,
        "frequent": spec.n_rows - spec.tail,
        "choice": str(spec.choice) if spec.tail else str(Full()),
        "parameters": cost.parameters,
        "parameters_in_full": spec.n_rows * spec.dim,
        **sizes,
        "bytes": sum(sizes.values()),
    }


def _tables_grid(packed: PackedFile, records: tuple[Mapping[str, Any], ...]) -> Grid:
    rows = []
    for record in records:
        stored = record["row_bytes"] + record["scale_bytes"] + record["head_id_bytes"]
        shown = [record[name] for name in ("rows", "frequent", "parameters")]
        shown += [stored, *(record[name] for name in ("centroid_bytes", "code_bytes", "first_order_bytes", "bytes"))]
        rows.append((Cell(record["table"]), Cell(record["choice"]), *(Cell(f"{number:,}") for number in shown)))
    header = ("Table", "Rare by", "Rows", "Freq.", "Space", "Rows, B", "Centr., B", "Codes, B", "1st o., B", "Sum, B")
    about = packed.manifest.about
    title = f"{packed.path.name}: format {packed.manifest.format}, {packed.manifest.kind}"
    if packed.manifest.model is not None:
        title += f" {packed.manifest.model.name}"
    if "strategy" in about and "data" in about:
        title += f", {about['strategy']} on {about['data'].get('name')}, seed {about.get('seed')}"
    notes = [
        "Space: parameters as the paper counts them, a code being one; B: bytes in this file. Rows, B: frequent rows "
        "and what belongs to them (the shared row, scales of int8, listed ids)."
    ]
    metrics = about.get("metrics", {})
    if {"test_auc", "test_logloss"} <= set(metrics):
        notes.append(f"Test AUC {metrics['test_auc']:.5f}, logloss {metrics['test_logloss']:.5f} as trained.")
    return Grid(title, header, tuple(rows), notes=tuple(notes), text_columns=2)


def _parts_grid(packed: PackedFile, records: tuple[Mapping[str, Any], ...]) -> Grid:
    sizes = {name: sum(int(record[column]) for record in records) for column, name in _PARTS.values()}
    sizes["other weights"] = sum(array.nbytes for array in packed.dense.values())
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
    side = packed.manifest.vocabulary
    if side is not None:
        path = packed.path.with_name(side.name)
        found = f"{path.stat().st_size:,} bytes" if path.is_file() else "missing"
        notes.append(f"Beside it, not counted: the vocabulary {side.name}, {found}.")
    return Grid("Parts of the file", ("Part", "Bytes", "Share"), tuple(rows), frozenset({len(rows) - 1}), tuple(notes))


def _codes_note(packed: PackedFile) -> list[str]:
    """How many bits the codes take, by what they are made of."""
    by_choice: dict[DPQ, int] = {}
    for table in packed.tables:
        if isinstance(table.spec.choice, DPQ):
            by_choice[table.spec.choice] = by_choice.get(table.spec.choice, 0) + table.spec.tail
    parts = [f"{n:,} x {choice.D} x {code_bits(choice.K)}" for choice, n in by_choice.items()]
    bits = sum(n * choice.D * code_bits(choice.K) for choice, n in by_choice.items())
    return [f"Codes, rows x D x bits: {' + '.join(parts)} = {bits:,} bits."] if parts else []
