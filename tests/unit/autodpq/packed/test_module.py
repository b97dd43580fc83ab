from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.packed_files import arrays_of

from autodpq.choices import DPQ, Choice, Full, Others
from autodpq.packed.module import PackedEmbedding
from autodpq.packed.spec import TableSpec
from autodpq.packed.table import PackedTable

DIM = 16
CHOICES = [Full(), Others(), DPQ(2, 1), DPQ(5, 4), DPQ(32, 8), DPQ(200, 16), DPQ(256, 8), DPQ(1000, 16)]


def make_table(
    choice: Choice, head: int = 5, tail: int = 40, head_dtype: str = "float32", ranked: bool = True, seed: int = 0
) -> PackedTable:
    spec = TableSpec("a", head + tail, DIM, head, choice, 0, ranked, True, head_dtype)
    return PackedTable(spec, arrays_of(spec, seed))


@pytest.mark.parametrize("head_dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("head", [0, 1, 5])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_looks_up_what_numpy_does_to_the_bit(choice: Choice, head: int, head_dtype: str) -> None:
    for ranked in (True, False) if not isinstance(choice, Full) else (True,):
        table = make_table(choice, head, head_dtype=head_dtype, ranked=ranked)
        module = PackedEmbedding(table)
        ids = np.concatenate([np.arange(table.spec.n_rows)] * 2).reshape(-1, 2)
        for shaped in (ids, ids[:, 0], ids[:0]):
            found = module(torch.from_numpy(shaped))
            assert found.shape == (*shaped.shape, DIM) and found.dtype == torch.float32
            assert np.array_equal(found.numpy(), table.lookup(shaped))
            assert np.array_equal(module.first_order_of(torch.from_numpy(shaped)).numpy(), table.first_order(shaped))


@given(st.integers(2, 600), st.sampled_from([1, 2, 4, 8, 16]), st.integers(1, 70), st.integers(0, 9))
def test_any_codes_are_read(K: int, D: int, tail: int, seed: int) -> None:
    table = make_table(DPQ(K, D), 3, tail, seed=seed)
    ids = np.random.default_rng(seed).integers(0, tail + 3, 100).astype(np.int32)
    assert np.array_equal(PackedEmbedding(table)(torch.from_numpy(ids)).numpy(), table.lookup(ids))


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_table_comes_back_as_it_was(choice: Choice) -> None:
    table = make_table(choice, ranked=isinstance(choice, Full))
    back = PackedEmbedding(table).table()
    assert back.spec == table.spec and back.arrays.keys() == table.arrays.keys()
    assert all(np.array_equal(back.arrays[name], array) for name, array in table.arrays.items())


def test_another_state_is_another_table() -> None:
    one, other = make_table(DPQ(5, 4), seed=1), make_table(DPQ(5, 4), seed=2)
    module = PackedEmbedding(one)
    ids = np.arange(one.spec.n_rows)
    module(torch.from_numpy(ids))
    kept = copy.deepcopy(module)
    module.load_state_dict(PackedEmbedding(other).state_dict())
    assert np.array_equal(module(torch.from_numpy(ids)).numpy(), other.lookup(ids))
    assert np.array_equal(kept(torch.from_numpy(ids)).numpy(), one.lookup(ids))
    assert not list(module.parameters())
    with torch.inference_mode():
        assert np.array_equal(module(torch.from_numpy(ids)).numpy(), other.lookup(ids))


def test_ids_outside_the_table_are_no_answer() -> None:
    for choice in CHOICES:
        module = PackedEmbedding(make_table(choice, head=2))
        for wrong in (-1, module.spec.n_rows, 4000):
            with pytest.raises(IndexError, match=f"id {wrong} given, 0..41 are possible"):
                module(torch.tensor([[0, wrong]]))
