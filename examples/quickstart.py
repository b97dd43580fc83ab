"""A study from Python: rows of one's own, four strategies, the tables, the figure, the compressed model.

Run it in an empty folder; it takes about a minute on two cores:

    python quickstart.py
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import studies
from autodpq.serving import open_model


def make_clicks(rows: int = 60_000) -> pd.DataFrame:
    """Clicks of a shop: users of 8 kinds, items of 12; a few are in most rows, most are in a few."""
    rng = np.random.default_rng(7)
    user = (2000 * rng.random(rows) ** 3).astype(int)
    item = (1500 * rng.random(rows) ** 3).astype(int)
    city = rng.choice(["Berlin", "Lisbon", "Nairobi", "Osaka", None], rows)
    affinity = 0.7 * rng.normal(size=(8, 12))
    keen, liked = rng.normal(size=8), rng.normal(size=12)
    logits = keen[user % 8] + liked[item % 12] + affinity[user % 8, item % 12] + 0.5 * (city == "Osaka") - 0.5
    click = rng.random(rows) < 1 / (1 + np.exp(-logits))
    return pd.DataFrame({"click": click.astype(int), "user": user, "item": item, "city": city})


def main() -> None:
    """Runs the study and takes its best compressed model away."""
    clicks = make_clicks()
    clicks.to_parquet("clicks.parquet", index=False)  # for the command line; the study below takes the frame
    study = studies.run(
        clicks,
        label="click",
        threshold=30,  # values that occur less often are rare
        strategies=["fe", "others", "random", "autodpq"],
        trials=4,
        seeds=2,
        out="quickstart",
    )
    print(study.table1())
    print(*study.verdicts(), sep="\n")
    print(study.records[["strategy", "seed", "test_auc", "bytes", "seconds"]])
    study.figure3().savefig("figure3.png")

    print("The best compressed plan:", dict(study.best_plan()))
    file = study.export("model.safetensors")
    clicks["probability"] = open_model(file).predict(clicks)
    print(clicks.head())


if __name__ == "__main__":
    main()
