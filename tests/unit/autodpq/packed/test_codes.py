from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autodpq.choices import DPQ
from autodpq.choices.codes import pack_codes, packed_size, unpack_codes
from autodpq.choices.dpq import code_bits
from autodpq.costs import field_ledger
from autodpq.plan import CompressionPlan, Field


def bits_of(codes: np.ndarray, K: int) -> list[int]:
    """The stream of bits, one at a time."""
    return [int(code) >> bit & 1 for row in codes for code in row for bit in range(code_bits(K))]


@settings(max_examples=200)
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


@settings(max_examples=100)
@given(st.integers(2, 300), st.integers(0, 6), st.integers(0, 200), st.integers(0, 50))
def test_packed_size_is_the_ledger_s(K: int, power: int, tail: int, head: int) -> None:
    D = 1 << power
    cost = field_ledger(Field("a", head + tail, head), CompressionPlan({"a": DPQ(K, D)}), 64)
    floats = 64 * (head + K * (tail > 0))
    assert packed_size(tail, K, D) == -(-(cost.bits - 32 * floats) // 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_codes_and_rows_of_any_integer_type(dtype: type[np.integer]) -> None:
    codes = np.array([[0, 4, 2], [3, 1, 4]], dtype)
    packed = pack_codes(codes, 5)
    assert np.array_equal(unpack_codes(packed, 2, 5, 3, np.array([1, 0, 1], dtype)), codes[[1, 0, 1]])


@pytest.mark.parametrize("offset", range(9))
def test_codes_are_read_wherever_they_lie_in_memory(offset: int) -> None:
    codes = np.random.default_rng(2).integers(0, 37, (12, 7))
    packed = pack_codes(codes, 37)
    memory = np.full(len(packed) + 20, 255, np.uint8)
    memory[offset : offset + len(packed)] = packed
    memory.flags.writeable = False
    for n_rows in (0, 1, 2, 12):  # one row is fewer bytes than a word
        part = memory[offset : offset + packed_size(n_rows, 37, 7)]
        assert np.array_equal(unpack_codes(part, n_rows, 37, 7), codes[:n_rows])
