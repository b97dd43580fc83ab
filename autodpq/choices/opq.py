"""Optimized product quantization (Ge et al., CVPR 2013): rows are turned before they are product-quantized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from autodpq.choices.base import Arrays, Cost, Floats, Layout
from autodpq.choices.dpq import DPQ, read_codes
from autodpq.choices.operations import Operations
from autodpq.choices.registry import register
from autodpq.errors import AutoDPQError

ROTATION_SCALE = 127
"""An entry of a rotation is a whole number of 8 bits by this."""


@register
@dataclass(frozen=True, slots=True)
class OPQ(DPQ):
    """Rows are turned so that their D parts vary alike and independently, and then product-quantized.

    The numbers of trained rows go together: of sixteen, five directions hold most of what there is. Each subspace gets
    directions of which the product of variances is about the same (Ge et al., section 4.2), so that codes of equally
    many bits serve alike; at the bits of ``dpq`` the error is about half. The rotation takes X x X bytes.

    Attributes:
        K: Centroids per subspace, at least 2.
        D: Subspaces, 2 or more; must divide the embedding dimension.
    """

    name: ClassVar[str] = "opq"
    normalises: ClassVar[bool] = False

    def __post_init__(self) -> None:
        DPQ.__post_init__(self)
        if self.D < 2:
            raise AutoDPQError(f"{self.name}: D={self.D}: turning serves at least 2 subspaces; dpq({self.K},1) is one")

    def cost(self, n_rows: int, dim: int) -> Cost:
        """What ``dpq`` costs, and X x X numbers of 8 bits."""
        cost = DPQ.cost(self, n_rows, dim)
        return Cost(cost.parameters + dim * dim, cost.bits + 8 * dim * dim)

    def layout(self, n_rows: int, dim: int) -> Layout:
        """``dpq``'s, and ``rotation`` [X, X]: a row is what its codes stand for times the transposed."""
        return {**DPQ.layout(self, n_rows, dim), "rotation": (np.dtype("i1"), (dim, dim))}

    def pack(self, rows: Floats, shared: Mapping[str, Any]) -> Arrays:
        """Centroids, codes and the rotation, which is trained as it is stored."""
        rotation = np.rint(shared["rotation"] * np.float32(ROTATION_SCALE)).astype(np.int8)
        return {**DPQ.pack(self, rows, shared), "rotation": rotation}

    def prepared(self, arrays: Arrays, dim: int) -> Arrays:
        """``turned`` [D x 2^bits, X] for centroids and rotation: what each code adds to a row; codes of K or more,
        which no table has, stand for NaN."""
        entries = np.full((self.D, 1 << self.bits, dim), np.nan, np.float32)
        rotation = read_rotation(arrays["rotation"])
        entries[:, : self.K] = turned_back(arrays["centroids"].astype(np.float32, copy=False), rotation, self.D)
        offsets = np.arange(self.D) << self.bits
        return {"turned": entries.reshape(-1, dim), "offsets": offsets, "codes": arrays["codes"]}

    def made(self, arrays: Mapping[str, Any], places: Any, dim: int, operations: Operations) -> Any:
        """The sum of what the codes stand for, one subspace after another."""
        entries = read_codes(arrays["codes"], places, self.D, self.bits, operations) + arrays["offsets"]
        rows = operations.take(arrays["turned"], entries[:, 0])
        for subspace in range(1, self.D):
            rows = rows + operations.take(arrays["turned"], entries[:, subspace])
        return rows

    @classmethod
    def group(cls, members: Sequence[Sequence[Any]], dim: int, options: Any) -> Any:
        """Quantizers of one D, computed together."""
        from autodpq.embedding.turned import TurnedProductQuantizers

        return TurnedProductQuantizers([[choice.K for choice in row] for row in members], members[0][0].D, dim, options)


def read_rotation(stored: npt.NDArray[np.int8]) -> Floats:
    """A rotation as rows are multiplied by it, float32 [X, X], of what is stored of it."""
    return stored.astype(np.float32) / np.float32(ROTATION_SCALE)


def turned_back(centroids: Any, rotation: Any, D: int) -> Any:
    """What every centroid of every subspace adds to a row, one number of it after another.

    Args:
        centroids: float [..., K, X], the D subspaces side by side; an array or a tensor.
        rotation: float [..., X, X], or such that it can be broadcast to the centroids'.
        D: Subspaces.

    Returns:
        float [..., D, K, X].
    """
    *before, K, dim = centroids.shape
    width = dim // D
    parts = centroids.reshape(*before, K, D, width).swapaxes(-3, -2)
    columns = rotation.swapaxes(-2, -1).reshape(*rotation.shape[:-2], D, width, dim)
    # Neither library's own product: each would add in an order of its own.
    entries = parts[..., :1] * columns[..., :1, :]
    for place in range(1, width):
        entries = entries + parts[..., place : place + 1] * columns[..., place : place + 1, :]
    return entries


def rotation_of(rows: Floats, weights: npt.NDArray[Any] | None, D: int) -> Floats:
    """The rotation by which D subspaces vary alike and independently (Ge et al., CVPR 2013, section 4.2).

    The directions are the eigenvectors of the rows' covariance; the next of the largest variance goes to the subspace,
    of those that have room, whose product of variances is smallest.

    Args:
        rows: float [n, X].
        weights: float [n], how often each row is used; None, or all 0, for alike.
        D: Subspaces.

    Returns:
        float32 [X, X], rows are multiplied by it to be turned; whole numbers by :data:`ROTATION_SCALE`.
    """
    dim = rows.shape[1]
    used = None if weights is None or not weights.any() else weights.astype(np.float64)
    deviations = rows - np.average(rows.astype(np.float64), axis=0, weights=used)
    covariance = deviations.T @ (deviations if used is None else deviations * used[:, None])
    variances, directions = np.linalg.eigh(covariance)
    logarithms = np.log(np.maximum(variances, np.finfo(np.float64).tiny))
    chosen: list[list[int]] = [[] for _ in range(D)]
    totals = np.zeros(D)
    for direction in range(dim - 1, -1, -1):
        free = [part for part in range(D) if len(chosen[part]) < dim // D]
        own = min(free, key=lambda part: (len(chosen[part]) > 0, totals[part]))
        chosen[own].append(direction)
        totals[own] += logarithms[direction]
    rotation = directions[:, [direction for part in chosen for direction in part]]
    return read_rotation(np.rint(rotation * ROTATION_SCALE).astype(np.int8))
