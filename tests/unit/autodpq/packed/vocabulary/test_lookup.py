from __future__ import annotations

import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.packed_models import FALLBACKS, WORDS, random_ids, values_of, vocabulary

from autodpq.choices import DPQ
from autodpq.data import EncodedDataset, load_dataset
from autodpq.data.digest import file_digest
from autodpq.data.values import canonical_text
from autodpq.errors import AutoDPQError
from autodpq.packed.manifest import SideFile
from autodpq.packed.spec import TableSpec
from autodpq.packed.vocabulary import lookup
from autodpq.packed.vocabulary.lookup import Vocabulary
from autodpq.packed.vocabulary.side_file import hash_vocabulary, write_vocabulary

pytestmark = pytest.mark.filterwarnings("ignore:.*never seen in training")
SCHEMA = {"field": pl.String, "id": pl.Int32, "value": pl.String}


def tables_of(sizes: dict[str, int], fallbacks: tuple[int, ...]) -> list[TableSpec]:
    return [
        TableSpec(name, size, 16, 0, DPQ(4, 2), fallback)
        for (name, size), fallback in zip(sizes.items(), fallbacks, strict=True)
    ]


TABLES = tables_of({name: len(words) for name, words in WORDS.items()}, FALLBACKS)


def with_ids(path: Path) -> pl.DataFrame:
    """A side file as docs/packed-file.md says that it is read: columns field, id and value."""
    runs = pl.read_parquet(path).sort("field", "run", maintain_order=True)
    return runs.select("field", pl.int_range(pl.len(), dtype=pl.Int32).over("field").alias("id"), "value")


def one_field(values: list[str], fallback: int, path: Path) -> tuple[SideFile, list[TableSpec]]:
    tables = tables_of({"a": max(len(values), 1)}, (fallback,))
    frame = pl.DataFrame({"field": ["a"] * len(values), "id": range(len(values)), "value": values}, schema=SCHEMA)
    return write_vocabulary(path, frame, tables), tables


def test_every_value_gets_its_id_back_and_others_the_fallback(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    side = write_vocabulary(path, vocabulary(), TABLES)
    read = Vocabulary.read(path, side, TABLES)
    ids = random_ids(500)
    assert read.encode(values_of(ids), "x").dtype == np.int32
    assert np.array_equal(read.encode(values_of(ids), "x"), ids)
    never = pl.DataFrame({name: [f"{name}?", "Köln "] for name in WORDS})
    assert read.encode(never, "x").tolist() == [list(FALLBACKS)] * 2
    assert read.encode(never.clear(), "x").shape == (0, len(WORDS))
    assert side.name == "v.parquet" and with_ids(path).equals(vocabulary().sort("field", "id"))


@pytest.mark.parametrize("most", [0, 3, 1 << 16])  # all texts are kept, or those of late
def test_requests_of_few_rows_are_answered_as_those_of_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(lookup, "_MOST_KEPT", most)
    path = tmp_path / "v.parquet"
    read = Vocabulary.read(path, write_vocabulary(path, vocabulary(), TABLES), TABLES)
    ids = random_ids(300)
    values, others = values_of(ids), pl.DataFrame({name: [f"{name}?", None, ""] for name in WORDS})
    expected, unseen = read.encode(values, "x"), read.look_up(pl.concat([others] * 40), "x")[:3]
    for _ in range(2):  # the second time they are remembered
        for start in range(0, 300, 7):
            assert np.array_equal(read.encode(values[start : start + 7], "x"), expected[start : start + 7])
        assert np.array_equal(read.look_up(others, "x"), unseen)


def test_what_is_kept_is_of_whole_numbers_and_texts_alone(tmp_path: Path) -> None:
    values = ["0", "1", "-0", "true", "7", "0.0"]
    path = tmp_path / "v.parquet"
    side, tables = one_field(values, 4, path)
    read = Vocabulary.read(path, side, tables)
    whole = read.look_up(pl.DataFrame({"a": values}), "x")[:, 0].tolist()
    assert whole == [0, 1, 2, 3, 4, 5]
    for column, expected in (
        ([1, 0, 7], [1, 0, 4]), ([True, True], [3, 3]), ([1.0, 7.0], [1, 4]), (["1", "true"], [1, 3]), ([1, 1], [1, 1]),
        ([True], [3]), (["7.0", "7"], [4, 4]), ([7], [4]),
    ):  # fmt: skip
        assert read.look_up(pl.DataFrame({"a": column}), "x")[:, 0].tolist() == expected, column


@given(st.lists(st.text(max_size=20).map(canonical_text), unique=True, max_size=30), st.data())
def test_any_text_goes_there_and_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[str], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    fallback = data.draw(st.integers(0, max(len(values) - 1, 0)))
    side, tables = one_field(values, fallback, path)
    asked = data.draw(st.lists(st.sampled_from(values), max_size=20) if values else st.just([]))
    asked += data.draw(st.lists(st.text(max_size=3), max_size=5))
    found = Vocabulary.read(path, side, tables).encode(pl.DataFrame({"a": asked}, schema={"a": pl.String}), "x")
    canonical = [canonical_text(word) for word in asked]  # "NaN" is the missing value's text
    expected = [values.index(word) if word in values else fallback for word in canonical]
    assert found[:, 0].tolist() == expected


def test_columns_of_any_type_count_as_the_text_that_training_read(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    values = ["7", "", "7.0", "true", "2024-05-31", "07"]
    side, tables = one_field(values, 5, path)
    read = Vocabulary.read(path, side, tables)
    columns = [
        (pl.Series([7, None, 8]), [0, 1, 5]),
        (pl.Series([7], dtype=pl.UInt8), [0]),
        (pl.Series([7.0, float("nan"), None]), [2, 1, 1]),
        (pl.Series([True, None]), [3, 1]),
        (pl.Series([datetime.date(2024, 5, 31)]), [4]),
        (pl.Series(["7", "", None, "07", " 7"], dtype=pl.Categorical), [0, 1, 1, 5, 5]),
        (pl.Series([None, None]), [1, 1]),
    ]
    for column, expected in columns:
        assert read.encode(pl.DataFrame({"a": column}), "x")[:, 0].tolist() == expected, column
    with pytest.raises(AutoDPQError, match=r"^x, column 'a': values of type List"):
        read.encode(pl.DataFrame({"a": [[1]]}), "x")


def test_what_an_earlier_version_wrote_gives_what_it_gave(tmp_path: Path) -> None:
    values = ["7", "7.0", "True", "8.0", "2024-05-31 00:00:00.000000", "NaN"]  # 7 has two ids there
    side, tables = one_field(values, 5, tmp_path / "v.parquet")
    read = Vocabulary.read(tmp_path / "v.parquet", side, tables)
    asked = pl.DataFrame({"a": [*values, "7.00", "true", "8", "2024-05-31", "", "9.0", "08"]})
    assert read.look_up(asked, "x")[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 0, 2, 3, 4, 5, -1, -1]


def test_missing_columns_are_named(tmp_path: Path) -> None:
    side = write_vocabulary(tmp_path / "v.parquet", vocabulary(), TABLES)
    read = Vocabulary.read(tmp_path / "v.parquet", side, TABLES)
    frame = values_of(random_ids(3)).rename({"city": "City"})
    with pytest.raises(AutoDPQError, match=r"^clicks\.csv: column 'city'.*missing; did you mean 'City'\?$"):
        read.encode(frame, "clicks.csv")


def test_values_that_share_the_fallback_are_left_out_and_still_get_it(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    frame = pl.DataFrame(
        {
            "field": ["a"] * 4 + ["b"] * 2 + ["c"] * 2,
            "id": [0, 2, 1, 2, 0, 1, 0, 0],
            "value": ["x", "rare", "y", "rarer", "x", "alone", "p", "q"],
        },
        schema=SCHEMA,
    )
    tables = tables_of({"a": 3, "b": 2, "c": 1}, (2, 1, 0))
    side = write_vocabulary(path, frame, tables)
    assert with_ids(path).rows() == [("a", 0, "x"), ("a", 1, "y"), ("b", 0, "x"), ("b", 1, "alone")]
    found = Vocabulary.read(path, side, tables).encode(
        pl.DataFrame({"a": ["rarer", "y", "x"], "b": ["alone", "x", "?"], "c": ["p", "q", "r"]}), "x"
    )
    assert found.tolist() == [[2, 1, 0], [1, 0, 0], [0, 1, 0]]


def test_a_recounted_data_set_is_encoded_as_it_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTODPQ_CACHE", str(tmp_path / "cache"))
    text = "click,user,city\n" + "".join(f"{n % 2},{n * n % 41},{'' if n % 5 else n % 7}\n" for n in range(200))
    (tmp_path / "own.csv").write_text(text)
    dataset: EncodedDataset = load_dataset(tmp_path / "own.csv").recounted(np.arange(12))
    sizes = {name: len(counts) for name, counts in zip(dataset.field_names, dataset.counts, strict=True)}
    tables = tables_of(sizes, tuple(dataset.uncounted().get(name, 0) for name in sizes))
    side = write_vocabulary(tmp_path / "v.parquet", dataset.vocabulary(), tables)
    read = Vocabulary.read(tmp_path / "v.parquet", side, tables)
    as_text = pl.read_csv(tmp_path / "own.csv", infer_schema=False)
    as_numbers = pl.read_csv(tmp_path / "own.csv")
    assert np.array_equal(read.encode(as_text, "x"), dataset.ids)
    assert np.array_equal(read.encode(as_numbers, "x"), dataset.ids)
    assert len(pl.read_parquet(tmp_path / "v.parquet")) < len(dataset.vocabulary())


def test_a_file_that_holds_the_same_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    vocabulary().write_parquet(path, compression="uncompressed")
    before = path.read_bytes()
    side = write_vocabulary(path, vocabulary(), TABLES)
    assert path.read_bytes() == before
    Vocabulary.read(path, side, TABLES)
    other = write_vocabulary(path, vocabulary().head(20), TABLES)
    assert other.sha256 != side.sha256 and len(pl.read_parquet(path)) == 20


def test_ids_lie_in_their_table(tmp_path: Path) -> None:
    frame = pl.DataFrame({"field": ["a"], "id": [3], "value": ["v"]}, schema=SCHEMA)
    with pytest.raises(AutoDPQError, match=r"field 'a', value 'v': id 3 is outside 0\.\.2"):
        write_vocabulary(tmp_path / "v.parquet", frame, tables_of({"a": 3}, (0,)))
    with pytest.raises(AutoDPQError, match=r"field 'a' has no table; did you mean 'A'\?"):
        write_vocabulary(tmp_path / "v.parquet", frame, tables_of({"A": 3}, (0,)))
    assert list(tmp_path.iterdir()) == []


def test_wrong_files_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    side = write_vocabulary(path, vocabulary(), TABLES)
    whole = path.read_bytes()
    contents = {"cut": whole[:-1], "altered": whole[:50] + bytes([whole[50] ^ 1]) + whole[51:], "empty": b""}
    for content in contents.values():
        path.write_bytes(content)
        with pytest.raises(AutoDPQError, match=r"v\.parquet: .*cut off or altered; copy it anew[^\n]*$"):
            Vocabulary.read(path, side, TABLES)
    path.unlink()
    with pytest.raises(AutoDPQError, match=r"v\.parquet: the vocabulary of the model is missing; [^\n]*$"):
        Vocabulary.read(path, side, TABLES)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pl.DataFrame({"a": [1]}), "its columns are not field, run and value"),
        (vocabulary().with_columns(pl.col("id") + 1), r"field 'user' has ids outside 0\.\.19"),
        (vocabulary().with_columns(value=pl.lit(None, pl.String)), "field 'user' has missing values"),
        (pl.concat([vocabulary(), vocabulary()]), "field 'user' has a value twice"),
        (None, "this is no parquet file"),
    ],
)
def test_foreign_files_are_one_line_even_where_the_digest_is_right(
    tmp_path: Path, frame: pl.DataFrame | None, words: str
) -> None:
    path = tmp_path / "v.parquet"
    path.write_bytes(b"PAR1 no") if frame is None else frame.write_parquet(path)
    with pytest.raises(AutoDPQError, match=rf"v\.parquet: .*{words}[^\n]*$"):
        Vocabulary.read(path, SideFile(path.name, file_digest(path)), TABLES)


WITH_BINS = {**SCHEMA, "at_least": pl.Float64}
BINNED = pl.DataFrame(
    {
        "field": ["a"] * 5 + ["b"],
        "id": [0, 1, 2, 3, 3, 0],
        "value": ["[1, 2)", "", "[-inf, 1)", "[3, inf)", "[2, 3)", "1.5"],
        "at_least": [1.0, None, -float("inf"), 3.0, 2.0, None],
    },
    schema=WITH_BINS,
)
BINNED_TABLES = tables_of({"a": 4, "b": 1}, (3, 0))


def test_numbers_get_the_id_of_their_bin_whatever_their_type(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    side = write_vocabulary(path, BINNED, BINNED_TABLES)
    # Bins that share the fallback are there: others end where they begin.
    assert pl.read_parquet(path).equals(BINNED.sort("field", "id", "value"))
    read = Vocabulary.read(path, side, BINNED_TABLES)
    nan, inf = float("nan"), float("inf")
    columns = [
        (pl.Series([1.0, 1.999, 0.99, -inf, 2.0, 2.5, 3.0, inf, None, nan]), [0, 0, 2, 2, -1, -1, -1, -1, 1, 1]),
        (pl.Series([1, -7, 3, None]), [0, 2, -1, 1]),
        (pl.Series([1.5, 0.5], dtype=pl.Float32), [0, 2]),
        (pl.Series(["1.5", " 0 ", "", "NA", "one", "1e0"]), [0, 2, 1, 1, -1, 0]),
        (pl.Series([None, None]), [1, 1]),
    ]
    for column, expected in columns:
        frame = pl.DataFrame({"a": column, "b": ["1.5"] * len(column)})
        assert read.look_up(frame, "x")[:, 0].tolist() == expected, column
        assert read.encode(frame, "x").tolist() == [[3 if number < 0 else number, 0] for number in expected]
    with pytest.raises(AutoDPQError, match=r"^x, column 'a': values of type List"):
        read.encode(pl.DataFrame({"a": [[1]], "b": ["1.5"]}), "x")


def test_a_missing_number_that_training_never_saw_gets_the_fallback(tmp_path: Path) -> None:
    frame = BINNED.filter(pl.col("value") != "")
    side = write_vocabulary(tmp_path / "v.parquet", frame, BINNED_TABLES)
    read = Vocabulary.read(tmp_path / "v.parquet", side, BINNED_TABLES)
    assert read.encode(pl.DataFrame({"a": [None, 1.0], "b": ["1.5", "1.50"]}), "x").tolist() == [[3, 0], [0, 0]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (pl.col("at_least").replace(-float("inf"), 0.0), "bins that do not rise from minus infinity"),
        (pl.col("at_least").replace(2.0, 3.0), "bins that do not rise from minus infinity"),
        (pl.col("at_least").replace(3.0, float("nan")), "bins that do not rise from minus infinity"),
        (pl.col("at_least").replace(2.0, None), "values that are in none"),
        (pl.col("id") + 1, r"ids outside 0\.\.3"),
        (pl.col("id").replace(2, None), "missing values"),
    ],
)
def test_bins_that_cannot_be_are_refused(tmp_path: Path, change: pl.Expr, words: str) -> None:
    path = tmp_path / "v.parquet"
    BINNED.with_columns(change).write_parquet(path)
    with pytest.raises(AutoDPQError, match=rf"v\.parquet: field 'a' has .*{words}[^\n]*$"):
        Vocabulary.read(path, SideFile(path.name, file_digest(path)), BINNED_TABLES)


@pytest.mark.parametrize("rows", [None, 6])
def test_a_data_set_of_numbers_is_encoded_as_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int | None
) -> None:
    monkeypatch.setenv("AUTODPQ_CACHE", str(tmp_path / "cache"))
    lines = [f"{n % 2},{'' if n % 9 == 0 else n * 37 % 101 / 8},{n % 7}" for n in range(500)]
    (tmp_path / "own.csv").write_text("\n".join(["click,price,city", *lines]))
    dataset = load_dataset(tmp_path / "own.csv")
    if rows is not None:
        dataset = dataset.recounted(np.arange(rows))
    assert dataset.binned == {"price": 8}
    sizes = {name: len(counts) for name, counts in zip(dataset.field_names, dataset.counts, strict=True)}
    tables = tables_of(sizes, tuple(dataset.uncounted().get(name, 0) for name in sizes))
    side = write_vocabulary(tmp_path / "v.parquet", dataset.vocabulary(), tables)
    read = Vocabulary.read(tmp_path / "v.parquet", side, tables)
    raw = pl.read_csv(tmp_path / "own.csv")
    assert raw["price"].dtype == pl.Float64
    assert np.array_equal(read.encode(raw, "x"), dataset.ids)
    assert np.array_equal(read.encode(pl.read_csv(tmp_path / "own.csv", infer_schema=False), "x"), dataset.ids)
    assert ((read.look_up(raw, "x")[:, 0] < 0).sum() > 0) == (rows is not None)


@pytest.mark.parametrize("rows", [None, 6])
def test_what_stood_for_a_missing_value_still_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int | None
) -> None:
    monkeypatch.setenv("AUTODPQ_CACHE", str(tmp_path / "cache"))
    gaps = {3: "-", 40: "NA", 41: "", 42: "-1"}
    lines = [f"{n % 2},{gaps.get(n, n * 37 % 101 / 8)},{gaps.get(n, n % 7)},{n % 5}" for n in range(500)]
    (tmp_path / "own.csv").write_text("\n".join(["click,price,city,full", *lines]))
    dataset = load_dataset(tmp_path / "own.csv", missing=["-", "NA", "-1"])
    if rows is not None:
        dataset = dataset.recounted(np.arange(rows))
    sizes = {name: len(counts) for name, counts in zip(dataset.field_names, dataset.counts, strict=True)}
    tables = tables_of(sizes, tuple(dataset.uncounted().get(name, 0) for name in sizes))
    side = write_vocabulary(tmp_path / "v.parquet", dataset.vocabulary(), tables, dataset.missing)
    hashed = hash_vocabulary(tmp_path / "v.parquet", side, tables, tmp_path / "v.safetensors")
    raw = pl.read_csv(tmp_path / "own.csv", infer_schema=False)
    absent = pl.DataFrame({"price": [-1.0, None], "city": ["NA", None], "full": ["-", None]})
    assert dataset.binned == {"price": 9}
    for one in (side, hashed):
        read = Vocabulary.read(tmp_path / one.name, one, tables)
        assert np.array_equal(read.encode(raw, "x"), dataset.ids)
        first, second = read.look_up(absent, "x").tolist()
        assert first == second and first[2] == -1 and -1 not in first[:2]


@given(st.lists(st.sampled_from(["7", "7.0", "07", "", "a", "b", "ab", "B", "é", "🙂"]), unique=True, min_size=1))
def test_runs_say_the_ids_whatever_their_order(tmp_path_factory: pytest.TempPathFactory, values: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "runs.parquet"
    one_field(values, 0, path)
    assert with_ids(path)["value"].to_list() == values
    assert pl.read_parquet(path)["value"].to_list() == sorted(values)
    rises = sum(one >= other for one, other in pairwise(values))
    assert pl.read_parquet(path)["run"].max() == rises


def test_ids_with_gaps_stay_as_they_are(tmp_path: Path) -> None:
    frame = pl.DataFrame({"field": ["a"] * 3, "id": [4, 0, 2], "value": ["x", "y", "z"]}, schema=SCHEMA)
    side = write_vocabulary(tmp_path / "v.parquet", frame, tables_of({"a": 5}, (1,)))
    assert pl.read_parquet(tmp_path / "v.parquet").rows() == [("a", 0, "y"), ("a", 2, "z"), ("a", 4, "x")]
    read = Vocabulary.read(tmp_path / "v.parquet", side, tables_of({"a": 5}, (1,)))
    assert read.look_up(pl.DataFrame({"a": ["x", "y", "z", "?"]}), "x")[:, 0].tolist() == [4, 0, 2, -1]


def test_the_file_is_a_fraction_of_what_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    counts = np.minimum(rng.zipf(1.7, 20_000), 1000)
    texts = np.array([str(number) for number in range(20_000)])
    values = texts[np.lexsort((texts, -counts))].tolist()
    one_field(values, 0, tmp_path / "v.parquet")
    frame = pl.DataFrame({"field": ["a"] * len(values), "id": range(len(values)), "value": values}, schema=SCHEMA)
    frame.write_parquet(tmp_path / "before.parquet")
    assert 4 * (tmp_path / "v.parquet").stat().st_size < (tmp_path / "before.parquet").stat().st_size


def test_a_file_of_runs_that_holds_the_same_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    write_vocabulary(path, vocabulary(), TABLES)
    again = pl.read_parquet(path)
    again.write_parquet(path, compression="uncompressed")
    before = path.read_bytes()
    write_vocabulary(path, vocabulary().sample(fraction=1, shuffle=True, seed=0), TABLES)
    assert path.read_bytes() == before
    write_vocabulary(path, vocabulary().with_columns(pl.col("value") + "!"), TABLES)
    assert path.read_bytes() != before
