from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autodpq.choices import DPQ, Float16, Full, Hashed, Int, Narrow, Others
from autodpq.embedding.base import TILE
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.planned import PlanEmbedding
from autodpq.embedding.supernet import BATCH_NORM_EPSILON, SupernetEmbedding
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan, Field

X = 4
FIELDS = (Field("a", 8, 2), Field("b", 3, 3), Field("c", 5, 0))
# Unequal numbers of candidates and unequal D.
SPACE = {"a": (DPQ(3, 2), DPQ(2, 4), DPQ(4, 2)), "b": (Full(),), "c": (DPQ(2, 2), DPQ(3, 1))}
ONE = {"a": (DPQ(3, 2),), "b": (Full(),), "c": (DPQ(2, 4),)}
PLAN = CompressionPlan({"a": DPQ(3, 2), "b": Full(), "c": DPQ(2, 4)})
# a: 6 rare rows, c: 4; every row of c is rare.
IDS = torch.tensor([[2, 0, 0], [5, 1, 1], [7, 2, 3], [0, 0, 4], [3, 1, 1], [4, 0, 0], [6, 1, 2], [1, 2, 2]])


def supernet_of(space, *, scale=False, dtype=torch.float64, **options):
    torch.manual_seed(0)
    embedding = SupernetEmbedding(FIELDS, space, X, True, QuantizerOptions(**options), scale=scale).to(dtype)
    with torch.no_grad():
        for name, parameter in embedding.named_parameters():
            if name != "alpha":
                parameter.copy_(torch.randn(parameter.shape))
        embedding.table[-1] = 0
    return embedding


def test_one_candidate_without_normalisation_is_the_plain_quantizer():
    embedding = supernet_of(ONE).eval()
    # With the epsilon, a running variance that normalises by exactly 1.
    embedding.variance.fill_(1 - BATCH_NORM_EPSILON)
    plain = PlanEmbedding(FIELDS, PLAN, X, True, QuantizerOptions()).double().eval()
    state = {name: value for name, value in embedding.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict(state)
    flat = embedding.flatten(IDS)
    assert torch.equal(plain.flatten(IDS), flat)
    torch.testing.assert_close(embedding(flat), plain(flat))
    embedding.variance.fill_(1.0)
    torch.testing.assert_close(embedding(flat), plain(flat), rtol=1e-5, atol=0)
    assert not torch.equal(embedding(flat)[:, 2], embedding.table[:1].expand(len(flat), X))


def made(embedding, rows, number):
    """What one field's candidates make of rows, float [candidates, n, X]; which values have them is all the same."""
    return embedding.quantizers(rows[None], torch.zeros(1, len(rows), dtype=torch.int64), torch.tensor([number]))[0]


def rare_rows(embedding, flat, column):
    """The raw rows of a column's rare values in a batch, in the batch's order, and where they stand."""
    where = (flat[:, column] >= embedding.n_direct).nonzero().flatten()
    return embedding.raw[flat[where, column].long() - embedding.n_direct], where


def test_training_normalises_as_batch_norm_of_the_fields_own_rows():
    embedding = supernet_of(ONE, temperature=0.5)
    norms = [nn.BatchNorm1d(X, affine=False).double() for _ in embedding.quantized]
    # Batches in which the one or the other field has more rare rows, hence the other is filled up.
    for part in (IDS, IDS[:3], IDS[[0, 1, 3, 7]], IDS[4:]):
        flat = embedding.flatten(part)
        outputs = embedding(flat)
        for number, column in enumerate(embedding.quantized):
            rows, where = rare_rows(embedding, flat, column)
            assert len(where) >= 2
            quantized = made(embedding, rows, number)[0]
            torch.testing.assert_close(outputs[where, column], norms[number](quantized))
            torch.testing.assert_close(embedding.mean[number, 0], norms[number].running_mean)
            torch.testing.assert_close(embedding.variance[number, 0], norms[number].running_var)
    embedding.eval()
    flat = embedding.flatten(IDS)
    outputs = embedding(flat)
    for number, column in enumerate(embedding.quantized):
        rows, where = rare_rows(embedding, flat, column)
        quantized = made(embedding, rows, number)[0]
        torch.testing.assert_close(outputs[where, column], norms[number].eval()(quantized))


def test_training_gradients_are_those_of_batch_norm():
    embedding = supernet_of(ONE, temperature=0.5)
    flat = embedding.flatten(IDS[:4])
    weight = torch.randn(4, len(FIELDS), X, dtype=torch.float64)
    inputs = [embedding.raw, *(group.keys for group in embedding.quantizers.groups)]
    gradients = torch.autograd.grad((embedding(flat) * weight).sum(), inputs)
    total = torch.zeros((), dtype=torch.float64)
    for number, column in enumerate(embedding.quantized):
        rows, where = rare_rows(embedding, flat, column)
        quantized = made(embedding, rows, number)[0]
        total = total + (nn.BatchNorm1d(X, affine=False).double()(quantized) * weight[where, column]).sum()
    for gradient, expected in zip(gradients, torch.autograd.grad(total, inputs), strict=True):
        torch.testing.assert_close(gradient, expected)


def test_normalise_ignores_what_fills_a_field_up():
    embedding = supernet_of(SPACE)
    candidates = torch.randn(2, 3, 6, X, dtype=torch.float64)
    counts, which = torch.tensor([6, 3]), torch.tensor([0, 1])
    before = embedding.mean.clone(), embedding.variance.clone()
    first = embedding.normalise(candidates, which, counts)
    statistics = embedding.mean.clone(), embedding.variance.clone()
    for field, count in enumerate([6, 3]):
        for candidate in range(3):
            norm = nn.BatchNorm1d(X, affine=False).double()
            expected = norm(candidates[field, candidate, :count])
            torch.testing.assert_close(first[field, candidate, :count], expected)
            torch.testing.assert_close(embedding.mean[field, candidate], norm.running_mean)
            torch.testing.assert_close(embedding.variance[field, candidate], norm.running_var)
    embedding.mean.copy_(before[0])
    embedding.variance.copy_(before[1])
    changed = candidates.clone()
    changed[1, :, 3:] = 1e6
    second = embedding.normalise(changed, which, counts)
    assert torch.equal(second[1, :, :3], first[1, :, :3])
    assert torch.equal(embedding.mean, statistics[0]) and torch.equal(embedding.variance, statistics[1])


def tiled(rows, n, fill):
    """Rows, float [count, candidates, X], as tiles [tiles, candidates, n, X] whose last is filled up."""
    n_tiles = -(-len(rows) // n)
    filled = torch.full((n_tiles * n, *rows.shape[1:]), fill, dtype=rows.dtype)
    filled[: len(rows)] = rows
    return filled.view(n_tiles, n, *rows.shape[1:]).transpose(1, 2)


@given(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(any), st.integers(1, 4), st.integers(0, 1000))
def test_statistics_are_of_a_field_over_all_its_tiles(counts, n, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = [3 * torch.randn(count, 3, X, dtype=torch.float64, generator=generator) + 2 for count in counts]
    fields = torch.repeat_interleave(torch.tensor([-(-count // n) for count in counts]))
    results = []
    for fill in (0.0, 1e6):
        embedding = supernet_of(SPACE)
        embedding.mean.fill_(0.5)
        embedding.variance.fill_(2.0)
        candidates = torch.cat([tiled(part, n, fill) for part in rows])
        outputs = embedding.normalise(candidates, fields, torch.tensor(counts)).transpose(1, 2)
        for field, count in enumerate(counts):
            normalised = outputs[fields == field].flatten(0, 1)[:count]
            for candidate in range(3):
                norm = nn.BatchNorm1d(X, affine=False).double()
                norm.running_mean.fill_(0.5)
                norm.running_var.fill_(2.0)
                if count:
                    expected = norm.train(count > 1)(rows[field][:, candidate])
                    torch.testing.assert_close(normalised[:, candidate], expected)
                torch.testing.assert_close(embedding.mean[field, candidate], norm.running_mean)
                torch.testing.assert_close(embedding.variance[field, candidate], norm.running_var)
        real = [outputs[fields == field].flatten(0, 1)[:count] for field, count in enumerate(counts)]
        results.append([*real, embedding.mean, embedding.variance])
    # What fills up is not looked at.
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_gradients_through_several_tiles_are_those_of_batch_norm():
    embedding = supernet_of(SPACE)
    counts, n = (7, 5), 3
    rows = [torch.randn(count, 3, X, dtype=torch.float64, requires_grad=True) for count in counts]
    weight = [torch.randn(count, 3, X, dtype=torch.float64) for count in counts]
    candidates = torch.cat([tiled(part, n, 0.0) for part in rows])
    outputs = embedding.normalise(candidates, torch.tensor([0, 0, 0, 1, 1]), torch.tensor(counts)).transpose(1, 2)
    each = outputs[:3].flatten(0, 1)[:7], outputs[3:].flatten(0, 1)[:5]
    gradients = torch.autograd.grad(sum((one * w).sum() for one, w in zip(each, weight, strict=True)), rows)
    for gradient, part, w in zip(gradients, rows, weight, strict=True):
        norm = nn.BatchNorm1d(3 * X, affine=False).double()
        (expected,) = torch.autograd.grad((norm(part.flatten(1)) * w.flatten(1)).sum(), part)
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("training", [True, False])
def test_without_tracking_statistics_rest_and_outputs_are_the_same(training):
    one, other = supernet_of(SPACE).train(training), supernet_of(SPACE).train(training)
    other.tracking = False
    before = other.mean.clone(), other.variance.clone()
    candidates = torch.randn(4, 3, 5, X, dtype=torch.float64)
    given_tiles = candidates, torch.tensor([0, 0, 0, 1]), torch.tensor([13, 4])
    assert torch.equal(one.normalise(*given_tiles), other.normalise(*given_tiles))
    assert torch.equal(other.mean, before[0]) and torch.equal(other.variance, before[1])
    assert torch.equal(one.mean, before[0]) != training and torch.equal(one.variance, before[1]) != training


def test_a_batch_of_several_tiles_normalises_over_all_of_them():
    embedding = supernet_of(ONE, temperature=0.5)
    generator = torch.Generator().manual_seed(0)
    n = 3 * TILE + 4
    ids = torch.stack([torch.randint(field.cardinality, (n,), generator=generator) for field in FIELDS], 1)
    flat = embedding.flatten(ids)
    outputs = embedding(flat)
    for number, column in enumerate(embedding.quantized):
        rows, where = rare_rows(embedding, flat, column)
        assert len(where) > 2 * TILE
        quantized = made(embedding, rows, number)[0]
        norm = nn.BatchNorm1d(X, affine=False).double()
        torch.testing.assert_close(outputs[where, column], norm(quantized))
        torch.testing.assert_close(embedding.mean[number, 0], norm.running_mean)
        torch.testing.assert_close(embedding.variance[number, 0], norm.running_var)


def test_one_row_of_a_field_uses_the_running_statistics_and_leaves_them():
    embedding = supernet_of(ONE)
    embedding.mean.normal_()
    embedding.variance.uniform_(0.5, 2)
    mean, variance = embedding.mean.clone(), embedding.variance.clone()
    # One rare row of a, three of c.
    flat = embedding.flatten(torch.tensor([[5, 0, 1], [0, 0, 2], [1, 0, 4]]))
    outputs = embedding(flat)
    assert torch.isfinite(outputs).all()
    rows, where = rare_rows(embedding, flat, 0)
    quantized = made(embedding, rows, 0)[0]
    expected = (quantized - mean[0, 0]) / (variance[0, 0] + BATCH_NORM_EPSILON).sqrt()
    torch.testing.assert_close(outputs[where, 0], expected)
    assert torch.equal(embedding.mean[0], mean[0]) and torch.equal(embedding.variance[0], variance[0])
    assert not torch.equal(embedding.mean[1], mean[1])
    embedding.raw.grad = None
    outputs.sum().backward()
    assert torch.isfinite(embedding.raw.grad).all()


def test_a_field_that_is_not_in_the_batch_keeps_its_statistics_and_has_no_gradient():
    embedding = supernet_of(SPACE, temperature=0.5)
    only_c = embedding.flatten(torch.tensor([[0, 0, 1], [1, 0, 2], [0, 1, 3]]))
    mean = embedding.mean.clone()
    embedding(only_c).square().sum().backward()
    assert torch.equal(embedding.mean[0], mean[0]) and not torch.equal(embedding.mean[1], mean[1])
    assert (embedding.alpha.grad[0] == 0).all()
    assert (embedding.raw.grad[embedding.raw_rows(0)] == 0).all()
    assert (embedding.raw.grad[embedding.raw_rows(2)] != 0).any()


def test_evaluation_is_a_weighted_sum_of_normalised_candidates():
    embedding = supernet_of(SPACE).eval()
    embedding.temperature = 0.7
    with torch.no_grad():
        embedding.alpha.normal_()
    embedding.mean.normal_()
    embedding.variance.uniform_(0.5, 2)
    flat = embedding.flatten(IDS)
    outputs = embedding(flat)
    for number, column in enumerate(embedding.quantized):
        rows, where = rare_rows(embedding, flat, column)
        choices = embedding.candidates[number]
        weights = torch.softmax(embedding.alpha[number, : len(choices)] / 0.7, 0)
        expected = torch.zeros(len(where), X, dtype=torch.float64)
        for candidate in range(len(choices)):
            quantized = made(embedding, rows, number)[candidate]
            variance = embedding.variance[number, candidate] + BATCH_NORM_EPSILON
            expected = expected + weights[candidate] * (quantized - embedding.mean[number, candidate]) / variance.sqrt()
        torch.testing.assert_close(outputs[where, column], expected)
        direct = [row for row in range(len(flat)) if row not in where.tolist()]
        assert torch.equal(outputs[direct, column], embedding.table[flat[direct, column].long()])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.01])
def test_weights_sum_to_one_and_padded_candidates_have_none(training, temperature):
    embedding = supernet_of(SPACE).train(training)
    embedding.temperature = temperature
    with torch.no_grad():
        # What stands in the padding would win by far.
        embedding.alpha.copy_(torch.tensor([[0.3, -0.1, 0.0], [0.2, 0.1, 1000.0]]))
    weights = embedding.weights()
    assert weights.shape == (2, 3)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, dtype=torch.float64))
    assert (weights[:, :2] > 0).all() or temperature < 0.1
    assert weights[1, 2] == 0
    (gradient,) = torch.autograd.grad(weights.square().sum(), embedding.alpha)
    assert torch.isfinite(gradient).all() and gradient[1, 2] == 0


def test_weights_are_a_plain_softmax_in_evaluation():
    embedding = supernet_of(SPACE).eval()
    torch.testing.assert_close(embedding.weights()[0], torch.full((3,), 1 / 3, dtype=torch.float64))
    torch.testing.assert_close(embedding.weights()[1], torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64))
    with torch.no_grad():
        embedding.alpha[0] = torch.tensor([0.0, 1.0, 0.5])
    embedding.temperature = 0.5
    expected = torch.softmax(torch.tensor([0.0, 2.0, 1.0], dtype=torch.float64), 0)
    torch.testing.assert_close(embedding.weights()[0], expected)
    embedding.temperature = 1e-4
    assert embedding.weights()[0].tolist() == [0, 1, 0]


def test_gumbel_softmax_tends_to_the_arg_max_drawn_by_the_softmax():
    embedding = supernet_of(SPACE)
    with torch.no_grad():
        embedding.alpha[0] = torch.tensor([0.0, 1.0, 2.0])
    embedding.temperature = 1e-6
    torch.manual_seed(0)
    counts = torch.zeros(2, 3, dtype=torch.float64)
    for _ in range(2000):
        weights = embedding.weights().detach()
        assert (weights.max(1).values == 1).all()
        counts += weights
    shares = counts / 2000
    expected = torch.softmax(torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64), 0)
    torch.testing.assert_close(shares[0], expected, atol=0.04, rtol=0)
    torch.testing.assert_close(shares[1], torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64), atol=0.04, rtol=0)


def test_one_draw_per_field_and_batch_while_training():
    embedding = supernet_of(SPACE)
    torch.manual_seed(1)
    first = embedding.weights()
    assert not torch.equal(first, embedding.weights())
    torch.manual_seed(1)
    assert torch.equal(embedding.weights(), first)
    embedding.eval()
    assert torch.equal(embedding.weights(), embedding.weights())


@pytest.mark.parametrize("best", [(0, 0), (1, 1), (2, 0), (0, 1)])
def test_decide_takes_the_largest_alpha(best):
    embedding = supernet_of(SPACE)
    with torch.no_grad():
        embedding.alpha.fill_(-5.0)
        # What stands in the padding is no candidate.
        embedding.alpha[1, 2] = 100.0
        for field, candidate in enumerate(best):
            embedding.alpha[field, candidate] = -4.9
    assert embedding.decide() == {"a": SPACE["a"][best[0]], "b": Full(), "c": SPACE["c"][best[1]]}


def test_candidates_that_do_not_fit_the_dimension_are_refused():
    with pytest.raises(AutoDPQError, match="field 'c': D=3 does not divide the embedding dimension 4"):
        supernet_of(SPACE | {"c": (DPQ(2, 2), DPQ(4, 3))})
    with pytest.raises(AutoDPQError, match=r"field 'a': narrow\(4\) needs rows of more than 4 numbers"):
        supernet_of(SPACE | {"a": (DPQ(2, 2), Narrow(4))})


def test_nothing_to_search_is_refused():
    fields = (Field("b", 3, 3),)
    with pytest.raises(AutoDPQError, match="nothing to search"):
        SupernetEmbedding(fields, {"b": (Full(),)}, X, True, QuantizerOptions())


def test_a_field_without_rare_values_may_have_any_candidates():
    embedding = supernet_of(SPACE | {"b": (DPQ(2, 2), Others())})
    assert embedding.quantized == (0, 2)
    assert embedding.decide()["b"] == Full()


@pytest.mark.parametrize("space", [ONE, SPACE], ids=["one", "several"])
def test_scale_brings_rows_to_the_fields_mean_and_deviation(space):
    embedding = supernet_of(space, scale=True, scores="euclidean")
    with torch.no_grad():
        embedding.raw.mul_(3.0).add_(torch.tensor([10.0, -5.0, 0.0, 2.0]))
        embedding.start_quantizers(0)
    flat = embedding.flatten(IDS)
    outputs = embedding(flat).detach()
    for number, column in enumerate(embedding.quantized):
        raw = embedding.raw[embedding.raw_rows(column)].detach()
        torch.testing.assert_close(embedding.row_mean[number], raw.mean(0))
        torch.testing.assert_close(embedding.row_deviation[number], raw.std(0, unbiased=False))
        _, where = rare_rows(embedding, flat, column)
        mixed = outputs[where, column]
        torch.testing.assert_close(mixed.mean(0), raw.mean(0), rtol=1e-6, atol=1e-6)
        if space is ONE:
            torch.testing.assert_close(mixed.std(0, unbiased=False), raw.std(0, unbiased=False), rtol=1e-4, atol=0)
        else:
            # A weighted sum of candidates of one deviation has at most that deviation.
            assert (mixed.std(0, unbiased=False) <= raw.std(0, unbiased=False) * (1 + 1e-9)).all()
            assert mixed.std() > 0.5 * raw.std()


def test_scale_off_leaves_unit_variance():
    embedding = supernet_of(ONE, scale=False, scores="euclidean")
    with torch.no_grad():
        embedding.raw.mul_(3.0).add_(10.0)
        embedding.start_quantizers(0)
    flat = embedding.flatten(IDS)
    outputs = embedding(flat).detach()
    for column in embedding.quantized:
        _, where = rare_rows(embedding, flat, column)
        mixed = outputs[where, column]
        torch.testing.assert_close(mixed.mean(0), torch.zeros(X, dtype=torch.float64), atol=1e-6, rtol=0)
        torch.testing.assert_close(mixed.std(0, unbiased=False), torch.ones(X, dtype=torch.float64), rtol=1e-4, atol=0)


def test_start_quantizers_measures_the_quantized_rows():
    embedding = supernet_of(SPACE, temperature=1e-6)
    embedding.start_quantizers(3)
    for number, column in enumerate(embedding.quantized):
        rows = embedding.raw[embedding.raw_rows(column)]
        for candidate in range(len(embedding.candidates[number])):
            quantized = made(embedding, rows, number)[candidate].detach()
            torch.testing.assert_close(embedding.mean[number, candidate], quantized.mean(0))
            torch.testing.assert_close(embedding.variance[number, candidate], quantized.var(0, unbiased=False))


@pytest.mark.parametrize("scale", [False, True])
def test_affine_is_what_normalisation_and_scaling_come_to(scale):
    embedding = supernet_of(ONE, scale=scale).eval()
    embedding.mean.normal_()
    embedding.variance.uniform_(0.5, 2)
    embedding.row_mean.normal_()
    embedding.row_deviation.uniform_(0.5, 2)
    flat = embedding.flatten(IDS)
    outputs = embedding(flat)
    for number, column in enumerate(embedding.quantized):
        rows, where = rare_rows(embedding, flat, column)
        factor, shift = embedding.affine(number, 0)
        torch.testing.assert_close(outputs[where, column], factor * made(embedding, rows, number)[0] + shift)


def test_the_state_reads_back():
    one = supernet_of(SPACE, scale=True)
    one.start_quantizers(0)
    with torch.no_grad():
        one.alpha.normal_()
    one(one.flatten(IDS))
    other = SupernetEmbedding(FIELDS, SPACE, X, True, QuantizerOptions(), scale=True).double()
    other.load_state_dict(one.state_dict())
    flat = one.flatten(IDS)
    assert torch.equal(one.eval()(flat), other.eval()(flat))
    assert one.decide() == other.decide()


KINDS = {
    "a": (DPQ(3, 2), Others(), Hashed(4), Full(), Int(4), Narrow(2)),
    "b": (Full(),),
    "c": (Hashed(3), Float16(), Narrow(1), Int(2)),
}


def of_candidate(embedding, number, choice, place):
    """What a candidate makes of one rare value of a field in evaluation mode, by the words of its docstring."""
    column, candidate = embedding.quantized[number], embedding.candidates[number].index(choice)
    row = embedding.raw[embedding.raw_rows(column)][place].detach()
    group, own, own_column = embedding.quantizers.group(number, candidate)
    if isinstance(choice, DPQ):
        centroids, width = group.centroids(own, own_column).detach(), X // choice.D
        parts = []
        for d in range(choice.D):
            part = slice(d * width, (d + 1) * width)
            fits = [float(row[part] @ centroid[part]) for centroid in centroids]
            parts.append(centroids[fits.index(max(fits)), part])
        return torch.cat(parts)
    if choice.keeps:
        modulus = choice.modulus(FIELDS[column].tail)
        return row if modulus == FIELDS[column].tail else group.tables[f"{own}-{own_column}"][place % modulus].detach()
    shared = {name: part[own].detach().float().numpy() for name, part in group.parts.items()}
    return torch.from_numpy(choice.rounded(row.float().numpy()[None], shared))[0]


@pytest.mark.parametrize("scale", [False, True])
def test_candidates_of_several_kinds_are_the_plain_weighted_sum(scale):
    embedding = supernet_of(KINDS, scale=scale, dtype=torch.float32).eval()
    assert not embedding.normalises
    with torch.no_grad():
        embedding.alpha.normal_()
        # Statistics that would be seen, were they used.
        embedding.row_mean.fill_(5.0)
        embedding.variance.fill_(3.0)
    weights = embedding.weights().detach()
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert (weights[0] > 0).all() and (weights[1, :4] > 0).all() and (weights[1, 4:] == 0).all()
    flat = embedding.flatten(IDS)
    outputs = embedding(flat).detach()
    for number, column in enumerate(embedding.quantized):
        head = FIELDS[column].head
        for sample, rank in enumerate(IDS[:, column].tolist()):
            if rank < head:
                assert torch.equal(outputs[sample, column], embedding.table[flat[sample, column]])
                continue
            expected = sum(
                weights[number, place] * of_candidate(embedding, number, choice, rank - head)
                for place, choice in enumerate(embedding.candidates[number])
            )
            torch.testing.assert_close(outputs[sample, column], expected, rtol=1e-5, atol=1e-6)


def test_in_training_they_are_mixed_alike_and_all_that_is_trained_gets_a_gradient():
    embedding = supernet_of(KINDS, dtype=torch.float32, gradient="centroid")
    flat = embedding.flatten(IDS)
    embedding.weights = lambda: torch.softmax(embedding.alpha + embedding.no_candidate, 1)
    trained = embedding.train()(flat)
    torch.testing.assert_close(trained.detach(), embedding.eval()(flat).detach(), rtol=1e-5, atol=1e-6)
    (trained * torch.randn(trained.shape)).sum().backward()
    for name, parameter in embedding.named_parameters():
        if name != "first_order":
            assert parameter.grad is not None and (parameter.grad != 0).any(), name
    assert (embedding.alpha.grad[0] != 0).all() and (embedding.alpha.grad[1, 4:] == 0).all()


def test_shared_rows_of_the_union_start_from_the_means_of_their_values():
    embedding = supernet_of(KINDS)
    embedding.start_quantizers(0)
    raw = embedding.raw[embedding.raw_rows(0)].detach()
    for choice, modulus in ((Others(), 1), (Hashed(4), 4)):
        group, place, column = embedding.quantizers.group(0, KINDS["a"].index(choice))
        for row in range(modulus):
            values = [raw[rank] for rank in range(6) if rank % modulus == row]
            torch.testing.assert_close(group.tables[f"{place}-{column}"][row].detach(), sum(values) / len(values))
    assert not list(embedding.quantizers.group(0, 3)[0].parameters()), "every value has its own row already"


def test_of_candidates_of_several_kinds_nothing_is_normalised_or_scaled():
    embedding = supernet_of(KINDS, scale=True)
    embedding.start_quantizers(0)
    for number in range(2):
        for candidate in range(len(embedding.candidates[number])):
            factor, shift = embedding.affine(number, candidate)
            assert (factor == 1).all() and (shift == 0).all()
    assert (embedding.mean == 0).all() and (embedding.variance == 1).all()


def test_places_are_those_of_the_whole_table_where_only_some_rows_are_there():
    embedding = supernet_of(KINDS).eval()
    flat = embedding.flatten(IDS[[1, 2, 4]])
    expected = embedding(flat).detach()
    rows, places = flat.flatten().unique(return_inverse=True)
    n_direct = embedding.n_direct
    with embedding.restricted(rows.long()) as tables:
        restricted = torch.func.functional_call(embedding, tables, (places.view_as(flat).int(),))
        assert tables["raw"].shape[0] < len(embedding.raw)
    assert torch.equal(restricted.detach(), expected)
    assert embedding.n_direct == n_direct and embedding.raw_numbers is None
    assert torch.equal(embedding(flat), expected)
