from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autodpq.choices import DPQ, Choice, Float16, Full, Hashed, Int, Made, Narrow, Others
from autodpq.choices.operations import NUMPY
from autodpq.embedding.groups import SharedRows, StraightThrough, mean_rows
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.quantizers import Quantizers

X = 8
ROUNDED = (Int(2), Int(4), Int(8), Float16())
MADE = (*ROUNDED, Narrow(1), Narrow(3))


def rows_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, X, generator=torch.Generator().manual_seed(seed))


def places_of(rows: Tensor) -> Tensor:
    return torch.arange(rows.shape[1]).expand(rows.shape[:2])


def group_of(choice: Made, n_fields: int = 1) -> StraightThrough:
    """Of fields whose shared parts are all started from other rows."""
    group = StraightThrough([[choice]] * n_fields, X, QuantizerOptions())
    for place in range(n_fields):
        group.start(rows_of(40, seed=100 + place), place, 0, 0)
    return group


def packed(choice: Made, group: StraightThrough, rows: Tensor, place: int) -> np.ndarray:
    """Rows as numpy looks them up in what is packed."""
    arrays = choice.pack(rows.detach().numpy(), group.shared(rows, place, 0))
    assert {name: (array.dtype, array.shape) for name, array in arrays.items()} == choice.layout(len(rows), X)
    found: np.ndarray = choice.made(choice.prepared(arrays, X), np.arange(len(rows)), X, NUMPY)
    return found


@pytest.mark.parametrize("choice", MADE, ids=str)
def test_evaluation_is_what_is_packed_and_looked_up_to_the_bit(choice: Made) -> None:
    group = group_of(choice, 3).eval()
    rows, fields = rows_of(4, 6), torch.tensor([0, 1, 1, 2])
    outputs = group(rows, places_of(rows), fields)
    assert outputs.shape == (4, 1, 6, X)
    for tile, place in enumerate(fields.tolist()):
        assert np.array_equal(outputs[tile, 0].detach().numpy(), packed(choice, group, rows[tile], place))
        assert torch.equal(group.looked_up(rows[tile], place, 0), outputs[tile, 0])
    whole = group(rows[:3], places_of(rows[:3]))  # one tile a field
    assert torch.equal(whole[1], group(rows[1:2], places_of(rows[1:2]), torch.tensor([1]))[0])


@pytest.mark.parametrize("choice", ROUNDED, ids=str)
def test_training_goes_straight_through(choice: Made) -> None:
    group = group_of(choice, 2)
    rows = rows_of(3, 5).requires_grad_()
    outputs = group(rows, places_of(rows), torch.tensor([0, 0, 1]))
    assert torch.equal(outputs, group.eval()(rows, places_of(rows), torch.tensor([0, 0, 1])))
    assert not torch.equal(outputs[:, 0], rows)
    weight = torch.randn(outputs.shape)
    (gradient,) = torch.autograd.grad((outputs * weight).sum(), rows)
    assert torch.equal(gradient, weight[:, 0])
    assert not list(group.parameters())


@pytest.mark.parametrize("d", [1, 3])
def test_training_of_short_rows_has_the_gradients_of_the_product(d: int) -> None:
    group = group_of(Narrow(d), 3).double()
    fields = torch.tensor([0, 2, 2])
    rows = rows_of(3, 5).double().requires_grad_()
    outputs = group(rows, places_of(rows), fields)
    expected = torch.zeros(3, 5, X, dtype=torch.float64)
    for tile, place in enumerate(fields.tolist()):
        basis = group.parts["basis"][place]
        factors = torch.stack([(rows[tile] * line).sum(1) for line in basis], 1)
        expected[tile] = sum(factors[:, k, None] * basis[k] for k in range(d))
    torch.testing.assert_close(outputs[:, 0], expected)
    weight = torch.randn(3, 1, 5, X, dtype=torch.float64)
    inputs = [rows, group.parts["basis"]]
    gradients = torch.autograd.grad((outputs * weight).sum(), inputs)
    for gradient, other in zip(gradients, torch.autograd.grad((expected * weight[:, 0]).sum(), inputs), strict=True):
        torch.testing.assert_close(gradient, other)
    assert (gradients[1][1] == 0).all() and (gradients[1][[0, 2]] != 0).all()
    looked_up = group.eval()(rows, places_of(rows), fields)
    torch.testing.assert_close(looked_up, outputs.detach(), rtol=1e-5, atol=1e-5)


def test_what_rows_share_is_carried_over() -> None:
    source, target = group_of(Narrow(2), 3), group_of(Narrow(2), 2)
    before = target.parts["basis"].detach().clone()
    target.carry(1, source, 2, 0, torch.ones(X), torch.zeros(X))
    assert torch.equal(target.parts["basis"][1], source.parts["basis"][2])
    assert torch.equal(target.parts["basis"][0], before[0])


@given(st.integers(1, 12), st.integers(1, 12), st.booleans(), st.integers(0, 1000))
def test_mean_rows_by_loops(n: int, modulus: int, weighted: bool, seed: int) -> None:
    modulus = min(n, modulus)
    rows, generator = rows_of(n, seed=seed), torch.Generator().manual_seed(seed)
    weights = torch.randint(0, 3, (n,), generator=generator).double() if weighted else None
    means = mean_rows(rows, modulus, weights)
    assert means.shape == (modulus, X) and means.dtype == rows.dtype
    for number in range(modulus):
        own = [rank for rank in range(n) if rank % modulus == number]
        counts = [1.0 if weights is None else float(weights[rank]) for rank in own]
        if not any(counts):
            counts = [1.0] * len(own)
        for x in range(X):
            total = sum(count * float(rows[rank, x]) for rank, count in zip(own, counts, strict=True))
            assert float(means[number, x]) == pytest.approx(total / sum(counts), rel=1e-5, abs=1e-6)


KEPT = (Full(), Others(), Hashed(3), Hashed(50))


def shared_rows(choices: tuple[Choice, ...], n_rows: tuple[int, ...]) -> SharedRows:
    group = SharedRows([choices] * len(n_rows), n_rows, X)
    with torch.no_grad():
        for parameter in group.parameters():
            parameter.normal_()
    return group


@pytest.mark.parametrize("training", [False, True])
def test_values_have_their_shared_row_or_their_own(training: bool) -> None:
    group = shared_rows(KEPT, (7, 2)).train(training)
    assert set(group.tables) == {"0-1", "0-2", "1-1"}, "the others have a row for every value"
    assert {name: len(table) for name, table in group.tables.items()} == {"0-1": 1, "0-2": 3, "1-1": 1}
    rows = rows_of(3, 4).requires_grad_()
    places, fields = torch.tensor([[0, 6, 3, 3], [5, 4, 1, 2], [1, 0, 1, 1]]), torch.tensor([0, 0, 1])
    outputs = group(rows, places, fields)
    assert outputs.shape == (3, 4, 4, X)
    weight = torch.randn(outputs.shape)
    gradients = torch.autograd.grad((outputs * weight).sum(), [rows, *group.tables.values()])
    expected = [torch.zeros_like(rows), *(torch.zeros_like(table) for table in group.tables.values())]
    names = list(group.tables)
    for tile, field in enumerate(fields.tolist()):
        for column, choice in enumerate(KEPT):
            modulus = choice.modulus((7, 2)[field])
            for n, place in enumerate(places[tile].tolist()):
                found, arriving = outputs[tile, column, n], weight[tile, column, n]
                if modulus == (7, 2)[field]:
                    assert torch.equal(found, rows[tile, n])
                    expected[0][tile, n] += arriving
                else:
                    name = f"{field}-{column}"
                    assert torch.equal(found, group.tables[name][place % modulus])
                    expected[1 + names.index(name)][place % modulus] += arriving
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other)
    for place, column in ((0, 2), (1, 3)):
        own = rows_of((7, 2)[place], seed=5)
        every = torch.arange(len(own))[None]
        assert torch.equal(
            group.looked_up(own, place, column), group(own[None], every, torch.tensor([place]))[0, column]
        )


def test_shared_rows_start_from_the_means_of_their_values() -> None:
    group, rows, weights = shared_rows(KEPT, (7,)), rows_of(7), torch.arange(7.0)
    for column, modulus in ((1, 1), (2, 3)):
        group.start(rows, 0, column, 0)
        assert torch.equal(group.tables[f"0-{column}"], mean_rows(rows, modulus))
        group.start(rows, 0, column, 0, weights)
        assert torch.equal(group.tables[f"0-{column}"], mean_rows(rows, modulus, weights))
    group.start(rows, 0, 0, 0)  # has nothing to start


def test_candidates_are_grouped_by_their_kind_and_stand_where_they_are_asked_for() -> None:
    candidates = [[Int(4), DPQ(3, 2), Others(), DPQ(4, 4)], [Others()], [DPQ(5, 2), Narrow(2), Int(4), Hashed(2)]]
    n_rows = [9, 4, 6]
    torch.manual_seed(0)
    quantizers = Quantizers(candidates, n_rows, X, QuantizerOptions()).eval()
    assert len(quantizers.groups) == 6
    tables = [rows_of(n, seed=n) for n in n_rows]
    for field, row in enumerate(candidates):
        for number in range(len(row)):
            quantizers.start(tables[field], 0, field, number)
    fields = torch.tensor([0, 0, 1, 2, 2])
    places = torch.stack([torch.randperm(4, generator=torch.Generator().manual_seed(t)) for t in range(5)])
    rows = torch.stack([tables[field][own] for field, own in zip(fields.tolist(), places, strict=True)])
    outputs = quantizers(rows, places, fields)
    assert outputs.shape == (5, 4, 4, X)
    for tile, field in enumerate(fields.tolist()):
        for number in range(len(candidates[field])):
            looked_up = quantizers.looked_up(tables[field], field, number)
            assert torch.equal(outputs[tile, number], looked_up[places[tile]])
    quantizers.penalise(torch.ones(3), 0.5)
    for field, number, K in ((0, 1, 3), (0, 3, 4), (2, 0, 5)):
        group, *at = quantizers.group(field, number)
        gradient, keys = (values[tuple(at)][:K] for values in (group.keys.grad, group.keys))
        torch.testing.assert_close(gradient, 0.5 / K * keys.detach())
    assert quantizers.product() is None
