from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autodpq.ledger import code_bits, field_ledger
from autodpq.packed.codes import pack_codes, packed_size, unpack_codes
from autodpq.packed.table import PackedTable, TableSpec, decoding_table, n_together, store_rows
from autodpq.plan import DPQ, CompressionPlan, Field, Full, Others


def bits_of(codes: np.ndarray, K: int) -> list[int]:
    """The stream of bits, one at a time."""
    return [int(code) >> bit & 1 for row in codes for code in row for bit in range(code_bits(K))]


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 300) | st.integers(2, 1 << 20), st.integers(1, 20), st.integers(0, 60), st.randoms())
def test_packing_is_a_stream_of_bits_and_unpacking_its_inverse(K: int, D: int, n_rows: int, random) -> None:  # type: ignore[no-untyped-def]
    codes = np.array([[random.randrange(K) for _ in range(D)] for _ in range(n_rows)], np.int64).reshape(n_rows, D)
    packed = pack_codes(codes, K)
    bits = bits_of(codes, K)
    assert len(packed) == packed_size(n_rows, K, D) == -(-len(bits) // 8)
    bits += [0] * (-len(bits) % 8)
    assert packed.tolist() == [sum(bits[i + k] << k for k in range(8)) for i in range(0, len(bits), 8)]
    assert np.array_equal(unpack_codes(packed, n_rows, K, D), codes)
    rows = np.array([random.randrange(n_rows) for _ in range(9)] if n_rows else [], np.int32)
    assert np.array_equal(unpack_codes(packed, n_rows, K, D, rows), codes[rows])


def test_every_number_of_centroids_and_every_divisor() -> None:
    rng = np.random.default_rng(0)
    for K in range(2, 257):
        for D in (1, 2, 4, 8, 16):
            codes = rng.integers(0, K, (21, D))
            codes[0], codes[1] = 0, K - 1
            assert np.array_equal(unpack_codes(pack_codes(codes, K), 21, K, D), codes)


def test_chunks_meet_without_a_gap() -> None:
    codes = np.random.default_rng(1).integers(0, 5, (2 * 65536 + 11, 3)).astype(np.uint8)
    assert np.array_equal(unpack_codes(pack_codes(codes, 5), len(codes), 5, 3), codes)


def test_the_paper_s_data_set_takes_the_bytes_that_the_ledger_says() -> None:
    assert packed_size(2850, 32, 8) == 14_250
    cost = field_ledger(Field("a", 3000, 150), CompressionPlan({"a": DPQ(32, 8)}), 16)
    assert cost.bits == 8 * (150 * 64 + 14_250 + 32 * 64)


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
            pack_codes(codes, choice.K), rng.normal(size=(choice.K, 8)).astype(np.float32),
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
    spec = TableSpec("a", tail, 8, 0, choice, 0)
    centroids = np.random.default_rng(0).normal(size=(choice.K, 8)).astype(np.float32)
    table, together, bits = decoding_table(centroids, spec), n_together(spec), code_bits(choice.K)
    width = 8 // choice.D
    assert table.shape == (choice.D // together, 1 << together * bits, together * width)
    assert together == 1 or table.nbytes <= packed_size(tail, choice.K, choice.D)
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
