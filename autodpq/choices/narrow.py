"""Short rows, and a matrix that makes them long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from autodpq.choices.base import Arrays, Floats, Layout, Made
from autodpq.choices.operations import Operations
from autodpq.choices.registry import register
from autodpq.errors import AutoDPQError

_MOST_ROWS = 1 << 16  # that the matrix starts from


@register
@dataclass(frozen=True, slots=True)
class Narrow(Made):
    """A row is d numbers times a d x X matrix of its field: (row U) U^T, a factorization of low rank.

    The matrix starts from the directions in which the rows differ most from 0, and is trained with them.

    Attributes:
        d: Numbers of a row, at least 1 and fewer than X.
    """

    name: ClassVar[str] = "narrow"
    d: int

    def __post_init__(self) -> None:
        Made.__post_init__(self)
        if self.d < 1:
            raise AutoDPQError(f"{self.name}: d={self.d}: at least one number per row is needed")

    def check(self, dim: int, where: str) -> None:
        """d is smaller than X."""
        if self.d >= dim:
            raise AutoDPQError(f"{where}: {self} needs rows of more than {self.d} numbers, the embeddings have {dim}")

    def layout(self, n_rows: int, dim: int) -> Layout:
        """``factors`` [n, d]; ``basis`` [d, X]."""
        float32 = np.dtype("<f4")
        return {"factors": (float32, (n_rows, self.d)), "basis": (float32, (self.d, dim))}

    def start(self, rows: Floats, seed: int) -> Arrays:
        """``basis``: the right singular vectors of the largest singular values."""
        rng = np.random.default_rng(seed)
        some = rows if len(rows) <= _MOST_ROWS else rows[rng.choice(len(rows), _MOST_ROWS, replace=False)]
        _, vectors = np.linalg.eigh((some.T @ some).astype(np.float64))
        return {"basis": np.ascontiguousarray(vectors[:, ::-1][:, : self.d].T, np.float32)}

    def trained(self, rows: Any, shared: Mapping[str, Any]) -> Any:
        """The projected rows; rows and matrix learn alike."""
        return rows @ shared["basis"].T @ shared["basis"]

    def pack(self, rows: Floats, shared: Mapping[str, Any]) -> Arrays:
        """Short rows, and the matrix."""
        basis = np.ascontiguousarray(shared["basis"])
        return {"factors": _product(rows, basis.T), "basis": basis}

    def made(self, arrays: Mapping[str, Any], places: Any, dim: int, operations: Operations) -> Any:
        """The product."""
        return _product(operations.take(arrays["factors"], places), arrays["basis"])


def _product(left: Any, right: Any) -> Any:
    """A product of matrices, one direction after another: a library's would add in an order of its own, and the bits of
    some rows need not be those that they have in the product of all."""
    rows = left[:, :1] * right[0]
    for number in range(1, len(right)):
        rows = rows + left[:, number : number + 1] * right[number]
    return rows
