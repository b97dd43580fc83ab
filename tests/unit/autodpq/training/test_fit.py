from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn

from autodpq.choices import DPQ, Float16, Full, Hashed, Int, Narrow, Others
from autodpq.data.dataset import Samples
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.planned import PlanEmbedding
from autodpq.errors import AutoDPQError
from autodpq.kernels.kernels import TENSORS, Kernels
from autodpq.metrics import evaluate_predictions
from autodpq.models import DeepFM
from autodpq.plan import CompressionPlan, Field
from autodpq.training import fit as fit_module
from autodpq.training.fit import DeviceRows, evaluate, fit, make_optimizer, predict, training_step
from autodpq.training.network import Network
from autodpq.training.recipes import LAZY_RATIO, Recipe

X = 4
FIELDS = (Field("a", 8, 3), Field("b", 3, 3), Field("c", 6, 2))
PLAN = CompressionPlan({"a": DPQ(3, 2), "b": Full(), "c": Others()})
RECIPE = Recipe(
    "tiny",
    embedding_dim=X,
    hidden=(6,),
    embedding_dropout=0.1,
    batch_size=16,
    learning_rate=1e-2,
    max_epochs=6,
    initial_deviation=0.1,
)


def network_of(seed=0, *, plan=PLAN, quantizer=None, kernels=TENSORS):
    torch.manual_seed(seed)
    embedding = PlanEmbedding(FIELDS, plan, X, True, quantizer or QuantizerOptions(), kernels)
    embedding.start_rows(0.1)
    embedding.start_quantizers(0)
    return Network(embedding, DeepFM(len(FIELDS), X, (6,), 0.2), 0.1)


def rows_of(n, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randint(field.cardinality, (n,), generator=generator) for field in FIELDS], 1).int()
    labels = ((ids[:, 0] + ids[:, 1]) % 2 == 0) ^ (torch.rand(n, generator=generator) < 0.2)
    return DeviceRows(ids, labels.float())


TRAIN, VALID = rows_of(100, 1), rows_of(60, 2)


def fitted(seed=0, *, recipe=RECIPE, epochs=None, **options):
    network, seen = network_of(**options), []
    result = fit(network, TRAIN, VALID, recipe, seed, epochs=epochs, on_epoch=seen.append)
    return network, result, seen


def test_load_keeps_ids_and_labels():
    samples = Samples(np.array([[1, 2, 0], [3, 0, 5]], np.int32), np.array([1, 0], np.uint8))
    rows = DeviceRows.load(samples, torch.device("cpu"))
    assert rows.ids.dtype == torch.int32 and rows.ids.tolist() == [[1, 2, 0], [3, 0, 5]]
    assert rows.labels.dtype == torch.float32 and rows.labels.tolist() == [1, 0]
    assert len(rows) == 2


def numbered(n):
    """A network of one field of n values, each a row of its own, and each of them as a sample that is labelled so."""
    field = Field("a", n, n)
    embedding = PlanEmbedding((field,), CompressionPlan({"a": Full()}), X, True, QuantizerOptions())
    network = Network(embedding, DeepFM(1, X, (6,), 0.0), 0.0)
    return network, DeviceRows(torch.arange(n, dtype=torch.int32)[:, None], torch.arange(n).float())


@given(st.integers(2, 60), st.integers(2, 20), st.integers(0, 1000), st.integers(1, 50), st.integers(1, 4))
def test_batches_cover_every_row_once_in_the_order_of_the_epoch(n, size, seed, epoch, chunk):
    network, rows = numbered(n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autodpq.training.fit.CHUNK_BATCHES", chunk)
        batches = list(rows.batches(network, size, seed, epoch))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed * 100_003 + epoch)).tolist()
    # A rest of one row is left out of that epoch.
    order = order[: n - 1 if n % size == 1 else n]
    assert torch.cat([batch.flat[:, 0] for batch in batches]).tolist() == order
    assert [len(batch.flat) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert 2 <= len(batches[-1][0]) <= size
    for ids, labels, _ in batches:
        assert ids.shape == (len(labels), 1) and torch.equal(ids[:, 0].float(), labels)


def test_batches_are_of_the_network_s_row_numbers():
    network, other = network_of(), network_of(plan=CompressionPlan(dict.fromkeys("abc", Full())))
    order = torch.randperm(len(TRAIN), generator=torch.Generator().manual_seed(3 * 100_003 + 2))
    for one in (network, other):
        batches = list(TRAIN.batches(one, 16, 3, 2))
        flat = torch.cat([batch.flat for batch in batches])
        assert flat.dtype == torch.int32 and torch.equal(flat, one.embedding.flatten(TRAIN.ids[order]))
        assert torch.equal(torch.cat([batch.labels for batch in batches]), TRAIN.labels[order])
    assert network.embedding.n_direct < other.embedding.n_direct


def test_the_order_is_drawn_from_seed_and_epoch():
    network, rows = numbered(100)

    def order(seed, epoch):
        return torch.cat([batch.flat for batch in rows.batches(network, 16, seed, epoch)])

    torch.manual_seed(0)
    first = order(1, 1)
    torch.manual_seed(9)
    assert torch.equal(order(1, 1), first)
    assert not torch.equal(order(1, 2), first)
    assert not torch.equal(order(2, 1), first)


def test_batches_leave_torchs_generator_and_the_rows_alone():
    network, rows = numbered(50)
    state = torch.get_rng_state()
    before = rows.ids.clone(), rows.labels.clone()
    for ids, labels, _ in rows.batches(network, 8, 0, 1):
        ids.zero_()
        labels.zero_()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(rows.ids, before[0]) and torch.equal(rows.labels, before[1])


def test_the_best_epoch_is_restored():
    network, result, seen = fitted(epochs=15)
    aucs = [epoch.metrics.auc for epoch in seen]
    assert result.best.metrics.auc == max(aucs)
    assert result.best.number == aucs.index(max(aucs)) + 1
    assert evaluate(network, VALID) == result.best.metrics
    # The last epoch was another network, so that there was something to restore.
    assert seen[-1].metrics != result.best.metrics


def test_the_best_so_far_is_marked():
    _, _, seen = fitted(recipe=replace(RECIPE, patience=100))
    best = -1.0
    for number, epoch in enumerate(seen, 1):
        assert epoch.number == number
        assert epoch.best == (epoch.metrics.auc > best)
        best = max(best, epoch.metrics.auc)


@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_training_ends_after_patience_epochs_without_a_better_one(patience, seed):
    _, result, seen = fitted(seed, recipe=replace(RECIPE, patience=patience, max_epochs=12))
    assert result.epochs == len(seen)
    assert result.epochs == min(result.best.number + patience, 12)
    # It did not end before: no earlier epoch was patience past its best.
    aucs = [epoch.metrics.auc for epoch in seen]
    for number in range(1, len(aucs)):
        assert number - (aucs[:number].index(max(aucs[:number])) + 1) < patience


def test_after_an_epoch_that_is_no_better_training_goes_on_from_the_best_at_lower_rates(monkeypatch):
    made = []
    monkeypatch.setattr(fit_module, "make_optimizer", lambda *given: made.append(make_optimizer(*given)) or made[-1])
    network, ends, starts = network_of(), [], []

    def on_step():
        if len(starts) == len(ends):
            starts.append((made[0].rate_factor, state_of(network)))

    def on_epoch(epoch):
        ends.append((epoch.best, state_of(network)))

    recipe = replace(RECIPE, patience=3, max_epochs=20, plateau_factor=0.5)
    fit(network, TRAIN, VALID, recipe, 0, on_epoch=on_epoch, on_step=on_step)
    worse, best = 0, None
    for (is_best, end), (factor, start) in zip(ends, starts[1:], strict=False):
        best, worse = (end, worse) if is_best else (best, worse + 1)
        assert factor == 0.5**worse
        assert all(torch.equal(start[name], best[name]) for name in best)
    assert worse >= 2 and len(starts) == len(ends)


def state_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("lazy", [False, True])
def test_the_rate_factor_multiplies_all_rates(lazy):
    def stepped(factor, rate):
        network = network_of(plan=CompressionPlan(dict.fromkeys("abc", Full())), kernels=Kernels(0, lazy))
        recipe = replace(RECIPE, learning_rate=rate, table_learning_rate=rate, l2=0.1, penalty="proximal")
        optimizer = make_optimizer(network, recipe)
        optimizer.rate_factor = factor
        for _ in range(3):
            training_step(network, optimizer, network.embedding.flatten(TRAIN.ids), TRAIN.labels, recipe.l2)
        return state_of(network)

    halved, half = stepped(0.5, 2e-2), stepped(1.0, 1e-2)
    assert all(torch.equal(halved[name], half[name]) for name in half)


@pytest.mark.parametrize("epochs", [1, 4, 9])
def test_an_exact_number_of_epochs(epochs):
    # More than patience allows, and more than the recipe's most.
    network, result, seen = fitted(epochs=epochs, recipe=replace(RECIPE, patience=1))
    assert result.epochs == len(seen) == epochs
    assert result.best.metrics.auc == max(epoch.metrics.auc for epoch in seen)
    assert evaluate(network, VALID) == result.best.metrics


def test_no_more_epochs_than_the_recipe_allows():
    _, result, _ = fitted(recipe=replace(RECIPE, patience=100, max_epochs=3))
    assert result.epochs == 3


@pytest.mark.parametrize(
    ("patience", "max_epochs", "epochs", "by_patience"),
    [(1, 50, None, True), (3, 50, None, True), (100, 4, None, False), (100, 1, None, False), (1, 50, 9, False)],
)
def test_the_last_epoch_is_marked_and_no_other(patience, max_epochs, epochs, by_patience):
    recipe = replace(RECIPE, patience=patience, max_epochs=max_epochs)
    _, result, seen = fitted(recipe=recipe, epochs=epochs)
    assert [epoch.last for epoch in seen] == [False] * (result.epochs - 1) + [True]
    # What ended it is what the row is about.
    assert (result.epochs < max_epochs and epochs is None) == by_patience
    assert result.epochs == (result.best.number + patience if by_patience else epochs or max_epochs)
    assert result.best == seen[result.best.number - 1]


def test_patience_and_the_most_epochs_may_end_it_at_once():
    patient = fitted(recipe=replace(RECIPE, patience=1, max_epochs=50))[1].epochs
    _, result, seen = fitted(recipe=replace(RECIPE, patience=1, max_epochs=patient))
    assert result.epochs == patient and [epoch.last for epoch in seen] == [False] * (patient - 1) + [True]


@pytest.mark.parametrize("epochs", [0, -1])
def test_a_training_without_epochs_is_refused(epochs):
    with pytest.raises(AutoDPQError, match=f"epochs: {epochs}"):
        fitted(epochs=epochs, recipe=replace(RECIPE, max_epochs=1))


@pytest.mark.parametrize("quantizer", [QuantizerOptions(), QuantizerOptions(gradient="centroid")])
def test_the_same_seed_gives_the_same_weights(quantizer):
    one, _, _ = fitted(3, quantizer=quantizer, epochs=2)
    torch.rand(5)
    other, _, _ = fitted(3, quantizer=quantizer, epochs=2)
    third, _, _ = fitted(4, quantizer=quantizer, epochs=2)
    state, again = one.state_dict(), other.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in state.items())
    assert not torch.equal(third.embedding.table, one.embedding.table)


def test_training_learns():
    _, result, seen = fitted(epochs=20)
    assert result.best.metrics.auc > 0.7
    assert result.best.metrics.logloss < seen[0].metrics.logloss


def test_the_time_of_the_callback_is_not_counted(monkeypatch):
    # A clock that the callback sets forward by an hour.
    clock, ahead = time.perf_counter, [0.0]
    monkeypatch.setattr("autodpq.training.fit.time.perf_counter", lambda: clock() + ahead[0])
    seen = []

    def on_epoch(epoch):
        seen.append(epoch.seconds)
        ahead[0] += 3600.0

    result = fit(network_of(), TRAIN, VALID, RECIPE, 0, epochs=3, on_epoch=on_epoch)
    assert 0 < seen[0] < seen[1] < seen[2] <= result.seconds < 3600


def test_predictions_are_probabilities_in_evaluation_mode():
    network = network_of()
    rows = VALID
    network.train()
    probabilities = predict(network, rows)
    assert not network.training
    assert probabilities.shape == (60,) and probabilities.dtype == np.float64
    with torch.no_grad():
        expected = torch.sigmoid(network(network.embedding.flatten(rows.ids)).double())
    np.testing.assert_allclose(probabilities, expected)
    assert evaluate(network, rows) == evaluate_predictions(probabilities, VALID.labels.numpy())


def test_predictions_do_not_depend_on_the_size_of_the_parts(monkeypatch):
    network = network_of()
    rows = VALID
    whole = predict(network, rows)
    monkeypatch.setattr("autodpq.training.fit.EVALUATION_BATCH", 7)
    np.testing.assert_allclose(predict(network, rows), whole, rtol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_that_are_not_finite_are_refused(value):
    network = network_of()
    with torch.no_grad():
        network.embedding.table[0] = value
    with pytest.raises(AutoDPQError, match="NaN or infinite"):
        evaluate(network, VALID)


def test_a_training_that_diverges_is_refused():
    with pytest.raises(AutoDPQError, match="NaN or infinite"):
        fitted(recipe=replace(RECIPE, learning_rate=1e30))


def flat_batch(network, rows=TRAIN):
    return network.embedding.flatten(rows.ids), rows.labels


def test_one_step_is_adam_on_the_mean_cross_entropy():
    network, other = network_of().eval(), network_of().eval()
    flat, labels = flat_batch(network)
    training_step(network, make_optimizer(network, RECIPE), flat, labels, 0.0)
    optimizer = torch.optim.Adam(other.parameters(), lr=RECIPE.learning_rate)
    nn.functional.binary_cross_entropy_with_logits(other(flat), labels).backward()
    optimizer.step()
    for (name, value), expected in zip(network.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(value, expected, msg=name)


def test_a_step_counts_samples_by_their_weights():
    network, other = network_of().eval(), network_of().eval()
    flat, labels = flat_batch(network)
    weights = torch.rand(len(labels), generator=torch.Generator().manual_seed(3)) * 2
    training_step(network, make_optimizer(network, RECIPE), flat, labels, 0.0, weights)
    optimizer = torch.optim.Adam(other.parameters(), lr=RECIPE.learning_rate)
    (weights * nn.functional.binary_cross_entropy_with_logits(other(flat), labels, reduction="none")).mean().backward()
    optimizer.step()
    for (name, value), expected in zip(network.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(value, expected, msg=name)


def test_batches_bring_the_weights_of_their_rows_in_units_of_the_mean():
    network, rows = numbered(100)
    weights = torch.arange(100, dtype=torch.float64)
    weighted = replace(rows, weights=weights)
    plain = list(rows.batches(network, 16, 1, 1))
    for own, batch in zip(weighted.batches(network, 16, 1, 1), plain, strict=True):
        assert torch.equal(own.flat, batch.flat) and torch.equal(own.labels, batch.labels) and batch.weights is None
        assert own.weights.dtype == torch.float32
        assert torch.equal(own.weights, (own.labels.double() / weights.mean()).float())


def test_evaluation_counts_rows_by_their_weights():
    network, weights = network_of(), torch.rand(60, generator=torch.Generator().manual_seed(3)).double()
    rows = replace(VALID, weights=weights)
    probabilities, labels = predict(network, VALID), VALID.labels.numpy()
    metrics = evaluate(network, rows)
    assert metrics == evaluate_predictions(probabilities, labels, weights.numpy())
    assert metrics.auc == pytest.approx(roc_auc_score(labels, probabilities, sample_weight=weights), abs=1e-12)
    assert metrics != evaluate(network, VALID)


def test_weights_of_one_size_change_no_digit():
    plain, _, _ = fitted(epochs=2)
    network = network_of()
    weights = [torch.full((len(rows),), 3.0, dtype=torch.float64) for rows in (TRAIN, VALID)]
    rows = [replace(own, weights=weight) for own, weight in zip((TRAIN, VALID), weights, strict=True)]
    fit(network, *rows, RECIPE, 0, epochs=2)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], rtol=1e-6, atol=1e-7, msg=name)


def test_the_penalty_is_of_rows_first_order_weights_and_centroids_alone():
    network = network_of(quantizer=QuantizerOptions(temperature=0.5)).eval()
    # Soft codes, so that raw rows have a gradient too.
    network.embedding.train()
    l2 = 0.1
    flat, labels = flat_batch(network)
    weights = dict(network.named_parameters())
    loss = nn.functional.binary_cross_entropy_with_logits(network(flat), labels)
    plain = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
    # Plain gradient descent in place of Adam shows the gradients.
    training_step(network, torch.optim.SGD(network.parameters(), lr=0.0), flat, labels, l2)
    for name, weight in weights.items():
        extra = weight.grad - plain[name]
        if name == "embedding.quantizers.groups.0.keys":
            # Five rare values by three centroids.
            torch.testing.assert_close(extra, l2 * 5 / 3 * weight.detach())
        else:
            torch.testing.assert_close(extra, torch.zeros_like(extra), msg=name)


def test_the_optimizer_penalises_rows_and_first_order_weights_alone():
    network, other = network_of(), network_of()
    recipe = replace(RECIPE, l2=0.1)
    penalised = ("embedding.table", "embedding.first_order")
    groups = [
        {"params": [weight for name, weight in other.named_parameters() if name in penalised], "weight_decay": 0.1},
        {"params": [weight for name, weight in other.named_parameters() if name not in penalised]},
    ]
    optimizer, expected = make_optimizer(network, recipe), torch.optim.Adam(groups, lr=recipe.learning_rate)
    for step in range(3):
        torch.manual_seed(step)
        for weight, same in zip(network.parameters(), other.parameters(), strict=True):
            weight.grad = torch.randn_like(weight)
            same.grad = weight.grad.clone()
        optimizer.step()
        expected.step()
    for (name, weight), same in zip(network.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(weight, same, msg=name)


def test_lazy_training_of_every_row_is_training():
    # Every batch holds every value.
    network, other = network_of().eval(), network_of(kernels=Kernels(lazy=True)).eval()
    recipe = replace(RECIPE, l2=1e-2)
    flat, labels = flat_batch(network)
    assert len(flat.unique()) == network.embedding.n_direct + network.embedding.n_raw
    optimizers = make_optimizer(network, recipe), make_optimizer(other, recipe)
    for _ in range(5):
        training_step(network, optimizers[0], flat, labels, recipe.l2)
        training_step(other, optimizers[1], flat, labels, recipe.l2)
    for (name, value), expected in zip(other.named_parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(value, expected, msg=name, rtol=1e-4, atol=1e-6)


ROWS = (Int(4), Float16(), Narrow(2))


@pytest.mark.parametrize("kernels", [TENSORS, Kernels(lazy=True)], ids=["dense", "lazy"])
@pytest.mark.parametrize("choice", ROWS, ids=str)
def test_rows_that_are_trained_as_rows_are_penalised_as_rows(choice, kernels):
    plan = CompressionPlan({"a": DPQ(3, 2), "b": Full(), "c": choice})
    network = network_of(plan=plan, kernels=kernels).eval()
    embedding, recipe = network.embedding, replace(RECIPE, l2=0.1)
    of_a, of_c = (embedding.raw_rows(column) for column in (0, 2))
    penalty = embedding.raw_penalty(0.1)
    assert (penalty[of_a] == 0).all() and (penalty[of_c] == torch.tensor(0.1)).all() and len(penalty) == 5 + 4
    assert embedding.raw_penalty(0.0) is None and network_of().embedding.raw_penalty(0.1) is None
    # One row of each field is in the batch; with gradients of zero, the penalty's alone is left.
    rows = torch.tensor([of_a.start, of_c.start + 1])
    gradient = torch.zeros(2, X)
    if kernels.lazy:
        embedding.raw.grad = torch.sparse_coo_tensor(
            rows[None], gradient, embedding.raw.shape, is_coalesced=True, check_invariants=False
        )
    else:
        embedding.raw.grad = torch.zeros_like(embedding.raw)
    before = embedding.raw.detach().clone()
    make_optimizer(network, recipe).step()
    moved = (embedding.raw != before).any(1).nonzero().flatten().tolist()
    assert moved == ([of_c.start + 1] if kernels.lazy else list(range(of_c.start, of_c.stop)))
    # Adam's first step is of the learning rate, against the sign of what is penalised.
    expected = before[moved] - recipe.learning_rate * before[moved].sign()
    torch.testing.assert_close(embedding.raw[moved].detach(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("choice", "kernels"),
    [
        *((choice, TENSORS) for choice in (Hashed(2), *ROWS)),
        *(
            (choice, Kernels(lazy=True)) for choice in (Hashed(2), ROWS[0])
        ),  # rows that are shared, and straight through
        *(pytest.param(choice, Kernels(lazy=True), marks=pytest.mark.slow) for choice in ROWS[1:]),
    ],
    ids=str,
)
def test_every_kind_learns_and_predicts_what_it_packs(choice, kernels):
    plan = CompressionPlan({"a": choice, "b": Full(), "c": choice})
    network = network_of(plan=plan, kernels=kernels)
    result = fit(network, TRAIN, VALID, replace(RECIPE, l2=1e-4), 0, epochs=20)
    assert result.best.metrics.auc > 0.65
    flat = network.embedding.flatten(VALID.ids)
    with torch.no_grad(), network.embedding.settled():
        settled = network.eval().embedding(flat)
    torch.testing.assert_close(network.embedding(flat).detach(), settled)


def test_the_placeholder_stays_zero_under_l2():
    network, _, _ = fitted(recipe=replace(RECIPE, l2=1e-2))
    assert (network.embedding.table[-1] == 0).all()


def test_a_frozen_weight_is_not_trained():
    network = network_of()
    network.embedding.raw.requires_grad_(False)
    before = network.embedding.raw.clone()
    fit(network, TRAIN, VALID, RECIPE, 0, epochs=1)
    assert torch.equal(network.embedding.raw, before)


@pytest.mark.parametrize("lazy", [False, True])
def test_the_placeholder_rests_whatever_the_gradients(lazy):
    network = network_of(kernels=Kernels(lazy=lazy))
    fit(network, TRAIN, VALID, replace(RECIPE, l2=1e-2), 0, epochs=2)
    assert (network.embedding.table[-1] == 0).all() and (network.embedding.table[:-1] != 0).all()


@pytest.mark.parametrize(("n_values", "expected"), [(3, "adam"), (4 * 16 * 3, "adam"), (4 * 16 * 3 + 1, "lazy-adam")])
def test_tables_of_more_values_than_some_batches_hold_are_trained_lazily(n_values, expected):
    assert LAZY_RATIO == 4
    fields = (Field("a", 1, 1), Field("b", n_values - 2, 0), Field("c", 1, 0))
    assert RECIPE.optimizer == "auto" and RECIPE.optimizer_for(fields) == expected
    for chosen in ("adam", "lazy-adam"):
        assert replace(RECIPE, optimizer=chosen).optimizer_for(fields) == chosen
    assert RECIPE.continued().optimizer_for(fields) == expected
    assert replace(RECIPE, optimizer="lazy-adam").continued().optimizer == "lazy-adam"
