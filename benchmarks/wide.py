"""How fast a step trains where every row is quantized, and how fast AutoDPQ's search is there, beside FE.

    python benchmarks/wide.py --dataset movielens1m --data-dir DIR

Steps of FE, of the plan that sensitivity takes within a tenth of FE's bytes, and of the search over at most eight
candidates a band (a step of W and one of alpha) take turns in one process, compiled and not: DeepFM by the recipe
``strong``, bands as ``--bands auto`` makes them. Writes docs/benchmarks/wide-DATASET.csv.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from autodpq import __version__
from autodpq.data import dataset_spec, load_dataset
from autodpq.models.deepfm import DeepFM
from autodpq.plan import CompressionPlan
from autodpq.search.bilevel import SearchOptions, search
from autodpq.search.bytes import thinned
from autodpq.search.knapsack import best_within
from autodpq.search.sensitivity import rises
from autodpq.training.fit import DeviceRows, make_optimizer, training_step
from autodpq.training.recipes import find_recipe
from autodpq.training.trainer import Trainer
from autodpq.trial import Space
from studies.config import make_space, study_candidates
from studies.options import StudyConfig
from studies.prepared import prepare
from studies.workers.machine import machine_name, torch_settings

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
STEPS = 40

Pretrained = Mapping[str, torch.Tensor]


def space_within(trainer: Trainer, config: StudyConfig) -> tuple[Pretrained, CompressionPlan, Space]:
    """FE's weights, sensitivity's plan within a tenth of FE's bytes, and what is searched of the space."""
    choices = study_candidates(config, dataset_spec(config.dataset))
    space = make_space(trainer.fields, choices, trainer.recipe.embedding_dim, compact=True)
    state = trainer.pretrain()[0].state_dict()
    losses = rises(trainer, state, space).losses
    prices, fixed = trainer.prices(space)
    left = trainer.ledger(trainer.full_plan()).bytes // 10 - fixed
    chosen = best_within([*prices.values()], [losses[name] for name in prices], left)
    plan = CompressionPlan({name: space[name][option] for name, option in zip(prices, chosen, strict=True)})
    return state, plan, thinned(trainer, space, losses)


def milliseconds(trainer: Trainer, kind: str, pretrained: Pretrained, plan: CompressionPlan, space: Space) -> float:
    """Of one step."""
    recipe = trainer.recipe.continued()
    some = slice(STEPS * recipe.batch_size)
    rows = DeviceRows(trainer.train.ids[some], trainer.train.labels[some])
    if kind == "search":
        network = trainer.build_supernet(space, scale=True)
        trainer.start(network, pretrained)
        begin = time.perf_counter()
        search(network, rows, trainer.valid, recipe, SearchOptions(epochs=1), 0)
        return 1e3 * (time.perf_counter() - begin) / STEPS
    network = trainer.build(trainer.full_plan() if kind == "fe" else plan)
    trainer.start(network, pretrained)
    optimizer = make_optimizer(network.train(), recipe)
    begin = time.perf_counter()
    for batch in rows.batches(network, recipe.batch_size, 0, 1):
        training_step(network, optimizer, batch.flat, batch.labels, recipe.l2)
    return 1e3 * (time.perf_counter() - begin) / STEPS


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    config = StudyConfig(dataset=options.dataset, space="wide", recipe="strong")
    ready = prepare(
        lambda: load_dataset(options.dataset, data_dir=options.data_dir),
        threshold=2,
        split_method=dataset_spec(options.dataset).split_method,
        split_seed=2023,
        frequency_scope="all",
    )
    found = []
    with torch_settings():
        trainers = {
            compiled: Trainer(
                ready.source.banded("auto"),
                DeepFM,
                find_recipe("strong"),
                0,
                torch.device("cpu"),
                ready.train,
                ready.valid,
                compiled=compiled,
                compact=True,
            )
            for compiled in (False, True)
        }
        of_space = space_within(trainers[True], config)
        for number in range(-1, options.rounds):
            for compiled, trainer in trainers.items():
                assert trainer.compiled == compiled
                for kind in ("fe", "plan", "search"):
                    taken = milliseconds(trainer, kind, *of_space)
                    if number >= 0:  # the first round warms up
                        found.append({"round": number, "kind": kind, "compiled": compiled, "milliseconds": taken})
    frame = pd.DataFrame(found)
    fe = frame[frame["kind"] == "fe"].rename(columns={"milliseconds": "fe"})
    frame = frame.merge(fe[["round", "compiled", "fe"]], on=["round", "compiled"])
    frame["speed_of_fe"] = (frame.pop("fe") / frame["milliseconds"]).round(3)
    frame = frame.assign(machine=machine_name(), torch=torch.__version__, version=__version__)
    frame.round({"milliseconds": 2}).to_csv(FOLDER / f"wide-{options.dataset}.csv", index=False)
    print(frame.groupby(["compiled", "kind"])[["milliseconds", "speed_of_fe"]].median().round(2))


if __name__ == "__main__":
    main()
