from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from autodpq.choices import DPQ, Full, Others
from autodpq.choices.dpq import code_bits
from autodpq.data.dataset import Samples
from autodpq.embedding.kmeans import kmeans_centroids
from autodpq.errors import AutoDPQError
from autodpq.kernels.kernels import Kernels
from autodpq.models import GDCN, MODELS, DeepFM, FinalMLP
from autodpq.plan import CompressionPlan, Field
from autodpq.search.bilevel import SearchOptions, search
from autodpq.training import recipes
from autodpq.training.additive import fit_additive
from autodpq.training.attempt import pruned_by, train_one
from autodpq.training.fit import evaluate, predict
from autodpq.training.recipes import Recipe
from autodpq.training.trainer import Trainer, start_output

X = 4
FIELDS = (Field("a", 8, 3), Field("b", 3, 3), Field("c", 6, 2), Field("d", 5, 2))
PLAN = CompressionPlan({"a": DPQ(3, 2), "b": Full(), "c": Others(), "d": Full()})
RECIPE = Recipe(
    "tiny", embedding_dim=X, hidden=(6, 5), batch_size=16, learning_rate=1e-2, max_epochs=3, initial_deviation=0.1
)
# No step moves a weight: what training started from can be read off its end.
STILL = replace(RECIPE, learning_rate=1e-30, continued_learning_rate=1e-30)  # moves no weight
each_model = pytest.mark.parametrize("model", list(MODELS.values()), ids=list(MODELS))


def samples_of(n, seed):
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.integers(field.cardinality, size=n) for field in FIELDS], 1).astype(np.int32)
    labels = ((ids[:, 0] + ids[:, 1]) % 2 == 0) ^ (rng.random(n) < 0.2)
    return Samples(ids, labels.astype(np.uint8))


def trainer_of(model=DeepFM, *, recipe=RECIPE, seed=0):
    return Trainer(FIELDS, model, recipe, seed, torch.device("cpu"), samples_of(80, 1), samples_of(50, 2))


def states_equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def snapshot(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


@each_model
def test_the_ledger_counts_the_floats_of_a_built_network(model):
    trainer = trainer_of(model)
    costs = trainer.ledger(PLAN)
    network = trainer.build(PLAN)
    running = [value for name, value in network.model.named_buffers() if name.split(".")[-1].startswith("running_")]
    weights = sum(parameter.numel() for parameter in network.model.parameters())
    assert costs.dense.floats == weights + sum(value.numel() for value in running)
    assert sum(value.numel() for value in running) == 2 * (6 + 5) * (2 if model is FinalMLP else 1)
    embedding = network.embedding
    codes = 5 * 2
    floats = embedding.n_direct * X + 3 * X
    assert costs.parameters == floats + codes
    assert costs.embedding_bytes == 4 * floats + -(-codes * code_bits(3) // 8)
    assert costs.first_order_rows == (0 if embedding.first_order is None else embedding.first_order.numel())
    assert (embedding.first_order is not None) == model.first_order


@each_model
@pytest.mark.parametrize("choice", [Full(), Others()])
def test_the_ledger_of_plans_without_codes_is_the_weights_of_the_network(model, choice):
    trainer = trainer_of(model)
    plan = CompressionPlan(dict.fromkeys("abcd", choice))
    costs, network = trainer.ledger(plan), trainer.build(plan)
    assert costs.parameters == network.embedding.table.numel()
    floats = sum(value.numel() for value in network.state_dict().values() if value.is_floating_point())
    assert costs.bytes == 4 * floats


def test_pricing_a_plan_draws_no_random_numbers():
    trainer = trainer_of()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    trainer.ledger(PLAN)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_full_plan_compresses_nothing():
    trainer = trainer_of()
    assert trainer.full_plan() == dict.fromkeys("abcd", Full())
    assert trainer.ledger(trainer.full_plan()).parameters == 22 * X


@each_model
def test_a_seed_builds_the_same_network_and_the_same_model_whatever_the_plan(model):
    first = trainer_of(model).build(PLAN)
    torch.rand(3)
    assert states_equal(first.state_dict(), trainer_of(model).build(PLAN).state_dict())
    other = trainer_of(model, seed=1).build(PLAN)
    assert not torch.equal(other.embedding.table, first.embedding.table)
    full = trainer_of(model).build(trainer_of(model).full_plan())
    assert states_equal(full.model.state_dict(), first.model.state_dict())


def centroids_of(embedding, number, candidate=0):
    group, place, column = embedding.quantizers.group(number, candidate)
    return group.centroids(place, column)


def test_training_a_plan_starts_from_the_pretrained_rows():
    pretrained = snapshot(trainer_of().pretrain()[0])
    rows, weights = pretrained["embedding.table"], pretrained["embedding.first_order"]
    assert rows.shape == (22, X)
    network, _ = trainer_of(recipe=STILL).train_plan(PLAN, pretrained)
    embedding = network.embedding
    starts = {"a": 0, "b": 8, "c": 11, "d": 17}
    for column, field in enumerate(FIELDS):
        start = starts[field.name]
        for value in range(field.cardinality):
            row = int(embedding.flatten(torch.tensor([[value if c == column else 0 for c in range(4)]]))[0, column])
            if field.name == "c" and value >= field.head:
                expected, weight = rows[start + field.head : start + 6].mean(0), weights[start + 2 : start + 6].mean()
            else:
                expected, weight = rows[start + value], weights[start + value]
            stored = embedding.table[row] if row < embedding.n_direct else embedding.raw[row - embedding.n_direct]
            torch.testing.assert_close(stored.detach(), expected)
            torch.testing.assert_close(embedding.first_order[row].detach(), weight)
    expected = kmeans_centroids(rows[3:8], 3, 2, seed=0)
    assert torch.equal(centroids_of(embedding, 0).detach(), expected)
    for name, parameter in network.model.named_parameters():
        assert torch.equal(parameter, pretrained[f"model.{name}"]), name


@each_model
def test_the_full_plan_from_the_pretrained_weights_is_the_pretrained_network(model):
    trainer = trainer_of(model)
    pretrained, result = trainer.pretrain()
    network = trainer.build(trainer.full_plan())
    trainer.start(network, snapshot(pretrained))
    assert evaluate(network, trainer.valid) == result.best.metrics
    assert states_equal(network.state_dict(), pretrained.state_dict())


def test_training_a_plan_leaves_the_pretrained_weights_alone():
    trainer = trainer_of()
    pretrained = snapshot(trainer.pretrain()[0])
    before = {name: value.clone() for name, value in pretrained.items()}
    for plan in (PLAN, trainer.full_plan()):
        trainer.train_plan(plan, pretrained)
        assert states_equal(pretrained, before)


def test_training_a_plan_from_nothing_starts_from_what_was_drawn():
    network, _ = trainer_of(recipe=STILL).train_plan(PLAN, None)
    drawn = trainer_of().build(PLAN)
    assert torch.equal(network.embedding.table, drawn.embedding.table)
    assert torch.equal(network.embedding.raw, drawn.embedding.raw)
    assert torch.equal(network.model.output.weight, drawn.model.output.weight)
    expected = kmeans_centroids(drawn.embedding.raw, 3, 2, seed=0)
    assert torch.equal(centroids_of(network.embedding, 0), expected)


def test_training_on_starts_from_rows_that_are_shrunken_by_their_samples():
    recipe = replace(STILL, row_shrinkage=5.0)
    pretrained = snapshot(trainer_of().pretrain()[0])
    counts = [np.bincount(samples_of(80, 1).ids[:, column], minlength=f.cardinality) for column, f in enumerate(FIELDS)]
    share = torch.tensor(np.concatenate(counts) / (np.concatenate(counts) + 5.0)).float()[:, None]
    trainer = trainer_of(recipe=recipe)
    network, _ = trainer.train_plan(trainer.full_plan(), pretrained)
    assert torch.equal(network.embedding.table, pretrained["embedding.table"] * share)
    assert torch.equal(network.embedding.first_order, pretrained["embedding.first_order"])
    assert torch.equal(network.model.output.weight, pretrained["model.output.weight"])
    compressed = trainer.build(PLAN)
    trainer.start(compressed, pretrained)
    assert torch.equal(compressed.embedding.raw, network.embedding.table[3:8])  # of the field a


def test_training_on_takes_the_continued_dropout_of_embeddings():
    pretrained = snapshot(trainer_of().pretrain()[0])
    for rate, expected in ((None, RECIPE.embedding_dropout), (0.25, 0.25), (0.0, 0.0)):
        trainer = trainer_of(recipe=replace(RECIPE, continued_embedding_dropout=rate))
        network, _ = trainer.train_plan(PLAN, pretrained)
        assert network.dropout.rate == expected
        assert trainer.build(PLAN).dropout.rate == RECIPE.embedding_dropout


def test_training_on_takes_the_continued_learning_rate():
    # Only what continues stands still.
    recipe = replace(RECIPE, continued_learning_rate=1e-30)
    pretrained = snapshot(trainer_of(recipe=recipe).pretrain()[0])
    drawn = trainer_of().build(trainer_of().full_plan())
    assert not torch.equal(pretrained["embedding.table"], drawn.embedding.table)
    network, _ = trainer_of(recipe=recipe).train_plan(trainer_of().full_plan(), pretrained)
    assert torch.equal(network.embedding.table, pretrained["embedding.table"])
    scratch, _ = trainer_of(recipe=recipe).train_plan(trainer_of().full_plan(), None)
    assert torch.equal(scratch.embedding.table, pretrained["embedding.table"])


@pytest.mark.parametrize(
    ("model", "from_pretrained"),
    [
        (DeepFM, True),
        (DeepFM, False),
        *(pytest.param(model, True, marks=pytest.mark.slow) for model in MODELS.values() if model is not DeepFM),
    ],
)
def test_the_same_seed_gives_the_same_outcome(model, from_pretrained):
    def outcome(seed):
        trainer = trainer_of(model, seed=seed)
        pretrained = snapshot(trainer.pretrain()[0]) if from_pretrained else None
        network, result = trainer.train_plan(PLAN, pretrained)
        return snapshot(network), result.best.metrics, result.epochs

    one, again, other = outcome(0), outcome(0), outcome(1)
    assert states_equal(one[0], again[0]) and one[1:] == again[1:]
    assert not torch.equal(one[0]["embedding.table"], other[0]["embedding.table"])


def test_training_on_sees_batches_in_another_order_than_before():
    trainer = trainer_of()
    seen = []
    trainer.pretrain(on_epoch=lambda epoch, network: seen.append((epoch.number, network)))
    assert [number for number, _ in seen] == list(range(1, len(seen) + 1))
    full = trainer.build(trainer.full_plan())
    start = snapshot(full)
    one, _ = trainer.pretrain()
    full.load_state_dict(start)
    trainer.fit(full, epochs=1)
    assert not torch.equal(full.embedding.table, one.embedding.table)
    assert all(network.embedding.table.shape == (22, X) for _, network in seen)


def test_an_exact_number_of_epochs():
    trainer = trainer_of()
    network = trainer.build(PLAN)
    assert trainer.fit(network, epochs=5).epochs == 5


@pytest.mark.parametrize("scale", [True, False])
def test_a_supernet_starts_from_the_pretrained_rows(scale):
    trainer = trainer_of(recipe=replace(RECIPE, quantizer_scores="euclidean"))
    pretrained = snapshot(trainer.pretrain()[0])
    space = {"a": (DPQ(3, 2), DPQ(2, 4)), "b": (Full(),), "c": (DPQ(2, 2),), "d": (DPQ(2, 1), DPQ(3, 1))}
    network = trainer.build_supernet(space, scale)
    trainer.start(network, pretrained)
    rows = pretrained["embedding.table"]
    embedding = network.embedding
    assert embedding.scale == scale
    assert torch.equal(embedding.raw, torch.cat([rows[3:8], rows[13:17], rows[19:22]]))
    torch.testing.assert_close(
        embedding.row_mean, torch.stack([rows[3:8].mean(0), rows[13:17].mean(0), rows[19:].mean(0)])
    )
    assert torch.equal(centroids_of(embedding, 0, 1).detach(), kmeans_centroids(rows[3:8], 2, 4, seed=0))
    assert (embedding.alpha == 0).all()


def test_plans_and_spaces_that_do_not_fit_are_refused():
    trainer = trainer_of()
    with pytest.raises(AutoDPQError, match="'d'"):
        trainer.build(CompressionPlan(dict.fromkeys("abc", Full())))
    with pytest.raises(AutoDPQError, match="D=3"):
        trainer.build(CompressionPlan(dict.fromkeys("abcd", DPQ(2, 3))))
    with pytest.raises(AutoDPQError, match="D=3"):
        trainer.ledger(CompressionPlan(dict.fromkeys("abcd", DPQ(2, 3))))
    with pytest.raises(AutoDPQError, match=r"'a'.*D=3"):
        trainer.build_supernet(dict.fromkeys("abcd", (Others(), DPQ(2, 3))), True)


def goes_on(epoch, valid_aucs):
    return False


def test_training_one_plan_gives_the_best_epoch_and_all_their_aucs():
    trainer = trainer_of()
    pretrained = snapshot(trainer.pretrain()[0])
    told = []
    network, result = trainer.train_plan(PLAN, pretrained, lambda epoch, network: told.append(epoch.metrics.auc))
    seen = []
    outcome = train_one(trainer, PLAN, pretrained, lambda epoch, aucs: seen.append((epoch, aucs)))
    assert outcome.kind == "complete" and (outcome.error, outcome.attempts) == (None, 1)
    assert (outcome.valid_auc, outcome.valid_logloss) == (result.best.metrics.auc, result.best.metrics.logloss)
    assert outcome.valid_aucs == tuple(told) and outcome.valid_auc == max(told) and len(told) == result.epochs
    assert states_equal(outcome.state, network.state_dict())
    assert [aucs for _, aucs in seen] == [tuple(told[:number]) for number in range(1, len(told) + 1)]
    assert [epoch.last for epoch, _ in seen] == [False] * (len(told) - 1) + [True]
    assert outcome.seconds >= seen[-1][0].seconds > 0


@pytest.mark.parametrize("end", [1, 2])
def test_a_trial_that_is_ended_keeps_its_epochs_and_no_weights(end):
    trainer = trainer_of()
    whole = train_one(trainer, PLAN, None, goes_on)
    assert len(whole.valid_aucs) > end
    outcome = train_one(trainer, PLAN, None, lambda epoch, aucs: len(aucs) == end)
    assert outcome.kind == "pruned"
    assert (outcome.valid_auc, outcome.valid_logloss, outcome.state, outcome.error) == (None, None, None, None)
    assert outcome.valid_aucs == whole.valid_aucs[:end] and outcome.seconds > 0
    # It leaves nothing behind that the next training would see.
    assert train_one(trainer, PLAN, None, goes_on).valid_aucs == whole.valid_aucs


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_trial_that_fails_keeps_its_epochs(monkeypatch, epoch):
    trainer = trainer_of()
    whole = train_one(trainer, PLAN, None, goes_on)
    called = []

    def fails(network, rows):
        called.append(rows)
        if len(called) == epoch:
            raise RuntimeError("made\n\tto fail")
        return evaluate(network, rows)

    monkeypatch.setattr("autodpq.training.fit.evaluate", fails)
    outcome = train_one(trainer, PLAN, None, goes_on)
    assert outcome.kind == "failed" and outcome.error == "RuntimeError: made to fail"
    assert (outcome.valid_auc, outcome.valid_logloss, outcome.state) == (None, None, None)
    assert outcome.valid_aucs == whole.valid_aucs[: epoch - 1] and len(whole.valid_aucs) == 3


def test_a_plan_that_cannot_be_built_is_a_failed_trial():
    outcome = train_one(trainer_of(), CompressionPlan(dict.fromkeys("abcd", DPQ(2, 3))), None, goes_on)
    assert outcome.kind == "failed" and outcome.valid_aucs == () and outcome.seconds > 0
    assert outcome.error.startswith("AutoDPQError: ") and "D=3" in outcome.error


def test_predictions_that_are_not_finite_are_a_failed_trial():
    trainer = trainer_of()
    pretrained = snapshot(trainer.pretrain()[0])
    broken = {name: value * float("nan") if "model" in name else value for name, value in pretrained.items()}
    outcome = train_one(trainer, PLAN, broken, goes_on)
    assert outcome.kind == "failed" and outcome.state is None and "NaN" in outcome.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["train_plan", "after_epoch"])
def test_a_person_s_stop_is_no_failed_trial(monkeypatch, error, where):
    trainer = trainer_of()

    def stopped(*_):
        raise error

    if where == "train_plan":
        monkeypatch.setattr(trainer, where, stopped)
    with pytest.raises(error):
        train_one(trainer, PLAN, None, stopped)


def test_what_goes_wrong_between_epochs_is_no_failed_trial():
    # It is the pruner's fault or the connection's, and would be that of every trial.
    def breaks(epoch, aucs):
        raise RuntimeError("made to fail")

    with pytest.raises(RuntimeError, match="made to fail"):
        train_one(trainer_of(), PLAN, None, breaks)


@pytest.mark.parametrize("ends", ["complete", "pruned", "failed"])
def test_the_time_between_epochs_is_not_charged_and_all_else_is(monkeypatch, ends):
    clock, ahead = time.perf_counter, [0.0]
    monkeypatch.setattr("autodpq.training.attempt.time.perf_counter", lambda: clock() + ahead[0])
    trainer = trainer_of()
    start = trainer.start

    def slow_start(*given):
        ahead[0] += 100.0
        start(*given)

    monkeypatch.setattr(trainer, "start", slow_start)
    called = []

    def fails(network, rows):
        called.append(rows)
        if ends == "failed" and len(called) == 3:
            raise RuntimeError("made to fail")
        return evaluate(network, rows)

    monkeypatch.setattr("autodpq.training.fit.evaluate", fails)

    def waits(epoch, aucs):
        ahead[0] += 3600.0
        return ends == "pruned" and len(aucs) == 2

    outcome = train_one(trainer, PLAN, None, waits)
    assert outcome.kind == ends and len(outcome.valid_aucs) >= 2
    assert 100 < outcome.seconds < 3600


def test_pruning_is_asked_about_after_every_epoch_but_the_last():
    asked, epochs = [], []

    def prune(number, aucs):
        asked.append((number, aucs))
        return False

    outcome = train_one(trainer_of(), PLAN, None, pruned_by(prune, 7, epochs.append))
    assert outcome.kind == "complete" and len(epochs) == len(outcome.valid_aucs) == 3
    assert asked == [(7, outcome.valid_aucs[:1]), (7, outcome.valid_aucs[:2])]
    assert tuple(epoch.metrics.auc for epoch in epochs) == outcome.valid_aucs


def test_the_last_epoch_cannot_be_pruned():
    outcome = train_one(trainer_of(recipe=replace(RECIPE, max_epochs=1)), PLAN, None, pruned_by(lambda *_: True, 0))
    assert outcome.kind == "complete" and len(outcome.valid_aucs) == 1
    longer = train_one(trainer_of(), PLAN, None, pruned_by(lambda *_: True, 0))
    assert longer.kind == "pruned" and longer.valid_aucs == outcome.valid_aucs


@pytest.mark.parametrize(("optimizer", "lazy"), [("auto", False), ("adam", False), ("lazy-adam", True)])
def test_networks_are_built_for_the_recipe_s_optimizer(optimizer, lazy):
    trainer = trainer_of(recipe=replace(RECIPE, optimizer=optimizer))
    assert trainer.optimizer == ("lazy-adam" if lazy else "adam")
    assert trainer.compilation is None and trainer.compiled is False
    space = dict.fromkeys("acd", (DPQ(2, 2),)) | {"b": (Full(),)}
    for network in (trainer.build(PLAN), trainer.build(trainer.full_plan()), trainer.build_supernet(space, True)):
        assert network.embedding.kernels == trainer.kernels == Kernels(0, lazy)


def test_auto_takes_lazy_adam_where_a_batch_holds_few_of_the_values(monkeypatch):
    monkeypatch.setattr(recipes, "LAZY_RATIO", 2)
    # 22 values of four fields.
    assert trainer_of(recipe=replace(RECIPE, batch_size=3)).optimizer == "adam"
    assert trainer_of(recipe=replace(RECIPE, batch_size=2)).optimizer == "lazy-adam"


LAZY = replace(RECIPE, optimizer="lazy-adam", l2=1e-5, quantizer_scores="euclidean", quantizer_temperature=0.1)
PLANS = {
    "full": CompressionPlan(dict.fromkeys("abcd", Full())),
    "others": CompressionPlan(dict.fromkeys("abcd", Others())),
    "dpq": CompressionPlan(dict.fromkeys("abcd", DPQ(3, 2))),
    "mixed": PLAN,
}


@pytest.mark.parametrize(
    ("model", "plan"),
    [*((DeepFM, plan) for plan in PLANS.values()), (GDCN, PLANS["mixed"])],  # with first-order weights, and without
    ids=[*PLANS, "mixed, without first-order weights"],
)
def test_lazy_adam_trains_every_plan(model, plan):
    def outcome():
        trainer = trainer_of(model, recipe=LAZY)
        pretrained = snapshot(trainer.pretrain()[0])
        network, result = trainer.train_plan(plan, pretrained)
        return trainer, network, result

    (trainer, network, result), (_, again, _) = outcome(), outcome()
    assert states_equal(network.state_dict(), again.state_dict())
    assert evaluate(network, trainer.valid) == result.best.metrics
    # Most rows are in most batches, so that Adam comes to nearly the same.
    dense = trainer_of(model, recipe=replace(LAZY, optimizer="adam"))
    _, expected = dense.train_plan(plan, snapshot(dense.pretrain()[0]))
    assert result.best.metrics.logloss == pytest.approx(expected.best.metrics.logloss, abs=0.05)
    started = trainer.build(plan)
    moved = [name for name, value in network.named_parameters() if not torch.equal(value, started.get_parameter(name))]
    assert set(moved) == {name for name, _ in network.named_parameters()}
    assert network.embedding.raw is None or (network.embedding.table[-1] == 0).all()


def test_lazy_adam_trains_otherwise_than_adam():
    # With few of the values in a batch, rows that rest make a difference, but not a large one.
    recipe = replace(LAZY, batch_size=4, max_epochs=4)
    lazy, dense = (trainer_of(recipe=replace(recipe, optimizer=name)).pretrain() for name in ("lazy-adam", "adam"))
    assert not torch.equal(lazy[0].embedding.table, dense[0].embedding.table)
    assert abs(lazy[1].best.metrics.auc - dense[1].best.metrics.auc) < 0.1


@pytest.mark.parametrize("xi", [0.0, 0.05])
def test_lazy_adam_searches(xi):
    trainer = trainer_of(recipe=LAZY)
    pretrained = snapshot(trainer.pretrain()[0])
    space = {"a": (DPQ(3, 2), DPQ(2, 4)), "b": (Full(),), "c": (DPQ(2, 2),), "d": (DPQ(2, 1), DPQ(3, 1))}
    network = trainer.build_supernet(space, True)
    trainer.start(network, pretrained)
    before, epochs = snapshot(network), []
    search(network, trainer.train, trainer.valid, LAZY, SearchOptions(epochs=2, xi=xi), 0, on_epoch=epochs.append)
    assert network.embedding.kernels == Kernels(lazy=True)
    after = network.state_dict()
    for name in ("alpha", "table", "raw", "first_order", "mean", "quantizers.groups.0.keys"):
        assert not torch.equal(after[f"embedding.{name}"], before[f"embedding.{name}"]), name
    assert all(torch.isfinite(value).all() for value in after.values())
    assert [epoch.number for epoch in epochs] == [1, 2] and all(0 <= epoch.valid_auc <= 1 for epoch in epochs)
    assert network.embedding.decide()["a"] in space["a"]


@pytest.mark.parametrize("model", [*MODELS.values()], ids=list(MODELS))
def test_the_output_starts_at_the_click_rate_if_the_recipe_says_so(model):
    rare = Samples(samples_of(200, 1).ids, (np.arange(200) < 4).astype(np.uint8))
    means = {}
    for start in ("drawn", "click-rate"):
        recipe = replace(RECIPE, initial_deviation=1e-4, output_start=start)
        trainer = Trainer(FIELDS, model, recipe, 0, torch.device("cpu"), rare, samples_of(50, 2))
        means[start] = predict(trainer.build(trainer.full_plan()), trainer.train).mean()
    assert means["click-rate"] == pytest.approx(4 / 200, rel=0.05) and means["drawn"] > 0.3


def test_a_model_without_a_last_bias_starts_as_it_is():
    layer = torch.nn.Linear(3, 1, bias=False)
    before = layer.weight.clone()
    start_output(layer, 0.1)
    assert torch.equal(layer.weight, before)


ADDITIVE = replace(STILL, output_start="additive", initial_deviation=1e-9, max_epochs=1)


@pytest.mark.parametrize("start", ["fe", "a plan from nothing"])
def test_logits_start_as_the_additive_model_s(start):
    trainer = trainer_of(DeepFM, recipe=ADDITIVE)
    network, _ = trainer.pretrain() if start == "fe" else trainer.train_plan(trainer.full_plan(), None)
    additive = fit_additive(*trainer._samples, [field.cardinality for field in FIELDS])
    expected = additive.probabilities(trainer._samples[1].ids)
    np.testing.assert_allclose(predict(network, trainer.valid), expected, rtol=1e-5)
    assert len(set(expected)) > 2


def test_the_additive_model_is_fitted_where_it_is_needed_alone():
    trainer = trainer_of(DeepFM, recipe=ADDITIVE)
    state = trainer.pretrain()[0].state_dict()
    other = trainer_of(DeepFM, recipe=ADDITIVE)
    other.train_plan(other.full_plan(), state)
    assert trainer._additive is not None and other._additive is None


def test_values_that_share_a_row_start_from_the_mean_of_their_weights():
    trainer = trainer_of(DeepFM, recipe=ADDITIVE)
    network = trainer.build(CompressionPlan(dict.fromkeys("abcd", Others())))
    trainer.start(network, None)
    rows = network.embedding.rows_of_ids()[0]
    weights = network.embedding.first_order.detach()[rows.long()]
    own = trainer._additive.weights[0]
    np.testing.assert_allclose(weights[:3], own[:3], rtol=1e-5)
    np.testing.assert_allclose(weights[3:], np.full(5, own[3:].mean()), rtol=1e-4)


def test_a_model_without_first_order_weights_starts_at_the_click_rate():
    trainer = trainer_of(GDCN, recipe=ADDITIVE)
    network, _ = trainer.pretrain()
    rate = float(trainer.train.labels.mean())
    assert float(network.model.output.bias.detach()) == pytest.approx(np.log(rate / (1 - rate)), rel=1e-5)
    assert trainer._additive is None


def test_a_model_whose_output_has_no_bias_cannot_start_as_the_additive_model():
    class Bare(DeepFM):
        name = "bare"

        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.output = torch.nn.Linear(self.mlp.n_outputs, 1, bias=False)

    with pytest.raises(AutoDPQError, match="model bare: output_start=additive needs a last linear layer"):
        trainer_of(Bare, recipe=ADDITIVE).pretrain()
