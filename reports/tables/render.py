"""Tables as Markdown, LaTeX, CSV and text for the terminal."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table as RichTable

DASH = "—"
TEXT_WIDTH = 100
_WIDEST = 10_000  # columns
_LONG_WORD = 20

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "—": "---",
    "*": r"$^{*}$",
    **{character: "\\" + character for character in "&%$#_{}"},
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        text: What it says.
        bold: The best of its column.
        underline: The best baseline of its column.
        star: Significantly better than the best baseline.
        faint: Not measured here (the paper's).
    """

    text: str
    bold: bool = False
    underline: bool = False
    star: bool = False
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """One table as people read it.

    Attributes:
        title: One line.
        header: Column titles.
        rows: Cells, as many in each row as column titles.
        rules: Indices of the rows that a rule is drawn above.
        notes: Lines below the table.
        text_columns: How many columns, from the left, hold text rather than numbers.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    rules: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    text_columns: int = 1


@dataclass(frozen=True, slots=True, repr=False)
class Table:
    """Grids to read and the tidy rows behind them.

    Attributes:
        grids: One for each table that stands alone.
        columns: Column names of the tidy rows.
        records: The tidy rows.
        empty: What to say where there is no grid.
    """

    grids: tuple[Grid, ...]
    columns: tuple[str, ...]
    records: tuple[Mapping[str, object], ...]
    empty: str = "Nothing to show."

    def __repr__(self) -> str:
        return self.to_text()  # what a terminal shows

    def _repr_markdown_(self) -> str:
        return self.to_markdown()  # what a notebook shows

    def to_markdown(self) -> str:
        """All grids in Markdown (the underline in HTML, for Markdown has none)."""
        return "\n".join(_markdown(grid) for grid in self.grids) or f"{escape_markdown(self.empty)}\n"

    def to_latex(self) -> str:
        """All grids as LaTeX ``table`` environments; they need the package booktabs."""
        return "\n".join(_latex(grid) for grid in self.grids) or f"% {self.empty}\n"

    def to_csv(self) -> str:
        """The tidy rows; numbers in full, a missing value is empty."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_csv_value(record.get(column)) for column in self.columns] for record in self.records)
        return stream.getvalue()

    def to_rich(self) -> RenderableType:
        """All grids for a rich console."""
        from rich.console import Group

        return Group(*(_rich(grid) for grid in self.grids)) if self.grids else self.empty

    def to_text(self) -> str:
        """All grids as plain text, at most 100 columns wide; bold and underline are spelled out in the notes."""
        from rich.console import Console

        stream = io.StringIO()
        # In a notebook, rich would show it there and leave the stream empty.
        console = Console(
            file=stream, width=TEXT_WIDTH, color_system=None, force_terminal=False, force_jupyter=False, emoji=False
        )
        console.print(self.to_rich())
        return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()).rstrip() + "\n"


def _csv_value(value: object) -> object:
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else value


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text).replace("\n", " ")


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text.strip())  # Markdown takes no emphasis that starts with a space
    text = f"<u>{text}</u>" if cell.underline else text
    text = f"**{text}**" if cell.bold else text
    text = f"*{text}*" if cell.faint and text else text
    return text + (r"\*" if cell.star else "")


def _markdown(grid: Grid) -> str:
    lines = [[escape_markdown(title) for title in grid.header]]
    lines += [[_markdown_cell(cell) for cell in row] for row in grid.rows]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(grid.header))]
    rule = ["-" * w if i < grid.text_columns else "-" * (w - 1) + ":" for i, w in enumerate(widths)]

    def row(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if column < grid.text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    table = [row(lines[0]), row(rule), *map(row, lines[1:])]
    notes = [f"- {escape_markdown(note)}" for note in grid.notes]
    return "\n".join([f"### {escape_markdown(grid.title)}", "", *table, "", *notes, ""])


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(_LATEX.get(character, character) for character in text.replace("\n", " "))


def _latex_cell(cell: Cell) -> str:
    indent = r"\quad " if cell.text.startswith(" ") else ""
    text = escape_latex(cell.text.strip())
    text = rf"\underline{{{text}}}" if cell.underline else text
    text = rf"\textbf{{{text}}}" if cell.bold else text
    text = rf"\textit{{{text}}}" if cell.faint and text else text
    return indent + text + ("$^{*}$" if cell.star else "")


def _latex(grid: Grid) -> str:
    body = []
    for index, row in enumerate(grid.rows):
        body += [r"\midrule"] if index in grid.rules else []
        body.append(" & ".join(map(_latex_cell, row)) + r" \\")
    alignment = "l" * grid.text_columns + "r" * (len(grid.header) - grid.text_columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\footnotesize",
        rf"\caption{{{escape_latex(grid.title)}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        " & ".join(map(escape_latex, grid.header)) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par {escape_latex(note)}" for note in grid.notes),
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


class _Fitted:
    """A table as wide as the terminal: where it is too narrow, deviations stand below their means."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.measure import Measurement

        table = _rich_table(self.grid, "±")
        if Measurement.get(console, options.update_width(_WIDEST), table).maximum > options.max_width:
            table = _rich_table(self.grid, "\n±")
        yield table


def _rich_table(grid: Grid, sign: str) -> RichTable:
    """A table with this for the plus-minus signs and the spaces around them."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for index, title in enumerate(grid.header):
        left = index < grid.text_columns
        if left:  # broken between words alone
            words = [word for text in (title, *(row[index].text for row in grid.rows)) for word in text.split()]
            table.add_column(Text(title), overflow="fold", min_width=min(max(map(len, words), default=1), _LONG_WORD))
        else:
            table.add_column(Text(title), justify="right", no_wrap=True, overflow="ellipsis")
    for index, row in enumerate(grid.rows):
        # A blank in a star's place aligns the digits.
        starred = [any(other[column].star for other in grid.rows) for column in range(len(row))]
        texts = []
        for cell, padded in zip(row, starred, strict=True):
            style = " ".join(name for name, on in (("bold", cell.bold), ("underline", cell.underline)) if on)
            mark = "*" if cell.star else " " if padded else ""
            texts.append(Text.assemble((cell.text.replace(" ± ", sign), style or ("dim" if cell.faint else "")), mark))
        table.add_row(*texts, end_section=index + 1 in grid.rules)
    return table


def _rich(grid: Grid) -> RenderableType:
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    notes = RichTable.grid(padding=(0, 1, 0, 0))
    for note in grid.notes:
        notes.add_row("-", Text(note, overflow="fold"))
    return Group(Text(grid.title, style="bold"), _Fitted(grid), notes, Text(""))
