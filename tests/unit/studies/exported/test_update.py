"""New rows of a file: what is read, held out and refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.packed_models import FIELDS, random_ids, values_of, write_model

from autodpq.errors import AutoDPQError
from autodpq.serving import open_model
from studies.exported.update import UpdatedFile, update_file, updated_lines, updated_table

N_ROWS = 300
RECIPE = "paper(batch_size=64,max_epochs=1)"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    write_model(folder / "m.safetensors")
    return folder


@pytest.fixture
def model(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path / "m.safetensors"


@pytest.fixture
def rows() -> pl.DataFrame:
    """A tenth of the rows has a new shop, and every row a time."""
    number = pl.int_range(pl.len())
    shop = pl.when(number % 10 == 0).then(pl.lit("neu ") + (number % 4).cast(pl.String)).otherwise("shop")
    return values_of(random_ids(N_ROWS)).with_columns(shop.alias("shop"), click=number % 2, at=N_ROWS - number)


def updated(model: Path, rows: pl.DataFrame, name: str = "rows.parquet", **options: object) -> UpdatedFile:
    path = model.with_name(name)
    rows.write_csv(path) if name.endswith("csv") else rows.write_parquet(path)
    asked = {
        "label": "click",
        "time_column": None,
        "recipe": RECIPE,
        "device": "cpu",
        "out": path.with_name("o.safetensors"),
    }
    return update_file(model, path, **{**asked, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["rows.parquet", pytest.param("rows.csv", marks=pytest.mark.slow)])
def test_new_values_get_ids_by_their_texts(model: Path, rows: pl.DataFrame, name: str) -> None:
    done = updated(model, rows, name)
    assert {growth.spec.name: growth.values.to_list() for growth in done.updated.growths if len(growth.values)} == {
        "shop": ["neu 0", "neu 2"]
    }
    known = open_model(done.updated.packed.path).vocabulary.values("shop")
    texts, first = pl.Series("shop", ["neu 2", "neu 0", "shop 1", "neu 1"]), FIELDS[3].cardinality
    assert known.look_up(texts, "f").tolist() == [first + 1, first, 1, -1]
    assert done.rows == (270, 30)
    row = updated_table(done).records[3]
    assert (row["field"], row["values"], row["new"]) == ("shop", first, 2) and row["bytes"] > row["bytes_before"]
    lines = list(updated_lines(done))
    assert lines[0].startswith(f"270 rows learned from, 30 held out: AUC {done.updated.before.auc:.4f} before, ")
    assert any(f"{done.delta.stat().st_size:,} bytes" in line for line in lines)


def test_the_newest_rows_are_held_out(model: Path, rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def keep(packed, own, train, valid, *others, **options):
        seen.update(train=train, valid=valid)
        raise AutoDPQError("enough")

    monkeypatch.setattr("studies.exported.update.update", keep)
    for column, newest in (("at", slice(None, 30)), (None, None)):
        with pytest.raises(AutoDPQError, match="enough"):
            updated(model, rows, time_column=column)
        expected = open_model(model).vocabulary.look_up(rows, "f")
        assert [len(seen[part]) for part in ("train", "valid")] == [270, 30]
        if newest is not None:
            known = expected[newest] >= 0
            assert np.array_equal(seen["valid"].ids[known], expected[newest][known])
            assert seen["valid"].labels.tolist() == rows["click"][newest].to_list()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda rows: rows.drop("user"), {}, "rows.parquet: column 'user', a field of the model, is missing"),
        (lambda rows: rows.drop("click"), {}, "rows.parquet: no column 'click', which --label names"),
        (lambda rows: rows, {"time_column": "att"}, "no column 'att', which --time-column names; did you mean 'at'?"),
        (lambda rows: rows, {"label": "user"}, "column 'user' is a field of the model, and no label"),
        (lambda rows: rows.with_columns(click=0), {}, "the rows to learn from: every label is 0; both 0 and 1 are"),
        (
            lambda rows: rows.with_columns(click=(pl.col("at") < 200).cast(pl.Int8)), {"time_column": "at"},
            "the tenth that is held out: every label is 0",
        ),
        (lambda rows: rows.clear(), {}, "rows.parquet: there are no rows in it"),
        (lambda rows: rows.head(1), {}, "rows.parquet: it has one row; give more"),
        (lambda rows: rows, {"recipe": None}, "m.safetensors: it does not say by which recipe .* give one by --recipe"),
        (lambda rows: rows, {"recipe": "papers"}, "unknown recipe 'papers'; did you mean 'paper'?"),
        (lambda rows: rows, {"out": Path("o.bin")}, "o.bin: a packed file ends in .safetensors"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line_and_nothing_is_written(
    model: Path,
    rows: pl.DataFrame,
    change: Callable[[pl.DataFrame], pl.DataFrame],
    options: dict[str, object],
    message: str,
) -> None:
    with pytest.raises(AutoDPQError, match=message) as error:
        updated(model, change(rows), **options)
    assert "\n" not in str(error.value)
    assert {path.name for path in model.parent.iterdir()} == {"m.safetensors", "m.vocabulary.parquet", "rows.parquet"}


def test_the_old_model_stays(model: Path, rows: pl.DataFrame) -> None:
    with pytest.raises(AutoDPQError, match=r"m\.safetensors: this is the model that is updated, .* give another --out"):
        updated(model, rows, out=model)
