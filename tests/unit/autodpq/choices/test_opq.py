from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autodpq.choices import DPQ, OPQ
from autodpq.choices.base import Made
from autodpq.choices.operations import NUMPY
from autodpq.choices.opq import ROTATION_SCALE, rotation_of
from autodpq.embedding.groups import group_of
from autodpq.embedding.options import QuantizerOptions
from autodpq.errors import AutoDPQError

X = 8
OPTIONS = QuantizerOptions(scores="euclidean", gradient="centroid", compact=True)


def rows_that_go_together(n: int = 400, dim: int = X, seed: int = 0) -> np.ndarray:
    """Rows whose variances along hidden directions fall by halves."""
    rng = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    return (rng.normal(size=(n, dim)) * 0.7 ** np.arange(dim) @ directions.T).astype(np.float32)


def error(choice: Made, rows: np.ndarray) -> float:
    """The mean squared change of rows by a choice that starts from them."""
    group = group_of([[choice]], rows.shape[1], OPTIONS).eval()
    group.start(torch.from_numpy(rows), 0, 0, 0)
    return float((group.looked_up(torch.from_numpy(rows), 0, 0) - torch.from_numpy(rows)).square().mean())


@pytest.mark.parametrize(("K", "D"), [(4, 4), (16, 2), (16, 4)])
def test_rows_whose_numbers_go_together_are_nearer_than_by_dpq(K: int, D: int) -> None:
    rows = rows_that_go_together()
    assert error(OPQ(K, D), rows) < 0.8 * error(DPQ(K, D), rows)


@given(st.integers(1, 60), st.sampled_from([(8, 2), (8, 4), (12, 3), (4, 4)]), st.booleans(), st.integers(0, 99))
def test_a_rotation_turns_and_can_be_stored(n: int, shape: tuple[int, int], weighted: bool, seed: int) -> None:
    dim, D = shape
    rows = rows_that_go_together(n, dim, seed)
    weights = np.random.default_rng(seed).integers(0, 3, n) if weighted else None
    rotation = rotation_of(rows, weights, D)
    assert rotation.shape == (dim, dim) and rotation.dtype == np.float32
    assert np.abs(rotation @ rotation.T - np.eye(dim)).max() < 0.03
    stored = rotation * ROTATION_SCALE
    assert np.abs(stored - np.rint(stored)).max() < 1e-4 and np.abs(stored).max() <= 127.01


def pairings(numbers: list[int]) -> Iterator[list[tuple[int, int]]]:
    """All ways to part numbers into pairs."""
    if not numbers:
        yield []
        return
    first, *rest = numbers
    for other in rest:
        for pairs in pairings([number for number in rest if number != other]):
            yield [(first, other), *pairs]


def test_subspaces_vary_alike() -> None:
    rows = rows_that_go_together(5000)
    turned = rows @ rotation_of(rows, None, 4)
    correlation = np.corrcoef(turned.T)
    assert np.abs(correlation - np.eye(X)).max() < 0.2
    variances = turned.var(0).reshape(4, 2).prod(1)
    # No way to pair the directions has products that are much nearer to one another.
    best = min(
        max(products) / min(products)
        for pairs in pairings(list(range(X)))
        for products in [[turned[:, a].var() * turned[:, b].var() for a, b in pairs]]
    )
    assert variances.max() / variances.min() < 1.3 * best


def test_directions_are_those_of_the_rows_that_are_used() -> None:
    rows = np.concatenate([np.eye(4)[[0, 0]] * [[1], [-1]], np.eye(4)[[1, 1]] * [[9], [-9]]]).astype(np.float32)
    used = rotation_of(rows, np.array([1.0, 1.0, 0.0, 0.0]), 4)
    assert np.abs(used[0]).argmax() == 0, "the first direction is the one along which used rows differ"
    assert np.abs(rotation_of(rows, None, 4)[1]).argmax() == 0
    assert np.array_equal(rotation_of(rows, np.zeros(4), 4), rotation_of(rows, None, 4)), "none is used: all alike"


@given(st.integers(1, 40), st.sampled_from([(2, 2), (5, 4), (16, 2), (3, 8)]), st.integers(0, 20))
def test_a_row_is_what_its_codes_stand_for_turned_back(n: int, shape: tuple[int, int], seed: int) -> None:
    choice, rng = OPQ(*shape), np.random.default_rng(seed)
    shared = {
        "centroids": rng.normal(size=(choice.K, X)).astype(np.float32),
        "codes": rng.integers(0, choice.K, (n, choice.D)),
        "rotation": rotation_of(rows_that_go_together(seed=seed), None, choice.D),
    }
    arrays = choice.pack(np.zeros((n, X), np.float32), shared)
    assert {name: (array.dtype, array.shape) for name, array in arrays.items()} == choice.layout(n, X)
    places = rng.integers(0, n, 7)
    made = choice.made(choice.prepared(arrays, X), places, X, NUMPY)
    assert made.dtype == np.float32
    width = X // choice.D
    for place, row in zip(places, made, strict=True):
        parts = [
            shared["centroids"][code, d * width : (d + 1) * width] for d, code in enumerate(shared["codes"][place])
        ]
        assert row == pytest.approx(np.concatenate(parts) @ shared["rotation"].T, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("gradient", ["softmax", "centroid"])
def test_centroids_learn_what_turned_gradients_say(gradient: str) -> None:
    choice = OPQ(4, 2)
    options = QuantizerOptions(temperature=0.5, scores="euclidean", gradient=gradient)
    group = group_of([[choice]] * 2, X, options)
    rows = torch.from_numpy(rows_that_go_together(60)).view(2, 30, X)
    for place in range(2):
        group.start(rows[place], place, 0, 0)
    group.double()
    rows = rows.double().requires_grad_()
    fields = torch.tensor([1, 0])
    made = group(rows, torch.arange(30).repeat(2, 1), fields)
    direction = torch.randn(made.shape, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    by_rows, by_keys = torch.autograd.grad((made * direction).sum(), [rows, group.keys])
    turned = torch.stack([direction[tile, 0] @ group.rotations[place] for tile, place in enumerate(fields)])
    scores = group.scores(rows, fields)[:, 0]
    weights = torch.softmax(scores, 3) if gradient == "softmax" else torch.zeros_like(scores)
    if gradient == "centroid":
        weights.scatter_(3, scores.argmax(3, keepdim=True), 1.0)
        torch.testing.assert_close(by_rows, direction[:, 0])
    parts = turned.unflatten(2, (2, -1)).transpose(1, 2)
    keys = group.keys.detach()[fields, 0].unflatten(2, (2, -1)).transpose(1, 2)  # [tiles, D, K, width]
    if gradient == "softmax":  # by what each centroid adds, and by how well it fits
        values = torch.einsum("tdnw,tdkw->tdnk", parts, keys)
        of_scores = weights * (values - (weights * values).sum(3, keepdim=True))
        turned_rows = torch.stack([rows[tile] @ group.rotations[place] for tile, place in enumerate(fields)])
        turned_rows = turned_rows.unflatten(2, (2, -1)).transpose(1, 2)
        slopes = 2 * (turned_rows[:, :, :, None] - keys[:, :, None]) / options.temperature
        fitting = torch.einsum("tdnk,tdnkw->tdkw", of_scores, slopes)
    else:
        fitting = torch.zeros_like(keys)
    expected = torch.einsum("tdnk,tdnw->tdkw", weights, parts) + fitting
    torch.testing.assert_close(by_keys[fields, 0].unflatten(2, (2, -1)).transpose(1, 2), expected.detach())


def test_what_cannot_be_turned_is_refused() -> None:
    with pytest.raises(AutoDPQError, match=r"opq: D=1: turning serves at least 2 subspaces; dpq\(16,1\) is one"):
        OPQ(16, 1)
    with pytest.raises(AutoDPQError, match="D=3 does not divide the embedding dimension 8"):
        OPQ(16, 3).check(8, "field 'a'")
