"""Tables of plans that nobody trained, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autodpq.records.result import Floor, Floors
from autodpq.records.schema import DataEntries, RecipeEntries
from autodpq.records.table import (
    FieldEntries,
    Maker,
    PlanTable,
    SeedEntries,
    TableFile,
    TableOf,
    TableRow,
    every_plan,
)

SEARCHED = {"user": ("full", "others", "dpq(4,2)"), "item": ("full", "others")}


def made_table(n_seeds: int = 2, change: Callable[[TableRow], TableRow] = lambda row: row) -> PlanTable:
    """A table of six plans.

    Args:
        n_seeds: Its seeds.
        change: Changes each row.
    """
    floor = Floor(auc=0.6, logloss=0.6)
    numbers = {"valid_auc": 0.7, "valid_logloss": 0.5, "test_auc": 0.71, "test_logloss": 0.51}
    about = TableFile(
        of=TableOf(
            data=DataEntries(
                name="own", fingerprint="ab", threshold=10, split="column", split_seed=2023, frequency_scope="all"
            ),
            resplit=False,
            model="deepfm",
            recipe=RecipeEntries.model_validate({"name": "paper", "embedding_dim": 16, "optimizer": "adam"}),
            init="pretrained",
            candidates=("full", "others", "dpq(4,2)"),
            space="paper",
            bands="auto",
            device="cpu",
            optimizer="adam",
            compiled=False,
            sources={},
        ),
        asked={"dataset": "own.csv"},
        fields=tuple(FieldEntries(name=name, cardinality=60, head=10, cuts=()) for name in SEARCHED),
        searched=SEARCHED,
        seeds=tuple(
            SeedEntries(
                seed=seed, split_seed=2023, **numbers, parameters=100, bytes=400, epochs=2, seconds=1.0,
                floors=Floors(constant=floor, additive=floor),
            )
            for seed in range(n_seeds)
        ),
        makers=(Maker(machine="one", versions={"autodpq": "0"}),),
        licence="CC0-1.0",
    )  # fmt: skip
    rng = np.random.default_rng(3)
    rows = []
    for place, plan in enumerate(every_plan(PlanTable(about, ()).space)):
        for seed in range(n_seeds):
            valid, test = (0.7 + rng.random(2) / 100).tolist()
            row = TableRow(
                seed=seed, plan=plan.to_json(), valid_auc=valid, valid_logloss=0.5, valid_aucs=(valid - 0.01, valid),
                stored_valid_auc=valid, stored_valid_logloss=0.5, test_auc=test, test_logloss=0.5,
                parameters=10 + place, bytes=40 + place, epochs=2, seconds=0.5, error=None,
            )  # fmt: skip
            rows.append(change(row))
    return PlanTable(about, tuple(rows))
