from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from autodpq.choices import DPQ, Full, Others
from autodpq.data.dataset import Samples
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.planned import PlanEmbedding
from autodpq.kernels.kernels import Kernels
from autodpq.kernels.operations import Dropout
from autodpq.models import MODELS, DeepFM, FinalMLP
from autodpq.models.base import CTRModel
from autodpq.plan import CompressionPlan, Field
from autodpq.training.attempt import train_one
from autodpq.training.fit import make_optimizer
from autodpq.training.network import Network
from autodpq.training.recipes import Recipe
from autodpq.training.step import compile_step, compiled_backward, why_not
from autodpq.training.trainer import Trainer

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(why_not(CPU) is not None, reason="there is no C++ compiler")
X, BATCH = 4, 16
FIELDS = (Field("a", 30, 3), Field("b", 5, 5), Field("c", 20, 2))
RECIPE = Recipe(
    "tiny",
    embedding_dim=X,
    hidden=(6, 5),
    embedding_dropout=0.3,
    batch_size=BATCH,
    learning_rate=1e-2,
    max_epochs=4,
    initial_deviation=0.1,
    optimizer="adam",
)
MIXED = CompressionPlan({"a": DPQ(3, 2), "b": Full(), "c": Others()})
FULL = CompressionPlan(dict.fromkeys("abc", Full()))


def n_graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def compile_one(model, *, lazy=False):
    torch.manual_seed(0)
    made = model(len(FIELDS), X, RECIPE.hidden, RECIPE.dropout)
    return compile_step(made, len(FIELDS), X, RECIPE.embedding_dropout, BATCH, lazy=lazy)


@pytest.fixture(scope="module")
def _no_graphs_before():
    """The compiler's limit of graphs is of a process."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


FAST = ("gdcn",)  # compiling one takes seconds; the others are of the same layers, and deepfm is compiled below, too


@pytest.fixture(
    scope="module",
    params=[name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in MODELS],
)
def model(request, _no_graphs_before):
    """A model whose step is compiled."""
    compilation = compile_one(MODELS.find(request.param))
    assert compilation.failure is None and compilation.seconds > 0
    return MODELS.find(request.param)


def network_of(model, plan=MIXED, *, compiled=False, seed=0):
    torch.manual_seed(seed)
    kernels = Kernels(BATCH if compiled else 0)
    embedding = PlanEmbedding(FIELDS, plan, X, model.first_order, QuantizerOptions(temperature=0.5), kernels)
    embedding.start_rows(1.0)
    embedding.start_quantizers(0)
    network = Network(embedding, model(len(FIELDS), X, RECIPE.hidden, RECIPE.dropout), RECIPE.embedding_dropout)
    network.reseed(3)
    return network


def n_blocks(network):
    return 2 * len(RECIPE.hidden) if isinstance(network.model, FinalMLP) else len(RECIPE.hidden)


def batch_of(network, n, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randint(field.cardinality, (n,), generator=generator) for field in FIELDS], 1)
    return network.embedding.flatten(ids), torch.randint(2, (n,), generator=generator).float()


def check_same_step(eager, compiled, n, seed):
    """Gradients, masks and statistics of a step, one network as it is written and one compiled."""
    for network in (eager, compiled):
        network.zero_grad()
        network.train().backward(*batch_of(network, n, seed))
    for (name, weight), other in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        assert (weight.grad is None) == (other.grad is None), name
        if weight.grad is not None:
            torch.testing.assert_close(other.grad, weight.grad, rtol=1e-5, atol=1e-5, msg=name)
    for (name, value), other in zip(eager.named_buffers(), compiled.buffers(), strict=True):
        torch.testing.assert_close(other, value, rtol=1e-5, atol=1e-6, msg=name)
    masks = [[part.mask for part in network.modules() if isinstance(part, Dropout)] for network in (eager, compiled)]
    assert all(torch.equal(*pair) for pair in zip(*masks, strict=True)) and len(masks[0]) == 1 + n_blocks(eager)


@needs_compiler
def test_compiled_gradients_are_the_eager_ones_for_every_plan(model, monkeypatch):
    calls = []

    def counted(*step):
        calls.append(step)
        compiled_backward(*step)

    monkeypatch.setattr("autodpq.training.network.compiled_backward", counted)
    before = n_graphs()
    for plan in (MIXED, FULL):
        eager, compiled = network_of(model, plan), network_of(model, plan, compiled=True)
        for seed in range(3):
            check_same_step(eager, compiled, BATCH, seed)
        assert (eager.model.output.weight.grad != 0).any() and (eager.embedding.table.grad != 0).any()
        running = {name: value for name, value in compiled.named_buffers() if name.endswith("num_batches_tracked")}
        assert len(running) == n_blocks(compiled) and all(value == 3 for value in running.values())
        # Another size goes as it is written, from the same stream of masks, and so does what comes after.
        n_calls = len(calls)
        check_same_step(eager, compiled, BATCH - 5, 7)
        assert len(calls) == n_calls
        check_same_step(eager, compiled, BATCH, 8)
        assert len(calls) == n_calls + 1
    assert len(calls) == 8 and n_graphs() == before


@needs_compiler
def test_compiled_masks_are_drawn_anew_and_repeat_from_a_seed(model):
    network = network_of(model, compiled=True)

    def gradients(seed):
        if seed is not None:
            network.reseed(seed)
        network.zero_grad()
        network.train().backward(*batch_of(network, BATCH, 1))
        return network.embedding.table.grad.clone()

    first, second = gradients(1), gradients(None)
    assert not torch.equal(first, second)
    assert torch.equal(gradients(1), first) and torch.equal(gradients(None), second)
    assert not torch.equal(gradients(2), first)


@needs_compiler
def test_compiled_gradients_are_added_to_those_that_there_are(model):
    network = network_of(model, compiled=True)
    batch = batch_of(network, BATCH, 1)
    network.train().backward(*batch)
    once = [weight.grad.clone() for weight in network.parameters()]
    network.reseed(3)
    network.backward(*batch)
    for weight, gradient in zip(network.parameters(), once, strict=True):
        torch.testing.assert_close(weight.grad, 2 * gradient, rtol=1e-5, atol=1e-7)


@needs_compiler
@pytest.mark.slow
def test_compiled_gradients_count_samples_by_their_weights(model):
    eager, compiled = network_of(model), network_of(model, compiled=True)
    weights = 2 * torch.rand(BATCH, generator=torch.Generator().manual_seed(3))
    for network in (eager, compiled):
        network.train().backward(*batch_of(network, BATCH, 1), weights)
    for (name, weight), other in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(other.grad, weight.grad, rtol=1e-5, atol=1e-5, msg=name)
    plain = network_of(model, compiled=True)
    plain.train().backward(*batch_of(plain, BATCH, 1))
    assert (plain.embedding.table.grad - compiled.embedding.table.grad).abs().max() > 1e-4


@needs_compiler
def test_compiled_gradients_make_the_same_steps(model):
    eager, compiled = network_of(model), network_of(model, compiled=True)
    optimizers = [make_optimizer(network, replace(RECIPE, l2=1e-3)) for network in (eager, compiled)]
    for seed in range(5):
        for network, optimizer in zip((eager, compiled), optimizers, strict=True):
            optimizer.zero_grad()
            network.train().backward(*batch_of(network, BATCH, seed))
            optimizer.step()
    # BatchNorm takes off what the bias before it adds: its gradient is rounding alone.
    for (name, weight), other in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        if not name.endswith(("layers.0.bias", "layers.4.bias")):
            torch.testing.assert_close(other, weight, rtol=1e-3, atol=1e-4, msg=name)


class Unused(DeepFM):
    """With a weight that no logit depends on."""

    def __init__(self, *given):
        super().__init__(*given)
        self.unused = nn.Parameter(torch.zeros(3))


class Breaks(DeepFM):
    def forward(self, embeddings):
        torch._dynamo.graph_break()
        return super().forward(embeddings)


class Fails(CTRModel):
    """Raises, over several lines."""

    def __init__(self, *given):
        super().__init__(*given)
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, embeddings):
        raise ValueError("made\n\n  to fail")


@needs_compiler
@pytest.mark.parametrize("broken", [Unused, Breaks, Fails])
def test_a_model_that_cannot_be_compiled_says_why_in_one_line(broken):
    compilation = compile_one(broken)
    assert compilation.seconds > 0
    kind, _, reason = compilation.failure.partition(": ")
    assert kind.isidentifier() and reason and "\n" not in compilation.failure


@needs_compiler
def test_a_trainer_of_a_model_that_cannot_be_compiled_trains_without():
    trainer = trainer_of(Unused, compiled=True)
    assert trainer.compilation.failure and not trainer.compiled
    assert trainer.build(FULL).embedding.kernels == trainer.kernels == Kernels(0)
    _, result = trainer.pretrain()
    assert result.best.metrics == trainer_of(Unused).pretrain()[1].best.metrics


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert why_not(CPU) == "there is no C++ compiler (g++ or clang++)"
    monkeypatch.setenv("CXX", "my-compiler")
    assert "no C++ compiler" in why_not(CPU)
    compilation = compile_one(DeepFM)
    assert compilation.failure == why_not(CPU) and compilation.seconds == 0
    trainer = trainer_of(DeepFM, compiled=True)
    assert trainer.compilation == compilation and not trainer.compiled
    assert trainer.build(MIXED).embedding.kernels == trainer.kernels == Kernels(0)


@pytest.mark.parametrize("known", ["g++", "clang++", "c++", "my-compiler"])
def test_one_compiler_is_enough(monkeypatch, known):
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name == known else None)
    monkeypatch.setenv("CXX", "my-compiler")
    assert why_not(CPU) is None
    monkeypatch.delenv("CXX")
    assert (why_not(CPU) is None) == (known != "my-compiler")


def test_nothing_is_compiled_for_other_devices():
    assert why_not(torch.device("cuda")) == "steps on cuda are not compiled"
    made = DeepFM(len(FIELDS), X, RECIPE.hidden, 0.0).to("meta")
    compilation = compile_step(made, len(FIELDS), X, 0.0, BATCH, lazy=True)
    assert compilation.failure == "steps on meta are not compiled" and compilation.seconds == 0


def samples_of(n, seed):
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.integers(field.cardinality, size=n) for field in FIELDS], 1).astype(np.int32)
    labels = (ids[:, 0] % 3 == 0).astype(int) + (ids[:, 2] % 3 == 1) + rng.random(n) > 1
    return Samples(ids, labels.astype(np.uint8))


def trainer_of(model=DeepFM, *, recipe=RECIPE, **options):
    return Trainer(FIELDS, model, recipe, 0, CPU, samples_of(600, 1), samples_of(300, 2), **options)


@pytest.fixture
def _biases_before_batch_norm_rest(monkeypatch):
    """BatchNorm takes them off again: their gradients are rounding alone, which Adam makes steps of full size of."""
    backward = Network.backward

    def without(network, *batch):
        backward(network, *batch)
        for layer in network.model.mlp.layers:
            if isinstance(layer, nn.Linear):
                layer.bias.grad = None

    monkeypatch.setattr(Network, "backward", without)


def aucs_of(trainer, plan):
    seen = []
    _, result = trainer.train_plan(plan, None, lambda epoch, _: seen.append(epoch.metrics.auc))
    assert result.best.metrics.auc == max(seen)
    return seen


@pytest.fixture(scope="module")
def trainers(_no_graphs_before):
    """One that trains as it is written, and one whose steps are compiled."""
    # At the paper's temperature a last digit may decide which centroid a row takes.
    recipe = replace(RECIPE, quantizer_temperature=0.1)
    return trainer_of(recipe=recipe), trainer_of(recipe=recipe, compiled=True)


@needs_compiler
def test_a_compiled_fit_reaches_what_an_eager_one_does(trainers):
    eager, compiled = trainers
    assert compiled.compiled and compiled.compilation.failure is None and compiled.compilation.seconds > 0
    assert eager.compilation is None and not eager.compiled
    assert compiled.build(FULL).embedding.kernels == Kernels(BATCH)
    assert eager.build(FULL).embedding.kernels == Kernels(0)
    before = n_graphs()
    best = max(aucs_of(eager, FULL))
    assert max(aucs_of(compiled, FULL)) == pytest.approx(best, abs=1e-3) and best > 0.95
    assert n_graphs() == before


@needs_compiler
@pytest.mark.usefixtures("_biases_before_batch_norm_rest")
def test_a_compiled_fit_goes_the_way_of_an_eager_one(trainers):
    eager, compiled = trainers
    for plan in (FULL, MIXED):
        aucs = aucs_of(eager, plan)
        assert aucs_of(compiled, plan) == pytest.approx(aucs, abs=1e-4)
        assert len(set(aucs)) > 1


@needs_compiler
@pytest.mark.usefixtures("_no_graphs_before", "_biases_before_batch_norm_rest")
def test_compiled_lazy_adam_is_compiled_once_for_all_plans():
    recipe = replace(RECIPE, optimizer="lazy-adam", l2=1e-4, max_epochs=1, quantizer_temperature=0.1)
    eager, compiled = trainer_of(recipe=recipe), trainer_of(recipe=recipe, compiled=True)
    assert compiled.compiled and compiled.optimizer == "lazy-adam"
    before = n_graphs()
    choices = [(Full(), Full()), (Others(), Full()), (Others(), Others()), (DPQ(3, 2), Full()), (DPQ(2, 2), DPQ(3, 4))]
    for number, (a, c) in enumerate(choices):
        plan = CompressionPlan({"a": a, "b": Full(), "c": c})
        assert compiled.build(plan).embedding.kernels == Kernels(BATCH, lazy=True)
        outcomes = [train_one(trainer, plan, None, lambda *_: False) for trainer in (eager, compiled)]
        assert outcomes[1].error is None, (number, outcomes[1].error)
        # Not their AUCs: few values make few logits, and where two are equal but for a last digit, many pairs turn.
        for name, weight in outcomes[0].state.items():
            torch.testing.assert_close(outcomes[1].state[name], weight, rtol=1e-4, atol=2e-5, msg=name)
    assert n_graphs() == before
