from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autodpq.kernels.adam import Adam, Group, update_rows

RATE = 1e-2
SHAPES = [(7, 4), (7,), (3, 2, 2), ()]


def weights_of(shapes=SHAPES, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes]


def sparse(rows, values, shape):
    indices = torch.tensor(rows, dtype=torch.int64)[None]
    return torch.sparse_coo_tensor(indices, values, shape, is_coalesced=True, check_invariants=False)


def adam(penalised, rest, l2, **options):
    return Adam([Group(penalised, RATE, l2), Group(rest, RATE)], **options)


def torchs(penalised, rest, l2):
    groups = [{"params": penalised, "weight_decay": l2}, {"params": rest}]
    return torch.optim.Adam([group for group in groups if group["params"]], lr=RATE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n_penalised", "l2"), [(0, 0.0), (0, 1.0), (2, 1e-2), (4, 1e-2), (4, 1.0), (4, 0.0)])
def test_dense_steps_are_torchs(n_penalised, l2, dtype):
    own, other = weights_of(dtype=dtype), weights_of(dtype=dtype)
    optimizer = adam(own[:n_penalised], own[n_penalised:], l2)
    expected = torchs(other[:n_penalised], other[n_penalised:], l2)
    generator = torch.Generator().manual_seed(1)
    start = [weight.detach().clone() for weight in own]
    for _ in range(100):
        for weight, same in zip(own, other, strict=True):
            # From one scale to the next, as gradients are while training.
            scale = 10 ** torch.randint(-4, 2, (), generator=generator)
            weight.grad = scale * torch.randn(weight.shape, generator=generator, dtype=dtype)
            same.grad = weight.grad.clone()
        optimizer.step()
        expected.step()
    for weight, same, before in zip(own, other, start, strict=True):
        torch.testing.assert_close(weight, same, rtol=1e-5, atol=1e-6)
        assert (weight != before).all()


def test_weights_without_a_gradient_rest_as_torchs_do():
    own, other = weights_of(), weights_of()
    optimizer, expected = adam(own[:2], own[2:], 0.1), torchs(other[:2], other[2:], 0.1)
    generator = torch.Generator().manual_seed(2)
    for step in range(30):
        before = [weight.detach().clone() for weight in own]
        for number, (weight, same) in enumerate(zip(own, other, strict=True)):
            rests = step % (number + 2) == 0
            weight.grad = None if rests else torch.randn(weight.shape, generator=generator)
            same.grad = None if rests else weight.grad.clone()
        optimizer.step()
        expected.step()
        for weight, same, old in zip(own, other, before, strict=True):
            torch.testing.assert_close(weight, same, rtol=1e-5, atol=1e-6)
            assert torch.equal(weight, old) == (weight.grad is None)
    # The correction of the moments counts a weight's own steps.
    assert sorted(int(state["step"]) for state in expected.state.values()) == [15, 20, 22, 24]


def test_zero_grad_forgets_all_gradients():
    weights = weights_of()
    optimizer = adam(weights[:1], weights[1:], 0.0)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.zero_grad()
    assert all(weight.grad is None for weight in weights)
    before = [weight.detach().clone() for weight in weights]
    optimizer.step()
    assert all(torch.equal(weight, old) for weight, old in zip(weights, before, strict=True))


@pytest.mark.parametrize("shape", [(7, 4), (7,), (1, 3)])
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_lazy_steps_of_every_row_are_adam(shape, l2):
    (lazy,), (dense,) = weights_of([shape]), weights_of([shape])
    optimizers = adam([lazy], [], l2), adam([dense], [], l2)
    generator = torch.Generator().manual_seed(3)
    for _ in range(60):
        values = torch.randn(shape, generator=generator)
        lazy.grad, dense.grad = sparse(list(range(shape[0])), values, shape), values.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(lazy, dense, rtol=1e-5, atol=1e-6)


each_batch = st.lists(st.sets(st.integers(0, 6)).map(sorted), min_size=1, max_size=8)


def lazy_steps(optimizer, weight, batches, seed):
    """Takes a step a batch, and gives its rows and the weights before it."""
    generator = torch.Generator().manual_seed(seed)
    for rows in batches:
        weight.grad = sparse(rows, torch.randn(len(rows), *weight.shape[1:], generator=generator), weight.shape)
        before = weight.detach().clone()
        optimizer.step()
        yield rows, before


@given(each_batch, st.sampled_from([(7, 3), (7,)]), st.sampled_from([0.0, 0.1]), st.integers(0, 1000))
def test_rows_that_a_batch_does_not_hold_rest(batches, shape, l2, seed):
    (weight,) = weights_of([shape], seed)
    optimizer = adam([weight], [], l2)
    ((_, (state,)), _) = optimizer._groups
    moments = state.mean.clone(), state.square.clone()
    for rows, before in lazy_steps(optimizer, weight, batches, seed):
        resting = [row for row in range(7) if row not in rows]
        assert torch.equal(weight[resting], before[resting])
        assert torch.equal(state.mean[resting], moments[0][resting])
        assert torch.equal(state.square[resting], moments[1][resting])
        assert (weight[rows] != before[rows]).all() and (state.mean[rows] != moments[0][rows]).all()
        moments = state.mean.clone(), state.square.clone()


@given(each_batch, st.sampled_from([(7, 3), (7,)]), st.integers(0, 1000))
def test_lazy_steps_are_torchs_sparse_adam(batches, shape, seed):
    (own,), (other,) = weights_of([shape], seed), weights_of([shape], seed)
    optimizer, expected = adam([own], [], 0.0), torch.optim.SparseAdam([other], lr=RATE)
    for _ in lazy_steps(optimizer, own, batches, seed):
        other.grad = own.grad.clone()
        expected.step()
        # They differ in where epsilon is added.
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(7, 3), (7,)])
def test_the_penalty_of_sparse_gradients_is_of_their_rows(shape):
    # With the penalty's gradient written into it, a gradient needs none.
    (own,), (other,) = weights_of([shape]), weights_of([shape])
    optimizer, expected = adam([own], [], 0.3), adam([], [other], 0.3)
    generator = torch.Generator().manual_seed(5)
    start = own.detach().clone()
    for rows in ([0, 2], [2, 3, 5], [0], [5]):
        values = torch.randn(len(rows), *shape[1:], generator=generator)
        own.grad = sparse(rows, values, shape)
        other.grad = sparse(rows, values + 0.3 * other.detach()[rows], shape)
        optimizer.step()
        expected.step()
        torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-7)
    assert torch.equal(own[[1, 4, 6]], start[[1, 4, 6]])
    plain = weights_of([shape])[0]
    plain.grad = sparse([0], torch.zeros(1, *shape[1:]), shape)
    adam([], [plain], 0.3).step()
    assert torch.equal(plain, start)


def test_sparse_and_dense_gradients_of_one_step():
    own, other = weights_of(), weights_of()
    optimizer, expected = adam(own[:2], own[2:], 0.1), torchs(other[:2], other[2:], 0.1)
    for weight, same in zip(own, other, strict=True):
        same.grad = torch.ones_like(same)
        weight.grad = torch.ones_like(weight)
    own[0].grad = sparse(list(range(7)), torch.ones(7, 4), (7, 4))
    optimizer.step()
    expected.step()
    for weight, same in zip(own, other, strict=True):
        torch.testing.assert_close(weight, same)


def test_update_rows_is_in_place():
    table, mean, square = torch.randn(5, 2), torch.randn(5, 2), torch.rand(5, 2)
    before = table.clone(), mean.clone(), square.clone()
    rows, gradient = torch.tensor([1, 4]), torch.randn(2, 2)
    rate, scale, l2 = torch.tensor(0.1), torch.tensor(2.0), torch.tensor(0.2)
    update_rows(table, mean, square, rows, gradient, rate, scale, l2)
    penalised = gradient + 0.2 * before[0][rows]
    expected_mean = 0.9 * before[1][rows] + 0.1 * penalised
    expected_square = 0.999 * before[2][rows] + 0.001 * penalised**2
    torch.testing.assert_close(mean[rows], expected_mean)
    torch.testing.assert_close(square[rows], expected_square)
    torch.testing.assert_close(
        table[rows], before[0][rows] - 0.1 * expected_mean / (expected_square.sqrt() / 0.5 + 1e-8)
    )
    for now, old in zip((table, mean, square), before, strict=True):
        assert torch.equal(now[[0, 2, 3]], old[[0, 2, 3]])


def test_what_updates_rows_can_be_chosen():
    (weight,) = weights_of([(7, 4)])
    called = []

    def update(*given_tensors):
        called.append(given_tensors)
        update_rows(*given_tensors)

    optimizer = adam([weight], [], 0.5, update=update)
    weight.grad = sparse([2, 6], torch.ones(2, 4), (7, 4))
    before = weight.detach().clone()
    optimizer.step()
    ((table, _, _, rows, gradient, rate, scale, l2, shrink),) = called
    assert table.data_ptr() == weight.data_ptr() and rows.tolist() == [2, 6] and (gradient == 1).all()
    # At the first step, the corrections are those of one.
    assert rate.item() == pytest.approx(RATE / 0.1) and scale.item() == pytest.approx(0.001**-0.5, rel=1e-4)
    assert l2.item() == 0.5 and shrink is None
    assert (weight != before).any(1).nonzero().flatten().tolist() == [2, 6]
    weight.grad = torch.ones(7, 4)
    optimizer.step()
    assert len(called) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_penalties_by_row_are_torchs_weight_decay_of_these_rows(dtype):
    # Rows of three penalties are three groups to torch.
    penalties = [0.0, 1e-2, 1.0]
    own = nn.Parameter(weights_of([(6, 4)], dtype=dtype)[0].detach().clone())
    parts = [nn.Parameter(own.detach()[number::3].clone()) for number in range(3)]
    penalty = torch.tensor(penalties * 2, dtype=dtype)
    optimizer = adam([own], [], penalty)
    groups = [{"params": [part], "weight_decay": l2} for part, l2 in zip(parts, penalties, strict=True)]
    expected = torch.optim.Adam(groups, lr=RATE)
    generator = torch.Generator().manual_seed(1)
    for _ in range(60):
        gradient = torch.randn(6, 4, generator=generator, dtype=dtype)
        own.grad = gradient.clone()
        for number, part in enumerate(parts):
            part.grad = gradient[number::3].clone()
        optimizer.step()
        expected.step()
    for number, part in enumerate(parts):
        torch.testing.assert_close(own[number::3], part, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(own[1::3], own[0::3])


def test_penalties_by_row_of_sparse_gradients_are_of_the_rows_of_the_batch():
    own, other = weights_of([(6, 4)])[0], weights_of([(6, 4)])[0]
    penalty = torch.tensor([0.0, 0.3, 0.3, 0.0, 0.3, 0.3])
    optimizer, expected = adam([own], [], penalty), adam([], [other], 0.0)
    generator, start = torch.Generator().manual_seed(5), own.detach().clone()
    for rows in ([0, 2], [2, 3, 4], [0], [4]):
        values = torch.randn(len(rows), 4, generator=generator)
        own.grad = sparse(rows, values.clone(), (6, 4))
        other.grad = sparse(rows, values + penalty[rows][:, None] * other.detach()[rows], (6, 4))
        optimizer.step()
        expected.step()
        torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-7)
    assert torch.equal(own[[1, 5]], start[[1, 5]])


def test_penalties_by_row_leave_other_weights_and_weights_without_gradient_alone():
    first, second, plain = weights_of([(3, 2), (3, 2), (3, 2)])
    before = [weight.detach().clone() for weight in (first, second, plain)]
    optimizer = adam([first, second], [plain], torch.ones(3))
    first.grad, plain.grad = torch.zeros(3, 2), torch.zeros(3, 2)
    optimizer.step()
    assert (first != before[0]).all()
    assert torch.equal(second, before[1]) and torch.equal(plain, before[2])


def minimised(target, share, l2, *, lazy, proximal=True, steps=3000):
    """Weights that minimise the mean over steps of (w - target)^2 / 2 in a share of the steps, plus the penalty."""
    weights = nn.Parameter(torch.zeros(len(target), 2))
    optimizer = Adam([Group([weights], 3e-3, l2)], proximal=proximal)
    generator = torch.Generator().manual_seed(0)
    mean, n_means = torch.zeros_like(weights), 0
    for step in range(steps):
        held = torch.rand(len(target), generator=generator) < share
        gradient = (weights.detach() - target[:, None]) * held[:, None]
        weights.grad = sparse(held.nonzero().flatten().tolist(), gradient[held], weights.shape) if lazy else gradient
        optimizer.step()
        if step >= steps // 2:
            mean, n_means = mean + weights.detach(), n_means + 1
    return mean / n_means


@pytest.mark.parametrize(
    ("lazy", "by_row"),
    [(False, False), (True, True), *(pytest.param(*both, marks=pytest.mark.slow) for both in ((0, 1), (1, 0)))],
)
def test_proximal_steps_minimise_the_penalised_loss(lazy, by_row):
    # The gradient of a row that a share of the steps holds is share (w - target), so that its minimum is where
    # share (w - target) + l2 w = 0: what is seen seldom is shrunken most.
    share, target = torch.tensor([1.0, 0.5, 0.1, 0.1]), torch.tensor([1.0, 1.0, 1.0, -0.5])
    penalties = torch.tensor([0.1, 0.1, 0.1, 0.05] if by_row else [0.1] * 4)
    found = minimised(target, share, penalties if by_row else 0.1, lazy=lazy)
    expected = share * target / (share + penalties)
    torch.testing.assert_close(found, expected[:, None].expand(4, 2), rtol=0.05, atol=0.02)


def test_a_coupled_penalty_of_sparse_gradients_does_not_shrink_what_is_seen_seldom_more():
    found = minimised(torch.ones(2), torch.tensor([1.0, 0.1]), 0.1, lazy=True, proximal=False, steps=4000)
    torch.testing.assert_close(found, torch.full((2, 2), 1 / 1.1), rtol=0.02, atol=0.01)


@pytest.mark.parametrize("shape", [(7, 4), (7,)])
def test_a_row_takes_the_proximal_steps_of_its_rest_at_once(shape):
    start = weights_of([shape])[0].detach()
    (weights,) = weights_of([shape])
    optimizer = Adam([Group([weights], RATE, 0.5)], proximal=True)
    for rows in ([0, 1], [0], [0], [0, 1]):
        weights.grad = sparse(rows, torch.ones(len(rows), *shape[1:]), shape)
        before = weights.detach().clone()
        optimizer.step()
    # Adam's step of a constant gradient, then the penalty of one step and of three.
    root = ((1 - 0.999**2) / (1 - 0.999**4)) ** 0.5
    for row, steps in ((0, 1), (1, 3)):
        own = 1.0 if row == 0 else root
        correction = 1.0 if row == 0 else (1 - 0.9**2) / (1 - 0.9**4)
        expected = (before[row] - RATE * correction / own) / (1 + RATE * 0.5 * steps / own)
        torch.testing.assert_close(weights.detach()[row], expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(weights.detach()[2:], start[2:])
