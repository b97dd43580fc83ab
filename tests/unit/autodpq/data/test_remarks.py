from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.data import load_dataset
from autodpq.data.remarks import Column

Write = Callable[..., Path]


def column(name: str, values: list[str], least: list[float] | None = None) -> Column:
    counts = np.ones(len(values), np.int64)
    edges = None if least is None else np.array(least)
    return Column(name, pl.Series(values, dtype=pl.String), counts, edges, lambda chosen: int(chosen.argmax()) + 1)


PRICES = [f"{n}.{n % 9 + 1}" for n in range(200)]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([*PRICES, "-", "?"], ["200 of 202", "row 201", "'-'", '--missing "-,?" --numeric price bins']),
        ([*PRICES, "-", "", "N/A"], ["200 of 201", '--missing "-" --numeric price bins']),
        ([*PRICES, "a", "b", "c", "d"], ["200 of 204", "correct these, or name by --missing"]),
        ([*PRICES, "7,69"], ["200 of 201", "correct these, or name by --missing"]),
        ([*PRICES, ""], ["but text", "--numeric price"]),
        ([value.replace(".", ",") for value in PRICES], ["0 of 200", "'0,1'", "write all as 7.69"]),
        ([f"${value}" for value in PRICES], ["0 of 200", "'$0.1'", "write all as 7.69"]),
        ([f"1,{value:0>5} EUR" for value in PRICES], ["0 of 200", "write all as 7.69"]),
        ([f"{value}%" for value in PRICES], ["0 of 200", "write all as 7.69"]),
    ],
)
def test_what_is_almost_a_number_is_told(values: list[str], told: list[str]) -> None:
    (note,) = column("price", values).notes(split_by_time=False)
    assert note.startswith("price: ") and all(words in note for words in told), note


@pytest.mark.parametrize(
    "values",
    [
        [f"{n}" for n in range(200)] + ["-"],  # whole numbers are names
        [f"{n:05}-{n}" for n in range(200)],
        [f"v{n}.{n}" for n in range(200)],
        [f"{n:08x}" for n in range(2**30, 2**30 + 5000)],
        [f"{n},{n + 1}" for n in range(1000, 1200)],
        [],
        [""],
    ],
)
def test_names_are_no_numbers_times_or_weights(values: list[str]) -> None:
    assert column("a", values).notes(split_by_time=False) == []


def test_bins_need_no_note() -> None:
    assert column("price", PRICES, [-np.inf, 0.5, 1.5]).notes(split_by_time=False) == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a", [f"2024-05-{day:02}" for day in range(1, 31)]),
        ("a", ["2024/05/31", "", "2024/06/01"]),
        ("a", [f"2024-05-31T12:{minute}:00+02:00" for minute in range(10, 50)]),
        ("a", [f"2024-05-31 12:{minute} UTC" for minute in range(10, 50)]),
        ("a", [str(881_250_949 + n) for n in range(40)]),
        ("a", [f"{881_250_949 + n}.0" for n in range(40)]),
        ("a", [str(1_700_000_000_000 + n) for n in range(40)]),
        ("a", ["20240531", "20240601"]),
        ("timestamp", [str(n) for n in range(40)]),
        ("eventTime", [str(n) for n in range(40)]),
        ("created_at_ts", [str(n) for n in range(40)]),
    ],
)
def test_what_looks_like_a_time_is_told_the_option(name: str, values: list[str]) -> None:
    (note,) = column(name, values).notes(split_by_time=False)
    assert f"--time-column {name}" in note
    assert column(name, values).notes(split_by_time=True) == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("day", [str(n) for n in range(1, 32)]),
        ("runtime", [str(n) for n in range(400)]),
        ("a", [str(n * 50_000_000) for n in range(1, 90)]),
        ("a", ["12/04/1997", "13/04/1997"]),
        ("a", ["20241399", "20240601"]),
        ("time", ["morning", "night"]),
        ("date", ["2024-05-31"]),
    ],
)
def test_what_has_no_order_or_is_an_identifier_is_no_time(name: str, values: list[str]) -> None:
    assert not column(name, values).is_time


def test_binned_seconds_are_a_time_and_binned_prices_none() -> None:
    assert column("a", ["x", "y"], [-np.inf, 881_250_949.5, 881_260_000.0]).is_time
    assert not column("a", ["x", "y"], [-np.inf, 0.5, 7.0]).is_time
    assert not column("a", ["x"], [-np.inf]).is_time


@pytest.mark.parametrize("name", ["weight", "Sample_Weight", "w"])
def test_a_weight_does_not_become_a_field_in_silence(name: str) -> None:
    for weights in (column(name, ["1", "2.5"]), column(name, ["[-inf, 2)", "[2, inf)"], [-np.inf, 2.0])):
        assert f"--weight-column {name} weighs" in weights.notes(split_by_time=False)[0]
    assert column(name, ["heavy", "light"]).notes(split_by_time=False) == []
    assert column("weight_class", ["1", "2"]).notes(split_by_time=False) == []


@given(st.lists(st.text(max_size=12), unique=True, max_size=40), st.booleans())
def test_any_values_can_be_looked_at(values: list[str], binned: bool) -> None:
    notes = column("time", values, [-np.inf, 3.0] if binned else None).notes(split_by_time=False)
    assert all("\n" not in note for note in notes)


def test_a_data_set_tells_it_until_it_is_mended(write_table: Write) -> None:
    rows = [f"{n % 2},{n}.25,{881_250_949 + n}" for n in range(60)]
    rows[7], rows[50] = "1,-,881250956", "0,-,881250999"
    path = write_table("click,price,when\n" + "\n".join(rows) + "\n")
    notes = load_dataset(path).notes()
    assert [note.split()[0] for note in notes] == ["price:", "when"]
    assert "58 of 60 values are numbers; the others (the first in row 8," in notes[0]
    mended = load_dataset(path, missing=["-"], time_column="when")
    assert len(mended.notes()) == 1 and mended.binned == {"price": 2}


def test_a_time_in_every_row_is_told_once(write_table: Write) -> None:
    rows = "".join(f"{n % 2},{881_250_949 + n},r{n}\n" for n in range(1200))
    notes = load_dataset(write_table(f"click,when,row\n{rows}")).notes()
    assert [note.split(" ")[0] for note in notes] == ["row", "when"]
