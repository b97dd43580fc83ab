"""The figure and the summary of benchmarks/serve.py, from what it wrote.

python benchmarks/serve_figure.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
PLAIN, MAPPED = "nn.Embedding", "nn.Embedding, mapped"
COLOURS = {PLAIN: "C0", MAPPED: "C7", "packed, torch": "C1", "packed, numpy": "C2"}


def medians(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Medians of the rounds: a row per size, a column per table."""
    return frame.pivot_table(column, "rows", "table", "median")


def ratios(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Medians of each round's ratios to nn.Embedding: a row per size, a column per table."""
    rounds = frame.pivot(index=["rows", "round"], columns="table", values=column)
    return rounds.div(rounds[PLAIN], axis=0).groupby("rows").median()


def summarise(lookups: pd.DataFrame, starts: pd.DataFrame) -> None:
    """Prints medians, and what the largest table comes to."""
    print((medians(lookups, "lookups_per_second") / 1e6).round(1).to_string(), "million look-ups per second", sep="\n")
    print((medians(lookups, "resident_bytes") / 1e6).round(2).to_string(), "megabytes in memory", sep="\n")
    print(medians(starts, "milliseconds").round(1).to_string(), "milliseconds to the first answer", sep="\n")
    before = medians(starts, "python_and_imports_milliseconds")
    print(before.round().to_string(), "milliseconds of starting Python and imports before that", sep="\n")
    largest = lookups["rows"].max()
    speed, size = ratios(lookups, "lookups_per_second").loc[largest], ratios(lookups, "resident_bytes").loc[largest]
    cold = ratios(starts, "milliseconds").loc[largest]
    for table in speed.index.drop(PLAIN):
        print(
            f"{largest:,} rows, {table}: memory {1 / size[table]:.1f} times smaller than nn.Embedding's, look-ups at "
            f"{speed[table]:.2f} of its speed, cold start {1 / cold[table]:.1f} times faster "
            f"({cold[MAPPED] / cold[table]:.2f} times as fast as a mapped one's)"
        )


def draw(lookups: pd.DataFrame, starts: pd.DataFrame, path: Path) -> None:
    """Draws medians over the number of rows."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    speed, memory, cold = figure.subplots(1, 3)
    _draw(speed, medians(lookups, "lookups_per_second") / 1e6, "million look-ups per second")
    _draw(memory, medians(lookups, "resident_bytes").clip(lower=1) / 1e6, "resident memory, MB (dashed: by arithmetic)")
    # What a process grows by says nothing of tables so small that they fit what it had free.
    for name, sizes in (medians(lookups, "computed_bytes") / 1e6).items():
        memory.plot(sizes.index, sizes, "--", color=COLOURS[str(name)], linewidth=1)
    _draw(cold, medians(starts, "milliseconds"), "cold start to the first answer, ms")
    speed.set_ylim(bottom=1)
    figure.legend(*cold.get_legend_handles_labels(), loc="outside lower center", ncols=len(COLOURS), frameon=False)
    figure.savefig(path, dpi=120)


def _draw(axes: Axes, table: pd.DataFrame, label: str) -> None:
    for name in (name for name in COLOURS if name in table):
        axes.loglog(table.index, table[name], "o-", color=COLOURS[name], label=name)
    axes.set_xlabel("rows")
    axes.set_title(label, fontsize=10)
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    lookups, starts = (pd.read_csv(FOLDER / name) for name in ("serve.csv", "serve-cold.csv"))
    summarise(lookups, starts)
    draw(lookups, starts, FOLDER / "serve.png")
