"""Vocabularies of hashes: the ids are those of the texts that they are of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.packed_models import WORDS, random_ids, values_of, write_model

import autodpq
from autodpq.choices import DPQ
from autodpq.data.digest import file_digest
from autodpq.data.values import canonical_text
from autodpq.data.xxh64 import xxh64
from autodpq.errors import AutoDPQError
from autodpq.packed.file import map_arrays, open_packed, write_arrays, write_packed
from autodpq.packed.manifest import HASH, SideFile
from autodpq.packed.spec import TableSpec
from autodpq.packed.vocabulary import hashes
from autodpq.packed.vocabulary.hashes import Hashes
from autodpq.packed.vocabulary.lookup import Vocabulary
from autodpq.packed.vocabulary.side_file import hash_vocabulary, write_vocabulary
from autodpq.packed.vocabulary.words import Words
from autodpq.serving import open_model

pytestmark = pytest.mark.filterwarnings("ignore:.*never seen in training")
SCHEMA = {"field": pl.String, "id": pl.Int32, "value": pl.String}
RAW = ["7", "7.0", "07", "True", "true", "", "NaN", "2024-05-31 00:00:00", "2024-05-31", "1.10", "🙂", "x" * 70]
texts = st.sampled_from(RAW) | st.text(max_size=12)


def table_of(n_rows: int, fallback: int = 0) -> TableSpec:
    return TableSpec("a", n_rows, 16, 0, DPQ(4, 2), fallback)


def both(values: list[str], folder: Path) -> tuple[Vocabulary, Vocabulary]:
    """A vocabulary of texts, and that of their hashes."""
    tables = [table_of(max(len(values), 1))]
    frame = pl.DataFrame({"field": ["a"] * len(values), "id": range(len(values)), "value": values}, schema=SCHEMA)
    side = write_vocabulary(folder / "v.parquet", frame, tables)
    hashed = hash_vocabulary(folder / "v.parquet", side, tables, folder / "v.safetensors")
    assert hashed.hash == HASH
    return tuple(Vocabulary.read(folder / one.name, one, tables) for one in (side, hashed))  # type: ignore[return-value]


@given(st.lists(texts, unique=True, max_size=40), st.lists(texts, max_size=20), st.data())
def test_hashes_give_the_ids_of_texts(values: list[str], others: list[str], data: st.DataObject) -> None:
    table = table_of(max(len(values), 1))
    frame = pl.DataFrame({"id": range(len(values)), "value": values}, {"id": pl.Int32, "value": pl.String})
    of_texts = Words.of(frame, table)
    written = Hashes.of(of_texts, table)
    of_hashes = Hashes.stored(**written.arrays, table=table)
    seen = data.draw(st.lists(st.sampled_from(values), max_size=20)) if values else []
    asked = pl.Series("a", [*seen, *others, *map(canonical_text, seen)], pl.String)
    found = of_hashes.look_up(asked, "x")
    assert found.dtype == np.int32 and found.tolist() == of_texts.look_up(asked, "x").tolist()
    assert found[: len(seen)].tolist() == [values.index(value) for value in seen]
    numbers = pl.Series("a", [7.0, None, 1.0])
    assert of_hashes.look_up(numbers, "x").tolist() == of_texts.look_up(numbers, "x").tolist()


def test_thousands_are_found_and_others_are_not(tmp_path: Path) -> None:
    values = [f"value {number}" for number in range(5000)]
    _, of_hashes = both(values, tmp_path)
    order = np.random.default_rng(0).permutation(5000)
    frame = pl.DataFrame({"a": [values[number] for number in order]})
    assert np.array_equal(of_hashes.look_up(frame, "x")[:, 0], order)
    never = pl.DataFrame({"a": [f"value {number}" for number in range(5000, 50_000)]})
    assert (of_hashes.look_up(never, "x") == -1).all()
    assert (tmp_path / "v.safetensors").stat().st_size < 5000 * (4 + 13 / 8 + 1) + 400


def test_the_upper_bits_say_the_bucket_and_the_32_behind_them_are_stored(tmp_path: Path) -> None:
    values = [f"value {number}" for number in range(100)]
    both(values, tmp_path)
    text, arrays, _ = map_arrays(tmp_path / "v.safetensors")
    assert json.loads(text) == {"hash": "xxh64"} and set(arrays) == {"a.starts", "a.rests", "a.ids"}
    starts, rests = arrays["a.starts"], arrays["a.rests"]
    bits = (len(starts) - 1).bit_length() - 1
    assert 2**bits == len(starts) - 1 and len(values) <= 8 * 2**bits
    buckets = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    stored = [int(bucket) << 32 | int(rest) for bucket, rest in zip(buckets, rests, strict=True)]
    assert stored == sorted(number >> 32 - bits for number in xxh64(pl.Series(values)).tolist())


@pytest.mark.parametrize("shared", [33, 40])
def test_texts_whose_hashes_begin_alike_are_told_apart(monkeypatch: pytest.MonkeyPatch, shared: int) -> None:
    known = {"x": 5 << 60, "y": 5 << 60 | 1 << 63 - shared, "z": 1}
    monkeypatch.setattr(hashes, "xxh64", lambda texts: np.array([known[text] for text in texts], np.uint64))
    words = Words.of(pl.DataFrame({"id": pl.Series([2, 0, 1], dtype=pl.Int32), "value": ["x", "y", "z"]}), table_of(3))
    found = Hashes.of(words, table_of(3))
    assert found.find(pl.Series(["x", "y", "z"])).tolist() == [2, 0, 1]
    known["y"] = known["x"]
    with pytest.raises(AutoDPQError, match="has two values of one hash; export it with its texts"):
        Hashes.of(words, table_of(3))


BINNED = pl.DataFrame(
    {
        "field": ["a"] * 5,
        "id": [0, 1, 2, 3, 3],
        "value": ["[1, 2)", "", "[-inf, 1)", "[3, inf)", "[2, 3)"],
        "at_least": [1.0, None, -float("inf"), 3.0, 2.0],
    },
    schema={**SCHEMA, "at_least": pl.Float64},
)


@pytest.mark.parametrize("missing", [True, False])
def test_bins_stay_bins(tmp_path: Path, missing: bool) -> None:
    tables = [table_of(4, 3)]
    frame = BINNED if missing else BINNED.filter(pl.col("value") != "")
    side = write_vocabulary(tmp_path / "v.parquet", frame, tables)
    hashed = hash_vocabulary(tmp_path / "v.parquet", side, tables, tmp_path / "v.safetensors")
    asked = pl.DataFrame({"a": ["1.5", "0", "", "2", "7", "one", "NA"]})
    found = [
        Vocabulary.read(tmp_path / one.name, one, tables).look_up(asked, "x")[:, 0].tolist() for one in (side, hashed)
    ]
    assert found[0] == found[1] == [0, 2, 1 if missing else -1, -1, -1, -1, 1 if missing else -1]


def test_an_exported_model_with_hashes_scores_as_with_texts(tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors")
    packed = autodpq.export(tmp_path / "m.safetensors", tmp_path / "h.safetensors", hashed_vocabulary=True)
    assert packed.manifest.format == 4
    assert packed.manifest.vocabulary == SideFile(
        "h.vocabulary.safetensors", file_digest(tmp_path / "h.vocabulary.safetensors"), HASH
    )
    values = values_of(random_ids(300)).with_columns(user=pl.Series([f"{7 * (n % 40)}.0" for n in range(300)]))
    of_texts, of_hashes = (open_model(tmp_path / f"{name}.safetensors") for name in "mh")
    assert np.array_equal(of_texts.predict(values), of_hashes.predict(values))
    held = b"".join(path.read_bytes() for path in tmp_path.glob("h.*"))
    assert not any(word.encode() in held for word in WORDS["shop"][:10])


def test_hashes_are_exported_as_they_are_and_never_as_texts(tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors")
    autodpq.export(tmp_path / "m.safetensors", tmp_path / "h.safetensors", hashed_vocabulary=True)
    again = autodpq.export(
        tmp_path / "h.safetensors", tmp_path / "i.safetensors", head_dtype="float16", hashed_vocabulary=True
    )
    assert again.manifest.vocabulary is not None and again.manifest.vocabulary.name == "i.vocabulary.safetensors"
    ids = random_ids(50)
    assert np.array_equal(open_model(tmp_path / "i.safetensors").vocabulary.encode(values_of(ids), "x"), ids)
    with pytest.raises(AutoDPQError, match=r"h\.vocabulary\.safetensors: it holds hashes, and values cannot be had"):
        autodpq.export(tmp_path / "h.safetensors", tmp_path / "j.safetensors")


def test_what_has_no_vocabulary_has_none_to_hash(tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors")
    packed = open_packed(tmp_path / "m.safetensors")
    tables = {table.spec.name: table.arrays for table in packed.tables}
    write_packed(tmp_path / "w.safetensors", replace(packed.manifest, vocabulary=None), tables, packed.dense)
    with pytest.raises(AutoDPQError, match="hashed_vocabulary: it has no vocabulary; leave it out"):
        autodpq.export(tmp_path / "w.safetensors", tmp_path / "x.safetensors", hashed_vocabulary=True)


def test_wrong_files_are_one_line(tmp_path: Path) -> None:
    both([f"v{number}" for number in range(40)], tmp_path)
    path = tmp_path / "v.safetensors"
    _, arrays, _ = map_arrays(path)
    sound = {name: np.array(array) for name, array in arrays.items()}

    def refused(match: str, **changed: np.ndarray | None) -> None:
        parts = {**sound, **{f"a.{name}": array for name, array in changed.items()}}
        write_arrays(path, lambda: "{}", {name: array for name, array in parts.items() if array is not None})
        with pytest.raises(AutoDPQError, match=rf"^[^\n]*v\.safetensors: field 'a' has {match}; copy it anew[^\n]*$"):
            Vocabulary.read(path, SideFile(path.name, file_digest(path), HASH), [table_of(40)])

    stored = "hashes that are not stored as they should be"
    refused("no hashes", rests=None)
    refused(stored, rests=sound["a.rests"][:-1])
    refused(stored, rests=sound["a.rests"].astype(np.int32))
    refused(stored, ids=sound["a.ids"][:-1])
    refused(stored, starts=sound["a.starts"][:-1])
    refused(stored, starts=sound["a.starts"][::-1].copy())
    refused(r"ids outside 0\.\.39", ids=np.full_like(sound["a.ids"], 255))
    bins = "bins that do not rise from minus infinity"
    for edges in ([0.0, 1.0], [-np.inf, -np.inf], [-np.inf, np.nan]):
        refused(bins, starts=None, rests=None, edges=np.array(edges), ids=np.zeros(3, np.int32))
    refused(bins, starts=None, rests=None, edges=np.array([-np.inf]), ids=np.zeros(3, np.int32))
    refused(r"ids outside 0\.\.39", starts=None, rests=None, edges=np.array([-np.inf]), ids=np.array([0, 40], np.int32))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AutoDPQError, match=r"v\.safetensors: .*cut off or altered"):
        Vocabulary.read(path, SideFile(path.name, "00", HASH), [table_of(40)])
