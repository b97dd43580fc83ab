from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.calibration import Calibration
from autodpq.choices import DPQ, Full, Others
from autodpq.errors import AutoDPQError
from autodpq.packed.manifest import BAGS_FORMAT, FORMAT, HASH, HASHED_FORMAT, Manifest, ModelSpec, SideFile, strict_json
from autodpq.packed.spec import HEAD_DTYPES, BandedSpec, TableSpec

MANIFEST = Manifest(
    "network",
    (TableSpec("user", 20, 8, 4, DPQ(5, 4), 7, first_order=True), TableSpec("city", 6, 8, 6, Full(), 0)),
    ModelSpec("deepfm", (16, 8)),
    SideFile("a.vocabulary.parquet", "00"),
    "0.1.0",
    {"seed": 0},
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def specs(draw: st.DrawFn) -> TableSpec:
    dim = draw(st.integers(1, 64))
    divisors = [D for D in range(1, dim + 1) if dim % D == 0]
    dpq = st.builds(DPQ, st.integers(2, 1 << 24), st.sampled_from(divisors))
    choice = draw(st.just(Full()) | st.just(Others()) | dpq)
    n_rows = draw(st.integers(1, (1 << 31) - 1))
    is_full = isinstance(choice, Full)
    head = draw(st.integers(0, n_rows if is_full else n_rows - 1))
    fallback, ranked = draw(st.integers(0, n_rows - 1)), is_full or draw(st.booleans())
    head_dtype = draw(st.sampled_from(list(HEAD_DTYPES)))
    return TableSpec(draw(texts), n_rows, dim, head, choice, fallback, ranked, draw(st.booleans()), head_dtype)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    tables = draw(st.lists(specs(), min_size=1, max_size=4, unique_by=lambda spec: spec.name))
    widths = st.lists(st.integers(1, 1 << 20), max_size=3).map(tuple)
    model = draw(st.none() | st.builds(ModelSpec, texts, widths))
    names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0"), min_size=1, max_size=8)
    hashed = st.none() if model is None else st.sampled_from([None, HASH])
    side = draw(st.none() | st.builds(SideFile, names.filter(lambda name: name not in (".", "..")), texts, hashed))
    kind: Any = "modules" if model is None else "network"
    fitted = st.builds(Calibration, st.floats(1e-30, 1e30), st.floats(-1e30, 1e30))
    calibration = None if model is None else draw(st.none() | fitted)
    about = draw(st.dictionaries(texts, values, max_size=4))
    return Manifest(kind, tuple(tables), model, side, draw(texts), about, calibration)


@given(manifests())
def test_what_is_written_is_read(manifest: Manifest) -> None:
    text = manifest.to_json()
    assert Manifest.from_json(text) == manifest
    assert Manifest.from_json(text).to_json() == text
    assert "\n" not in text


def changed(**changes: Any) -> str:
    return json.dumps({**json.loads(MANIFEST.to_json()), **changes})


def changed_table(**changes: Any) -> str:
    tables = json.loads(MANIFEST.to_json())["tables"]
    return changed(tables=[{**tables[0], **changes}, *tables[1:]])


def refused(text: str) -> str:
    with pytest.raises(AutoDPQError) as error:
        Manifest.from_json(text)
    message = str(error.value)
    assert message and "\n" not in message
    return message


WRONG: dict[str, list[Any]] = {
    "kind": [None, 1, "pickle", ["network"], {}, "modules"],
    "tables": [None, [], {}, "tables", [1], [None], [{}], json.loads(changed())["tables"][:1] * 2],
    "model": [None, 1, [], "deepfm", {}, {"name": "deepfm"}, {"name": 3, "hidden": [1]}, {"name": "a", "hidden": "16"},
              {"name": "a", "hidden": [0]}, {"name": "a", "hidden": [1.0]}, {"name": "a", "hidden": [True]},
              {"name": "a", "hidden": [[1]]}, {"name": "a", "hidden": [1], "more": 1}],
    "vocabulary": [1, [], "a.parquet", {}, {"name": "a"}, {"name": 3, "sha256": ""}, {"name": "a", "sha256": None},
                   *({"name": name, "sha256": ""} for name in ("", ".", "..", "../a", "/a", "a/", "a\\b", "a\0b"))],
    "version": [None, 1, [], {}],
    "about": [None, 1, [], "text"],
    "format": [None, 0, 2, 10**400, -1, 1.0, True, "1", [1], {}],
}  # fmt: skip


@pytest.mark.parametrize(("entry", "value"), [(entry, value) for entry, wrong in WRONG.items() for value in wrong])
def test_every_wrong_entry_is_refused(entry: str, value: Any) -> None:
    refused(changed(**{entry: value}))


WRONG_IN_TABLE: dict[str, list[Any]] = {
    "name": [None, 1, [], "city"],
    "n_rows": [None, True, "20", 20.0, 0, -1, 1 << 31, 10**400],
    "dim": [None, False, "8", 8.0, 0, -8, 1 << 15, 6],
    "head": [None, True, "4", 4.0, -1, 20, 21],
    "choice": [None, 5, [], "", "dpq", "dpq(5)", "dpq(1,4)", "dpq(5,0)", "dpq(5,3)", "dpq(-5,4)", "dpq(99999999,4)",
               f"dpq({'9' * 5000},4)", "__import__('os').abort()", "Full"],
    "fallback": [None, True, "7", 7.0, -1, 20],
    "ranked": [None, 1, "true"],
    "first_order": [None, 0, "true"],
    "head_dtype": [None, 1, "", "float64", "object", ">f4"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "value"), [(entry, value) for entry, wrong in WRONG_IN_TABLE.items() for value in wrong]
)
def test_every_wrong_entry_of_a_table_is_refused(entry: str, value: Any) -> None:
    refused(changed_table(**{entry: value}))


@pytest.mark.parametrize("entry", json.loads(MANIFEST.to_json()))
def test_every_entry_is_needed(entry: str) -> None:
    values = json.loads(MANIFEST.to_json())
    del values[entry]
    refused(json.dumps(values))


@pytest.mark.parametrize("entry", json.loads(MANIFEST.to_json())["tables"][0])
def test_every_entry_of_a_table_is_needed(entry: str) -> None:
    values = json.loads(MANIFEST.to_json())
    del values["tables"][0][entry]
    assert "choice, dim, fallback" in refused(json.dumps(values))


CALIBRATED = dataclasses.replace(MANIFEST, calibration=Calibration(0.5, -1.0))


def test_a_calibration_is_of_a_format_that_earlier_readers_refuse() -> None:
    assert (MANIFEST.format, CALIBRATED.format) == (1, 2)
    assert "calibration" not in MANIFEST.to_json(), "files without are the same bytes as before"
    before, after = json.loads(MANIFEST.to_json()), json.loads(CALIBRATED.to_json())
    assert after == {**before, "calibration": {"scale": 0.5, "shift": -1.0}, "format": 2}
    assert list(before)[-1] == "format", "where it always stood"


NO_CALIBRATION = [None, 1, [], "0.5", {}, {"scale": 0.5}, {"scale": 0.5, "shift": 0.0, "more": 1}]
NO_CALIBRATION += [
    {"scale": scale, "shift": shift}
    for scale, shift in ((0.0, 0.0), (-1.0, 0.0), (1e-40, 0.0), (1e39, 0.0), (1, 0.0), (True, 0.0), ("1", 0.0),
                         (1.0, 1e39), (1.0, 0), (1.0, None), (1.0, [0.0]))
]  # fmt: skip


@pytest.mark.parametrize("value", NO_CALIBRATION)
def test_a_wrong_calibration_is_refused(value: Any) -> None:
    refused(json.dumps({**json.loads(CALIBRATED.to_json()), "calibration": value}))


def test_a_calibration_where_none_can_be_is_refused() -> None:
    values = json.loads(CALIBRATED.to_json())
    assert "the manifest in its manifest has not the entries" in refused(json.dumps({**values, "format": 1}))
    assert "the manifest in its manifest has not the entries" in refused(changed(format=2))
    modules = {**values, "kind": "modules", "model": None}
    assert "a calibration of logits, and no network" in refused(json.dumps(modules))


BANDED = BandedSpec("user", 8, ((3, Full()), (5, DPQ(4, 2)), (9, Others())), 11, True)
BANDS = dataclasses.replace(MANIFEST, tables=(BANDED, dataclasses.replace(BANDED, name="item", first_order=False)))


@pytest.mark.parametrize("calibration", [None, Calibration(0.5, -1.0)])
def test_tables_of_bands_are_of_a_format_of_their_own(calibration: Calibration | None) -> None:
    manifest = dataclasses.replace(BANDS, calibration=calibration)
    values = json.loads(manifest.to_json())
    assert values["format"] == 3 and Manifest.from_json(manifest.to_json()) == manifest
    entry = {"name": "user", "dim": 8, "bands": [[3, "full"], [5, "dpq(4,2)"], [9, "others"]], "fallback": 11}
    assert values["tables"][0] == {**entry, "first_order": True, "ranked": True}


WRONG_IN_BANDS: dict[str, list[Any]] = {
    "name": [None, 1, "item"],
    "dim": [None, 0, True, "8", 7],
    "bands": [None, [], {}, [[3]], [[3, "full", 1]], [["3", "full"]], [[True, "full"]], [[-1, "full"]], [[0, "full"]],
              [[3, 5]], [[3, "dpq(4)"]], [[3, "nothing"]], [[3, "full"]]],
    "fallback": [None, -1, 17, True, "1"],
    "first_order": [None, 0, "true"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "value"), [(entry, value) for entry, wrong in WRONG_IN_BANDS.items() for value in wrong]
)
def test_every_wrong_entry_of_a_table_of_bands_is_refused(entry: str, value: Any) -> None:
    values = json.loads(BANDS.to_json())
    values["tables"][0][entry] = value
    refused(json.dumps(values))


def test_tables_of_bands_may_have_ids_in_any_order() -> None:
    manifest = dataclasses.replace(BANDS, tables=(dataclasses.replace(BANDED, ranked=False), *BANDS.tables[1:]))
    values = json.loads(manifest.to_json())
    assert values["format"] == 3 and Manifest.from_json(manifest.to_json()) == manifest
    assert [table["ranked"] for table in values["tables"]] == [False, True]
    for wrong in (None, 0, "false"):
        changed_one = {**values["tables"][0], "ranked": wrong}
        refused(json.dumps({**values, "tables": [changed_one, *values["tables"][1:]]}))
    one_band = {**values["tables"][0], "bands": [[17, "full"]]}
    assert "of one band, ids are ranked" in refused(json.dumps({**values, "tables": [one_band]}))


def test_tables_with_and_without_bands_do_not_mix() -> None:
    values = json.loads(BANDS.to_json())
    values["tables"].append(json.loads(MANIFEST.to_json())["tables"][0])
    refused(json.dumps(values))
    refused(json.dumps({**json.loads(BANDS.to_json()), "format": 2}))


def test_entries_that_nobody_knows_are_refused() -> None:
    refused(changed(more=1))
    refused(changed_table(more=1))


@pytest.mark.parametrize("format", [0, BAGS_FORMAT + 1, 99])
def test_an_unknown_format_says_what_to_do(format: int) -> None:
    # A later format may have other entries: the format is told before they are missed.
    message = refused(json.dumps({"format": format, "tables": "elsewhere"}))
    assert f"it is of format {format}, this version reads formats {FORMAT} to {BAGS_FORMAT}" in message
    assert "install the autodpq that wrote it, or export it anew" in message


NO_STRICT_JSON = [
    "", "{", "[1,]", "{'a': 1}", "{}{}", "\ufeff{}",
    "NaN", '{"a": NaN}', "[Infinity]", "[-Infinity]", "[1e999]", "[-1e999]",
    '{"a": 1, "a": 1}', '[{"b": {"a": 1, "a": 2}}]',
    '"\\ud800"', '{"\\udfff": 1}', '["\\ude00\\ud83d"]', '"\ud800"',
    "[" + "9" * 5000 + "]",
]  # fmt: skip


@pytest.mark.parametrize(
    "text", NO_STRICT_JSON, ids=lambda text: text[:20].encode("ascii", "backslashreplace").decode()
)
def test_json_that_others_read_otherwise_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        strict_json(text)
    assert "\n" not in str(error.value)
    refused(text)
    refused(changed(about={"place": 1}).replace("1}", f"{text}}}" if text else "}"))


@pytest.mark.parametrize("deep", ["[" * 200_000, '{"a":' * 200_000, "[" * 200_000 + "]" * 200_000])
def test_deep_json_is_refused(deep: str) -> None:
    assert "not valid JSON" in refused(deep)


HASHED_SIDE = SideFile("a.vocabulary.safetensors", "00", HASH)


@pytest.mark.parametrize("tables", [MANIFEST.tables, (BANDED,)])
@pytest.mark.parametrize("calibration", [None, Calibration(2.0, -1.0)])
def test_hashes_are_a_format_of_their_own_whatever_else_there_is(tables: Any, calibration: Calibration | None) -> None:
    manifest = dataclasses.replace(MANIFEST, tables=tables, calibration=calibration, vocabulary=HASHED_SIDE)
    written = json.loads(manifest.to_json())
    assert written["format"] == HASHED_FORMAT == 4 and written["vocabulary"]["hash"] == "xxh64"
    assert Manifest.from_json(manifest.to_json()) == manifest
    for wrong in (None, "blake2", 1, ["xxh64"]):
        refused(json.dumps({**written, "vocabulary": {**written["vocabulary"], "hash": wrong}}))
    refused(json.dumps({**written, "vocabulary": None}))
    refused(json.dumps({**written, "vocabulary": {"name": "a", "sha256": "00"}}))
    refused(changed(vocabulary=written["vocabulary"]))  # of format 1, which has no such entry


def test_letters_of_two_halves_are_letters() -> None:
    assert strict_json('["\\ud83d\\ude42", "🙂"]') == ["🙂", "🙂"]
