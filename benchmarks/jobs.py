"""How much faster trials side by side end a search: a Grid with --jobs 1 and --jobs 2, in turn, in one run.

    python benchmarks/jobs.py --dataset movielens1m --data-dir DIR

Each timing is one command as a person types it, start of Python and reading of the data included; only the pretrained
network is there before. Writes docs/benchmarks/jobs-DATASET.csv.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from autodpq import __version__
from studies.workers.machine import machine_name

HERE = Path(__file__).parents[1]


def study(out: Path, strategy: str, jobs: int, arguments: list[str]) -> float:
    """Seconds of one command."""
    command = [
        sys.executable,
        "-m",
        "studies.cli.main",
        "run",
        "--strategies",
        strategy,
        "--seeds",
        "1",
        "--out",
        str(out),
    ]
    begin = time.perf_counter()
    subprocess.run([*command, "--jobs", str(jobs), *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Times and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--repeats", type=int, default=3)
    options, arguments = parser.parse_known_args()
    arguments = ["--dataset", options.dataset, *arguments]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        pretrained = Path(folder) / "pretrained"
        study(pretrained, "fe", 1, arguments)
        for repeat in range(options.repeats):
            for jobs in (1, 2):
                out = Path(folder) / f"{repeat}-{jobs}"
                shutil.copytree(pretrained, out)
                seconds = study(out, "grid", jobs, arguments)
                (record,) = pd.read_csv(out / "records.csv").query("strategy == 'grid'").to_dict("records")
                rows.append(
                    {
                        "dataset": options.dataset,
                        "repeat": repeat,
                        "jobs": jobs,
                        "seconds": round(seconds, 2),
                        "trials": record["trials"],
                        "valid_auc": record["valid_auc"],
                        "machine": machine_name(),
                        "load_before": round(os.getloadavg()[0], 2),
                        "version": __version__,
                    }
                )
                print(rows[-1], flush=True)
    frame = pd.DataFrame(rows)
    path = HERE / "docs" / "benchmarks" / f"jobs-{options.dataset}.csv"
    path.parent.mkdir(exist_ok=True)
    frame.to_csv(path, index=False)
    one, two = (frame.query(f"jobs == {jobs}")["seconds"].tolist() for jobs in (1, 2))
    ratios = [first / second for first, second in zip(one, two, strict=True)]
    print(
        f"{options.dataset}: median {statistics.median(one):.1f} s with 1, {statistics.median(two):.1f} s with 2; "
        f"{statistics.median(ratios):.2f} times as fast (median of {len(ratios)} pairs)"
    )


if __name__ == "__main__":
    main()
