from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autodpq.choices import DPQ, Choice, Full, Int, Others
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.planned import PlanEmbedding
from autodpq.embedding.supernet import SupernetEmbedding
from autodpq.kernels.kernels import TENSORS, Kernels
from autodpq.kernels.native import compiler
from autodpq.models.deepfm import DeepFM
from autodpq.plan import CompressionPlan, Field
from autodpq.search.bilevel import alpha_gradient
from autodpq.training.fit import Batch
from autodpq.training.network import Network

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C++ compiler")

X = 16
COMPILED = Kernels(compiled_batch=64)
FIELDS = (Field("a", 90, 20), Field("b", 5, 5), Field("c", 40, 30), Field("d", 9, 0))
GRID = tuple(DPQ(k, d) for k in (8, 16, 32) for d in (2, 4, 8))
# Unequal numbers of candidates, of centroids and of subspaces.
MIXED = {"a": GRID, "b": (Full(),), "c": (DPQ(5, 2), DPQ(2, 1), DPQ(33, 16)), "d": (DPQ(2, 4),)}
OPTIONS = (
    QuantizerOptions(),
    QuantizerOptions(temperature=0.1),
    QuantizerOptions(temperature=0.1, scores="euclidean"),
)


def both(options: QuantizerOptions, *, scale: bool = True) -> tuple[SupernetEmbedding, SupernetEmbedding]:
    """One union of candidates computed by tensor operations in float64, and the same compiled."""
    torch.manual_seed(0)
    made = SupernetEmbedding(FIELDS, MIXED, X, True, options, scale=scale)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.copy_(torch.randn(parameter.shape) * (1.0 if name == "alpha" else 0.3))
        made.table[-1] = 0
        for buffer in (made.mean, made.row_mean):
            buffer.normal_()
        for buffer in (made.variance, made.row_deviation):
            buffer.uniform_(0.5, 2.0)
    compiled = copy.deepcopy(made)
    compiled.kernels = COMPILED
    assert compiled.train().mixture(COMPILED) is not None
    return made.double(), compiled


def check_same(exact: SupernetEmbedding, compiled: SupernetEmbedding, ids: torch.Tensor, tolerance: float) -> None:
    """Results, gradients and running statistics of a batch in training."""
    direction = torch.randn(len(ids), len(FIELDS), X)
    outputs = []
    for embedding in (exact, compiled):
        embedding.train()
        # The noise of the choice is drawn in the weights' own type; without it, both have the same weights.
        embedding.weights = lambda embedding=embedding: torch.softmax(embedding.alpha + embedding.no_candidate, 1)
        output = embedding(embedding.flatten(ids))
        (output * direction.to(output.dtype)).sum().backward()
        outputs.append(output.detach().double())
    torch.testing.assert_close(outputs[1], outputs[0], rtol=tolerance, atol=tolerance)
    for (name, weight), other in zip(exact.named_parameters(), compiled.parameters(), strict=True):
        if weight.grad is None:
            assert other.grad is None, name
            continue
        scale = max(float(weight.grad.abs().max()), 0.1)  # with two rows, BatchNorm lets hardly anything through
        error = float((weight.grad - other.grad.double()).abs().max())
        assert error < tolerance * scale, (name, error, scale)
    for field, row in enumerate(exact.candidates):  # what stands beyond a field's own candidates is arbitrary
        for value, other in ((exact.mean, compiled.mean), (exact.variance, compiled.variance)):
            own = slice(len(row))
            torch.testing.assert_close(other[field, own].double(), value[field, own], rtol=tolerance, atol=tolerance)


def ids_of(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(field.cardinality, (rows,), generator=generator) for field in FIELDS], 1)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("options", OPTIONS[1:], ids=["inner", "euclidean"])
def test_it_is_what_tensor_operations_compute(options: QuantizerOptions, scale: bool) -> None:
    exact, compiled = both(options, scale=scale)
    check_same(exact, compiled, ids_of(200, 1), 1e-4)


@given(st.integers(0, 6), st.integers(0, 1000), st.sampled_from(OPTIONS[1:]))
def test_fields_with_few_rows_keep_to_running_statistics(rows: int, seed: int, options: QuantizerOptions) -> None:
    exact, compiled = both(options)
    # Two rows that are nearly the same have hardly any variance, which makes much of rounding.
    check_same(exact, compiled, ids_of(rows, seed), 2e-3)


def test_at_the_papers_temperature_it_picks_the_same_centroids() -> None:
    exact, compiled = both(OPTIONS[0])
    check_same(exact, compiled, ids_of(200, 2), 1e-2)


@pytest.mark.parametrize("options", OPTIONS[1:], ids=["inner", "euclidean"])
@pytest.mark.parametrize("rows", [1, 2, 200])
def test_a_plan_is_what_tensor_operations_compute(options: QuantizerOptions, rows: int) -> None:
    torch.manual_seed(0)
    plan = CompressionPlan({"a": DPQ(32, 8), "b": Full(), "c": DPQ(5, 2), "d": DPQ(2, 8)})
    exact = PlanEmbedding(FIELDS, plan, X, True, options)
    with torch.no_grad():
        for parameter in exact.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    compiled = copy.deepcopy(exact)
    compiled.kernels = COMPILED
    assert compiled.train().mixture(COMPILED) is not None
    exact.double()
    ids = ids_of(rows, rows)
    direction = torch.randn(rows, len(FIELDS), X)
    outputs = []
    for embedding in (exact, compiled):
        output = embedding.train()(embedding.flatten(ids))
        (output * direction.to(output.dtype)).sum().backward()
        outputs.append(output.detach().double())
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    for (name, weight), other in zip(exact.named_parameters(), compiled.parameters(), strict=True):
        assert (weight.grad is None) == (other.grad is None), name
        if weight.grad is not None and other.grad is not None:
            torch.testing.assert_close(other.grad.double(), weight.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_noise_of_the_choice_comes_from_the_same_draws() -> None:
    _, compiled = both(OPTIONS[1])
    eager = copy.deepcopy(compiled)
    eager.kernels = TENSORS
    flat = compiled.flatten(ids_of(100, 3))
    outputs = []
    for embedding in (eager, compiled):
        torch.manual_seed(5)
        outputs.append(embedding.train()(flat))
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("xi", [0.0, 0.1])
def test_alphas_gradient_is_the_same_and_the_unrolled_step_is_not_compiled(xi: float) -> None:
    _, compiled = both(OPTIONS[1])
    networks = []
    for kernels in (TENSORS, COMPILED):
        torch.manual_seed(1)
        embedding = copy.deepcopy(compiled)
        embedding.kernels = kernels
        network = Network(embedding, DeepFM(len(FIELDS), X, (8,), 0.0), 0.0)
        networks.append(network)
    torch.manual_seed(1)
    networks[1].model.load_state_dict(networks[0].model.state_dict())
    train, valid = (Batch(networks[0].embedding.flatten(ids_of(60, seed)), torch.arange(60.0) % 2) for seed in (4, 5))
    gradients = []
    for network in networks:
        torch.manual_seed(7)
        gradients.append(alpha_gradient(network, train, valid, xi))
    assert float(gradients[0].abs().max()) > 0
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-7)
    assert networks[1].embedding.kernels is COMPILED


def test_sparse_gradients_are_the_dense_ones() -> None:
    _, compiled = both(OPTIONS[1])
    sparse = copy.deepcopy(compiled)
    sparse.kernels = Kernels(compiled_batch=64, lazy=True)
    flat = compiled.flatten(ids_of(80, 6))
    for embedding in (compiled, sparse):
        torch.manual_seed(2)
        embedding.train()(flat, embedding.merge(flat, embedding.kernels)).square().sum().backward()
    assert compiled.raw is not None and sparse.raw is not None
    assert sparse.raw.grad is not None and sparse.raw.grad.is_sparse
    torch.testing.assert_close(sparse.raw.grad.to_dense(), compiled.raw.grad)


def test_evaluation_and_float64_do_without() -> None:
    _, compiled = both(OPTIONS[1])
    flat = compiled.flatten(ids_of(50, 8))
    eager = copy.deepcopy(compiled)
    eager.kernels = TENSORS
    assert torch.equal(compiled.eval()(flat), eager.eval()(flat))
    assert compiled.double().train()(flat).dtype == torch.float64


@pytest.mark.parametrize(
    ("space", "options"),
    [
        (MIXED, QuantizerOptions(gradient="centroid")),
        (MIXED | {"c": (DPQ(5, 2), Others())}, QuantizerOptions()),
        (MIXED | {"c": (DPQ(5, 2), Int(4))}, QuantizerOptions()),
    ],
    ids=["by their centroid", "others", "int"],
)
def test_what_it_does_not_know_is_left_to_tensor_operations(
    space: dict[str, tuple[Choice, ...]], options: QuantizerOptions
) -> None:
    embeddings = []
    for kernels in (TENSORS, COMPILED):
        torch.manual_seed(0)
        embedding = SupernetEmbedding(FIELDS, space, X, False, options, kernels)
        embedding.start_rows(0.3)
        embedding.start_quantizers(0)
        embeddings.append(embedding)
    assert embeddings[1].mixture(COMPILED) is None
    flat = embeddings[0].flatten(ids_of(80, 9))
    outputs = []
    for embedding in embeddings:
        torch.manual_seed(5)
        outputs.append(embedding(flat))
    assert torch.equal(*outputs)
