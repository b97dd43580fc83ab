"""A side file with more values begins as it was, and ids go on."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from support.packed_models import FIELDS, WORDS, random_ids, values_of, vocabulary

from autodpq.choices import Full
from autodpq.data.digest import file_digest
from autodpq.packed.manifest import SideFile
from autodpq.packed.spec import TableSpec
from autodpq.packed.vocabulary.extension import extended_vocabulary
from autodpq.packed.vocabulary.lookup import Vocabulary
from autodpq.packed.vocabulary.side_file import write_vocabulary

ADDED = {"user": pl.Series(["1", "a new one", "z"]), "shop": pl.Series(["", "Ж"]), "city": pl.Series(["shop 1"])}
MORE = {"day": pl.Series(["2024-06-02"]), "user": pl.Series(["b"])}


def specs(n_more: dict[str, int]) -> list[TableSpec]:
    sizes = {field.name: field.cardinality + n_more.get(field.name, 0) for field in FIELDS}
    return [TableSpec(name, size, 4, size, Full(), 0) for name, size in sizes.items()]


def known(path: Path, n_more: dict[str, int]) -> Vocabulary:
    return Vocabulary.read(path, SideFile(path.name, file_digest(path)), specs(n_more))


def groups_of(content: bytes) -> bytes:
    """All but the footer of a parquet file, which says what lies where."""
    return content[: -8 - int.from_bytes(content[-8:-4], "little")]


@pytest.mark.parametrize("ids", ["in runs", "as they are", "beside bins"])
def test_what_was_there_stays_and_what_is_new_follows(tmp_path: Path, ids: str) -> None:
    values = vocabulary()
    if ids == "as they are":  # two texts of one id are no runs
        values = pl.concat([values, values.filter(pl.col("value") == "Bonn").with_columns(value=pl.lit("Bonna"))])
    if ids == "beside bins":
        edge = pl.when(pl.col("id") == 0).then(-float("inf")).otherwise(1.0)
        least = pl.when(pl.col("field") == "day").then(edge)
        values = values.with_columns(at_least=least)
    path = tmp_path / "v.parquet"
    write_vocabulary(path, values, specs({}))
    assert ("run" in pl.read_parquet(path).columns) is (ids != "as they are")
    sizes = {field.name: field.cardinality for field in FIELDS}
    old = path.read_bytes()
    path.write_bytes(extended_vocabulary(path, {name: (sizes[name], own) for name, own in ADDED.items()}))
    assert path.read_bytes().startswith(groups_of(old))
    n_more = {name: len(own) for name, own in ADDED.items()}
    vocabulary_now = known(path, n_more)
    frame, expected = values_of(random_ids(50)), random_ids(50)
    columns = [column for column, field in enumerate(FIELDS) if not (ids == "beside bins" and field.name == "day")]
    assert (vocabulary_now.look_up(frame, "f")[:, columns] == expected[:, columns]).all()
    for name, own in ADDED.items():
        found = vocabulary_now.values(name).look_up(own.alias(name), "f").tolist()
        assert found == list(range(sizes[name], sizes[name] + len(own)))
    first = path.read_bytes()
    again = {"user": (sizes["user"] + 3, MORE["user"])}
    if ids != "beside bins":
        again["day"] = (sizes["day"], MORE["day"])
    path.write_bytes(extended_vocabulary(path, again))
    assert path.read_bytes().startswith(groups_of(first))
    vocabulary_now = known(path, {**n_more, "user": 4, "day": len(again) - 1})
    assert vocabulary_now.values("user").look_up(pl.Series("user", ["b", "z", WORDS["user"][3]]), "f").tolist() == [
        sizes["user"] + 3,
        sizes["user"] + 2,
        3,
    ]


def test_nothing_new_changes_no_byte(tmp_path: Path) -> None:
    write_vocabulary(tmp_path / "v.parquet", vocabulary(), specs({}))
    assert extended_vocabulary(tmp_path / "v.parquet", {}) == (tmp_path / "v.parquet").read_bytes()
