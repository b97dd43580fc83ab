from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import spliced
from support.made_tables import SEARCHED, made_table

from autodpq.choices import DPQ, Full, Others
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.records.table import PlanTable, TableRow, read_table, write_table
from autodpq.seals import sealed

KIND = b"autodpq.table"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A table."""
    write_table(tmp_path / "table.parquet", made_table())
    return tmp_path / "table.parquet"


def refused(path: Path) -> str:
    with pytest.raises(AutoDPQError) as raised:
        read_table(path)
    said = str(raised.value)
    assert said.startswith(f"{path}: ") and "\n" not in said
    return said.removeprefix(f"{path}: ")


def test_it_is_read_as_it_was_written(path: Path) -> None:
    made, read = made_table(), read_table(path)
    assert read.about == made.about and read.rows == made.rows
    assert len(read.plans) == 6 and list(read.space) == list(SEARCHED)
    assert pq.read_table(path).column_names[:3] == ["seed", "plan", "valid_auc"]


def test_worth_is_the_mean_over_seeds_of_what_came_to_something() -> None:
    failing = CompressionPlan({"user": Full(), "item": Others()}).to_json()

    def fail(row: TableRow) -> TableRow:
        failed = {"test_auc": None, "valid_auc": None, "error": "no"}
        return row.model_copy(update=failed) if row.plan == failing and row.seed else row

    table = made_table(change=fail)
    assert len(table.worth) == 5 and CompressionPlan.from_json(failing) not in table.worth
    for plan, worth in table.worth.items():
        assert worth == pytest.approx(sum(row.test_auc or 0 for row in table.plans[plan]) / 2)


def test_plans_that_are_not_there_are_told_by_their_candidates() -> None:
    table = made_table()
    table.check(CompressionPlan({"item": Others(), "user": DPQ(4, 2)}))
    for plan, said in (
        (
            {"item": DPQ(4, 2), "user": Full()},
            "no plan with item = dpq(4,2) is in the table; its candidates there: full, ",
        ),
        ({"user": Full()}, "no plan with item = None is in the table; its candidates there: full, others"),
        ({"item": Full(), "user": Full(), "zip": Full()}, "no plan with zip is in the table; it has user, item"),
    ):
        with pytest.raises(AutoDPQError) as raised:
            table.check(CompressionPlan(plan))
        assert said in str(raised.value)


def test_rows_are_found_by_the_texts_of_what_is_searched() -> None:
    whole = made_table()
    alone = whole.about.model_copy(update={"searched": {**whole.about.searched, "item": ("full",)}})
    table = PlanTable(alone, tuple(row for row in whole.rows if '"item":"full"' in row.plan))
    assert table.searched == {"user": ("full", "others", "dpq(4,2)")}
    found = table.rows_of({"user": "others"})
    assert [row.seed for row in found] == [0, 1]
    assert {row.plan for row in found} == {'{"item":"full","user":"others"}'}
    with pytest.raises(
        AutoDPQError, match="user = int\\(4\\) is in the table; its candidates there: full, others, dpq"
    ):
        table.rows_of({"user": "int(4)"})


def test_what_is_no_whole_table_is_told(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert refused(path).startswith("damaged (")
    path.write_bytes(b"")
    assert refused(path).startswith("damaged (")
    path.unlink()
    assert refused(path) == "cannot be read (No such file or directory)"
    assert refused(tmp_path) == "cannot be read (Is a directory)"
    pq.write_table(pq.read_table(pa.BufferReader(content)).replace_schema_metadata({}), path)
    assert refused(path) == "it is no file as autodpq-study tabulate writes it"


def rewritten(path: Path, **changes: object) -> None:
    """The metadata changed, and sealed anew where ``seal`` is not among them."""
    table = pq.ParquetFile(path).read()
    known = json.loads(table.schema.metadata[KIND])
    seal = changes.pop("seal", True)
    known |= changes
    if seal:
        del known["seal"]
        known = sealed(known)
    path.unlink()
    pq.write_table(table.replace_schema_metadata({KIND: json.dumps(known)}), path)


def test_altered_metadata_and_other_formats_are_told(path: Path) -> None:
    rewritten(path, licence="mine", seal=False)
    assert "its seal does not fit them" in refused(path)
    rewritten(path, format=2)
    assert refused(path) == "it is of format 2, and this version of autodpq reads format 1: upgrade autodpq"
    rewritten(path, format=0)
    assert refused(path).endswith("reads format 1: have autodpq-study tabulate write it anew")
    rewritten(path, format=1, searched=None)
    assert refused(path).startswith("damaged (searched = None")


def test_altered_rows_are_told(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    values = table.column("test_auc").to_pylist()
    values[3] += 1e-12
    column = table.column_names.index("test_auc")
    pq.write_table(table.set_column(column, table.field(column), [values]), path)
    assert refused(path).startswith("damaged (its rows are not those that were written); ")


def test_missing_trainings_are_counted_and_the_first_named(path: Path) -> None:
    made = made_table()
    rows = tuple(row for row in made.rows if not (row.seed == 1 and json.loads(row.plan)["user"] == "others"))
    write_table(path, PlanTable(made.about, rows))
    assert refused(path) == (
        'of 12 trainings 10 are there, and that of {"item":"full","user":"others"} with seed 1 is missing; '
        "autodpq-study tabulate, called as before, trains it"
    )
    write_table(path, dataclasses.replace(made, rows=(*made.rows, made.rows[0])))
    assert refused(path).startswith("13 rows, 12 trainings are expected; ")


@given(data=st.data())
def test_damage_by_chance_is_seen_or_changes_nothing(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damage") / "table.parquet"
    made = made_table()
    write_table(path, made)
    path.write_bytes(spliced(data, path.read_bytes()))
    try:
        read = read_table(path)
    except AutoDPQError as error:
        assert "\n" not in str(error) and str(error).startswith(str(path))
    else:
        assert read.rows == made.rows and read.about == made.about


def test_a_field_of_several_values_keeps_its_columns(tmp_path: Path) -> None:
    table = made_table()
    first, *others = table.about.fields
    bags = first.model_copy(update={"columns": 3})
    about = table.about.model_copy(update={"fields": (bags, *others)})
    write_table(tmp_path / "table.parquet", dataclasses.replace(table, about=about))
    assert [field.columns for field in read_table(tmp_path / "table.parquet").fields] == [3, *[1] * len(others)]
