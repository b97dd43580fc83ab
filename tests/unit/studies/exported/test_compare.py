"""Two packed models on rows of a file: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from support.packed_models import random_ids, torch_logits, values_of, write_model

from autodpq.calibration import Calibration
from autodpq.errors import AutoDPQError
from studies.exported.compare import compare_files, gate_line

N_ROWS = 400


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "old.safetensors")
    write_model(folder / "new.safetensors", calibration=Calibration(0.25, -0.5))
    return folder / "old.safetensors", folder / "new.safetensors"


@pytest.fixture
def rows(tmp_path: Path) -> pl.DataFrame:
    labels = pl.Series("click", np.random.default_rng(1).random(N_ROWS) < 0.4)
    return values_of(random_ids(N_ROWS)).with_columns(labels, pl.Series("hour", [1.0, 2.0] * (N_ROWS // 2)))


@pytest.mark.parametrize("name", ["r.parquet", "r.csv"])
def test_both_models_are_scored_on_every_row(
    models: tuple[Path, Path], rows: pl.DataFrame, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    rows.write_csv(path) if name.endswith("csv") else rows.write_parquet(path)
    release = compare_files(*models, path, "click", ["hour", "city"])
    logits = torch.from_numpy(torch_logits(write_model(tmp_path / "m.safetensors"), random_ids(N_ROWS))).double()
    labels = rows["click"].to_numpy()
    for side, expected in zip(release.sides, (logits, 0.25 * logits - 0.5), strict=True):
        predicted = expected.sigmoid().numpy()
        assert side.auc.value == pytest.approx(roc_auc_score(labels, predicted), abs=1e-6)
        assert side.logloss == pytest.approx(log_loss(labels, predicted), abs=1e-5)
    assert release.rows == N_ROWS and release.auc.value == pytest.approx(0, abs=1e-6)
    hours = [(own.value, own.rows) for own in release.slices if own.column == "hour"]
    assert hours == [("1", N_ROWS // 2), ("2", N_ROWS // 2)]
    (cities,) = [own for own in release.slices if own.column == "city"]
    assert (cities.value, cities.values) == (None, 6)
    assert [model.bytes for model in release.scored] == [model.stat().st_size for model in models]
    assert release.scored[0].vocabulary_bytes == models[0].with_suffix(".vocabulary.parquet").stat().st_size


def test_rows_with_values_never_seen_are_counted(models: tuple[Path, Path], rows: pl.DataFrame, tmp_path: Path) -> None:
    number = pl.int_range(pl.len())
    unseen = pl.when(number < 100).then(pl.lit("never")).otherwise("user").alias("user")
    rows.with_columns(unseen, pl.when(number < 50).then(pl.lit("x")).otherwise("day").alias("day")).write_parquet(
        tmp_path / "r.parquet"
    )
    release = compare_files(*models, tmp_path / "r.parquet", "click", [])
    assert [model.unseen for model in release.scored] == [0.25, 0.25]


@pytest.mark.parametrize(
    ("change", "label", "slices", "message"),
    [
        (lambda rows: rows.drop("shop"), "click", [], "r.parquet, for .*old.safetensors: column 'shop', a field"),
        (lambda rows: rows, "clicks", [], "r.parquet: no column 'clicks', which --label names; did you mean 'click'?"),
        (lambda rows: rows, "click", ["houre"], "no column 'houre', which --slice names; did you mean 'hour'?"),
        (lambda rows: rows, "user", [], "column 'user' is a field of .*old.safetensors, and no label; give --label"),
        (lambda rows: rows.with_columns(click=1), "click", [], "r.parquet: every label is 1; both 0 and 1 are needed"),
        (lambda rows: rows.clear(), "click", [], "r.parquet: there are no rows in it"),
        (
            lambda rows: rows.with_columns(click=pl.when(pl.int_range(pl.len()) != 6).then(1)),
            "click", [], "r.parquet, row 7, column 'click': the value is missing; a label must be 0 or 1",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_line(
    models: tuple[Path, Path], rows: pl.DataFrame, tmp_path: Path, change, label, slices, message
) -> None:
    change(rows).write_parquet(tmp_path / "r.parquet")
    with pytest.raises(AutoDPQError, match=message) as error:
        compare_files(*models, tmp_path / "r.parquet", label, slices)
    assert "\n" not in str(error.value)


def test_the_gate_goes_by_what_is_lost(models: tuple[Path, Path], rows: pl.DataFrame, tmp_path: Path) -> None:
    click = torch_logits(write_model(tmp_path / "m.safetensors"), random_ids(N_ROWS)) > 0
    rows.with_columns(pl.Series("click", click)).write_parquet(tmp_path / "r.parquet")
    write_model(tmp_path / "other.safetensors", "pnn")
    forth = compare_files(models[0], tmp_path / "other.safetensors", tmp_path / "r.parquet", "click", [])
    lost = -forth.auc.value
    assert lost > 0.1
    for allowed, passes in ((lost * 0.999, False), (lost * 1.001, True)):
        assert gate_line(forth, allowed)[0] is passes
    assert gate_line(forth, 0.001)[1].endswith("]: worse than what --max-loss 0.001 allows")
    back = compare_files(tmp_path / "other.safetensors", models[0], tmp_path / "r.parquet", "click", [])
    passes, line = gate_line(back, 0)
    assert passes and line.startswith(f"AUC changes by +{lost:.4f} [+")
