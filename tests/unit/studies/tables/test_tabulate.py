from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from support.tables import OPTIONS, Small

from autodpq.errors import AutoDPQError
from autodpq.records.table import PlanTable, TableRow, read_table
from studies.tables import tabulate as module
from studies.workers.machine import machine_name

PATH = Path("table", "table.parquet")


def digits(row: TableRow) -> TableRow:
    """All of a row that does not depend on the clock."""
    return row.model_copy(update={"seconds": 0.0})


def same(one: PlanTable, other: PlanTable) -> bool:
    return [*map(digits, one.rows)] == [*map(digits, other.rows)]


def test_every_plan_is_there_with_every_seed(small: Small) -> None:
    table = read_table(small.folder / PATH)
    about = table.about
    assert len(table.rows) == about.n_plans * len(about.seeds) == 18
    assert about.searched == dict.fromkeys(("user", "item"), ("full", "others", "dpq(4,2)"))
    assert (about.licence, about.of.recipe.name, about.of.model) == ("CC0-1.0", "paper(max_epochs=2)", "deepfm")
    assert [maker.machine for maker in about.makers] == [machine_name()]
    assert {seed.split_seed for seed in about.seeds} == {2023} and about.seeds[0].test_auc != about.seeds[1].test_auc
    for row in table.rows:
        assert row.valid_auc == row.stored_valid_auc == max(row.valid_aucs) and row.epochs == len(row.valid_aucs) == 2
        assert row.error is None and row.seconds > 0 and row.test_auc is not None
    assert len({row.test_auc for row in table.rows}) > 12
    full = next(row for row in table.rows if set(json.loads(row.plan).values()) == {"full"})
    assert (full.bytes, full.parameters) == (about.seeds[0].bytes, about.seeds[0].parameters)


def test_it_goes_on_where_it_was_stopped_and_comes_to_the_same(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = module._measured
    trained: list[str] = []
    stops_at: int | None = 3

    def stops(*given: Any) -> TableRow:
        if len(trained) == stops_at:
            raise KeyboardInterrupt
        trained.append(given[1].to_json())
        return measured(*given)

    monkeypatch.setattr(module, "_measured", stops)
    changes = {"candidates": ("full,others",), "seeds": 1}
    with pytest.raises(KeyboardInterrupt):
        small.tabulate("again", **changes)
    folder = small.folder / "again"
    (folder / "rows.jsonl").write_bytes((folder / "rows.jsonl").read_bytes()[:-7])  # killed as it wrote the third
    (folder / ".table.parquet.abcdefgh.part").touch()  # what an earlier one left
    assert not (folder / "table.parquet").exists()
    trained.clear()
    stops_at = None
    told: list[str] = []
    assert not small.tabulate("again", told.append, **changes).n_missing
    assert "4 plans with 1 seed: 4 trainings, 2 of them done before" in told and len(trained) == 2
    assert not (folder / ".table.parquet.abcdefgh.part").exists()
    twin = {(row.plan, row.seed): digits(row) for row in read_table(small.folder / PATH).rows}
    rows = read_table(folder / "table.parquet").rows
    assert [*map(digits, rows)] == [twin[row.plan, row.seed] for row in rows] and len(rows) == 4
    small.tabulate("again", **changes)
    assert len(trained) == 2, "what is there is not trained again"


@pytest.mark.slow
def test_it_stays_compiled_or_not(small: Small) -> None:
    with pytest.raises(AutoDPQError, match="are not compiled; give the option as it was"):
        small.tabulate(compile="on", seeds=3)


@pytest.mark.slow
def test_processes_side_by_side_come_to_the_same(small: Small) -> None:
    small.tabulate("two", jobs=2)
    assert same(read_table(small.folder / "two" / "table.parquet"), read_table(small.folder / PATH))


def test_one_process_at_a_time_works_on_a_table(small: Small) -> None:
    with FileLock(small.folder / "table" / ".lock"), pytest.raises(AutoDPQError, match="another process is at work"):
        small.tabulate()


def test_a_folder_is_of_one_table(small: Small) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"recipe": "paper(max_epochs=3)"}, "--recipe paper(max_epochs=2), and this command's would be of paper(max_e"),
        (
            {"candidates": ("full,others",)},
            "--candidates full,others,dpq(4,2), and this command's would be of full",
        ),
        ({"models": ("dcn",)}, "--models deepfm, and this command's would be of dcn"),
        ({"resplit": True}, "--resplit False, and this command's would be of True"),
    ]
    content = (small.folder / PATH).read_bytes()
    for changes, said in cases:
        with pytest.raises(AutoDPQError) as raised:
            small.tabulate(**changes)
        assert said in str(raised.value) and "\n" not in str(raised.value)
    assert (small.folder / PATH).read_bytes() == content


def test_a_folder_of_something_else_is_left_alone(small: Small) -> None:
    for name, content, said in (("study.json", "{}", "holds a study"), ("rows.jsonl", "", "no table.json")):
        out = small.folder / f"with-{name}"
        out.mkdir()
        (out / name).write_text(content or (small.folder / "table" / "rows.jsonl").read_text())
        with pytest.raises(AutoDPQError, match=said):
            small.tabulate(out.name)
        assert {path.name for path in out.iterdir()} == {name, ".lock"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": ("deepfm", "dcn")}, "--models: a table is of one model"),
        ({"candidates": ("full",)}, "--candidates: there is one plan alone"),
        ({"candidates": ("dpq(2|4|8|16|32|64|128|256,1|2|4|8|16),hashed(1|2|3|4|5|6|7|8|9|11|12|13)",),
          "space": "wide", "bands": (4, 3, 2), "threshold": None}, "plans are more than a table holds (100,000)"),
        ({"resplit": True, "frequency_scope": "train"}, "--resplit: with --frequency-scope train"),
        ({"jobs": 0}, "--jobs: 0 given"),
    ],
)  # fmt: skip
def test_what_makes_no_table_is_refused(small: Small, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AutoDPQError) as raised:
        small.tabulate("none", **changes)
    assert said in str(raised.value) and "\n" not in str(raised.value)
    assert not (small.folder / "none" / "table.parquet").exists()


def test_time_that_is_up_keeps_what_is_finished(small: Small) -> None:
    done = small.tabulate("timed", timeout=0.001)
    assert done.n_missing == 18 and not done.path.exists()
    assert OPTIONS["seeds"] == done.n_seeds
