"""Runs Syne Tune's schedulers on a table of plans, written in Syne Tune's own format: pip install syne-tune."""

from __future__ import annotations

import logging
import sys
import tempfile

import numpy as np
import pandas as pd
from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend.simulator_backend.simulator_callback import SimulatorCallback
from syne_tune.blackbox_repository import UserBlackboxBackend
from syne_tune.blackbox_repository.blackbox_tabular import BlackboxTabular, deserialize, serialize
from syne_tune.config_space import choice, randint
from syne_tune.experiments import load_experiment
from syne_tune.optimizer.baselines import ASHA, RandomSearch

import autodpq

METRIC, TIME, EPOCH = "valid_auc", "elapsed_time", "epoch"


def blackbox(table: str) -> BlackboxTabular:
    """A table as a blackbox: validation AUC, bytes and seconds since the training began, after each epoch.

    A training that ended early keeps its last values: it goes on for nothing.
    """
    known = autodpq.open_table(table)
    plans = list(known.plans.items())
    n_epochs = max(row.epochs for _, rows in plans for row in rows)
    values = np.full((len(plans), len(known.about.seeds), n_epochs, 3), np.nan)
    for place, (_, rows) in enumerate(plans):
        for row in rows:
            if row.valid_aucs:
                epochs = np.minimum(np.arange(n_epochs), row.epochs - 1)
                values[place, row.seed, :, 0] = np.array(row.valid_aucs)[epochs]
                values[place, row.seed, :, 1] = row.bytes
                values[place, row.seed, :, 2] = row.seconds * (epochs + 1) / row.epochs
    searched = list(known.searched)
    return BlackboxTabular(
        hyperparameters=pd.DataFrame([{name: str(plan[name]) for name in searched} for plan, _ in plans]),
        configuration_space={name: choice(list(texts)) for name, texts in known.searched.items()},
        fidelity_space={EPOCH: randint(1, n_epochs)},
        objectives_evaluations=values,
        objectives_names=[METRIC, "bytes", TIME],
    )


def main(table: str = "synthetic", seconds: int = 200) -> None:
    """Random search and ASHA, with four workers, for some simulated seconds each."""
    logging.getLogger().setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        serialize({table: blackbox(table)}, folder)
        read = deserialize(folder)[table]
    n_epochs = int(read.fidelity_values[-1])
    for scheduler in (
        RandomSearch(read.configuration_space, metrics=[METRIC], do_minimize=False, random_seed=1),
        ASHA(
            read.configuration_space, metric=METRIC, do_minimize=False, time_attr=EPOCH, max_t=n_epochs, random_seed=1
        ),
    ):
        backend = UserBlackboxBackend(blackbox=read, elapsed_time_attr=TIME, seed=0)
        tuner = Tuner(
            trial_backend=backend,
            scheduler=scheduler,
            stop_criterion=StoppingCriterion(max_wallclock_time=seconds),
            n_workers=4,
            sleep_time=0,
            callbacks=[SimulatorCallback()],
            tuner_name=f"autodpq-{type(scheduler).__name__}",
        )
        tuner.run()
        results = load_experiment(tuner.name).results
        best = results.loc[results[METRIC].idxmax()]
        plan = {name: best[f"config_{name}"] for name in read.configuration_space}
        trials = results["trial_id"].nunique()
        print(f"{type(scheduler).__name__}: {trials} trials, best validation AUC {best[METRIC]:.4f}, {plan}")


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
