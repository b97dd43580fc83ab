"""Trains some rows of a table of plans again, drawn at random, and compares every digit.

    python benchmarks/table_rows.py table --rows 50

The folder is that of ``autodpq-study tabulate``. It is copied, rows are taken out of the copy, and the command goes on.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from autodpq.records.table import TableRow, read_table
from studies.tables.tabulate import TABLE, tabulate


def digits(row: TableRow) -> TableRow:
    """All of a row that does not depend on the clock."""
    return row.model_copy(update={"seconds": 0.0})


def main() -> None:
    """Prints how many rows are the same, and ends with 1 where one is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    table = read_table(given.folder / TABLE)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "table"
        shutil.copytree(given.folder, copy)
        (copy / TABLE).unlink()
        lines = (copy / "rows.jsonl").read_text().splitlines(keepends=True)
        taken = set(random.Random(given.seed).sample(range(len(lines)), given.rows))
        (copy / "rows.jsonl").write_text("".join(line for place, line in enumerate(lines) if place not in taken))
        values = {**table.about.asked, "seeds": len(table.about.seeds), "jobs": given.jobs}
        tabulate(values, copy, table.about.licence, Console(), print)
        again = read_table(copy / TABLE)
    differ = [(one, other) for one, other in zip(table.rows, again.rows, strict=True) if digits(one) != digits(other)]
    for one, other in differ:
        print(f"differs: {one}\n         {other}")
    trained = sum(one.seconds != other.seconds for one, other in zip(table.rows, again.rows, strict=True))
    print(f"{trained} of {len(table.rows):,} rows trained again, {trained - len(differ)} the same to the last digit")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
