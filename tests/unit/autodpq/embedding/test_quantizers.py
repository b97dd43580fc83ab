"""The quantizers against a slow reference: plain loops over fields, candidates, rows, subspaces and centroids."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autodpq.choices import DPQ
from autodpq.embedding.kmeans import kmeans_centroids
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.product import ProductQuantizers
from autodpq.embedding.quantizers import Quantizers
from autodpq.errors import AutoDPQError

X = 8
SCORES = ["inner", "euclidean"]


def reference_scores(row, keys, D, scores, temperature):
    """Per subspace the K scores of one row, float [X], by centroids, float [K, X]."""
    width = len(row) // D
    result = []
    for d in range(D):
        part = slice(d * width, (d + 1) * width)
        fits = []
        for key in keys:
            if scores == "inner":
                fits.append((row[part] * key[part]).sum() / temperature)
            else:
                fits.append(-(row[part] - key[part]).square().sum() / temperature)
        result.append(torch.stack(fits))
    return result


def reference_codes(row, keys, D, scores):
    return [int(fits.argmax()) for fits in reference_scores(row, keys, D, scores, 1.0)]


def reference_hard(row, keys, D, scores):
    width = len(row) // D
    codes = reference_codes(row, keys, D, scores)
    return torch.cat([keys[code, d * width : (d + 1) * width] for d, code in enumerate(codes)])


def reference_soft(row, keys, D, scores, temperature):
    width = len(row) // D
    parts = []
    for d, fits in enumerate(reference_scores(row, keys, D, scores, temperature)):
        shares = (fits - fits.max()).exp()
        shares = shares / shares.sum()
        parts.append(sum(share * key[d * width : (d + 1) * width] for share, key in zip(shares, keys, strict=True)))
    return torch.cat(parts)


def group_of(sizes, D, seed=0, **options):
    torch.manual_seed(seed)
    group = ProductQuantizers(sizes, D, X, QuantizerOptions(**options)).double()
    with torch.no_grad():
        for parameter in group.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
    return group


def rows_of(n_fields, n, seed=1):
    return torch.randn(n_fields, n, X, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def made(quantizers, rows, fields=None):
    """What rows become; which values they belong to makes no difference here."""
    places = torch.zeros(rows.shape[:2], dtype=torch.int64)
    return quantizers(rows, places) if fields is None else quantizers(rows, places, fields)


SIZES = [[2, 5], [4, 3], [5, 5]]


def each_quantizer(sizes):
    return [(field, candidate, K) for field, row in enumerate(sizes) for candidate, K in enumerate(row)]


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("D", [1, 2, 4, 8])
def test_codes_and_hard_output_of_a_group(D, scores):
    group = group_of(SIZES, D, scores=scores).eval()
    rows = rows_of(3, 4)
    codes, outputs = group.encode(rows), made(group, rows)
    assert codes.shape == (3, 2, 4, D) and codes.dtype == torch.int64
    assert outputs.shape == (3, 2, 4, X)
    for field, candidate, K in each_quantizer(SIZES):
        keys = group.keys[field, candidate, :K]
        for n in range(4):
            row = rows[field, n]
            assert codes[field, candidate, n].tolist() == reference_codes(row, keys, D, scores)
            assert torch.equal(outputs[field, candidate, n], reference_hard(row, keys, D, scores))


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize(("D", "temperature"), [(1, 1.0), (2, 0.1), (4, 3.0), (8, 0.5)])
def test_training_output_and_gradients_of_a_group(D, temperature, scores):
    group = group_of(SIZES, D, scores=scores, temperature=temperature)
    rows = rows_of(3, 3).requires_grad_()
    outputs = made(group, rows)
    expected = torch.stack(
        [
            torch.stack(
                [
                    torch.stack(
                        [
                            reference_soft(
                                rows[field, n],
                                group.keys[field, candidate, :K],
                                D,
                                scores,
                                temperature,
                            )
                            for n in range(3)
                        ]
                    )
                    for candidate, K in enumerate(SIZES[field])
                ]
            )
            for field in range(3)
        ]
    )
    torch.testing.assert_close(outputs, expected)
    weight = torch.randn(outputs.shape, dtype=torch.float64)
    inputs = [rows, *group.parameters()]
    assert len(inputs) == 2
    gradients = torch.autograd.grad((outputs * weight).sum(), inputs)
    references = torch.autograd.grad((expected * weight).sum(), inputs)
    for gradient, reference in zip(gradients, references, strict=True):
        torch.testing.assert_close(gradient, reference)
        assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize("scores", SCORES)
def test_second_derivatives_of_a_group(scores):
    group = group_of([[2, 3]], 2, scores=scores, temperature=0.7)
    rows = rows_of(1, 2).requires_grad_()
    keys = group.keys.detach().clone().requires_grad_()
    places = torch.zeros(1, 2, dtype=torch.int64)

    def outputs(rows, keys):
        return torch.func.functional_call(group, {"keys": keys}, (rows, places))

    assert torch.autograd.gradgradcheck(outputs, (rows, keys))


def test_padding_never_wins_and_gets_no_gradient():
    group = group_of([[2, 5], [4, 3]], 2, temperature=0.5)
    rows = 10 * rows_of(2, 50)
    with torch.no_grad():
        # What stands in the padding would win by far.
        for field, candidate, K in each_quantizer([[2, 5], [4, 3]]):
            group.keys[field, candidate, K:] = 1000.0
    for field, candidate, K in each_quantizer([[2, 5], [4, 3]]):
        assert int(group.encode(rows)[field, candidate].max()) < K
    before = made(group, rows)
    assert before.abs().max() < 100
    before.square().sum().backward()
    for field, candidate, K in each_quantizer([[2, 5], [4, 3]]):
        assert (group.keys.grad[field, candidate, K:] == 0).all()
        assert (group.keys.grad[field, candidate, :K] != 0).any()


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_decoding_the_codes_is_exactly_the_output(scores, dtype):
    group = group_of(SIZES, 4, scores=scores).to(dtype).eval()
    rows = rows_of(3, 20).to(dtype)
    assert torch.equal(group.decode(group.encode(rows)), made(group, rows))
    some = torch.tensor([0, 2])
    assert torch.equal(group.decode(group.encode(rows[some], some), some), made(group, rows)[some])
    for field, candidate, _ in each_quantizer(SIZES):
        codes = group.codes(rows[field], field, candidate)
        assert torch.equal(codes, group.encode(rows)[field, candidate])
        assert torch.equal(group.looked_up(rows[field], field, candidate), made(group, rows)[field, candidate])


@pytest.mark.parametrize("gradient", ["softmax", "centroid"])
@pytest.mark.parametrize("scores", SCORES)
def test_the_training_output_tends_to_the_hard_one(scores, gradient):
    rows = rows_of(3, 10)
    hard = made(group_of(SIZES, 2, scores=scores).eval(), rows)
    distances = []
    for temperature in (10.0, 1.0, 0.1, 1e-2, 1e-5):
        group = group_of(SIZES, 2, scores=scores, temperature=temperature, gradient=gradient)
        distances.append((made(group, rows) - hard).norm().item())
    if gradient == "centroid":
        assert max(distances) == 0
    else:
        assert distances == sorted(distances, reverse=True)
        assert distances[0] > 1
        assert distances[-1] < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("D", [1, 2, 4, 8])
def test_rows_trained_by_their_centroid_are_the_best_centroid_to_the_bit(D, scores, dtype):
    group = group_of(SIZES, D, scores=scores, gradient="centroid").to(dtype)
    rows = rows_of(3, 20).to(dtype).requires_grad_()
    outputs = made(group, rows)
    assert outputs.shape == (3, 2, 20, X) and outputs.dtype == dtype
    assert torch.equal(outputs, made(group.eval(), rows))
    for field, candidate, K in each_quantizer(SIZES):
        for n in range(20):
            centroids = group.keys[field, candidate, :K]
            assert torch.equal(outputs[field, candidate, n], reference_hard(rows[field, n], centroids, D, scores))


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("D", [1, 4])
def test_rows_trained_by_their_centroid_hand_their_gradient_on(D, scores):
    group = group_of(SIZES, D, scores=scores, gradient="centroid")
    fields = torch.tensor([0, 0, 2])  # two tiles of a field, none of another
    rows = rows_of(3, 6).requires_grad_()
    weight = torch.randn(3, 2, 6, X, dtype=torch.float64)
    by_rows, by_keys = torch.autograd.grad((made(group, rows, fields) * weight).sum(), [rows, group.keys])
    # A row gets, as it is, what arrives at what it became, of every candidate.
    torch.testing.assert_close(by_rows, weight[:, 0] + weight[:, 1])
    expected = torch.zeros_like(by_keys)
    width = X // D
    for tile, field in enumerate(fields.tolist()):
        for candidate, K in enumerate(SIZES[field]):
            for n in range(6):
                codes = reference_codes(rows[tile, n], group.keys[field, candidate, :K], D, scores)
                for d, code in enumerate(codes):
                    part = slice(d * width, (d + 1) * width)
                    expected[field, candidate, code, part] += weight[tile, candidate, n, part]
    torch.testing.assert_close(by_keys, expected)
    assert (by_keys[1] == 0).all() and (by_keys[0] != 0).any()


def test_the_temperature_changes_nothing_of_rows_trained_by_their_centroid():
    rows = rows_of(3, 12)
    outputs = [made(group_of(SIZES, 2, temperature=t, gradient="centroid"), rows) for t in (1e-4, 1.0, 7.0)]
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("training", [False, True])
def test_some_fields_alone_give_the_same_rows(training):
    group = group_of(SIZES, 4, temperature=0.3).train(training)
    rows = rows_of(3, 5)
    whole = made(group, rows)
    for some in ([0], [1, 2], [0, 2], [0, 1, 2]):
        index = torch.tensor(some)
        torch.testing.assert_close(made(group, rows[index], index), whole[index])
        assert torch.equal(group.encode(rows[index], index), group.encode(rows)[index])


@settings(max_examples=30)
@given(
    st.integers(1, 3).flatmap(
        lambda n: st.lists(st.lists(st.integers(2, 6), min_size=n, max_size=n), min_size=1, max_size=3)
    ),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from(SCORES),
    st.integers(0, 2**31),
)
def test_a_group_of_any_shape_against_the_reference(sizes, D, scores, seed):
    group = group_of(sizes, D, seed=seed, scores=scores, temperature=0.8)
    rows = rows_of(len(sizes), 2, seed=seed + 1)
    soft, codes = made(group, rows), group.encode(rows)
    for field, candidate, K in each_quantizer(sizes):
        centroids = group.keys[field, candidate, :K]
        for n in range(2):
            expected = reference_soft(rows[field, n], centroids, D, scores, 0.8)
            torch.testing.assert_close(soft[field, candidate, n], expected)
            assert codes[field, candidate, n].tolist() == reference_codes(rows[field, n], centroids, D, scores)


# All fields, unequal numbers of candidates, two of one D in a field, a D that one field alone has, unequal K.
CANDIDATES = [
    [DPQ(4, 2), DPQ(3, 4), DPQ(2, 2)],
    [DPQ(5, 4)],
    [DPQ(2, 8), DPQ(6, 2)],
    [DPQ(3, 4), DPQ(2, 4), DPQ(4, 4), DPQ(2, 1)],
]


def centroids_of(quantizers, field, number=0):
    group, place, column = quantizers.group(field, number)
    return group.centroids(place, column)


def quantizers_of(candidates, **options):
    torch.manual_seed(3)
    quantizers = Quantizers(candidates, [5] * len(candidates), X, QuantizerOptions(**options)).double()
    with torch.no_grad():
        for parameter in quantizers.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
    return quantizers


@pytest.mark.parametrize(
    "fields",
    [[0, 1, 2, 3], [0], [1], [2], [3], [0, 3], [1, 2], [0, 1, 3], [0, 0, 1], [1, 1, 1], [0, 2, 2, 3, 3, 3], [1, 3]],
)
@pytest.mark.parametrize("scores", SCORES)
def test_quantizers_of_unequal_candidates(fields, scores):
    quantizers = quantizers_of(CANDIDATES, scores=scores, temperature=0.6)
    rows, which = rows_of(len(fields), 3), torch.tensor(fields)
    soft, hard = made(quantizers, rows, which), made(quantizers.eval(), rows, which)
    assert soft.shape == hard.shape == (len(fields), 4, 3, X)
    for place, field in enumerate(fields):
        for number, choice in enumerate(CANDIDATES[field]):
            centroids = centroids_of(quantizers, field, number)
            assert centroids.shape == (choice.K, X)
            for n in range(3):
                row = rows[place, n]
                expected = reference_soft(row, centroids, choice.D, scores, 0.6)
                torch.testing.assert_close(soft[place, number, n], expected)
                assert torch.equal(hard[place, number, n], reference_hard(row, centroids, choice.D, scores))


# Of one D, alike in all fields, alike in all but one field, and nothing alike.
SPACES = {
    "one D": [[DPQ(4, 2)], [DPQ(3, 2)], [DPQ(6, 2)]],
    "one D, unequal numbers": [[DPQ(4, 2), DPQ(2, 2)], [DPQ(3, 2)], [DPQ(6, 2), DPQ(2, 2), DPQ(5, 2)]],
    "alike, not in order": [[DPQ(2, 4), DPQ(3, 1), DPQ(4, 4)]] * 3,
    "one D per field": [[DPQ(4, 2)], [DPQ(3, 4)], [DPQ(6, 8)]],
    "alike but one": [[DPQ(2, 4), DPQ(3, 1)], [DPQ(2, 4), DPQ(3, 1)], [DPQ(3, 1), DPQ(2, 4)]],
    "unequal": CANDIDATES[:3],
}


@given(
    st.sampled_from(list(SPACES.values())),
    st.lists(st.integers(0, 2), min_size=1, max_size=6),
    st.booleans(),
    st.integers(0, 1000),
)
def test_a_tile_is_quantized_as_if_it_came_alone(candidates, fields, training, seed):
    quantizers = quantizers_of(candidates, temperature=0.6).train(training)
    rows, which = rows_of(len(fields), 3, seed=seed), torch.tensor(sorted(fields))
    outputs = made(quantizers, rows, which)
    assert outputs.shape == (len(fields), max(map(len, candidates)), 3, X)
    for place, field in enumerate(which.tolist()):
        for number, choice in enumerate(candidates[field]):
            centroids = centroids_of(quantizers, field, number)
            for n in range(3):
                given_row = rows[place, n]
                if training:
                    expected = reference_soft(given_row, centroids, choice.D, "inner", 0.6)
                else:
                    expected = reference_hard(given_row, centroids, choice.D, "inner")
                torch.testing.assert_close(outputs[place, number, n], expected)


@pytest.mark.parametrize("candidates", SPACES.values(), ids=SPACES)
def test_gradients_of_several_tiles_of_a_field_are_summed(candidates):
    quantizers = quantizers_of(candidates, temperature=0.6)
    fields = torch.tensor([0, 0, 2, 2, 2])
    rows = rows_of(5, 3).requires_grad_()
    real = torch.tensor([[number < len(row) for number in range(max(map(len, candidates)))] for row in candidates])
    weight = torch.randn(5, real.shape[1], 3, X, dtype=torch.float64) * real[fields][:, :, None, None]
    inputs = [rows, *quantizers.parameters()]
    gradients = torch.autograd.grad((made(quantizers, rows, fields) * weight).sum(), inputs, allow_unused=True)
    each = [
        torch.autograd.grad(
            (made(quantizers, rows[place, None], field[None]) * weight[place]).sum(), inputs, allow_unused=True
        )
        for place, field in enumerate(fields)
    ]
    for number, (gradient, parameter) in enumerate(zip(gradients, inputs, strict=True)):
        parts = [part[number] for part in each if part[number] is not None]
        expected = sum(parts, torch.zeros_like(parameter))
        torch.testing.assert_close(torch.zeros_like(parameter) if gradient is None else gradient, expected)
    absent = [quantizers.group(1, number) for number in range(len(candidates[1]))]
    for group, place, column in absent:
        assert group.keys.grad is None
        (gradient,) = (one for one, parameter in zip(gradients, inputs, strict=True) if parameter is group.keys)
        assert gradient is None or (gradient[place, column] == 0).all()
    assert (gradients[0] != 0).any(2).all()


def test_a_group_whose_fields_are_absent_is_not_touched():
    quantizers = quantizers_of(CANDIDATES, temperature=0.6)
    # Only field 2 has codes of eight subspaces.
    alone, _, _ = quantizers.group(2, 0)
    assert alone.n_subspaces == 8
    made(quantizers, rows_of(3, 2), torch.tensor([0, 1, 3])).square().sum().backward()
    assert alone.keys.grad is None
    made(quantizers, rows_of(3, 2), torch.tensor([0, 2, 3])).square().sum().backward()
    assert (alone.keys.grad != 0).any()


def test_quantizers_send_gradients_to_the_quantizers_that_were_read():
    quantizers = quantizers_of(CANDIDATES, temperature=0.6)
    made(quantizers, rows_of(1, 5), torch.tensor([3]))[0, 1].square().sum().backward()
    group, place, column = quantizers.group(3, 1)
    for module in quantizers.groups:
        gradient = module.keys.grad
        if module is group:
            assert (gradient[place, column, :2] != 0).any()
            gradient = gradient.clone()
            gradient[place, column] = 0
        assert gradient is None or (gradient == 0).all()


def test_centroids_that_are_set_are_the_ones_that_are_read():
    quantizers = quantizers_of(CANDIDATES)
    for field, row in enumerate(CANDIDATES):
        for number, choice in enumerate(row):
            centroids = torch.full((choice.K, X), 10.0 * field + number, dtype=torch.float64)
            group, place, column = quantizers.group(field, number)
            group.set_centroids(centroids, place, column)
    outputs = made(quantizers.eval(), rows_of(4, 2), torch.arange(4))
    for field, row in enumerate(CANDIDATES):
        for number, choice in enumerate(row):
            assert (centroids_of(quantizers, field, number) == 10.0 * field + number).all()
            assert (outputs[field, number] == 10.0 * field + number).all()
            group, place, column = quantizers.group(field, number)
            assert (group.keys[place, column, : choice.K] == 10.0 * field + number).all()


@pytest.mark.parametrize(
    "candidates", [[[DPQ(4, 2)], [DPQ(3, 4)], [DPQ(6, 2)]], [[DPQ(4, 2)]], CANDIDATES], ids=["plan", "one", "unequal"]
)
def test_penalties_of_centroids(candidates):
    quantizers = quantizers_of(candidates)
    weights = torch.arange(1.0, 1.0 + len(candidates), dtype=torch.float64)
    penalty = torch.zeros((), dtype=torch.float64)
    for field, row in enumerate(candidates):
        for number, choice in enumerate(row):
            penalty = penalty + weights[field] / choice.K * centroids_of(quantizers, field, number).square().sum()
    keys = [group.keys for group in quantizers.groups]
    expected = torch.autograd.grad(0.5 * 0.1 * penalty, keys)
    for earlier in (0.0, 2.0):  # what is there already is added to
        for own in keys:
            own.grad = torch.full_like(own, earlier) if earlier else None
        quantizers.penalise(weights, 0.1)
        for own, gradient in zip(keys, expected, strict=True):
            torch.testing.assert_close(own.grad, gradient + earlier)


def test_penalties_send_no_gradient_to_the_padding():
    quantizers = quantizers_of([[DPQ(2, 2)], [DPQ(6, 2)]])
    quantizers.penalise(torch.tensor([3.0, 5.0], dtype=torch.float64), 0.2)
    gradient = quantizers.groups[0].keys.grad
    torch.testing.assert_close(gradient[0, 0, :2], 0.2 * 3.0 / 2 * centroids_of(quantizers, 0))
    assert (gradient[0, 0, 2:] == 0).all()
    torch.testing.assert_close(gradient[1, 0], 0.2 * 5.0 / 6 * centroids_of(quantizers, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"scores": "cosine"}, "scores"),
        ({"gradient": "gumbel"}, "gradient: 'gumbel' given, softmax or centroid is needed"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(AutoDPQError, match=message):
        QuantizerOptions(**options)


def test_subspaces_that_do_not_divide_the_dimension_are_refused():
    with pytest.raises(AutoDPQError, match="field 'a': D=3 does not divide the embedding dimension 8"):
        DPQ(4, 3).check(X, "field 'a'")
    DPQ(4, 4).check(X, "field 'a'")


def sorted_rows(rows):
    return sorted(rows.tolist())


def error_of(rows, centroids, D):
    """Sum over subspaces of the squared distances to the nearest centroid, by loops."""
    width = rows.shape[1] // D
    total = 0.0
    for d in range(D):
        part = slice(d * width, (d + 1) * width)
        for row in rows:
            total += min(float((row[part] - centroid[part]).square().sum()) for centroid in centroids)
    return total


@pytest.mark.parametrize("K", [2, 5, 40])
@pytest.mark.parametrize("D", [1, 2, 8])
@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_kmeans_is_exact_for_as_many_distinct_rows_as_centroids(K, D, scale):
    rows = scale * torch.randn(K, X, generator=torch.Generator().manual_seed(0))
    centroids = kmeans_centroids(rows, K, D, seed=1)
    for part in range(D):
        columns = slice(part * X // D, (part + 1) * X // D)
        torch.testing.assert_close(
            torch.tensor(sorted_rows(centroids[:, columns])),
            torch.tensor(sorted_rows(rows[:, columns])),
            rtol=1e-5,
            atol=1e-6 * scale,
        )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_kmeans_repeats_rows_where_there_are_fewer_than_centroids(n):
    rows = rows_of(1, n)[0]
    centroids = kmeans_centroids(rows, 5, 2, seed=0)
    assert centroids.shape == (5, X)
    for d in range(2):
        part = slice(d * 4, (d + 1) * 4)
        known = {tuple(row) for row in rows[:, part].tolist()}
        assert {tuple(centroid) for centroid in centroids[:, part].tolist()} == known


def test_kmeans_is_deterministic_and_leaves_the_global_generator_alone():
    rows = rows_of(1, 200)[0].float()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = kmeans_centroids(rows, 7, 4, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(kmeans_centroids(rows, 7, 4, seed=0), first)
    assert not torch.equal(kmeans_centroids(rows, 7, 4, seed=1), first)


@pytest.mark.parametrize("D", [1, 2, 4])
def test_kmeans_lowers_the_error_with_every_round(D):
    rows = rows_of(1, 60)[0]
    errors = [error_of(rows, kmeans_centroids(rows, 6, D, seed=0, n_iterations=n), D) for n in (0, 1, 2, 10)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.9 * errors[0]


def test_kmeans_centroids_are_the_means_of_their_rows():
    # Two groups far apart, whichever rows it starts from.
    near, far = torch.randn(20, X), 100 + torch.randn(20, X)
    centroids = kmeans_centroids(torch.cat([near, far]), 2, 1, seed=2)
    centroids = centroids[centroids[:, 0].argsort()]
    if (centroids[0, 0] > 50) == (centroids[1, 0] > 50):
        pytest.fail("both centroids are in one group")
    torch.testing.assert_close(centroids, torch.stack([near.mean(0), far.mean(0)]), rtol=1e-5, atol=1e-4)


def test_kmeans_looks_at_no_more_rows_than_allowed():
    rows = rows_of(1, 100)[0]
    few = kmeans_centroids(rows, 10, 1, seed=0, n_rows=10)
    known = {tuple(row) for row in rows.tolist()}
    assert all(tuple(centroid) in known for centroid in few.tolist())
