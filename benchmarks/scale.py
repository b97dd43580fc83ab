"""How training holds as tables and data grow: samples per second and peak memory.

    python benchmarks/scale.py vocabulary
    python benchmarks/scale.py rows --rows 100000,4000000,40428967
    python benchmarks/scale.py wide

``vocabulary``: FE on rows in MovieLens-1M's shape, tables of 14,000 to 10 million rows. ``rows``: generated files in
the shape of Avazu's (``avazu_rows.py``), read, encoded and split; then an epoch of FE, an epoch of Others, and an epoch
of AutoDPQ's search on at most 4 million rows. ``wide``: 4 million rows of tables of Avazu's full cardinalities, 9.4
million values, every one of which is compressed within a tenth of FE's bytes: an epoch of FE, sensitivity, an epoch of
its plan, an epoch of AutoDPQ's search. Every measurement is a process of its own; peak memory is its largest resident
set, pages of the mapped cache included. Writes docs/benchmarks/scale-vocabulary.csv, scale-rows.csv or scale-wide.csv,
and its figure, if it has one; data are generated in a temporary folder, or in ``--folder``, where they stay.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scale_figure
import torch
from avazu_rows import CARDINALITIES, generate
from peers import NETWORKS, Data, draw_ids, train_autodpq
from wide import space_within

from autodpq import __version__
from autodpq.choices import Full, Others
from autodpq.data import Samples, load_dataset
from autodpq.models.deepfm import DeepFM
from autodpq.plan import CompressionPlan, Field, band_cuts
from autodpq.search.bilevel import SearchOptions, search
from autodpq.training.recipes import find_recipe
from autodpq.training.trainer import Trainer
from studies.config import candidates, make_space
from studies.options import StudyConfig
from studies.prepared import prepare
from studies.workers.machine import machine_name, torch_settings

HERE = Path(__file__).parents[1]
VOCABULARIES = (14_000, 100_000, 1_000_000, 10_000_000)
SEARCHED_ROWS = 4_000_000

Row = dict[str, Any]


def measure_vocabulary(vocabulary: int, compiled: bool, folder: Path) -> Row:
    """FE at a number of table rows."""
    return {
        "vocabulary": vocabulary,
        "compiled": compiled,
        **train_autodpq(Data.load(folder), NETWORKS["paper"], 5.0, compiled),
    }


def measure_rows(what: str, folder: Path) -> Row:
    """Encoding, or an epoch of a plan or of the search, on a generated file."""
    begin = time.perf_counter()
    dataset = load_dataset("avazu", data_dir=folder, cache_dir=folder / "cache")
    encoded = time.perf_counter()
    ready = prepare(lambda: dataset, threshold=7, split_method="random", split_seed=2023, frequency_scope="all")
    row: Row = {"what": what, "rows": len(dataset), "values": sum(field.cardinality for field in ready.fields)}
    if what == "encode":
        split = time.perf_counter() - encoded
        return {
            **row,
            "seconds": encoded - begin,
            "split_seconds": split,
            "samples_per_second": len(dataset) / (encoded - begin),
        }
    train = ready.train
    if what == "search":
        train = Samples(train.ids[:SEARCHED_ROWS], train.labels[:SEARCHED_ROWS])
    trainer = Trainer(
        ready.fields, DeepFM, find_recipe("paper"), 0, torch.device("cpu"), train, ready.valid, compiled=True
    )
    assert trainer.compilation is not None and trainer.compilation.failure is None
    row |= {"train_rows": len(train), "optimizer": trainer.optimizer, "compile_seconds": trainer.compilation.seconds}
    epochs: list[tuple[float, float]] = []
    if what == "search":
        space = make_space(ready.fields, candidates((8, 16), (2, 4)), trainer.recipe.embedding_dim)
        network = trainer.build_supernet(space, scale=True)
        trainer.start(network, None)
        options = SearchOptions(epochs=1)
        search(
            network,
            trainer.train,
            trainer.valid,
            trainer.recipe,
            options,
            0,
            on_epoch=lambda epoch: epochs.append((epoch.seconds, epoch.valid_auc)),
        )
    else:
        choice = Full() if what == "fe" else Others()
        network = trainer.build(CompressionPlan({field.name: choice for field in ready.fields}))
        result = trainer.fit(network, epochs=1)
        epochs.append((result.seconds, result.best.metrics.auc))
    ((seconds, auc),) = epochs
    return {**row, "seconds": seconds, "valid_auc": auc, "samples_per_second": len(train) / seconds}


def wide_rows(n_rows: int) -> tuple[list[Field], Samples]:
    """Fields of Avazu's cardinalities in bands, and rows: ids by Zipf and Mandelbrot's law, labels at random."""
    rng = np.random.default_rng(0)
    ids = draw_ids([*CARDINALITIES.values()], n_rows, rng)
    cuts = band_cuts([np.arange(size, 0, -1) for size in CARDINALITIES.values()], "auto", "value")
    fields = [Field(name, size, 0, own) for (name, size), own in zip(CARDINALITIES.items(), cuts, strict=True)]
    return fields, Samples(ids, rng.integers(0, 2, n_rows, np.uint8))


def measure_wide(what: str) -> Row:
    """An epoch where every row is compressed, or what comes before it."""
    fields, rows = wide_rows(SEARCHED_ROWS)
    valid = Samples(rows.ids[: SEARCHED_ROWS // 40], rows.labels[: SEARCHED_ROWS // 40])
    recipe = find_recipe("strong(max_epochs=1)")
    trainer = Trainer(fields, DeepFM, recipe, 0, torch.device("cpu"), rows, valid, compiled=True, compact=True)
    assert trainer.compilation is not None and trainer.compilation.failure is None
    row: Row = {"what": what, "rows": len(rows), "values": sum(field.cardinality for field in fields)}
    begin = time.perf_counter()
    if what == "fe":
        trainer.pretrain()
    else:
        state, plan, space = space_within(trainer, StudyConfig(space="wide", recipe=recipe.name))
        ready = time.perf_counter()
        network = trainer.build(plan) if what == "plan" else trainer.build_supernet(space, scale=True)
        trainer.start(network, state)
        row |= {"before_seconds": ready - begin, "start_seconds": time.perf_counter() - ready}
        row |= {"bytes_of_fe": trainer.ledger(plan).bytes / trainer.ledger(trainer.full_plan()).bytes}
        begin = time.perf_counter()
        if what == "plan":
            trainer.fit(network, epochs=1)
        else:
            search(network, trainer.train, trainer.valid, recipe.continued(), SearchOptions(epochs=1), 0)
    seconds = time.perf_counter() - begin
    return {**row, "seconds": seconds, "samples_per_second": len(rows) / seconds}


def in_a_process(*arguments: object) -> Row:
    """One measurement."""
    command = [sys.executable, __file__, *map(str, arguments)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    row: Row = json.loads(text.splitlines()[-1])
    row |= {"machine": machine_name(), "torch": torch.__version__, "version": __version__}
    print(row, flush=True)
    return row


def one(arguments: list[str]) -> None:
    """What a process of :func:`in_a_process` does."""
    what, folder, *rest = arguments
    with torch_settings():
        if what == "vocabulary":
            row = measure_vocabulary(int(rest[0]), rest[1] == "True", Path(folder))
        elif what == "wide":
            row = measure_wide(rest[0])
        else:
            row = measure_rows(what, Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({**row, "peak_gib": round(peak, 2)}))


def main() -> None:
    """Measures and writes."""
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("part", choices=("vocabulary", "rows", "wide"))
    parser.add_argument("--rows", default="100000,1000000,4000000,40428967")
    parser.add_argument("--rounds", type=int, default=3, help="Of vocabulary.")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    rows = []
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.part == "vocabulary":
            places = {size: folder / str(size) for size in VOCABULARIES}
            for size, place in places.items():
                place.mkdir(parents=True, exist_ok=True)
                Data.generate(400_000, size, place).save()
            for _ in range(options.rounds):
                for size, place in places.items():
                    rows += [in_a_process("--one", "vocabulary", place, size, compiled) for compiled in (False, True)]
        elif options.part == "wide":
            rows += [in_a_process("--one", "wide", folder, what) for what in ("fe", "plan", "search")]
        else:
            for n_rows in map(int, options.rows.split(",")):
                place = folder / str(n_rows)
                if not (place / "avazu" / "train.csv").exists():
                    generate(place, n_rows)
                rows += [in_a_process("--one", what, place) for what in ("encode", "fe", "others", "search")]
    frame = pd.DataFrame(rows)
    frame.to_csv(HERE / "docs" / "benchmarks" / f"scale-{options.part}.csv", index=False)
    if options.part == "vocabulary":
        print(frame.pivot_table("samples_per_second", "vocabulary", "compiled", "median").to_string())
    elif options.part == "wide":
        print(frame.to_string())
    else:
        print(frame.pivot(index="rows", columns="what", values="samples_per_second").astype(np.int64).to_string())
        print(frame.pivot(index="rows", columns="what", values="peak_gib").to_string())
    scale_figure.main()


if __name__ == "__main__":
    main()
