"""Networks whose fields have several values a sample, against plain loops."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from support.information import information_by_samples
from torch import nn

from autodpq.choices import DPQ, Full, Int, Others
from autodpq.data import Samples
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.planned import PlanEmbedding
from autodpq.embedding.supernet import SupernetEmbedding
from autodpq.kernels.kernels import TENSORS, Kernels
from autodpq.models import DeepFM
from autodpq.plan import NO_ID, CompressionPlan, Field
from autodpq.search.bilevel import SearchOptions, alpha_gradient, search
from autodpq.search.sensitivity import row_information
from autodpq.testing.toys import RECIPE
from autodpq.training.fit import Batch, DeviceRows, make_optimizer, training_step
from autodpq.training.network import Network
from autodpq.training.trainer import Trainer

X = 4
PAPER = (Field("user", 9, 3), Field("tags", 12, 4, columns=3), Field("city", 5, 5))
WIDE = (Field("user", 9, 0, (3,)), Field("tags", 12, 0, (4, 8), columns=3), Field("city", 5, 0))
PLANS = {
    PAPER: CompressionPlan({"user": DPQ(3, 2), "tags": DPQ(2, 2), "city": Full()}),
    WIDE: CompressionPlan(
        {
            "user/1": Full(),
            "user/2": Others(),
            "tags/1": Int(8),
            "tags/2": DPQ(3, 2),
            "tags/3": Others(),
            "city": Full(),
        }
    ),
}


def bags(rows: int, seed: int) -> torch.Tensor:
    """Ids, int32 [rows, 5]: one user, one to three tags, one city."""
    rng = np.random.default_rng(seed)
    tags = rng.integers(0, 12, (rows, 3))
    tags[np.arange(3) >= rng.integers(1, 4, rows)[:, None]] = NO_ID
    ids = np.column_stack([rng.integers(0, 9, rows), tags, rng.integers(0, 5, rows)])
    return torch.from_numpy(ids.astype(np.int32))


def network_of(fields: tuple[Field, ...], kernels: Kernels = TENSORS, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    options = QuantizerOptions(
        compact=fields is WIDE, scores="euclidean", gradient="centroid" if fields is WIDE else "softmax"
    )
    embedding = PlanEmbedding(fields, PLANS[fields], X, True, options, kernels)
    embedding.start_rows(1.0)
    embedding.start_quantizers(0)
    nn.init.normal_(embedding.first_order)
    return Network(embedding, DeepFM(3, X, (6,), 0.0), 0.0)


def by_loops(network: Network, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and first-order sums, sample by sample, each value embedded by itself."""
    embedding, numbers = network.embedding, network.embedding.rows_of_ids()
    parts, sums = [], []
    for row in ids.tolist():
        fields = [row[:1], [number for number in row[1:4] if number != NO_ID], row[4:]]
        means, weight = [], torch.zeros(())
        for place, values in enumerate(fields):
            flat = torch.stack([numbers[place][value] for value in values])[:, None]
            means.append(embedding(flat)[:, 0].mean(0))
            weight = weight + embedding.first_order_sum(flat).mean()
        parts.append(torch.stack(means))
        sums.append(weight)
    return torch.stack(parts), torch.stack(sums)


@pytest.mark.parametrize("fields", [PAPER, WIDE])
def test_a_field_has_the_mean_of_its_values(fields: tuple[Field, ...]) -> None:
    network, ids = network_of(fields).eval(), bags(40, 1)
    flat = network.embedding.flatten(ids)
    assert (flat == NO_ID).sum() == (ids == NO_ID).sum() > 0
    embedded, sums = network.embedded(flat, TENSORS)
    expected, weights = by_loops(network, ids)
    torch.testing.assert_close(embedded, expected)
    torch.testing.assert_close(sums, weights)
    with network.embedding.settled():
        torch.testing.assert_close(network.embedded(flat, TENSORS)[0], expected)


@pytest.mark.parametrize("fields", [PAPER, WIDE])
def test_few_samples_are_embedded_by_their_own_rows_alone(fields: tuple[Field, ...]) -> None:
    network, ids = network_of(fields).eval(), bags(1, 1)
    embedding = network.embedding
    flat = embedding.flatten(ids)
    used = len(flat[flat != NO_ID].unique())
    with embedding.settled():
        expected = network.embedded(flat, TENSORS)[0]
        n_rows = len(embedding._rows)
    with embedding.settled(ids):
        torch.testing.assert_close(network.embedded(flat, TENSORS)[0], expected, rtol=0, atol=0)
        assert len(embedding._rows) == used < n_rows == embedding.n_direct + embedding.n_raw
    with embedding.settled(bags(40, 1)):
        assert len(embedding._rows) == n_rows  # most of them are used
    assert embedding._rows is embedding._places is None


@pytest.mark.parametrize("fields", [PAPER, WIDE])
@pytest.mark.parametrize("lazy", [False, True])
def test_gradients_are_those_of_the_loops(fields: tuple[Field, ...], lazy: bool) -> None:
    network, ids = network_of(fields, Kernels(lazy=lazy)), bags(30, 2)
    other = network_of(fields)
    labels = torch.arange(30.0) % 2
    network.eval().backward(network.embedding.flatten(ids), labels)
    embedded, weights = by_loops(other.eval(), ids)
    nn.functional.binary_cross_entropy_with_logits(other.model(embedded) + weights, labels).backward()
    for (name, weight), expected in zip(network.named_parameters(), other.parameters(), strict=True):
        if expected.grad is not None and weight.grad is not None:
            found = weight.grad.to_dense() if weight.grad.is_sparse else weight.grad
            torch.testing.assert_close(found, expected.grad, rtol=1e-4, atol=1e-6, msg=name)
    assert (other.embedding.table.grad != 0).any()


def test_bags_of_one_value_are_fields_of_one() -> None:
    ids = bags(30, 3)
    ids[:, 2:4] = NO_ID
    plain = tuple(Field(field.name, field.cardinality, field.head) for field in PAPER)
    torch.manual_seed(0)
    one = PlanEmbedding(plain, PLANS[PAPER], X, True, QuantizerOptions(scores="euclidean"))
    several = network_of(PAPER).eval()
    network = Network(one, deepcopy(several.model), 0.0).eval()
    network.embedding.load_state_dict(several.embedding.state_dict())
    found = several(several.embedding.flatten(ids))
    assert torch.equal(found, network(network.embedding.flatten(ids[:, [0, 1, 4]])))


def supernet() -> Network:
    torch.manual_seed(1)
    space = {"user": (DPQ(3, 2), DPQ(2, 1)), "tags": (DPQ(2, 2), DPQ(3, 1)), "city": (Full(),)}
    embedding = SupernetEmbedding(PAPER, space, X, True, QuantizerOptions(temperature=0.5, scores="euclidean"))
    embedding.start_rows(1.0)
    embedding.start_quantizers(0)
    return Network(embedding, DeepFM(3, X, (5,), 0.0), 0.0).double()


@pytest.mark.parametrize("xi", [0.0, 0.1])
def test_the_search_sees_all_values_of_a_bag(xi: float) -> None:
    network = supernet()
    flat = network.embedding.flatten
    train, valid = (Batch(flat(bags(24, seed)), torch.arange(24.0).double() % 2) for seed in (4, 5))
    torch.manual_seed(5)
    gradient = alpha_gradient(network, train, valid, xi)
    if xi:  # what the unrolled step brings in is small, and comes with it
        torch.manual_seed(5)
        tiny = alpha_gradient(network, train, valid, 1e-9)
        assert gradient.isfinite().all() and 0 < (gradient - tiny).abs().max() < 0.1
        return
    network.eval()
    network.embedding.train()
    network.embedding.tracking = False
    alpha, step = network.embedding.alpha, 1e-5
    for place in [(0, 0), (1, 1)]:
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                alpha[place] += sign * step
                torch.manual_seed(5)
                losses.append(nn.functional.binary_cross_entropy_with_logits(network(valid.flat), valid.labels))
                alpha[place] -= sign * step
        assert float(gradient[place]) == pytest.approx(float(losses[0] - losses[1]) / (2 * step), rel=1e-3, abs=1e-8)


def test_a_search_goes_through() -> None:
    network = supernet().float()
    rows = [DeviceRows(bags(64, seed), (bags(64, seed)[:, 1] % 2).float()) for seed in (6, 7)]
    before = network.embedding.alpha.detach().clone()
    search(network, *rows, RECIPE, SearchOptions(epochs=1, xi=0.05), 0)
    assert network.embedding.alpha.isfinite().all() and not torch.equal(network.embedding.alpha, before)


def test_the_information_of_a_row_is_by_its_share_of_the_bag() -> None:
    trainer, rows = make_trainer(), bags(80, 8)
    network = trainer.build(trainer.full_plan())
    rows[0, 1:4] = torch.tensor([2, 2, 5])  # one value twice
    found, of_weights = row_information(network, DeviceRows(rows, torch.zeros(80)))
    expected, expected_of_weights = information_by_samples(network, rows)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(of_weights, expected_of_weights, rtol=1e-4, atol=1e-9)


def make_trainer() -> Trainer:
    rows = [Samples(bags(n, n).numpy(), (np.arange(n) % 3 == 0).astype(np.uint8)) for n in (160, 90)]
    fields = tuple(Field(field.name, field.cardinality, field.cardinality, columns=field.columns) for field in PAPER)
    return Trainer(fields, DeepFM, RECIPE, 0, torch.device("cpu"), *rows)


def test_lazy_steps_touch_the_rows_of_the_batch_alone() -> None:
    trainer = make_trainer()
    network = trainer.build(trainer.full_plan())
    network.embedding.kernels = Kernels(lazy=True)
    before = network.embedding.table.detach().clone()
    flat = network.embedding.flatten(bags(6, 9))
    training_step(network, make_optimizer(network, RECIPE), flat, torch.arange(6.0) % 2, 0.0)
    moved = (network.embedding.table != before).any(1).nonzero().flatten().tolist()
    assert moved == sorted(set(flat[flat != NO_ID].tolist()))


def test_samples_of_a_value_are_counted_in_all_columns() -> None:
    trainer = make_trainer()
    ids = trainer.train.ids[:, 1:4]
    tags = torch.bincount(ids[ids != NO_ID], minlength=12)
    assert torch.equal(trainer._counts[9:21], tags.double())
