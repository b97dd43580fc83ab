from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from autodpq.choices import DPQ, Full, Others
from autodpq.costs import ledger
from autodpq.data import dataset_spec, load_dataset
from autodpq.errors import AutoDPQError
from autodpq.models import MODELS
from autodpq.plan import uniform_plan
from autodpq.training.recipes import find_recipe
from autodpq.training.trainer import dense_weights
from studies.budgets import budget_bytes, check_budgets
from studies.cli import inspection
from studies.cli.inspection import THRESHOLDS, dense_at_most, inspect_data, suggest_threshold
from studies.cli.inspection_table import inspection_table
from studies.config import make_space, study_candidates
from studies.options import StudyConfig

N_ROWS = 2000


@pytest.fixture
def clicks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Users of few and many samples, towns that are missing, prices, and a name for each row."""
    monkeypatch.setenv("AUTODPQ_CACHE", str(tmp_path / "cache"))
    rng = np.random.Generator(np.random.PCG64(2))
    user = rng.zipf(1.5, N_ROWS) % 300
    frame = pl.DataFrame(
        {
            "click": rng.integers(2, size=N_ROWS),
            "row": [f"r{n}" for n in range(N_ROWS)],
            "user": user,
            "town": [None if n % 3 == 0 else f"town {n % 7}" for n in range(N_ROWS)],
            "price": np.round(rng.exponential(10, N_ROWS), 2),
            "day": np.arange(N_ROWS) // 100,
        }
    )
    frame.write_parquet(tmp_path / "own.parquet")
    return tmp_path / "own.parquet"


def test_fields_are_counted(clicks: Path) -> None:
    found = inspect_data({"dataset": str(clicks), "exclude": ["day"]}, 5)
    frame = pl.read_parquet(clicks)
    assert (found.name, found.rows, found.threshold, found.is_asked) == ("own", N_ROWS, 5, True)
    assert found.clicks == pytest.approx(frame["click"].mean())
    assert [(field.name, field.kind) for field in found.fields] == [
        ("row", "categorical"), ("user", "categorical"), ("town", "categorical"), ("price", "binned")
    ]  # fmt: skip
    counts = frame["user"].value_counts()
    rare = counts.filter(pl.col("count") < 5)
    user = found.fields[1]
    assert (user.cardinality, user.cardinality - user.head) == (len(counts), len(rare))
    assert user.rare_values == pytest.approx(len(rare) / len(counts))
    assert user.rare_samples == pytest.approx(rare["count"].sum() / N_ROWS)
    assert found.fields[2].values[0] is None and found.fields[2].values[1].startswith("town ")
    assert user.values[0] == str(counts.sort("count", descending=True)["user"][0]) and user.is_whole
    assert found.rare_samples == 1.0  # each row's name is rare
    assert inspect_data({"dataset": str(clicks), "exclude": ["row", "day"]}, 5).rare_samples == user.rare_samples


def test_plans_cost_what_the_ledger_says(clicks: Path) -> None:
    found = inspect_data({"dataset": str(clicks), "exclude": ["day", "row"]})
    assert found.threshold == 10 and not found.is_asked
    sizes = load_dataset(clicks, exclude=["day", "row"]).fields(10)
    choices = [Full(), Others(), DPQ(8, 2), DPQ(16, 4), DPQ(32, 8)]
    assert [row.plan for row in found.plans] == ["FE", "Others", "(8, 2)", "(16, 4)", "(32, 8)"]
    costs = [ledger(sizes, uniform_plan(sizes, choice), 16) for choice in choices]
    assert [row.parameters for row in found.plans] == [cost.parameters for cost in costs]
    assert [row.embedding_bytes for row in found.plans] == [cost.embedding_bytes for cost in costs]


@pytest.mark.parametrize("batch", [7, 10**6])
def test_the_suggested_threshold_is_the_largest_that_leaves_a_tenth(
    clicks: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(inspection, "BATCH_ROWS", batch)
    user = pl.read_parquet(clicks)["user"]
    of_rows = user.to_frame().join(user.value_counts(), on="user", how="left")["count"].to_numpy()
    shares = {threshold: (of_rows < threshold).mean() for threshold in THRESHOLDS}
    expected = max(threshold for threshold, share in shares.items() if share <= 0.1)
    found = inspect_data({"dataset": str(clicks), "exclude": ["day", "price", "town"]})  # the rows' names do not count
    assert found.suggested == expected and shares[expected] == found.suggested_samples > 0


def test_a_threshold_that_leaves_a_tenth_exactly_and_none_that_does() -> None:
    rarest = np.zeros(2000, np.int64)
    rarest[[4, 1500]] = 10, 90
    values = np.array([1500, 4, 1])
    assert suggest_threshold(rarest, values) == THRESHOLDS[-1]
    rarest[[4, 5]] = 10, 1
    assert suggest_threshold(rarest, values) == 5


def test_a_suggested_threshold_leaves_something_to_search() -> None:
    def of(counts: list[int]) -> int | None:
        """Of one field."""
        values = np.array(sorted(counts, reverse=True))
        return suggest_threshold(np.bincount(values, values), values)

    assert of([1] * 50 + [50]) == 2  # half of the samples hold a rare value at any
    assert of([10 + n % 20 for n in range(1000)]) == 15  # none is rare at 10
    assert of([2000] * 19 + [5]) == 1000
    assert of([2000] * 50) is None and of([1, 1]) is None and of([1500] * 20 + [1400]) is None


@pytest.mark.parametrize("largest", [9, 300, 20_000])
def test_what_is_suggested_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: int) -> None:
    monkeypatch.setenv("AUTODPQ_CACHE", str(tmp_path / "cache"))
    rng = np.random.Generator(np.random.PCG64(3))
    frame = pl.DataFrame(
        {"click": np.arange(20_000) % 2, "a": rng.zipf(1.3, 20_000) % largest, "b": np.arange(20_000) % 7}
    )
    frame.write_parquet(tmp_path / "own.parquet")
    found = inspect_data({"dataset": str(tmp_path / "own.parquet")})
    dataset, recipe = load_dataset(tmp_path / "own.parquet"), find_recipe("robust")
    assert found.suggested is None or any(field.head < field.cardinality for field in dataset.fields(found.suggested))
    fields, model = dataset.banded("auto"), MODELS.find("deepfm")
    choices = study_candidates(StudyConfig(space="wide"), dataset_spec(tmp_path / "own.parquet"))
    space = make_space(fields, choices, recipe.embedding_dim, compact=True)
    bytes_ = budget_bytes([f"{found.budget:.0%}"], fields, model, recipe)
    check_budgets(bytes_, fields, space, model, recipe, compact=True)
    assert (found.budget == 0.1) == (largest == 20_000)


@pytest.mark.parametrize("recipe", ["paper", "strong", "robust", "robust(hidden=(400,400,400),embedding_dim=32)"])
@pytest.mark.parametrize("n_fields", [1, 4, 39])
def test_the_bound_of_dense_floats_is_one_and_close(recipe: str, n_fields: int) -> None:
    exact = dense_weights(MODELS.find("deepfm"), n_fields, find_recipe(recipe)).floats
    assert exact <= dense_at_most(n_fields, find_recipe(recipe)) <= 1.3 * exact


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "at random, 8:1:1 (train 1,600, valid 200, test 200 rows)"),
        (
            {"time_column": "day"},
            "by time, 8:1:1, the newest rows for the test (train 1,600, valid 200, test 200 rows)",
        ),
        ({"split_column": "part"}, "as the split column says, but that cannot be: data set 'own': the test part"),
    ],
)
def test_the_split_is_said(clicks: Path, options: dict[str, Any], expected: str) -> None:
    frame = pl.read_parquet(clicks)
    frame.with_columns(part=pl.Series(["train", "valid"] * (N_ROWS // 2))).write_parquet(clicks)
    assert inspect_data({"dataset": str(clicks), **options}).split.startswith(expected)


def test_bands_hold_every_value_and_every_sample_once_per_field(clicks: Path) -> None:
    found = inspect_data({"dataset": str(clicks), "fields": ["user", "town"]}, 5, (100, 10))
    dataset = load_dataset(clicks, fields=["user", "town"])
    counts = dataset.counts[0]
    first, middle, last = (band for band in found.bands if band.name.startswith("user"))
    assert (first.name, first.most, last.least) == ("user/1", counts[0], counts[-1])
    assert first.least >= 100 > middle.most and middle.least >= 10 > last.most
    assert first.values + middle.values + last.values == len(counts)
    assert first.samples + middle.samples + last.samples == pytest.approx(1)
    assert (middle.samples, middle.bytes) == (
        pytest.approx(counts[(counts < 100) & (counts >= 10)].sum() / N_ROWS),
        32 * middle.values,
    )
    with pytest.raises(AutoDPQError, match="counts must fall"):
        inspect_data({"dataset": str(clicks)}, 5, (10, 100))


def test_people_are_told_all_of_it(clicks: Path) -> None:
    text = inspection_table(inspect_data({"dataset": str(clicks)})).to_text()
    said = " ".join(text.split())
    assert "own: 2,000 rows, " in said and "5 fields" in said
    for words in (
        "user categorical",
        "price binned",
        "(missing), town",
        "Rare: values of fewer than 10 samples, which a run takes unless --threshold says otherwise; 100.0%",
        "Suggested threshold: ",
        "--space wide --budget ",
        "Split: at random",
        "Numbers are binned by quantiles of all rows, a missing one being a value of its own: price (40 bins).",
        "row has a value of its own in nearly every row; if it names rows, exclude it.",
        "Whole numbers count as names of things: user; a quantity among them is binned by --numeric.",
        "What plans would cost at threshold 10, X = 16",
        "Bands of --space wide, X = 16",
        "user/1 ",
    ):
        assert words in said, words
    assert max(map(len, text.splitlines())) <= 100
    tidy = inspection_table(inspect_data({"dataset": str(clicks)}))
    assert [row["field"] for row in tidy.records] == ["row", "user", "town", "price", "day"]
    assert tidy.records[3]["kind"] == "binned" and tidy.records[3]["cardinality"] == 40


def test_a_threshold_above_every_count_is_refused(clicks: Path) -> None:
    with pytest.raises(AutoDPQError, match="threshold 5000 is above every count of 'own'"):
        inspect_data({"dataset": str(clicks)}, 5000)


def test_torch_is_not_imported(clicks: Path) -> None:
    program = (
        "import sys\nfrom studies.cli.main import app\n"
        "app(['data', 'inspect', sys.argv[1]], standalone_mode=False)\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program, str(clicks)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "own: 2,000 rows" in done.stdout, done.stderr
