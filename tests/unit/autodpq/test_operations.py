from __future__ import annotations

import pytest
import torch
from torch import nn

from autodpq.operations import Dropout, factorization_machine, gather, sum_of_weights

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
    dropout = Dropout(rate)
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
    assert torch.equal(Dropout(0.5).eval()(inputs), inputs)
    assert torch.equal(Dropout(0.0)(inputs), inputs)


@pytest.mark.parametrize("shape", [(1,), (3, 7), (2, 3, 5), (4, 4), (0, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dropout_keeps_shape_and_type(shape, dtype):
    outputs = Dropout(0.3)(torch.ones(shape, dtype=dtype))
    assert outputs.shape == shape and outputs.dtype == dtype


def test_dropout_repeats_from_a_seed_and_only_then():
    inputs = torch.ones(64, 16)
    dropout = Dropout(0.5)
    dropout.reseed(7)
    first, second = dropout(inputs), dropout(inputs)
    assert not torch.equal(first, second)
    dropout.reseed(7)
    assert torch.equal(dropout(inputs), first)
    assert torch.equal(dropout(inputs), second)
    dropout.reseed(8)
    assert not torch.equal(dropout(inputs), first)
    other = Dropout(0.5)
    other.reseed(7)
    assert torch.equal(other(inputs), first)


def test_dropout_neither_reads_nor_moves_torchs_generator():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    dropout = Dropout(0.5)
    dropout.reseed(3)
    first = dropout(torch.ones(50))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    dropout.reseed(3)
    assert torch.equal(dropout(torch.ones(50)), first)


def test_the_gradient_of_dropout_is_its_mask():
    inputs = torch.randn(20, 10, requires_grad=True)
    dropout = Dropout(0.4)
    dropout.reseed(2)
    outputs = dropout(inputs)
    outputs.sum().backward()
    torch.testing.assert_close(inputs.grad * inputs.detach(), outputs.detach())
