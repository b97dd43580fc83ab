from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autodpq.choices import DPQ, Float16, Full, Hashed, Int, Narrow, Others
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.planned import PlanEmbedding
from autodpq.embedding.supernet import SupernetEmbedding
from autodpq.errors import AutoDPQError
from autodpq.kernels.kernels import TENSORS, Kernels
from autodpq.models import GDCN, PNN, DeepFM, FinalMLP
from autodpq.plan import Field
from autodpq.search.bilevel import ALPHA, SearchOptions, alpha_gradient, carry_over, search, supernet_of
from autodpq.training.fit import Batch, DeviceRows
from autodpq.training.network import Network
from autodpq.training.recipes import Recipe

X = 4
LAZY = Kernels(lazy=True)
FIELDS = (Field("a", 8, 2), Field("b", 3, 3), Field("c", 6, 2))
SPACE = {"a": (DPQ(3, 2), DPQ(2, 4), DPQ(4, 1)), "b": (Full(),), "c": (DPQ(2, 2), DPQ(3, 1))}


def network_of(
    model=DeepFM, *, space=SPACE, scale=True, dtype=torch.float64, dropout=0.0, seed=0, kernels=TENSORS, **options
):
    torch.manual_seed(seed)
    ctr = model(len(FIELDS), X, (5,), dropout)
    options = {"temperature": 0.5, "scores": "euclidean"} | options
    embedding = SupernetEmbedding(FIELDS, space, X, model.first_order, QuantizerOptions(**options), kernels, scale)
    embedding.start_rows(1.0)
    embedding.start_quantizers(seed)
    with torch.no_grad():
        embedding.alpha.normal_()
        if embedding.first_order is not None:
            embedding.first_order.normal_()
    return Network(embedding, ctr, dropout).to(dtype)


def rows_of(network, n, seed, *, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randint(field.cardinality, (n,), generator=generator) for field in FIELDS], 1).int()
    labels = torch.randint(2, (n,), generator=generator).to(dtype)
    return Batch(network.embedding.flatten(ids), labels)


def loss_of(network, batch, weights):
    logits = functional_call(network, weights, (batch[0],))
    return nn.functional.binary_cross_entropy_with_logits(logits, batch.labels, batch.weights)


def validation_loss(network, alpha, train, valid, xi):
    """L_valid(W - xi dL_train/dW(W, alpha), alpha), written anew, on a copy, over the whole validation batch."""
    network = deepcopy(network)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    weights = {name: value for name, value in network.named_parameters() if name != ALPHA}
    if xi:
        network.train()
        loss = loss_of(
            network, train, weights | {name: value.clone() for name, value in buffers.items()} | {ALPHA: alpha}
        )
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        weights = {
            name: value if gradient is None else value - xi * gradient
            for (name, value), gradient in zip(weights.items(), gradients, strict=True)
        }
    network.eval()
    network.embedding.train()
    with torch.no_grad():
        return loss_of(network, valid, weights | buffers | {ALPHA: alpha}).item()


def finite_differences(network, train, valid, xi, seed=5, step=1e-5):
    alpha = network.embedding.alpha.detach()
    gradient = torch.zeros_like(alpha)
    for place in range(alpha.numel()):
        moved = torch.zeros_like(alpha)
        moved.view(-1)[place] = step
        losses = []
        for sign in (1, -1):
            torch.manual_seed(seed)
            losses.append(validation_loss(network, alpha + sign * moved, train, valid, xi))
        gradient.view(-1)[place] = (losses[0] - losses[1]) / (2 * step)
    return gradient


@pytest.mark.parametrize("xi", [0.0, 0.1, pytest.param(1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "model", [DeepFM, PNN, *(pytest.param(model, marks=pytest.mark.slow) for model in (GDCN, FinalMLP))]
)
@pytest.mark.parametrize("scale", [True, False])
def test_alpha_gradient_against_finite_differences(model, xi, scale):
    network = network_of(model, scale=scale)
    train, valid = rows_of(network, 24, 1), rows_of(network, 16, 2)
    expected = finite_differences(network, train, valid, xi)
    torch.manual_seed(5)
    gradient = alpha_gradient(network, train, valid, xi)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-8)
    assert (gradient[0].abs() > 1e-6).all() and (gradient[1, :2].abs() > 1e-6).all()
    # What stands in the padding is no candidate.
    assert gradient[1, 2] == 0


@pytest.mark.parametrize("xi", [0.0, 0.1])
def test_alphas_gradient_counts_samples_by_their_weights(xi):
    network = network_of()
    train, valid = rows_of(network, 24, 1), rows_of(network, 16, 2)
    weights = [
        torch.rand(len(own.labels), generator=torch.Generator().manual_seed(9)).double() for own in (train, valid)
    ]
    # BatchNorm makes a sample of weight 2 another thing than a sample twice: each loss is a weighted sum instead.
    batches = [own._replace(weights=weight) for own, weight in zip((train, valid), weights, strict=True)]
    expected = finite_differences(network, *batches, xi)
    torch.manual_seed(5)
    gradient = alpha_gradient(network, *batches, xi)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-8)
    torch.manual_seed(5)
    assert (gradient - alpha_gradient(network, train, valid, xi)).abs().max() > 1e-4


def test_the_unrolled_step_changes_the_gradient():
    network = network_of()
    train, valid = rows_of(network, 24, 1), rows_of(network, 16, 2)
    gradients = []
    for xi in (0.0, 1e-7, 1.0):
        torch.manual_seed(5)
        # The first order has no training batch to draw noise for.
        if not xi:
            network.embedding.train().weights()
        gradients.append(alpha_gradient(network, train, valid, xi))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)
    assert (gradients[2] - gradients[0]).abs().max() > 1e-3


# What is rounded has no derivative: there, finite differences and straight-through gradients are two things.
SMOOTH = {
    "a": (DPQ(3, 2), Others(), Hashed(2), Narrow(3), Narrow(2)),
    "b": (Full(),),
    "c": (Hashed(3), Others(), Narrow(1), Full()),
}
KINDS = {
    "a": (DPQ(3, 2), Others(), Hashed(2), Int(4), Narrow(2)),
    "b": (Full(),),
    "c": (Hashed(3), Float16(), Others(), Full()),
}


@pytest.mark.parametrize(
    ("space", "xi"),
    [(SMOOTH, 0.0), (SMOOTH, 0.1), pytest.param(SMOOTH, 1.0, marks=pytest.mark.slow), (KINDS, 0.0)],
)
@pytest.mark.parametrize("model", [DeepFM, pytest.param(PNN, marks=pytest.mark.slow)])
def test_alpha_gradient_of_candidates_of_every_kind_against_finite_differences(model, space, xi):
    network = network_of(model, space=space)
    train, valid = rows_of(network, 24, 1), rows_of(network, 16, 2)
    expected = finite_differences(network, train, valid, xi)
    torch.manual_seed(5)
    gradient = alpha_gradient(network, train, valid, xi)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-8)
    assert (gradient[0].abs() > 1e-6).all() and (gradient[1, :4].abs() > 1e-6).all() and gradient[1, 4] == 0


@pytest.mark.parametrize("xi", [0.0, 0.05])
def test_search_over_candidates_of_every_kind(xi):
    network = network_of(space=KINDS, dtype=torch.float32)
    before = {name: value.clone() for name, value in network.named_parameters()}
    search(network, sample(64, 1), sample(48, 2), RECIPE, SearchOptions(xi=xi, epochs=1), 0)
    for name, value in network.named_parameters():
        assert torch.isfinite(value).all() and not torch.equal(value, before[name]), name
    plan = supernet_of(network).decide()
    assert plan["a"] in KINDS["a"] and plan["c"] in KINDS["c"]


def mixed_batch(network):
    """Twelve samples of frequent values alone among thirty."""
    ids, labels, _ = rows_of(network, 30, 2)
    frequent = torch.tensor([[row % 2, row % 3, row // 2 % 2] for row in range(12)])
    ids[::2][:12] = network.embedding.flatten(frequent)
    return Batch(ids, labels)


def test_samples_without_rare_values_add_nothing_in_the_first_order():
    network = network_of()
    train, valid = rows_of(network, 24, 1), mixed_batch(network)
    rare = (valid[0] >= network.embedding.n_direct).any(1)
    assert 10 <= int(rare.sum()) <= 18
    torch.manual_seed(5)
    gradient = alpha_gradient(network, train, valid, 0.0)
    torch.manual_seed(5)
    alone = alpha_gradient(network, train, Batch(valid[0][rare], valid[1][rare]), 0.0)
    torch.testing.assert_close(alone * int(rare.sum()) / len(rare), gradient)
    # Over the whole batch, computed anew.
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name == ALPHA)
    network.eval()
    network.embedding.train()
    torch.manual_seed(5)
    whole = nn.functional.binary_cross_entropy_with_logits(network(valid[0]), valid[1])
    torch.testing.assert_close(torch.autograd.grad(whole, network.embedding.alpha)[0], gradient)


@pytest.mark.parametrize("xi", [0.0, 0.1, 1.0])
def test_samples_without_rare_values_count_where_the_unrolled_step_moves_their_weights(xi):
    network = network_of()
    train, valid = rows_of(network, 24, 1), mixed_batch(network)
    expected = finite_differences(network, train, valid, xi)
    torch.manual_seed(5)
    torch.testing.assert_close(alpha_gradient(network, train, valid, xi), expected, rtol=1e-4, atol=1e-8)


def test_a_validation_batch_without_rare_values_has_no_gradient_in_the_first_order():
    network = network_of()
    train = rows_of(network, 24, 1)
    ids = network.embedding.flatten(torch.tensor([[0, 1, 0], [1, 2, 1]]))
    valid = Batch(ids, torch.tensor([0.0, 1.0], dtype=torch.float64))
    gradient = alpha_gradient(network, train, valid, 0.0)
    assert gradient.shape == network.embedding.alpha.shape and (gradient == 0).all()
    # With an unrolled step, the weights that alpha moved act on it.
    expected = finite_differences(network, train, valid, 0.5)
    torch.manual_seed(5)
    torch.testing.assert_close(alpha_gradient(network, train, valid, 0.5), expected, rtol=1e-4, atol=1e-8)
    assert expected.abs().max() > 1e-4


@pytest.mark.parametrize("xi", [0.0, 0.1])
def test_alpha_gradient_leaves_weights_and_running_statistics_alone(xi):
    network = network_of()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    alpha_gradient(network, rows_of(network, 24, 1), rows_of(network, 16, 2), xi)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("kernels", [TENSORS, LAZY], ids=["dense", "sparse"])
@pytest.mark.parametrize("xi", [0.0, 0.1])
@pytest.mark.parametrize("model", [DeepFM, PNN])
def test_alpha_gradient_moves_no_buffer_and_no_switch(model, xi, kernels):
    network = network_of(model, dropout=0.2, kernels=kernels)
    # Statistics that have moved already, and would move on.
    network(rows_of(network, 24, 3)[0])
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    assert {"embedding.mean", "embedding.variance", "model.mlp.layers.1.running_mean"} <= set(buffers)
    for seed in range(3):
        alpha_gradient(network, rows_of(network, 24, seed), rows_of(network, 16, seed + 10), xi)
    for name, value in network.named_buffers():
        assert torch.equal(value, buffers[name]), name
    assert network.embedding.kernels is kernels and network.embedding.tracking
    assert all(parameter.grad is None for parameter in network.parameters())
    network.train()
    network(rows_of(network, 24, 4)[0])
    assert not torch.equal(network.embedding.mean, buffers["embedding.mean"])


@pytest.mark.parametrize("xi", [0.0, 0.1, 1.0])
def test_alpha_gradient_is_the_same_with_sparse_gradients(xi):
    gradients = []
    for kernels in (TENSORS, LAZY):
        network = network_of(kernels=kernels)
        torch.manual_seed(5)
        gradients.append(alpha_gradient(network, rows_of(network, 24, 1), rows_of(network, 16, 2), xi))
    assert torch.equal(*gradients) and (gradients[0][0].abs() > 1e-6).all()


class Largest(TorchDispatchMode):
    """Notes the most numbers that an operation makes."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        given = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)}
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage().data_ptr() not in given:
                self.numbers = max(self.numbers, leaf.numel())
        return made


@pytest.mark.parametrize("xi", [0.0, 0.1])
@pytest.mark.parametrize("model", [DeepFM, PNN])
def test_alpha_gradient_makes_nothing_of_the_tables_size(model, xi):
    fields = (Field("a", 10_000, 5_000), Field("b", 10_000, 5_000))
    torch.manual_seed(0)
    space = {field.name: SPACE["a"] for field in fields}
    embedding = SupernetEmbedding(fields, space, X, model.first_order, QuantizerOptions())
    embedding.start_rows(1.0)
    embedding.start_quantizers(0)
    network = Network(embedding, model(len(fields), X, (5,), 0.1), 0.1)
    batches = [
        Batch(embedding.flatten(torch.randint(10_000, (20, 2))), torch.randint(2, (20,)).float()) for _ in range(2)
    ]
    with Largest() as largest:
        assert alpha_gradient(network, *batches, xi).abs().sum() > 0
    # Forty samples of two fields, in tiles of 32 rows, by three candidates.
    assert 0 < largest.numbers < 10_000


@pytest.mark.parametrize("xi", [0.0, 0.1])
def test_switches_are_set_back_where_the_gradient_fails(monkeypatch, xi):
    network = network_of(kernels=LAZY)
    n_direct = network.embedding.n_direct

    def fails(embeddings):
        raise RuntimeError("made to fail")

    monkeypatch.setattr(network.model, "forward", fails)
    with pytest.raises(RuntimeError, match="made to fail"):
        alpha_gradient(network, rows_of(network, 24, 1), rows_of(network, 16, 2), xi)
    assert network.embedding.kernels is LAZY and network.embedding.tracking
    assert network.embedding.n_direct == n_direct and network.embedding.raw_numbers is None


def test_the_temperature_of_the_choice():
    by_step = SearchOptions()
    for step in (0, 1, 10_000, 19_799, 19_801, 10**6):
        assert by_step.temperature(step, 3) == pytest.approx(max(0.01, 1 - 5e-5 * step))
    assert by_step.temperature(10**6, 0) == 0.01
    by_epoch = SearchOptions(temperature_clock="epoch")
    for epoch in (0, 1, 20):
        assert by_epoch.temperature(10**6, epoch) == pytest.approx(1 - 5e-5 * epoch)
    # Read in epochs, it never leaves 1.
    assert by_epoch.temperature(10**6, 20) > 0.99


RECIPE = Recipe("tiny", embedding_dim=X, hidden=(5,), dropout=0.2, embedding_dropout=0.2, batch_size=16, l2=1e-5)


def sample(n, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randint(field.cardinality, (n,), generator=generator) for field in FIELDS], 1).int()
    # Whether both rare fields are on one side says more than nothing.
    labels = ((ids[:, 0] % 2 == ids[:, 2] % 2) ^ (torch.rand(n, generator=generator) < 0.1)).float()
    return DeviceRows(ids, labels)


def searched_network(seed=0, **options):
    network = network_of(dtype=torch.float32, dropout=0.2)
    epochs = []
    search(network, sample(64, 1), sample(48, 2), RECIPE, SearchOptions(**options), seed, on_epoch=epochs.append)
    return network, epochs


@pytest.mark.parametrize("xi", [0.0, 0.05])
def test_search_changes_alpha_and_weights_and_decides(xi):
    network, epochs = searched_network(xi=xi, epochs=2)
    before = network_of(dtype=torch.float32, dropout=0.2)
    assert (network.embedding.alpha[0] != before.embedding.alpha[0]).all()
    # Four batches an epoch, each of them at most one of Adam's steps.
    assert (network.embedding.alpha - before.embedding.alpha).abs().max() < 3e-2 * 8 * 2
    assert network.embedding.alpha[1, 2] == before.embedding.alpha[1, 2]
    weights, old = dict(network.named_parameters()), dict(before.named_parameters())
    for name in ("embedding.table", "embedding.raw", "model.output.weight", "embedding.quantizers.groups.0.keys"):
        assert not torch.equal(weights[name], old[name])
    assert (network.embedding.table[-1] == 0).all()
    plan = supernet_of(network).decide()
    assert plan["b"] == Full()
    for field in ("a", "c"):
        assert plan[field] in SPACE[field]
    best = network.embedding.alpha[0].argmax()
    assert plan["a"] == SPACE["a"][best]
    assert [epoch.number for epoch in epochs] == [1, 2]
    assert 0 < epochs[0].seconds < epochs[1].seconds
    assert all(0 <= epoch.valid_auc <= 1 for epoch in epochs)
    torch.testing.assert_close(epochs[1].weights.sum(1), torch.ones(2))


def test_search_moves_the_temperature_by_its_clock(monkeypatch):
    monkeypatch.setattr("autodpq.search.bilevel.TEMPERATURE_STEP", 0.01)
    network, _ = searched_network(epochs=2)
    # Eight steps; the last is number 7, from 0.
    assert network.embedding.temperature == pytest.approx(0.93)
    network, _ = searched_network(epochs=2, temperature_clock="epoch")
    assert network.embedding.temperature == pytest.approx(0.99)


@pytest.mark.parametrize("xi", [0.0, 0.05])
def test_the_same_seed_gives_the_same_search(xi):
    one, other, third = (searched_network(seed, xi=xi, epochs=1)[0] for seed in (3, 3, 4))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert not torch.equal(one.embedding.alpha, third.embedding.alpha)


def test_search_finds_the_candidate_that_fits():
    # The rare values of one field need four rows; the other candidate has two.
    torch.manual_seed(0)
    field, other = Field("a", 8, 0), Field("b", 2, 2)
    space = {"a": (DPQ(2, 1), DPQ(8, 1)), "b": (Full(),)}
    embedding = SupernetEmbedding(
        (field, other), space, X, True, QuantizerOptions(scores="euclidean", temperature=1e-2)
    )
    rows = torch.randn(10, X)
    embedding.load_rows(rows, torch.zeros(10))
    embedding.start_quantizers(0)
    network = Network(embedding, DeepFM(2, X, (8,), 0.0), 0.0)

    def labelled(n, seed):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.stack([torch.randint(8, (n,), generator=generator), torch.randint(2, (n,), generator=generator)], 1)
        return DeviceRows(ids.int(), (ids[:, 0] % 2).float())

    recipe = Recipe("tiny", embedding_dim=X, hidden=(8,), dropout=0.0, batch_size=32, learning_rate=1e-2)
    search(network, labelled(256, 1), labelled(256, 2), recipe, SearchOptions(epochs=8, alpha_learning_rate=0.1), 0)
    assert embedding.decide() == {"a": DPQ(8, 1), "b": Full()}


def test_a_search_without_epochs_is_refused():
    with pytest.raises(AutoDPQError, match="search_epochs: 0"):
        searched_network(epochs=0)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("best", [(0, 1), (1, 0), (2, 1)])
@pytest.mark.parametrize("model", [DeepFM, PNN])
def test_carried_over_centroids_give_what_the_union_gave(model, best, scale):
    network = network_of(model, scale=scale, scores="euclidean")
    embedding = network.embedding
    with torch.no_grad():
        for number, candidate in enumerate(best):
            embedding.alpha[number, candidate] = 1e6
        embedding.mean.normal_()
        embedding.variance.uniform_(0.5, 2)
        # Codes are kept where distances are all stretched by one factor per subspace.
        embedding.variance.copy_(embedding.variance[:, :, :1].expand_as(embedding.variance))
        embedding.row_deviation.copy_(embedding.row_deviation[:, :1].expand_as(embedding.row_deviation))
    check_carried_over(network, model, scores="euclidean")


def check_carried_over(network, model=DeepFM, **options):
    """The decided network gives what the union gave, whose weights are all on one candidate."""
    embedding = network.embedding
    embedding.temperature = 0.01
    plan = embedding.decide()
    decided = Network(
        PlanEmbedding(FIELDS, plan, X, model.first_order, QuantizerOptions(temperature=0.5, **options)),
        model(len(FIELDS), X, (5,), 0.0),
        0.0,
    ).to(embedding.raw.dtype)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        # All but what is made of rare values is shared from the start, so that only this makes a difference.
        decided.model.load_state_dict(network.model.state_dict())
        for column, field in enumerate(FIELDS):
            source, target = embedding.rows_of_ids()[column].long(), decided.embedding.rows_of_ids()[column].long()
            decided.embedding.table[target[: field.head]] = embedding.table[source[: field.head]]
            if embedding.first_order is not None:
                decided.embedding.first_order[target] = embedding.first_order[source]
    carry_over(network, decided)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    ids = torch.stack([torch.arange(60) % field.cardinality for field in FIELDS], 1)
    flat, own = embedding.flatten(ids), decided.embedding.flatten(ids)
    network.eval()
    decided.eval()
    torch.testing.assert_close(decided.embedding(own), embedding(flat))
    with decided.embedding.settled():
        torch.testing.assert_close(decided.embedding(own), embedding(flat))
    if all(choice.modulus(8) == 8 for choice in plan.values()):  # where values share a row, they share a weight
        torch.testing.assert_close(decided(own), network(flat))
        assert decided(own).std() > 0.01
    return decided


EVERY_KIND = (Full(), Others(), Hashed(2), DPQ(3, 2), Int(2), Int(4), Int(8), Float16(), Narrow(2), Narrow(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chosen", EVERY_KIND, ids=str)
def test_every_kind_is_carried_over_as_the_union_had_it(chosen, dtype):
    network = network_of(space={"a": EVERY_KIND, "b": (Full(),), "c": (DPQ(2, 2), chosen)}, dtype=dtype)
    embedding = network.embedding
    with torch.no_grad():
        embedding.alpha[0, EVERY_KIND.index(chosen)] = 1e6
        embedding.alpha[1, 1] = 1e6
        for group in embedding.quantizers.groups:
            for parameter in group.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    decided = check_carried_over(network, scores="euclidean")
    assert decided.embedding.choices == (chosen, Full(), chosen)


@pytest.mark.parametrize("scores", ["inner", "euclidean"])
def test_the_decided_centroids_are_the_normalised_ones_whatever_the_factors(scores):
    network = network_of(scores=scores)
    embedding = network.embedding
    embedding.mean.normal_()
    embedding.variance.uniform_(0.5, 2)
    plan = embedding.decide()
    decided = Network(
        PlanEmbedding(FIELDS, plan, X, True, QuantizerOptions(scores=scores)), DeepFM(len(FIELDS), X, (5,), 0.0), 0.0
    ).double()
    others = {name: value.clone() for name, value in decided.state_dict().items() if not _is_quantized(name)}
    carry_over(network, decided)
    for number, column in enumerate(embedding.quantized):
        candidate = SPACE[FIELDS[column].name].index(plan[FIELDS[column].name])
        factor, shift = embedding.affine(number, candidate)
        torch.testing.assert_close(
            centroids_of(decided.embedding, number),
            factor * centroids_of(embedding, number, candidate) + shift,
        )
        rows = decided.embedding.raw_rows(column)
        torch.testing.assert_close(decided.embedding.raw[rows], factor * embedding.raw[rows] + shift)
    assert all(torch.equal(decided.state_dict()[name], value) for name, value in others.items())


def centroids_of(embedding, number, candidate=0):
    group, place, column = embedding.quantizers.group(number, candidate)
    return group.centroids(place, column)


def _is_quantized(name):
    return name == "embedding.raw" or name.startswith("embedding.quantizers")
