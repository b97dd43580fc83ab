from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autodpq.kernels.operations import BatchNorm, Dropout, Merge, factorization_machine, gather, sum_of_weights, zeros

# Rows 1 and 3 twice, row 0 never; row 5 is the placeholder.
IDS = torch.tensor([[1, 3, 2], [4, 3, 1]], dtype=torch.int32)
HELD = torch.tensor([[1, 5, 2], [5, 3, 1]], dtype=torch.int32)
POSITIONS = torch.tensor([3, 1])


def double(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_gather_and_its_derivatives(dtype):
    table, ids = double(6, 2), IDS.to(dtype)
    assert torch.equal(gather(table, ids), table[ids.long()])

    def gathered(table):
        return gather(table, ids)

    assert torch.autograd.gradcheck(gathered, (table,))
    assert torch.autograd.gradgradcheck(gathered, (table,))


def test_gather_sums_what_arrives_at_a_row():
    table = double(6, 2)
    weight = torch.arange(12.0, dtype=torch.float64).view(2, 3, 2)
    (gather(table, IDS) * weight).sum().backward()
    expected = torch.zeros(6, 2, dtype=torch.float64).index_add_(0, IDS.flatten().long(), weight.view(-1, 2))
    assert torch.equal(table.grad, expected)
    assert (table.grad[0] == 0).all()


def test_gather_with_given_rows_and_its_derivatives():
    table, rows = double(6, 2), double(2, 2, seed=1)
    expected = table[HELD.long()].flatten(0, 1).index_copy(0, POSITIONS, rows).view(2, 3, 2)
    assert torch.equal(gather(table, HELD, POSITIONS, rows), expected)

    def gathered(table, rows):
        return gather(table, HELD, POSITIONS, rows)

    assert torch.autograd.gradcheck(gathered, (table, rows))
    assert torch.autograd.gradgradcheck(gathered, (table, rows))


def test_the_placeholder_gets_no_gradient_and_the_given_rows_get_theirs():
    table, rows = double(6, 2), double(2, 2, seed=1)
    weight = double(2, 3, 2, seed=2).detach()
    (gather(table, HELD, POSITIONS, rows) * weight).sum().backward()
    assert (table.grad[5] == 0).all()
    assert torch.equal(rows.grad, torch.stack([weight[1, 0], weight[0, 1]]))
    torch.testing.assert_close(table.grad[1], weight[0, 0] + weight[1, 2])


def test_gather_where_no_row_is_given():
    table, rows = double(6, 2), double(0, 2)
    nothing = torch.zeros(0, dtype=torch.int64)

    def gathered(table):
        return gather(table, IDS, nothing, rows)

    assert torch.equal(gathered(table), table[IDS.long()])
    assert torch.autograd.gradcheck(gathered, (table,))
    assert torch.autograd.gradgradcheck(gathered, (table,))


def test_gather_leaves_the_table_as_it_was():
    table = double(6, 2)
    before = table.detach().clone()
    gather(table, HELD, POSITIONS, double(2, 2, seed=1)).sum().backward()
    assert torch.equal(table.detach(), before)


def test_gather_with_a_frozen_table_still_differentiates_the_given_rows():
    table, rows = double(6, 2).detach(), double(2, 2, seed=1)
    gather(table, HELD, POSITIONS, rows).square().sum().backward()
    torch.testing.assert_close(rows.grad, 2 * rows.detach())


def test_gather_against_torch_in_single_precision():
    torch.manual_seed(0)
    ids = torch.randint(0, 50, (200, 4))
    table = torch.randn(50, 8, requires_grad=True)
    weight = torch.randn(200, 4, 8)
    (gradient,) = torch.autograd.grad((gather(table, ids.int()) * weight).sum(), table)
    (expected,) = torch.autograd.grad((nn.functional.embedding(ids, table) * weight).sum(), table)
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(gradient, expected)


def test_sum_of_weights_and_its_derivatives():
    weights = double(6)
    torch.testing.assert_close(sum_of_weights(weights, IDS), weights[IDS.long()].sum(1))

    def summed(weights):
        return sum_of_weights(weights, IDS)

    assert torch.autograd.gradcheck(summed, (weights,))
    assert torch.autograd.gradgradcheck(summed, (weights,))
    (gradient,) = torch.autograd.grad((summed(weights) * torch.tensor([2.0, 3.0], dtype=torch.float64)).sum(), weights)
    assert gradient.tolist() == [0, 5, 2, 5, 3, 0]


@pytest.mark.parametrize("n_fields", [1, 2, 4])
def test_factorization_machine_and_its_derivatives(n_fields):
    embeddings = double(3, n_fields, 2)
    expected = torch.zeros(3, dtype=torch.float64)
    for one in range(n_fields):
        for other in range(one + 1, n_fields):
            expected = expected + (embeddings[:, one] * embeddings[:, other]).sum(1)
    torch.testing.assert_close(factorization_machine(embeddings), expected)
    assert torch.autograd.gradcheck(factorization_machine, (embeddings,))
    assert torch.autograd.gradgradcheck(factorization_machine, (embeddings,))


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9])
def test_dropout_zeroes_its_share_and_keeps_the_mean(rate):
    dropout = Dropout(rate, 250)
    dropout.reseed(1)
    outputs = dropout(torch.ones(400, 250))
    share = (outputs == 0).double().mean().item()
    assert share == pytest.approx(rate, abs=0.006)
    kept = outputs[outputs != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - rate)))
    assert outputs.double().mean().item() == pytest.approx(1.0, abs=0.04)
    # Neither whole rows nor whole columns fall.
    assert 0 < (outputs == 0).double().mean(0).min() and (outputs == 0).double().mean(1).max() < 1


def test_dropout_is_off_in_evaluation_and_at_rate_zero():
    inputs = torch.randn(5, 7)
    assert torch.equal(Dropout(0.5, 7).eval()(inputs), inputs)
    assert torch.equal(Dropout(0.0, 7)(inputs), inputs)


@pytest.mark.parametrize("shape", [(1,), (3, 7), (2, 3, 5), (4, 4), (0, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dropout_keeps_shape_and_type(shape, dtype):
    outputs = Dropout(0.3, math.prod(shape[1:]))(torch.ones(shape, dtype=dtype))
    assert outputs.shape == shape and outputs.dtype == dtype


def test_dropout_repeats_from_a_seed_and_only_then():
    inputs = torch.ones(64, 16)
    dropout = Dropout(0.5, 16)
    dropout.reseed(7)
    first, second = dropout(inputs), dropout(inputs)
    assert not torch.equal(first, second)
    dropout.reseed(7)
    assert torch.equal(dropout(inputs), first)
    assert torch.equal(dropout(inputs), second)
    dropout.reseed(8)
    assert not torch.equal(dropout(inputs), first)
    other = Dropout(0.5, 16)
    other.reseed(7)
    assert torch.equal(other(inputs), first)


def test_dropout_neither_reads_nor_moves_torchs_generator():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    dropout = Dropout(0.5, 5)
    dropout.reseed(3)
    first = dropout(torch.ones(10, 5))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    dropout.reseed(3)
    assert torch.equal(dropout(torch.ones(10, 5)), first)


def test_the_gradient_of_dropout_is_its_mask():
    inputs = torch.randn(20, 10, requires_grad=True)
    dropout = Dropout(0.4, 10)
    dropout.reseed(2)
    outputs = dropout(inputs)
    outputs.sum().backward()
    torch.testing.assert_close(inputs.grad * inputs.detach(), outputs.detach())


@pytest.mark.parametrize(("n", "shape"), [(6, (7,)), (5, (3, 5)), (1, (9,)), (0, (3,))])
def test_masks_are_16_random_bits_an_element_from_one_stream(n, shape):
    rate, width = 0.3, math.prod(shape)
    dropout, bits = Dropout(rate, width), np.random.SFC64(4)
    dropout.reseed(4)
    for _ in range(3):
        drawn = bits.random_raw(-(-n * width // 4)).view(np.uint16)[: n * width]
        expected = (drawn >= round(rate * 65536)) * np.float32(1 / (1 - rate))
        np.testing.assert_array_equal(dropout(torch.ones(n, *shape)).flatten().numpy(), expected)


def test_masks_drawn_for_compiled_code_are_those_of_the_stream():
    eager, drawn = Dropout(0.5, 6), Dropout(0.5, 6)
    eager.reseed(9)
    drawn.reseed(9)
    for n in (4, 1, 7, 4):
        outputs = eager(torch.ones(n, 2, 3))
        drawn.draw(n)
        assert torch.equal(drawn.mask.view(n, 2, 3), outputs) and torch.equal(eager.mask, drawn.mask)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_torchs(training):
    torch.manual_seed(0)
    own, torchs = BatchNorm(5).train(training), nn.BatchNorm1d(5).train(training)
    assert isinstance(own, nn.BatchNorm1d) and own.state_dict().keys() == torchs.state_dict().keys()
    for _ in range(3):
        inputs = 3 * torch.randn(8, 5) + 2
        assert torch.equal(own(inputs), torchs(inputs))
    assert all(torch.equal(value, torchs.state_dict()[name]) for name, value in own.state_dict().items())


def test_batch_norm_that_is_compiled_is_torchs(monkeypatch):
    torch.manual_seed(0)
    own, torchs = BatchNorm(5).double(), nn.BatchNorm1d(5).double()
    with torch.no_grad():
        for one, other in zip(own.parameters(), torchs.parameters(), strict=True):
            one.copy_(other.normal_())
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)
    for _ in range(3):
        inputs = (3 * torch.randn(8, 5, dtype=torch.float64) + 2).requires_grad_()
        weight = torch.randn(8, 5, dtype=torch.float64)
        outputs, expected = own(inputs), torchs(inputs)
        torch.testing.assert_close(outputs, expected)
        one = torch.autograd.grad((outputs * weight).sum(), [inputs, *own.parameters()])
        other = torch.autograd.grad((expected * weight).sum(), [inputs, *torchs.parameters()])
        torch.testing.assert_close(one, other)
    for name, value in own.state_dict().items():
        torch.testing.assert_close(value, torchs.state_dict()[name], msg=name)
    inputs = torch.randn(4, 5, dtype=torch.float64)
    torch.testing.assert_close(own.eval()(inputs), torchs.eval()(inputs))


def test_factorization_machine_that_is_compiled_is_the_same(monkeypatch):
    embeddings = double(4, 3, 2)
    (gradient,) = torch.autograd.grad(factorization_machine(embeddings).square().sum(), embeddings)
    expected = factorization_machine(embeddings)
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)
    outputs = factorization_machine(embeddings)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(torch.autograd.grad(outputs.square().sum(), embeddings)[0], gradient)


N_ROWS = 9
each_batch = st.lists(st.lists(st.integers(0, N_ROWS - 1), min_size=3, max_size=3), max_size=12)
far_apart = st.lists(st.sampled_from([0, 1, 7, 2**31 - 2, 2**31 - 1]), max_size=20)


@given(st.one_of(each_batch, far_apart))
def test_merge_is_numpys_unique(ids):
    ids = torch.tensor(ids, dtype=torch.int32)
    merge = Merge.of(ids)
    rows, places = np.unique(ids.numpy(), return_inverse=True)
    assert merge.rows.dtype == torch.int64 and merge.rows.tolist() == rows.tolist()
    assert merge.places.tolist() == places.reshape(ids.shape).tolist()


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (5, 16), (0, 16), (3, 2, 4), (100_000, 16)])
def test_zeros_begin_with_a_cache_line(shape):
    given = zeros(*shape)
    assert given.shape == shape and given.dtype == torch.float32 and given.is_contiguous() and not given.any()
    assert given.data_ptr() % 64 == 0 or not given.numel()


def check_sparse(gradient, expected, ids):
    """A gradient that holds the rows of ``ids`` alone, each once and rising, with the values of the dense one."""
    assert gradient.is_sparse and gradient.shape == expected.shape and not expected.is_sparse
    assert gradient._indices()[0].tolist() == sorted(set(ids))
    torch.testing.assert_close(gradient.to_dense(), expected)


@given(each_batch, st.integers(0, 1000))
def test_merged_gradients_are_the_dense_ones(batch, seed):
    ids = torch.tensor(batch, dtype=torch.int32).view(-1, 3)
    table, weights = double(N_ROWS, 2, seed=seed), double(N_ROWS, seed=seed)
    scale = double(len(ids), 3, 2, seed=seed + 1).detach()
    (expected,) = torch.autograd.grad((gather(table, ids) * scale).sum(), table)
    outputs = gather(table, ids, merge=Merge.of(ids))
    assert torch.equal(outputs, table[ids.long()])
    (gradient,) = torch.autograd.grad((outputs * scale).sum(), table)
    check_sparse(gradient, expected, ids.flatten().tolist())
    (expected,) = torch.autograd.grad((sum_of_weights(weights, ids) * scale[:, 0, 0]).sum(), weights)
    (gradient,) = torch.autograd.grad((sum_of_weights(weights, ids, Merge.of(ids)) * scale[:, 0, 0]).sum(), weights)
    check_sparse(gradient, expected, ids.flatten().tolist())


@given(each_batch, st.integers(0, 1000))
def test_merged_gradients_drop_the_placeholder(batch, seed):
    ids = torch.tensor(batch, dtype=torch.int32).view(-1, 3)
    positions = (ids.flatten() == N_ROWS - 1).nonzero().flatten()
    table, rows = double(N_ROWS, 2, seed=seed), double(len(positions), 2, seed=seed + 2)
    scale = double(len(ids), 3, 2, seed=seed + 1).detach()
    dense = gather(table, ids, positions, rows)
    merged = gather(table, ids, positions, rows, Merge.of(ids))
    assert torch.equal(merged, dense)
    expected = torch.autograd.grad((dense * scale).sum(), [table, rows])
    gradients = torch.autograd.grad((merged * scale).sum(), [table, rows])
    check_sparse(gradients[0], expected[0], [row for row in ids.flatten().tolist() if row != N_ROWS - 1])
    assert (expected[0][-1] == 0).all() and torch.equal(gradients[1], expected[1])


def test_a_merged_gradient_of_the_last_row_is_kept_where_it_is_no_placeholder():
    table, ids = double(6, 2), torch.tensor([[5, 0], [5, 5]], dtype=torch.int32)
    (gradient,) = torch.autograd.grad(gather(table, ids, merge=Merge.of(ids)).sum(), table)
    assert gradient._indices().tolist() == [[0, 5]] and gradient._values().tolist() == [[1, 1], [3, 3]]
    rows = double(0, 2)
    nothing = torch.zeros(0, dtype=torch.int64)
    ids = IDS[:, :2]
    (gradient,) = torch.autograd.grad(gather(table, ids, nothing, rows, Merge.of(ids)).sum(), table)
    check_sparse(gradient, gather_gradient(table, ids), [1, 3, 4])


def gather_gradient(table, ids):
    return torch.autograd.grad(nn.functional.embedding(ids, table).sum(), table)[0]
