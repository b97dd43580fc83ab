from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autodpq.choices import DPQ
from autodpq.choices.codes import WORD_BITS, n_at_once, pack_words, read_words, words_size
from autodpq.choices.dpq import code_bits
from autodpq.costs import band_ledgers
from autodpq.packed.torch_operations import PADDING, TorchOperations, TracedOperations
from autodpq.plan import CompressionPlan, Field


def bits_of(numbers: np.ndarray, bits: int) -> list[int]:
    """The stream of bits, one at a time."""
    return [int(number) >> bit & 1 for row in numbers for number in row for bit in range(bits)]


def read_all(packed: np.ndarray, n_rows: int, n_words: int, bits: int) -> np.ndarray:
    return read_words(packed, np.arange(n_rows), n_words, bits)


@given(st.integers(1, 24), st.integers(1, 20), st.integers(0, 60), st.randoms())
def test_packing_is_a_stream_of_bits_and_reading_its_inverse(bits: int, n_words: int, n_rows: int, random) -> None:  # type: ignore[no-untyped-def]
    drawn = [[random.randrange(1 << bits) for _ in range(n_words)] for _ in range(n_rows)]
    numbers = np.array(drawn, np.int64).reshape(n_rows, n_words)
    packed = pack_words(numbers, bits)
    stream = bits_of(numbers, bits)
    assert len(packed) == words_size(n_rows, n_words, bits) == -(-len(stream) // 8)
    stream += [0] * (-len(stream) % 8)
    assert packed.tolist() == [sum(stream[i + k] << k for k in range(8)) for i in range(0, len(stream), 8)]
    assert np.array_equal(read_all(packed, n_rows, n_words, bits), numbers)
    rows = np.array([random.randrange(n_rows) for _ in range(9)] if n_rows else [], np.int64)
    assert np.array_equal(read_words(packed, rows, n_words, bits), numbers[rows])
    # As torch and ONNX read them.
    padded = torch.from_numpy(np.append(packed, np.zeros(PADDING, np.uint8)))
    for operations in (TorchOperations(), TracedOperations()):
        found = operations.bits(padded, torch.from_numpy(rows), n_words, bits)
        assert np.array_equal(found.numpy().reshape(len(rows), n_words), numbers[rows])


@pytest.mark.parametrize("bits", range(1, 25))
def test_every_width_and_every_number_of_words(bits: int) -> None:
    rng = np.random.default_rng(bits)
    for n_words in (1, 2, 3, 4, 5, 8, 16, 64):
        numbers = rng.integers(0, 1 << bits, (21, n_words))
        numbers[0], numbers[1] = 0, (1 << bits) - 1
        assert np.array_equal(read_all(pack_words(numbers, bits), 21, n_words, bits), numbers)


@given(st.integers(1, 24), st.integers(1, 200))
def test_one_word_of_a_machine_reads_as_many_as_divide_the_row(bits: int, n_words: int) -> None:
    at_once = n_at_once(n_words, bits)

    def fits(n: int) -> bool:
        return n_words % n == 0 and n * bits <= WORD_BITS

    assert n_words % at_once == 0 and (at_once == 1 or fits(at_once))
    assert not any(fits(n) for n in range(at_once + 1, n_words + 1))


def test_every_number_of_centroids_and_every_divisor() -> None:
    rng = np.random.default_rng(0)
    for K in range(2, 257):
        for D in (1, 2, 4, 8, 16):
            codes = rng.integers(0, K, (21, D))
            codes[0], codes[1] = 0, K - 1
            assert np.array_equal(read_all(pack_words(codes, code_bits(K)), 21, D, code_bits(K)), codes)


def test_chunks_meet_without_a_gap() -> None:
    codes = np.random.default_rng(1).integers(0, 5, (2 * 65536 + 11, 3)).astype(np.uint8)
    assert np.array_equal(read_all(pack_words(codes, 3), len(codes), 3, 3), codes)


def test_the_paper_s_data_set_takes_the_bytes_that_the_ledger_says() -> None:
    assert words_size(2850, 8, 5) == 14_250
    (cost,) = band_ledgers(Field("a", 3000, 150), CompressionPlan({"a": DPQ(32, 8)}), 16)
    assert cost.bits == 8 * (150 * 64 + 14_250 + 32 * 64)


@given(st.integers(2, 300), st.integers(0, 6), st.integers(0, 200), st.integers(0, 50))
def test_the_size_is_the_ledger_s(K: int, power: int, tail: int, head: int) -> None:
    D = 1 << power
    (cost,) = band_ledgers(Field("a", head + tail, head), CompressionPlan({"a": DPQ(K, D)}), 64)
    floats = 64 * (head + K * (tail > 0))
    assert words_size(tail, D, code_bits(K)) == -(-(cost.bits - 32 * floats) // 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_numbers_of_any_integer_type(dtype: type[np.integer]) -> None:
    codes = np.array([[0, 4, 2], [3, 1, 4]], dtype)
    assert np.array_equal(read_words(pack_words(codes, 3), np.array([1, 0, 1]), 3, 3), codes[[1, 0, 1]])


@pytest.mark.parametrize("offset", range(9))
def test_codes_are_read_wherever_they_lie_in_memory(offset: int) -> None:
    codes = np.random.default_rng(2).integers(0, 37, (12, 7))
    packed = pack_words(codes, 6)
    memory = np.full(len(packed) + 20, 255, np.uint8)
    memory[offset : offset + len(packed)] = packed
    memory.flags.writeable = False
    for n_rows in (0, 1, 2, 12):  # one row is fewer bytes than a word
        part = memory[offset : offset + words_size(n_rows, 7, 6)]
        assert np.array_equal(read_all(part, n_rows, 7, 6), codes[:n_rows])
