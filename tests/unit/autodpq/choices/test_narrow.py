from __future__ import annotations

import numpy as np
import pytest
import torch

from autodpq.choices import Narrow
from autodpq.choices.operations import NUMPY
from autodpq.errors import AutoDPQError


def random_rows(n: int = 50, dim: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim))).astype(np.float32)


@pytest.mark.parametrize("d", [1, 3, 7])
def test_it_starts_from_the_best_subspace(d: int) -> None:
    rows, choice = random_rows(), Narrow(d)
    shared = choice.start(rows, 0)
    assert shared["basis"].shape == (d, 8) and shared["basis"].dtype == np.float32
    assert np.allclose(shared["basis"] @ shared["basis"].T, np.eye(d), atol=1e-5)
    # No matrix of rank d is nearer than that of the largest singular values (Eckart and Young).
    left, values, right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    nearest = (left[:, :d] * values[:d]) @ right[:d]
    assert np.allclose(choice.rounded(rows, shared), nearest, atol=1e-3)


def test_rows_of_few_directions_are_kept() -> None:
    rows = random_rows(30, 2) @ random_rows(2, 8, seed=1)
    assert np.allclose(Narrow(2).rounded(rows, Narrow(2).start(rows, 0)), rows, atol=1e-3)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_a_row_is_its_numbers_times_the_matrix(d: int) -> None:
    rows, choice = random_rows(), Narrow(d)
    shared = {"basis": np.random.default_rng(3).normal(size=(d, 8)).astype(np.float32)}  # trained away from orthogonal
    arrays = choice.pack(rows, shared)
    assert {name: (array.dtype, array.shape) for name, array in arrays.items()} == choice.layout(50, 8)
    cost = choice.cost(50, 8)
    assert cost.parameters == 50 * d + d * 8 and cost.bits == 32 * cost.parameters
    places = np.array([3, 49, 0, 3])
    found = choice.made(arrays, places, 8, NUMPY)
    for place, row in zip(places, found, strict=True):
        factors = [sum(float(a) * float(b) for a, b in zip(rows[place], line, strict=True)) for line in shared["basis"]]
        expected = [sum(factors[k] * float(shared["basis"][k, x]) for k in range(d)) for x in range(8)]
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-3)
    trained = choice.trained(torch.from_numpy(rows), {"basis": torch.from_numpy(shared["basis"])})
    assert np.allclose(trained.numpy(), choice.rounded(rows, shared), rtol=1e-4, atol=1e-3)


def test_a_large_table_starts_from_a_sample_that_the_seed_draws() -> None:
    rows = random_rows((1 << 16) + 100, 4)
    bases = [Narrow(1).start(rows, seed)["basis"] for seed in (0, 0, 1)]
    assert np.array_equal(bases[0], bases[1]) and not np.array_equal(bases[0], bases[2])
    assert np.allclose(np.abs(bases[0]), np.abs(bases[2]), atol=1e-2)


def test_numbers_of_a_row_are_fewer_than_the_dimension() -> None:
    Narrow(7).check(8, "field 'a'")
    with pytest.raises(AutoDPQError, match=r"field 'a': narrow\(8\) needs rows of more than 8 numbers, the .* have 8"):
        Narrow(8).check(8, "field 'a'")
    with pytest.raises(AutoDPQError, match="narrow: d=0: at least one number per row is needed"):
        Narrow(0)
