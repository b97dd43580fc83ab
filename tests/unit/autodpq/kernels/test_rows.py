from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autodpq.kernels import native
from autodpq.kernels.adam import update_rows
from autodpq.kernels.operations import Merge, gather, sum_of_weights
from autodpq.kernels.rows import CompiledMerge, compiled_update_rows

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="there is no C++ compiler")

LARGEST = 2**31 - 1
WIDTHS = [(), (1,), (3,), (16,), (17,), (64,)]


def ids_of(*shape: int, n_rows: int = 500, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(n_rows, shape, generator=generator, dtype=torch.int32)


def check_merge(ids: Tensor) -> None:
    expected, found = Merge.of(ids), CompiledMerge.of(ids)
    assert torch.equal(found.rows, expected.rows) and torch.equal(found.places, expected.places)
    assert found.places.dtype == torch.int32 and found.places.shape == ids.shape
    assert torch.equal(found.rows[found.places.long()], ids.long())


@given(st.lists(st.integers(0, LARGEST) | st.integers(0, 9) | st.sampled_from([2047, 2048, 2**22 - 1, 2**22, LARGEST])))
def test_numbers_are_merged_as_tensor_operations_merge_them(numbers: list[int]) -> None:
    check_merge(torch.tensor(numbers, dtype=torch.int32))


@pytest.mark.parametrize("n_rows", [1, 2, 2048, 2049, 10**7, LARGEST])
def test_batches_are_merged_as_tensor_operations_merge_them(n_rows: int) -> None:
    check_merge(ids_of(300, 8, n_rows=n_rows))
    check_merge(ids_of(8, 300, n_rows=n_rows).t())


@pytest.mark.parametrize("width", WIDTHS)
def test_rows_are_read(width: tuple[int, ...]) -> None:
    table = torch.randn(500, *width)
    for ids in (ids_of(100, 8), ids_of(8, 100).t(), ids_of(7).long(), ids_of(0, 8)):
        rows = CompiledMerge.of(ids.int()).read(table, ids)
        assert rows.shape == (*ids.shape, *width) and torch.equal(rows, table[ids.long()])


@pytest.mark.parametrize("width", [(), (1,), (16,), (17,)])
@pytest.mark.parametrize("placeholder", [False, True])
def test_gradients_are_those_of_tensor_operations_to_the_bit(width: tuple[int, ...], placeholder: bool) -> None:
    ids = ids_of(400, 8, seed=1)
    last = 300  # numbers from here on are quantized rows
    positions = (ids.flatten() >= last).nonzero()[:, 0]
    found = []
    for kind in (Merge, CompiledMerge):
        torch.manual_seed(0)
        table = torch.randn(last + 1 if placeholder else 500, *width, requires_grad=True)
        if not width:
            outputs = sum_of_weights(torch.randn(500, requires_grad=True), ids, kind.of(ids))
            table = outputs.grad_fn.next_functions[0][0].variable  # type: ignore[union-attr]
        elif placeholder:
            rows = torch.randn(len(positions), *width)
            outputs = gather(table, ids.clamp(max=last), positions, rows, kind.of(ids))
        else:
            outputs = gather(table, ids, merge=kind.of(ids))
        (gradient,) = torch.autograd.grad(outputs, table, torch.randn_like(outputs))
        assert gradient.is_sparse
        found.append((outputs.detach(), gradient._indices(), gradient._values()))
    for expected, compiled in zip(*found, strict=True):
        assert torch.equal(compiled, expected)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("proximal", [False, True])
def test_rows_are_updated(width: tuple[int, ...], l2: float, proximal: bool) -> None:
    torch.manual_seed(0)
    square = torch.rand(200, *width)
    before = torch.randn(200, *width), square.sqrt() * (2 * torch.rand(200, *width) - 1), square  # as moments are
    rows = torch.randperm(200)[:150].sort().values
    numbers = torch.tensor(0.1), torch.tensor(2.0), torch.tensor(l2)
    step: tuple[Any, ...] = (rows, torch.randn(150, *width), *numbers, torch.rand(150) if proximal else None)
    expected, found = ([tensor.clone() for tensor in before] for _ in range(2))
    update_rows(*expected, *step)
    compiled_update_rows(*found, *step)
    rest = torch.ones(200, dtype=torch.bool).index_fill_(0, rows, value=False)
    for now, same, old in zip(found, expected, before, strict=True):
        torch.testing.assert_close(now, same, rtol=1e-5, atol=1e-6)
        assert torch.equal(now[rest], old[rest]) and not torch.equal(now[rows], old[rows])


def test_other_numbers_are_left_to_tensor_operations() -> None:
    table, ids = torch.randn(500, 4, dtype=torch.float64), ids_of(30, 8)
    merge = CompiledMerge.of(ids)
    assert torch.equal(merge.read(table, ids), table[ids.long()])
    gradient = torch.randn(240, 4, dtype=torch.float64)
    sums = merge.add(gradient, merge.places.flatten(), len(merge.rows))
    torch.testing.assert_close(sums, torch.zeros_like(sums).index_add_(0, merge.places.flatten(), gradient))
    tables = [torch.rand(9, 4, dtype=torch.float64) for _ in range(3)]
    step = torch.arange(5), torch.randn(5, 4, dtype=torch.float64), *map(torch.tensor, (0.1, 2.0, 0.0))
    expected = [tensor.clone() for tensor in tables]
    update_rows(*expected, *step)
    compiled_update_rows(*tables, *step)
    assert all(torch.equal(*pair) for pair in zip(tables, expected, strict=True))
