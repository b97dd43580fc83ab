"""Compiled k-means beside the one by tensor operations."""

from __future__ import annotations

import pytest
import torch

from autodpq.kernels.kmeans import compiled_codes, compiled_lloyd, compiled_spread, lloyd, spread, subspaces
from autodpq.kernels.native import compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")

X = 16


def drawn(n: int, K: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows, their weights, and centroids to start from."""
    generator = torch.Generator().manual_seed(n + K)
    rows = torch.randn(n, X, generator=generator)
    return rows, torch.rand(n, generator=generator), rows[torch.arange(K) % n]


@pytest.mark.parametrize("D", [1, 2, 4, 16])
@pytest.mark.parametrize(("n", "K"), [(1, 2), (31, 4), (32, 5), (33, 64), (700, 8)])
def test_compiled_rounds_move_centroids_as_tensors_do(n, K, D):
    rows, weights, start = drawn(n, K)
    before = start.clone()
    moved = compiled_lloyd(rows, weights, start, D, 1)
    torch.testing.assert_close(moved, lloyd(rows, weights, start, D, 1), rtol=1e-5, atol=1e-6)
    assert torch.equal(start, before)
    # Of many rounds each starts from the last: what comes of three is what comes of two and one more.
    three = compiled_lloyd(rows, weights, start, D, 3)
    assert torch.equal(three, compiled_lloyd(rows, weights, compiled_lloyd(rows, weights, start, D, 2), D, 1))


def test_compiled_rounds_leave_a_centroid_without_rows_where_it_is():
    rows, weights, start = drawn(10, 3)
    start[2] = 1000.0
    assert torch.equal(compiled_lloyd(rows, weights, start, 1, 5)[2], start[2])


def test_rows_of_weight_nothing_move_nothing():
    rows, weights, start = drawn(40, 4)
    weights[20:] = 0
    alone = compiled_lloyd(rows[:20], weights[:20], start, 2, 4)
    assert torch.equal(compiled_lloyd(rows, weights, start, 2, 4), alone)


@pytest.mark.parametrize("D", [1, 2, 8, 16])
@pytest.mark.parametrize("K", [2, 7, 256])
def test_compiled_codes_are_of_the_nearest_centroids(K, D):
    rows, _, _ = drawn(500, K)
    _, _, centroids = drawn(400, K)
    codes = compiled_codes(rows, centroids, D)
    assert codes.shape == (500, D) and codes.dtype == torch.int64
    distances = (subspaces(rows, D)[:, :, None] - subspaces(centroids, D)[:, None]).double().square().sum(3)
    chosen = distances.gather(2, codes.T[..., None])[..., 0]
    torch.testing.assert_close(chosen, distances.min(2).values, rtol=1e-4, atol=1e-5)


def test_of_equally_near_centroids_the_first_is_taken():
    rows, _, _ = drawn(9, 2)
    centroids = rows[:1].repeat(4, 1)
    assert not compiled_codes(rows, centroids, 4).any()


def test_rows_that_do_not_lie_one_after_another_are_read_as_they_are():
    rows, weights, start = drawn(50, 4)
    wide = torch.cat([rows, rows + 1], 1)
    assert torch.equal(compiled_codes(wide[:, :X], start, 2), compiled_codes(rows, start, 2))
    assert torch.equal(compiled_lloyd(wide[:, :X], weights, start, 2, 2), compiled_lloyd(rows, weights, start, 2, 2))


def test_doubles_are_left_to_tensors():
    rows, weights, start = (value.double() for value in drawn(50, 4))
    assert torch.equal(compiled_lloyd(rows, weights, start, 2, 3), lloyd(rows, weights, start, 2, 3))


@pytest.mark.parametrize("D", [1, 2, 4, 16])
@pytest.mark.parametrize(("n", "K"), [(1, 2), (31, 4), (700, 20)])
def test_centroids_are_drawn_alike(n, K, D):
    rows, weights, _ = drawn(n, K)
    weights[::3] = 0
    draws = torch.rand(K, D, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    expected = spread(rows, weights.double(), draws)
    assert torch.equal(compiled_spread(rows, weights.double(), draws), expected)
    if n > 1:
        unused = rows[::3].view(-1, D, X // D)
        found = (expected.view(K, 1, D, X // D) == unused).all(3).any()
        assert not found  # rows of weight nothing start no centroid
