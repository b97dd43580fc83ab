"""One's own data, from the file to the report and back to scores of raw values, as a stranger calls it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score
from support.command_line import Call

from autodpq.data import load_dataset, split_dataset
from autodpq.serving import open_model
from studies.prepared import SPLIT_SEED

pytestmark = pytest.mark.usefixtures("nothing_is_drawn")

N_ROWS = 4000
TOWNS = ("Köln", "São Paulo", "北京", "Zürich, Süd", 'the "old" town', "O'Brien", "")
RUN = ("--label", "bought", "--seeds", "1", "--strategies", "fe,others,autodpq(search_epochs=2)", "--threshold", "10")
LAST_DIGITS = 1e-6  # what rows beside a row may change in its probability, and a little more
MEASURED = ["dataset", "strategy", "test_auc", "test_logloss", "valid_auc", "parameters", "bytes", "plan"]


@pytest.fixture(scope="session")
def odd() -> pl.DataFrame:
    """A label, three columns of strings with blanks, commas, quotes and all alphabets, and one of decimal numbers."""
    rng = np.random.Generator(np.random.PCG64(8))
    shop, town = rng.zipf(1.4, N_ROWS) % 300, rng.zipf(1.7, N_ROWS) % 70
    colour, price = rng.integers(5, size=N_ROWS), np.exp(rng.normal(2, 1, N_ROWS)).round(3)
    effects = [rng.normal(0, scale, size) for scale, size in ((1.2, 300), (0.8, 70), (0.5, 5))]
    logits = effects[0][shop] + effects[1][town] + effects[2][colour] - 1.2 * (np.log(price) - 2)
    return pl.DataFrame(
        {
            "bought": (rng.random(N_ROWS) < 1 / (1 + np.exp(-logits))).astype(int),
            "shop, name": [None if number == 3 else f"shop {number}, Ltd" for number in shop.tolist()],
            "town": [f"{TOWNS[number % 7]}{number if number % 7 < 6 else ''}" for number in town.tolist()],
            "colour": [("red", "früh blau", "", "a,b", "\u00e9")[number] for number in colour.tolist()],
            "price": [
                None if missing else number
                for missing, number in zip(rng.random(N_ROWS) < 0.05, price.tolist(), strict=True)
            ],
        }
    )


def as_csv(frame: pl.DataFrame, folder: Path) -> str:
    frame.write_csv(folder / "odd.csv")
    return "odd.csv"


def as_gzip(frame: pl.DataFrame, folder: Path) -> str:
    (folder / "odd.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    return "odd.csv.gz"


def as_arrow(frame: pl.DataFrame, folder: Path) -> str:
    frame.write_ipc(folder / "odd.arrow")
    return "odd.arrow"


def as_folder(frame: pl.DataFrame, folder: Path) -> str:
    (folder / "odd").mkdir()
    for number, part in enumerate((frame[:1500], frame[1500:])):
        part.write_parquet(folder / "odd" / f"part-{number}.parquet")
    return "odd"


def as_pattern(frame: pl.DataFrame, folder: Path) -> str:
    return f"{as_folder(frame, folder)}/*.parquet"


@pytest.fixture(scope="session")
def expected() -> dict[str, object]:
    """What the first kind of file gave; the others must give the same."""
    return {}


@pytest.mark.parametrize(
    ("write", "scope"),
    [
        (as_csv, "all"),
        pytest.param(as_csv, "train", marks=pytest.mark.slow),
        *(pytest.param(write, "all", marks=pytest.mark.slow) for write in (as_pattern, as_gzip, as_arrow, as_folder)),
    ],
)
def test_from_file_to_report_and_back(
    call_here: Call,
    odd: pl.DataFrame,
    expected: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[pl.DataFrame, Path], str],
    scope: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = write(odd, tmp_path)
    done = call_here("run", "--dataset", given, *RUN, "--frequency-scope", scope, "--out", "study")
    assert done.code == 0, done.err
    n_bins = (N_ROWS - odd["price"].null_count()) // 50
    assert f"quantiles of all rows, a missing one being a value of its own: price ({n_bins} bins)" in done.out
    records = pd.read_csv("study/records.csv")
    if scope == "all":
        measured = records[MEASURED].sort_values("strategy").to_dict("records")
        assert expected.setdefault("records", measured) == measured
    run = records[records["strategy"].str.startswith("autodpq")].iloc[0]
    assert 0.65 < run["test_auc"] < 0.95
    assert call_here("export", f"study/runs/{run['run']}", "--out", "m.safetensors").code == 0
    done = call_here("predict", "m.safetensors", "--input", given, "--out", "scores.parquet")
    assert done.code == 0, done.err
    scores = pl.read_parquet("scores.parquet")
    assert scores.columns == ["bought", "probability"]
    dataset = load_dataset(given, label="bought")
    test = split_dataset(dataset, SPLIT_SEED).test
    probabilities = scores["probability"].to_numpy()
    # Rows that torch and numpy tell apart by a last digit may change places: a pair is 1e-5 of AUC.
    assert roc_auc_score(odd["bought"].to_numpy()[test], probabilities[test]) == pytest.approx(
        run["test_auc"], abs=1e-4
    )
    # A part of the folder ends where a batch of all rows does not.
    served = open_model("m.safetensors")
    np.testing.assert_allclose(served.predict(odd), probabilities, rtol=0, atol=LAST_DIGITS)
    columns = {name: odd[name].to_list() for name in odd.columns[1:]}
    np.testing.assert_allclose(served.predict(columns), probabilities, rtol=0, atol=LAST_DIGITS)
    if scope == "all":
        assert np.array_equal(served.vocabulary.encode(odd, "x"), dataset.ids)


def test_data_are_looked_at_before_anything_is_trained(
    call_here: Call, odd: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    as_csv(odd, tmp_path)
    done = call_here("data", "inspect", "odd.csv", "--label", "bought")
    assert done.code == 0, done.err
    for words in ("odd: 4,000 rows", "4 fields", "(missing)", "price", "binned", "(32, 8)", "Suggested threshold: "):
        assert words in done.out, words
    done = call_here("data", "inspect", "odd.csv", "--label", "bought", "--fields", '"shop, name",price')
    assert done.code == 0 and "2 fields" in done.out, done
    done = call_here("data", "inspect", "synthetic")
    assert done.code == 0 and "synthetic: 150,000 rows" in done.out and "Rare: values of fewer than 60" in done.out


def test_fields_are_chosen_and_kept_with_the_run(
    call_here: Call, own_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--dataset", own_csv, "--exclude", "user, device", "--numeric", "city")
    done = call_here("run", *options, "--strategies", "fe,others", "--seeds", "1", "--out", "study")
    assert done.code == 0 and "3,000 rows, 2 fields" in done.out, done
    run = pd.read_csv("study/records.csv")["run"][0]
    loading = json.loads(Path(f"study/runs/{run}/config.json").read_text())["loading"]
    assert (loading["exclude"], loading["numeric"], loading["fields"]) == (["user", "device"], ["city"], None)
    # The loss in AUC is measured on test rows, which are loaded with the same options.
    done = call_here("export", f"study/runs/{run}", "--out", "m.safetensors", "--head-dtype", "float16")
    assert done.code == 0 and "as float16" in done.out, done
    done = call_here("audit", *options)
    assert done.code == 0 and "2 fields" in done.out, done
    Path("study.toml").write_text('strategies = ["fe"]\nseeds = 1\nfields = ["item"]\n')
    done = call_here("run", "--dataset", own_csv, "--config", "study.toml", "--out", "other")
    assert done.code == 0 and "3,000 rows, 1 fields" in done.out, done


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fields", "user", "--exclude", "city"), "'fields' and 'exclude' are given; give one of them"),
        (("--fields", "user,user"), "field 'user' is given twice in 'fields'"),
        (("--fields", "click"), "column 'click' is the label; it cannot be a field too"),
        (("--fields", "usr"), "no field 'usr'; did you mean 'user'?"),
        (("--exclude", "user,item,city,device"), "no field is left"),
        (("--fields", ","), "--fields: ',' given, names of columns as user,item are needed"),
        (("--time-column", "city", "--fields", "city"), "column 'city' is the time; it cannot be a field too"),
        (("--numeric", "town"), "no field 'town', which 'numeric' names"),
        (("--label", "clicked"), "no column 'clicked', which 'label' names; did you mean 'click'?"),
    ],
)
def test_options_that_cannot_be_are_one_line(
    call_here: Call, own_csv: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    for command in (("run", "--out", tmp_path / "study", "--dataset"), ("data", "inspect"), ("audit", "--dataset")):
        done = call_here(*command, own_csv, *options)
        assert done.code == 2 and message in done.err, done
        assert done.err.startswith("Error: ") and len(done.err.splitlines()) == 1
    assert not (tmp_path / "study").exists()
