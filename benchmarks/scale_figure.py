"""The figures of benchmarks/scale.py, from what it wrote.

python benchmarks/scale_figure.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
X_LABELS = {"vocabulary": "table rows", "rows": "rows of the file"}
NAMES = {
    "encode": "reading and encoding",
    "fe": "epoch of FE",
    "others": "epoch of Others",
    "search": "epoch of AutoDPQ's search,\nat most 4 million rows",
    True: "compiled",
    False: "--compile off",
}
MARKERS = ("o", "s", "^", "D")


def draw(frame: pd.DataFrame, x: str, series: str, path: Path) -> None:
    """Draws medians of speed and of peak memory side by side, a line per entry of ``series``."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    speed, memory = figure.subplots(1, 2)
    for marker, (name, rows) in zip(MARKERS, frame.groupby(series, sort=False), strict=False):
        medians = rows.groupby(x)[["samples_per_second", "peak_gib"]].median()
        for axes, column, unit in ((speed, "samples_per_second", 1e-3), (memory, "peak_gib", 1.0)):
            axes.plot(medians.index, medians[column] * unit, marker=marker, label=NAMES[name], linewidth=1.5)
    speed.set_ylabel("thousand samples per second")
    memory.set_ylabel("peak memory, GiB")
    for axes in (speed, memory):
        axes.set_xscale("log")
        axes.set_xlabel(X_LABELS[x])
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.legend(*speed.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Draws what there is."""
    for x, series in (("vocabulary", "compiled"), ("rows", "what")):
        path = FOLDER / f"scale-{x}.csv"
        if path.exists():
            draw(pd.read_csv(path), x, series, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
