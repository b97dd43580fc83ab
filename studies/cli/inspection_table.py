"""What people read of an inspected data set."""

from __future__ import annotations

from collections.abc import Iterator

from reports.tables.audit import plans_grid
from reports.tables.render import Cell, Grid, Table
from studies.cli.inspection import RARE_SAMPLES, RARE_VALUES, Inspection

_COLUMNS = ("field", "kind", "cardinality", "head", "rare_values", "rare_samples")
_SHOWN_LETTERS = 18


def inspection_table(inspection: Inspection) -> Table:
    """The fields and the plans, with all that is to be said below."""
    tidy = tuple({column: getattr(field, column, field.name) for column in _COLUMNS} for field in inspection.fields)
    title = f"What plans would cost at threshold {inspection.threshold}, X = {inspection.embedding_dim}"
    grids = _fields_grid(inspection), plans_grid(title, inspection.plans, {}), _bands_grid(inspection)
    return Table(grids, _COLUMNS, tidy)


def _fields_grid(inspection: Inspection) -> Grid:
    rows = tuple(
        (
            Cell(field.name),
            Cell(field.kind),
            Cell(", ".join(map(_shown, field.values))),
            Cell(f"{field.cardinality:,}"),
            Cell(f"{field.cardinality - field.head:,}"),
            Cell(f"{field.rare_values:.1%}"),
            Cell(f"{field.rare_samples:.2%}"),
        )
        for field in inspection.fields
    )
    return Grid(
        f"{inspection.name}: {inspection.rows:,} rows, {inspection.clicks:.1%} clicks, {len(rows)} fields",
        ("Field", "Kind", "Most frequent", "Values", "Rare", "of values", "of samples"),
        rows,
        notes=tuple(_notes(inspection)),
        text_columns=3,
    )


def _bands_grid(inspection: Inspection) -> Grid:
    rows = tuple(
        (
            Cell(band.name),
            Cell(f"{band.values:,}"),
            Cell(f"{band.most:,}" if band.most == band.least else f"{band.most:,} to {band.least:,}"),
            Cell(f"{band.samples:.1%}"),
            Cell(f"{band.bytes:,}"),
        )
        for band in inspection.bands
    )
    total = sum(band.bytes for band in inspection.bands)
    return Grid(
        f"Bands of --space wide, X = {inspection.embedding_dim}",
        ("Band", "Values", "Samples of a value", "of samples", "Bytes, float16"),
        rows,
        notes=(
            "Every value is in a band, and every band gets a choice of its own within --budget; all rows take "
            f"{total:,} bytes in 16-bit floats.",
        ),
        text_columns=1,
    )


def _notes(inspection: Inspection) -> Iterator[str]:
    taken = "as asked" if inspection.is_asked else "which a run takes unless --threshold says otherwise"
    yield (
        f"Rare: values of fewer than {inspection.threshold} samples, {taken}; {inspection.rare_samples:.1%} of the "
        "samples hold one or more."
    )
    if inspection.suggested is None:
        yield "Suggested threshold: none; hardly any value is rare at any, so that --space paper has nothing to search."
    elif inspection.suggested_samples <= RARE_SAMPLES:
        yield (
            f"Suggested threshold: {inspection.suggested}, the largest round one at which at most {RARE_SAMPLES:.0%} "
            "of the samples hold a rare value."
        )
    else:
        yield (
            f"Suggested threshold: {inspection.suggested}, the least round one at which {RARE_VALUES:.0%} of the "
            f"values are rare; {inspection.suggested_samples:.1%} of the samples hold one, so that AUC hangs on what "
            "becomes of them."
        )
    yield (
        f"For bytes rather than the paper's tables: --space wide --budget {inspection.budget:.0%} searches every row; "
        "shrink finds the budget."
    )
    yield f"Split: {inspection.split}."
    for note in inspection.notes:
        yield f"{note}."


def _shown(value: str | None) -> str:
    """A value as a cell shows it."""
    if value is None:
        return "(missing)"
    return value if len(value) <= _SHOWN_LETTERS else f"{value[: _SHOWN_LETTERS - 3]}..."
