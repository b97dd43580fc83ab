"""What every strategy costs in units of FE, and how fast an epoch of each kind trains.

    python benchmarks/strategies.py --dataset movielens1m --data-dir DIR

First, epochs of FE, of a plan of (K, D) = (32, 8) and of AutoDPQ's first-order search over 9 candidates, evaluation
included, take turns in one process, compiled and not. Then a study runs, as a person types it: all strategies, 3 seeds;
other arguments of ``autodpq-study run`` go through. A run's seconds over those of FE with the same seed are its cost.
``--study FOLDER`` keeps the study, or takes one that is there, and is then not timed.

Writes docs/benchmarks/epochs-DATASET.csv, strategies-DATASET.csv and strategies-DATASET.png.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from autodpq import DPQ, __version__
from autodpq.data import load_dataset
from autodpq.models.deepfm import DeepFM
from autodpq.plan import uniform_plan
from autodpq.search.bilevel import SearchEpoch, SearchOptions, search
from autodpq.training.recipes import find_recipe
from autodpq.training.trainer import Trainer
from autodpq.trial import PHASES
from studies.config import candidates, make_space
from studies.prepared import prepare
from studies.workers.machine import machine_name, torch_settings

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
KINDS = ("fe", "dpq(32,8)", "search")


def samples_per_second(trainer: Trainer, kind: str) -> float:
    """Of one epoch, from nothing."""
    if kind == "search":
        epochs: list[SearchEpoch] = []
        space = make_space(trainer.fields, candidates((8, 16, 32), (2, 4, 8)), trainer.recipe.embedding_dim)
        network = trainer.build_supernet(space, scale=True)
        trainer.start(network, None)
        options = SearchOptions(epochs=1)
        search(network, trainer.train, trainer.valid, trainer.recipe, options, 0, on_epoch=epochs.append)
        seconds = epochs[0].seconds
    else:
        plan = trainer.full_plan() if kind == "fe" else uniform_plan(trainer.fields, DPQ(32, 8))
        network = trainer.build(plan)
        trainer.start(network, None)
        seconds = trainer.fit(network, epochs=1).seconds
    return len(trainer.train) / seconds


def time_epochs(dataset: str, data_dir: Path | None, rounds: int) -> pd.DataFrame:
    """Samples per second of every kind in turn, compiled and not, DeepFM by the paper's recipe."""
    ready = prepare(
        lambda: load_dataset(dataset, data_dir=data_dir),
        threshold=40,
        split_method="random",
        split_seed=2023,
        frequency_scope="all",
    )
    rows = []
    with torch_settings():
        trainers = {
            compiled: Trainer(
                ready.fields,
                DeepFM,
                find_recipe("paper"),
                0,
                torch.device("cpu"),
                ready.train,
                ready.valid,
                compiled=compiled,
            )
            for compiled in (False, True)
        }
        for number in range(-1, rounds):
            for compiled, trainer in trainers.items():
                assert trainer.compiled == compiled
                for kind in KINDS:
                    speed = samples_per_second(trainer, kind)
                    if number >= 0:  # the first round warms up
                        rows.append({"round": number, "kind": kind, "compiled": compiled, "samples_per_second": speed})
    frame = pd.DataFrame(rows)
    fe = frame[frame["kind"] == "fe"].rename(columns={"samples_per_second": "fe"})
    frame = frame.merge(fe[["round", "compiled", "fe"]], on=["round", "compiled"])
    frame["of_fe"] = frame["samples_per_second"] / frame.pop("fe")
    return frame.round({"samples_per_second": 0, "of_fe": 3})


def costs(records: pd.DataFrame) -> pd.DataFrame:
    """Every run's seconds by phase, over all of FE's with the same seed."""
    seconds = ["seconds", *(f"seconds_{phase}" for phase in PHASES)]
    fe = records[records["strategy"] == "fe"].set_index("seed")["seconds"]
    frame = records[["dataset", "model", "strategy", "seed", "trials", "epochs", *seconds, "test_auc"]].copy()
    for column in seconds:
        frame[column.replace("seconds", "units")] = (frame[column] / frame["seed"].map(fe)).round(3)
    return frame.sort_values(["strategy", "seed"]).round({column: 2 for column in seconds})


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Draws the median cost of every strategy, by phase."""
    medians = frame.groupby("strategy")[["units", *(f"units_{phase}" for phase in PHASES)]].median()
    medians = medians.sort_values("units", ascending=False)
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(medians)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(medians))
    for phase in PHASES:
        widths = medians[f"units_{phase}"].to_numpy()
        axes.barh(medians.index, widths, left=left, label=phase)
        left += widths
    for place, (reached, units) in enumerate(zip(left, medians["units"], strict=True)):
        axes.annotate(f"{units:.1f}", (reached, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_xlabel("cost: times the seconds of FE with the same seed (median over seeds)")
    axes.set_xlim(0, 1.1 * left.max())  # room for the longest bar's label
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(title="phase", loc="upper right")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measures, writes and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--rounds", type=int, default=3, help="of the epochs")
    parser.add_argument("--study", type=Path, help="folder of the study; a temporary one if left out")
    options, arguments = parser.parse_known_args()
    where = {"machine": machine_name(), "torch": torch.__version__, "version": __version__}
    epochs = time_epochs(options.dataset, options.data_dir, options.rounds).assign(**where)
    epochs.to_csv(FOLDER / f"epochs-{options.dataset}.csv", index=False)
    print(epochs.pivot_table(["samples_per_second", "of_fe"], "kind", "compiled", "median", sort=False).to_string())
    with ExitStack() as stack:
        study = options.study or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "study"
        if not (study / "records.csv").exists():
            command = [sys.executable, "-m", "studies.cli.main", "run", "--strategies", "all", "--seeds", "3"]
            command += ["--dataset", options.dataset, "--out", str(study)]
            command += ["--data-dir", str(options.data_dir)] if options.data_dir else []
            begin = time.perf_counter()
            subprocess.run([*command, *arguments], check=True)
            print(f"the study: {(time.perf_counter() - begin) / 60:.1f} minutes")
        frame = costs(pd.read_csv(study / "records.csv")).assign(**where)
    frame.to_csv(FOLDER / f"strategies-{options.dataset}.csv", index=False)
    units = [column for column in map(str, frame) if column.startswith("units")]
    print(frame.groupby("strategy")[units].median().to_string())
    draw(frame, FOLDER / f"strategies-{options.dataset}.png")


if __name__ == "__main__":
    main()
