from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.choices import DPQ, Choice, Full, Others
from autodpq.choices.codes import pack_words, words_size
from autodpq.choices.dpq import code_bits
from autodpq.errors import AutoDPQError
from autodpq.packed.spec import TableSpec, store_rows
from autodpq.packed.table import PackedTable


def make(choice, head: int, tail: int, ranked: bool, head_dtype: str = "float32"):  # type: ignore[no-untyped-def]
    """A table, and for every id what it should give."""
    rng = np.random.default_rng([head, tail])
    spec = TableSpec("a", head + tail, 8, head, choice, 0, ranked, True, head_dtype)
    stored = rng.normal(size=(spec.n_stored, 8)).astype(np.float32)
    arrays = store_rows(stored, head_dtype)
    head_ids = np.arange(head) if ranked else np.sort(rng.permutation(head + tail)[:head])
    if not ranked:
        arrays["head_ids"] = head_ids.astype(np.int32)
    arrays["first_order"] = rng.normal(size=spec.n_weights).astype(np.float32)
    if isinstance(choice, DPQ):
        codes = rng.integers(0, choice.K, (tail, choice.D))
        arrays["codes"], arrays["centroids"] = (
            pack_words(codes, choice.bits), rng.normal(size=(choice.K, 8)).astype(np.float32),
        )  # fmt: skip
    expected, places = [], {int(number): place for place, number in enumerate(head_ids)}
    rare = 0
    for number in range(head + tail):
        if isinstance(choice, Full):
            expected.append(stored[number])
        elif number in places:
            expected.append(stored[places[number]])
        elif isinstance(choice, Others):
            expected.append(stored[head])
        else:
            width = 8 // choice.D
            parts = [arrays["centroids"][codes[rare, d], d * width : (d + 1) * width] for d in range(choice.D)]
            expected.append(np.concatenate(parts))
            rare += 1
    return PackedTable(spec, arrays), np.array(expected), head_ids


def prepared(choice: DPQ, tail: int, dim: int) -> dict[str, np.ndarray]:
    """What look-ups read of random centroids, and of codes of all zeros."""
    arrays = {name: np.zeros(shape, dtype) for name, (dtype, shape) in choice.layout(tail, dim).items()}
    arrays["centroids"] = np.random.default_rng(0).normal(size=(choice.K, dim)).astype(np.float32)
    return {"centroids": arrays["centroids"], **choice.prepared(arrays, dim)}


CHOICES = [Full(), Others(), DPQ(2, 1), DPQ(3, 2), DPQ(17, 4), DPQ(32, 8), DPQ(300, 8)]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize(("head", "tail"), [(0, 1), (0, 30), (1, 1), (7, 1), (5, 200)])
def test_look_up_is_the_plain_loop(choice, head: int, tail: int) -> None:  # type: ignore[no-untyped-def]
    for ranked in (True,) if isinstance(choice, Full) else (True, False):
        table, expected, head_ids = make(choice, head, tail, ranked)
        last = head + tail - 1
        for ids in (np.arange(head + tail), np.array([[0, last], [last, 0]], np.uint8), np.zeros((2, 0, 3), np.int16)):
            found = table.lookup(ids)
            assert found.dtype == np.float32 and found.shape == (*ids.shape, 8)
            assert np.array_equal(found, expected[ids.astype(int)])
        weights = table.arrays["first_order"]
        if isinstance(choice, Others):
            places = [int(np.searchsorted(head_ids, i)) if i in head_ids else head for i in range(head + tail)]
            assert np.array_equal(table.first_order(np.arange(head + tail)), weights[places])
        else:
            assert np.array_equal(table.first_order(np.arange(head + tail)), weights)


@pytest.mark.parametrize(("head_dtype", "error"), [("float16", 2**-10), ("int8", 1 / 254)])
def test_smaller_rows_are_within_what_their_type_allows(head_dtype: str, error: float) -> None:
    table, _, _ = make(DPQ(3, 2), 6, 4, True, head_dtype)
    _, expected, _ = make(DPQ(3, 2), 6, 4, True)
    found = table.lookup(np.arange(10))
    largest = np.abs(expected[:6]).max(1, keepdims=True)
    assert (np.abs(found[:6] - expected[:6]) <= error * largest * 1.001).all()
    assert np.array_equal(found[6:], expected[6:]) and not np.array_equal(found[:6], expected[:6])


def test_rows_of_zeros_are_rows_of_zeros_in_eight_bits() -> None:
    stored = store_rows(np.zeros((2, 8), np.float32), "int8")
    assert not stored["rows"].any() and not stored["scales"].any()


@pytest.mark.parametrize("choice", [DPQ(2, 8), DPQ(3, 4), DPQ(32, 8), DPQ(256, 2), DPQ(5, 1)], ids=str)
@pytest.mark.parametrize("tail", [1, 50, 30_000])
def test_decoding_table_holds_every_combination(choice: DPQ, tail: int) -> None:
    arrays, bits = prepared(choice, tail, 8), code_bits(choice.K)
    centroids, width = arrays["centroids"], 8 // choice.D
    together = arrays["decoding"].shape[1] // width
    table = arrays["decoding"].reshape(choice.D // together, 1 << together * bits, together * width)
    assert arrays["offsets"].tolist() == [group * table.shape[1] for group in range(len(table))]
    assert together == 1 or table.nbytes <= words_size(tail, choice.D, bits)
    for group in range(len(table)):
        for entry in range(0, table.shape[1], 7):
            codes = [entry >> place * bits & (1 << bits) - 1 for place in range(together)]
            for place, code in enumerate(codes):
                found = table[group, entry, place * width : (place + 1) * width]
                d = group * together + place
                if code < choice.K:
                    assert np.array_equal(found, centroids[code, d * width : (d + 1) * width])
                else:
                    assert np.isnan(found).all()


@st.composite
def looked_up(draw: st.DrawFn) -> tuple[Choice, int, int, bool, np.ndarray]:
    choice = draw(
        st.just(Full()) | st.just(Others()) | st.builds(DPQ, st.integers(2, 300), st.sampled_from([1, 2, 4, 8]))
    )
    head, tail = draw(st.integers(0, 20)), draw(st.integers(1, 60))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    dtype = draw(st.sampled_from(["i1", "u1", "<i2", ">i4", "<u4", "<i8", "<u8"]))
    count = int(np.prod(shape))
    ids = draw(st.lists(st.integers(0, head + tail - 1), min_size=count, max_size=count))
    return choice, head, tail, draw(st.booleans()), np.array(ids, dtype).reshape(shape)


@given(looked_up())
def test_any_ids_of_any_table(case: tuple[Choice, int, int, bool, np.ndarray]) -> None:
    choice, head, tail, ranked, ids = case
    table, expected, _ = make(choice, head, tail, ranked or isinstance(choice, Full))
    found, before = table.lookup(ids), ids.copy()
    assert found.shape == (*ids.shape, 8) and found.dtype == np.float32
    assert np.array_equal(found, expected[ids.astype(np.int64)])
    assert table.first_order(ids).shape == ids.shape and table.first_order(ids).dtype == np.float32
    assert np.array_equal(ids, before)


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize("wrong", [-1, 12, np.iinfo(np.int64).min, np.iinfo(np.int64).max, 1 << 63])
def test_ids_outside_are_refused_by_their_number(choice: Choice, wrong: int) -> None:
    table, _, _ = make(choice, 5, 7, True)
    ids = np.array([[0, wrong]], np.uint64 if wrong >= 1 << 63 else np.int64)
    for look_up in (table.lookup, table.first_order):
        with pytest.raises(AutoDPQError, match=rf"table 'a': id {wrong} given, 0\.\.11 are possible"):
            look_up(ids)


@pytest.mark.parametrize("head_dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_arrays_may_be_read_only_and_lie_at_any_byte(choice: Choice, head_dtype: str) -> None:
    table, _, _ = make(choice, 3, 2, True, head_dtype)
    moved = {}
    for part, array in table.arrays.items():
        memory = np.zeros(array.nbytes + 1, np.uint8)
        memory[1:] = np.frombuffer(array.tobytes(), np.uint8)
        memory.flags.writeable = False
        moved[part] = memory[1:].view(array.dtype).reshape(array.shape)
    ids = np.arange(5)
    assert np.array_equal(PackedTable(table.spec, moved).lookup(ids), table.lookup(ids))
    found = PackedTable(table.spec, moved).lookup(ids)
    found += 1  # is the caller's own
    assert np.array_equal(PackedTable(table.spec, moved).lookup(ids) + 1, found)


@pytest.mark.parametrize("choice", [Others(), DPQ(3, 2)], ids=str)
@pytest.mark.parametrize("head_ids", [[5, 3], [3, 3], [-1, 3], [3, 9], [0, -(1 << 31)], [8, 1 << 30]])
def test_listed_ids_that_do_not_rise_within_the_table_are_refused(choice: Choice, head_ids: list[int]) -> None:
    table, _, _ = make(choice, 2, 7, False)
    with pytest.raises(AutoDPQError, match=r"table 'a': its head_ids do not rise within 0\.\.8"):
        PackedTable(table.spec, {**table.arrays, "head_ids": np.array(head_ids, np.int32)})


def test_arrays_of_another_kind_are_refused() -> None:
    table, _, _ = make(DPQ(3, 2), 4, 7, True)
    arrays: dict[str, np.ndarray] = table.arrays
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"rows": arrays["rows"].astype(np.float64)}, r"its rows are float64 \[4, 8\], float32 \[4, 8\] are needed"),
        ({"codes": arrays["codes"][:-1]}, "its codes are uint8"),
        ({"centroids": arrays["centroids"][:2]}, r"its centroids are float32 \[2, 8\]"),
        ({"scales": np.zeros(4, np.float32)}, "there is no place for its scales"),
    ]
    for change, message in wrong:
        with pytest.raises(AutoDPQError, match=f"table 'a': {message}"):
            PackedTable(table.spec, {**arrays, **change})
    with pytest.raises(AutoDPQError, match="table 'a': its first_order are missing"):
        PackedTable(table.spec, {part: array for part, array in arrays.items() if part != "first_order"})


def test_memory_is_the_arrays_and_the_decoding_table() -> None:
    table, _, _ = make(DPQ(3, 2), 4, 7, True)
    stored = 4 * (4 * 8 + 3 * 8 + 11) + words_size(7, 2, 2)
    read = prepared(DPQ(3, 2), 7, 8)
    assert read["decoding"].nbytes == 4 * 2 * 4 * 4 and read["offsets"].nbytes == 8 * 2
    assert table.resident_bytes == stored + read["decoding"].nbytes + read["offsets"].nbytes
    others, _, _ = make(Others(), 4, 7, False)
    assert others.resident_bytes == 4 * (5 * 8 + 5 + 4)


@given(st.integers(2, 300) | st.integers(2, 5000), st.integers(0, 5), st.integers(1, 10**6))
def test_together_are_as_many_subspaces_as_the_cache_and_the_codes_allow(K: int, power: int, tail: int) -> None:
    D = 1 << power
    bits, codes = code_bits(K), words_size(tail, D, code_bits(K))
    together = prepared(DPQ(K, D), tail, 32)["decoding"].shape[1] // (32 // D)

    def fits(n: int) -> bool:
        return D % n == 0 and n * bits <= 11 and (1 << n * bits) * 32 * 4 <= codes

    assert D % together == 0 and (together == 1 or fits(together))
    assert not any(fits(n) for n in range(together + 1, D + 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_rows": 0}, "impossible"), ({"n_rows": 1 << 31}, "impossible"), ({"dim": 0}, "impossible"),
        ({"dim": 1 << 15}, "impossible"), ({"head": -1}, "impossible"), ({"head": 10}, "impossible"),
        ({"fallback": 9}, "id 9 for values never seen is outside 0..8"), ({"fallback": -1}, "id -1 for values never"),
        ({"head_dtype": "float64"}, "'float64' given, one of float32, float16, int8 is needed"),
        ({"choice": DPQ(3, 3)}, "D=3 does not divide the embedding dimension 8"),
        ({"head": 9}, "every id has a row of its own"), ({"choice": Full(), "ranked": False}, "no id is listed"),
    ],
)  # fmt: skip
def test_impossible_tables_are_refused(change: dict[str, Any], message: str) -> None:
    spec = TableSpec("a", 9, 8, 2, DPQ(3, 2), 0)
    with pytest.raises(AutoDPQError, match=f"table 'a': .*{message}"):
        dataclasses.replace(spec, **change)


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=4, max_size=4), min_size=1, max_size=5))
def test_eight_bits_are_within_half_a_step_of_each_row(rows: list[list[float]]) -> None:
    values = np.array(rows, np.float32)
    values[np.abs(values) < 1e-30] = 0  # a scale must not be smaller than float32 has it in full
    stored = store_rows(values, "int8")
    found = stored["rows"] * stored["scales"][:, None]
    assert (np.abs(found - values) <= np.abs(values).max(1, keepdims=True) / 254 * 1.0001).all()


def test_numbers_too_large_for_sixteen_bits_are_refused() -> None:
    rows = np.array([[1.0, -70_000.0]], np.float32)
    with pytest.raises(AutoDPQError, match="beyond 65504"):
        store_rows(rows, "float16")
    assert np.allclose(store_rows(rows, "int8")["rows"], [[0, -127]], atol=2)
