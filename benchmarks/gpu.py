"""Training on a GPU beside the CPU of the same machine: milliseconds per step, and the GPU's memory.

    python benchmarks/gpu.py --dataset movielens1m --data-dir DIR

DeepFM by the paper's recipe, from nothing: FE, a plan of (K, D) = (32, 8) and AutoDPQ's first-order search over 9
candidates, at the recipe's batch size and at a large one; then FE on generated rows with tables of up to ten million
rows. GPU and CPU take turns, round after round; nothing is compiled. Timed is an epoch, its evaluation on two batches
included, over its steps; the CPU has one thread, as in a study. Writes docs/benchmarks/cuda.csv.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from peers import FIELDS, Data
from strategies import KINDS, samples_per_second

from autodpq import __version__
from autodpq.data import Samples, load_dataset
from autodpq.models.deepfm import DeepFM
from autodpq.plan import Field
from autodpq.training.recipes import find_recipe
from autodpq.training.trainer import Trainer
from studies.prepared import prepare
from studies.workers.machine import device_name, machine_name, torch_settings

PATH = Path(__file__).parents[1] / "docs" / "benchmarks" / "cuda.csv"
BATCHES = (2048, 32_768)
VOCABULARIES = (100_000, 10_000_000)
GENERATED_ROWS = 400_000
DEVICES = ("cuda", "cpu")

Rows = tuple[tuple[Field, ...], Samples, Samples]


def data_rows(dataset: str, data_dir: Path | None) -> Rows:
    """Fields, training and validation rows of a data set."""
    loaded = load_dataset(dataset, data_dir=data_dir)
    ready = prepare(lambda: loaded, threshold=40, split_method="random", split_seed=2023, frequency_scope="all")
    return tuple(ready.fields), ready.train, ready.valid


def generated_rows(vocabulary: int) -> Rows:
    """The same of generated rows in MovieLens-1M's shape, whose tables have ``vocabulary`` rows."""
    with tempfile.TemporaryDirectory() as folder:
        data = Data.generate(GENERATED_ROWS, vocabulary, Path(folder))
    fields = tuple(Field(name, size, size) for name, size in zip(FIELDS, data.sizes, strict=True))
    samples = Samples(data.ids, data.labels)
    return fields, samples, samples


def measure(rows: Rows, device: str, batch: int, kinds: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """One epoch of each kind."""
    fields, train, valid = rows
    few = Samples(valid.ids[: 2 * batch], valid.labels[: 2 * batch])
    recipe = replace(find_recipe("paper"), batch_size=batch)
    trainer = Trainer(fields, DeepFM, recipe, 0, torch.device(device), train, few)
    for kind in kinds:
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        speed = samples_per_second(trainer, kind)
        yield {
            "kind": kind,
            "table_rows": sum(field.cardinality for field in fields),
            "optimizer": trainer.optimizer,
            "batch": batch,
            "device": device_name(trainer.device),
            "ms_per_step": round(1000 * batch / speed, 3),
            "samples_per_second": round(speed),
            "peak_mib": round(torch.cuda.max_memory_allocated() / 2**20, 1) if device == "cuda" else None,
        }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=PATH, help="the CSV")
    options = parser.parse_args()
    where = {"machine": machine_name(), "torch": torch.__version__, "version": __version__}
    whole = data_rows(options.dataset, options.data_dir)
    kinds: tuple[str, ...] = KINDS
    parts = [(options.dataset, whole, batch, kinds) for batch in BATCHES]
    parts += [("generated", generated_rows(size), BATCHES[0], ("fe",)) for size in VOCABULARIES]
    rows = []
    with torch_settings():
        for number in range(-1, options.rounds):
            for data, samples, batch, kinds in parts:
                for device in DEVICES:
                    for row in measure(samples, device, batch, kinds):
                        if number >= 0:  # the first round warms up
                            rows.append({"round": number, "data": data, **row, **where})
                            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(options.out, index=False)
    frame = pd.DataFrame(rows)
    index = ["data", "table_rows", "batch", "kind"]
    print(frame.pivot_table("ms_per_step", index, "device", "median", sort=False).to_string())
    print(frame.pivot_table("peak_mib", index, "device", "max", sort=False).to_string())


if __name__ == "__main__":
    main()
