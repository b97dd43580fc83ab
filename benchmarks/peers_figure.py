"""The figure and the summary of benchmarks/peers.py, from what it wrote.

python benchmarks/peers_figure.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
OURS = "autodpq"


def medians(frame: pd.DataFrame, threads: int) -> pd.Series[float]:
    """Median samples per second of every kind, in the order in which they were timed."""
    speeds = frame[frame["threads"] == threads].groupby("kind", sort=False)["samples_per_second"].median()
    return speeds.astype(float)


def ratios(frame: pd.DataFrame, threads: int) -> pd.DataFrame:
    """Medians of each round's ratios: a row per peer, a column per kind of ours that was timed."""
    rounds = frame[frame["threads"] == threads].pivot(index="round", columns="kind", values="samples_per_second")
    ours = [kind for kind in rounds if str(kind).startswith(OURS)]
    peers = rounds.drop(columns=ours)
    return pd.DataFrame({kind: peers.rdiv(rounds[kind], axis=0).median() for kind in ours})


def summarise(frame: pd.DataFrame) -> None:
    """Prints medians, and how many times as fast as each peer we are."""
    for threads in frame["threads"].unique():
        where = f"{threads} thread{'s' if threads > 1 else ''}, tables of {frame['vocabulary'].iloc[0]:,} rows"
        print(f"{where}: thousand samples per second", (medians(frame, threads) / 1e3).round(1).to_string(), sep="\n")
        compared = ratios(frame, threads)
        if len(compared):
            print(f"{where}: times as fast as a peer", compared.round(2).to_string(), sep="\n")
    compiled = frame["compile_seconds"].dropna()
    if len(compiled):
        print(f"compiling: median {compiled.median():.1f} s")


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Draws medians as bars, a panel per number of threads."""
    numbers = frame["threads"].unique()
    kinds = len(frame["kind"].unique())
    figure = Figure(figsize=(2 + 4 * len(numbers), 1.2 + 0.34 * kinds), layout="constrained")
    panels = figure.subplots(1, len(numbers), sharex=True, sharey=True, squeeze=False)[0]
    for axes, threads in zip(panels, numbers, strict=True):
        speeds = medians(frame, threads).iloc[::-1] / 1e3
        names = [str(kind) for kind in speeds.index]
        bars = axes.barh(names, speeds, color=["C0" if name.startswith(OURS) else "C7" for name in names])
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=9)
        axes.set_title(f"{threads} thread{'s' if threads > 1 else ''}", fontsize=10)
        axes.set_xlabel("thousand samples per second")
        axes.margins(x=0.16)  # room for the longest bar's label
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    timed = pd.read_csv(FOLDER / "peers.csv")
    summarise(timed)
    draw(timed, FOLDER / "peers.png")
