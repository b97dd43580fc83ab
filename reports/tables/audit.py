"""What the plans that treat all fields alike would cost, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autodpq.choices import Choice, parse_choice
from autodpq.costs import ledger
from autodpq.plan import Field, uniform_plan
from reports import paper
from reports.names import quantized
from reports.tables.render import Cell, Grid, Table

_COLUMNS = ("plan", "parameters", "embedding_bytes", "parameters_in_fe", "bytes_in_fe", "paper")
_NAMES = {"full": "FE", "others": "Others"}
_UNITS = {"k": 1_000, "M": 1_000_000}


@dataclass(frozen=True, slots=True)
class AuditRow:
    """The cost of one uniform plan.

    Attributes:
        plan: FE, Others, (K, D) or another choice's text.
        parameters: The paper's Space.
        embedding_bytes: Bytes of the packed embedding tables.
        parameters_in_fe: Parameters as a share of FE's.
        bytes_in_fe: Bytes as a share of FE's.
    """

    plan: str
    parameters: int
    embedding_bytes: int
    parameters_in_fe: float
    bytes_in_fe: float


def audit_rows(fields: Sequence[Field], choices: Iterable[Choice], embedding_dim: int) -> list[AuditRow]:
    """The cost of FE, of Others and of each further choice for all rare values alike.

    Args:
        fields: All fields of the data set.
        choices: The choices; those of FE and Others are there in any case, and each is there once.
        embedding_dim: X.

    Raises:
        AutoDPQError: A choice does not fit X.
    """
    audited = dict.fromkeys((*map(parse_choice, _NAMES), *choices))
    costs = [(choice, ledger(fields, uniform_plan(fields, choice), embedding_dim)) for choice in audited]
    full = costs[0][1]
    return [
        AuditRow(
            _plan_name(choice),
            cost.parameters,
            cost.embedding_bytes,
            cost.parameters / full.parameters if full.parameters else 1.0,
            cost.embedding_bytes / full.embedding_bytes if full.embedding_bytes else 1.0,
        )
        for choice, cost in costs
    ]


def _plan_name(choice: Choice) -> str:
    """``FE``, ``Others`` and ``(K, D)``, as the paper has them; of what the paper does not have, its text."""
    pair = quantized(choice)
    return f"({pair[0]}, {pair[1]})" if pair else _NAMES.get(str(choice), str(choice))


def audit_table(dataset: str, fields: Sequence[Field], choices: Iterable[Choice], embedding_dim: int) -> Table:
    """The fields, and what uniform plans cost, with the Space that the paper prints beside.

    Args:
        dataset: Name of the data set; the paper has numbers for ``movielens1m`` and ``avazu``.
        fields: All its fields.
        choices: As for :func:`audit_rows`.
        embedding_dim: X.

    Raises:
        AutoDPQError: A choice does not fit X.
    """
    rows = audit_rows(fields, choices, embedding_dim)
    printed = paper.printed_spaces(dataset)
    tidy = tuple(_tidy_row(row, _printed_beside(row, printed)) for row in rows)
    plans = plans_grid(f"Uniform plans, X = {embedding_dim}", rows, printed)
    return Table((_fields_grid(dataset, fields), plans), _COLUMNS, tidy)


def audit_text(dataset: str, fields: Sequence[Field], choices: Iterable[Choice], embedding_dim: int) -> str:
    """What :func:`audit_table` gives, as plain text at most 100 columns wide."""
    return audit_table(dataset, fields, choices, embedding_dim).to_text()


def _fields_grid(dataset: str, fields: Sequence[Field]) -> Grid:
    cardinality, head = sum(field.cardinality for field in fields), sum(field.head for field in fields)
    title = f"{dataset}: {len(fields)} fields, V = {cardinality:,} rows, h = {head:,} frequent"
    rows = tuple(
        (Cell(field.name), *(Cell(f"{size:,}") for size in (field.cardinality, field.head, field.tail)))
        for field in fields
    )
    return Grid(title, ("Field", "Rows", "Frequent", "Rare"), rows)


def plans_grid(title: str, rows: Sequence[AuditRow], printed: Mapping[str, str]) -> Grid:
    """What plans cost.

    Args:
        title: The grid's title.
        rows: The plans.
        printed: The Space that the paper prints, by plan; where it is empty, there is no column for it.
    """
    header: tuple[str, ...] = ("Rare rows by", "Space", "of FE", "Embedding bytes", "of FE", "Space, paper")
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (
            Cell(row.plan),
            Cell(f"{row.parameters:,}"),
            Cell(f"{row.parameters_in_fe:.1%}"),
            Cell(f"{row.embedding_bytes:,}"),
            Cell(f"{row.bytes_in_fe:.1%}"),
            Cell(_printed_beside(row, printed), faint=True),
        )
        for row in rows
    )
    notes = ["Space: parameters as the paper counts them, a code being one; bytes: codes packed, the rest in float32."]
    mixed = [f"{name} {printed[name]}" for name in ("Random", "AutoDPQ") if name in printed]
    if printed:
        notes.append(
            "The paper cuts its numbers off; its Grid stands beside each (K, D) that gives the printed number. "
            f"Plans that differ by field: {', '.join(mixed)}."
        )
    else:
        header, cells = header[:-1], tuple(row[:-1] for row in cells)
    return Grid(title, header, cells, notes=tuple(notes))


def _printed_beside(row: AuditRow, printed: Mapping[str, str]) -> str:
    if row.plan in printed:
        return printed[row.plan]
    grid = printed.get("Grid", "")
    matches = grid and row.parameters // _UNITS[grid[-1]] == int(grid[:-1])
    return f"Grid {grid}" if matches else ""


def _tidy_row(row: AuditRow, beside: str) -> Mapping[str, object]:
    return {
        "plan": row.plan,
        "parameters": row.parameters,
        "embedding_bytes": row.embedding_bytes,
        "parameters_in_fe": row.parameters_in_fe,
        "bytes_in_fe": row.bytes_in_fe,
        "paper": beside,
    }
