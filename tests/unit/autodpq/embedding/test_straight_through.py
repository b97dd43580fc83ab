from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autodpq.choices import DPQ, OPQ, Float16, Full, Hashed, Int, Narrow, Others
from autodpq.embedding.base import Embedding
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.planned import PlanEmbedding
from autodpq.embedding.straight_through import StraightThroughMixture
from autodpq.embedding.supernet import SupernetEmbedding
from autodpq.kernels.kernels import TENSORS, Kernels
from autodpq.kernels.native import compiler
from autodpq.plan import CompressionPlan, Field

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C++ compiler")

X = 16
OPTIONS = QuantizerOptions(scores="euclidean", gradient="centroid", compact=True)
FIELDS = (Field("a", 90, 3, cuts=(10, 40)), Field("b", 5, 0), Field("c", 70, 0, cuts=(5,)))
BANDS = [band.name for field in FIELDS for band in field.bands]
KINDS = (
    *(Full(), Others(), Hashed(3), Int(2), Int(4), Int(8), Float16()),
    *(DPQ(2, 16), DPQ(5, 4), DPQ(33, 1), DPQ(16, 8), OPQ(5, 4), OPQ(16, 8)),
)
KERNELS = (Kernels(compiled_batch=64), Kernels(compiled_batch=64, lazy=True))


def started(made: Embedding) -> Embedding:
    """With rows of all sizes, and codes started from them."""
    torch.manual_seed(0)
    made.start_rows(0.3)
    assert made.raw is not None
    with torch.no_grad():
        made.raw *= torch.logspace(-6, 1, len(made.raw))[torch.randperm(len(made.raw)), None]
    made.start_quantizers(0)
    return made.train()


def check_same(made: Embedding, kernels: Kernels, ids: torch.Tensor) -> None:
    """What tensor operations and compiled ones give for a batch, and the gradients of all weights."""
    compiled = copy.deepcopy(made)
    compiled.kernels = kernels
    assert isinstance(compiled.mixture(kernels), StraightThroughMixture) and made.mixture(TENSORS) is None
    direction = torch.randn(len(ids), len(FIELDS), X, generator=torch.Generator().manual_seed(1))
    outputs = []
    for embedding in (made, compiled):
        if isinstance(embedding, SupernetEmbedding):  # without noise, both have the same weights
            embedding.weights = lambda own=embedding: torch.softmax(own.alpha + own.no_candidate, 1)
        flat = embedding.flatten(ids)
        output = embedding(flat, embedding.merge(flat, embedding.kernels))
        (output * direction).sum().backward()
        outputs.append(output.detach())
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
    for (name, weight), other in zip(made.named_parameters(), compiled.parameters(), strict=True):
        mine, theirs = (torch.zeros_like(weight) if w.grad is None else w.grad.to_dense() for w in (weight, other))
        torch.testing.assert_close(theirs, mine, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def ids_of(n: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(field.cardinality, (n,), generator=generator) for field in FIELDS], 1).int()


@pytest.mark.parametrize("kernels", KERNELS, ids=["dense", "lazy"])
@given(st.lists(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5, unique=True), min_size=6, max_size=6),
       st.sampled_from([1, 7, 64]), st.integers(0, 5))  # fmt: skip
def test_a_union_of_any_kinds(kernels, drawn, n, seed):
    made = SupernetEmbedding(FIELDS, dict(zip(BANDS, drawn, strict=True)), X, True, OPTIONS)
    with torch.no_grad():
        made.alpha.normal_()
    check_same(started(made), kernels, ids_of(n, seed))


@given(st.lists(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5, unique=True), min_size=6, max_size=6))
def test_a_union_is_compiled_where_it_is_evaluated_too(drawn):
    made = SupernetEmbedding(FIELDS, dict(zip(BANDS, drawn, strict=True)), X, True, OPTIONS)
    with torch.no_grad():
        made.alpha.normal_()
        by_tensors = started(made).eval()(made.flatten(ids_of(64, 0)))
        made.kernels = KERNELS[0]
        assert isinstance(made.mixture(made.kernels), StraightThroughMixture)
        torch.testing.assert_close(made(made.flatten(ids_of(64, 0))), by_tensors, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernels", KERNELS, ids=["dense", "lazy"])
@given(st.lists(st.sampled_from(KINDS), min_size=6, max_size=6), st.sampled_from([1, 7, 64]), st.integers(0, 5))
def test_a_plan_of_any_kinds(kernels, drawn, n, seed):
    drawn[0] = DPQ(5, 4)  # so that something is quantized
    made = PlanEmbedding(FIELDS, CompressionPlan(dict(zip(BANDS, drawn, strict=True))), X, True, OPTIONS)
    check_same(started(made), kernels, ids_of(n, seed))


def test_rows_that_are_no_numbers_stay_so():
    made = started(PlanEmbedding(FIELDS, CompressionPlan(dict.fromkeys(BANDS, Int(4))), X, True, OPTIONS, KERNELS[0]))
    with torch.no_grad():
        first = made.raw_rows(BANDS.index("b")).start
        made.raw[first, 3], made.raw[first + 1, 3] = torch.nan, torch.inf
    output = made(made.flatten(torch.tensor([[0, 0, 0], [0, 1, 0], [0, 2, 0]])))
    assert output[:2, 1].isnan().all() and output[2].isfinite().all() and output[:, [0, 2]].isfinite().all()


def test_what_is_not_known_is_left_to_tensor_operations():
    for choice, options in ((Narrow(4), OPTIONS), (DPQ(4, 4), QuantizerOptions())):
        made = PlanEmbedding(FIELDS, CompressionPlan(dict.fromkeys(BANDS, choice)), X, True, options)
        assert made.quantizers is not None and not StraightThroughMixture.fits(made.quantizers)
