"""Rows of small integers, a scale each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from autodpq.choices.base import LARGEST_HALF, Arrays, Cost, Floats, Layout, Made
from autodpq.choices.codes import Bytes, pack_words, words_size
from autodpq.choices.operations import Operations
from autodpq.choices.registry import register
from autodpq.errors import AutoDPQError

BITS = (2, 4, 8)
SCALE_BITS = 16
# A row's outermost numbers may be cut off where that rounds the others better; with 8 bits it hardly ever does.
SHARES = (np.linspace(0.3, 1.0, 15)).astype(np.float32)


def largest_integer(bits: int) -> int:
    """The largest of so many bits, where the smallest is its negative."""
    return (1 << bits - 1) - 1


def nearest_integers(rows: Floats, largest: int, shares: Floats) -> tuple[Bytes, npt.NDArray[np.float16]]:
    """Rows as integers of minus ``largest`` to ``largest`` times one scale each.

    Args:
        rows: float32 [n, X].
        largest: The largest integer.
        shares: Of a row's outermost number, that are tried as the largest integer's; of those the one of least squared
            error is taken.

    Returns:
        The integers plus ``largest``, uint8 [n, X]; the scales, float16 [n].
    """
    outermost = np.abs(rows).max(1, initial=0.0)
    # A row with something that is no finite number is none at all, rather than any other row.
    steps = np.where(np.isfinite(outermost), 0, np.nan).astype(np.float16)
    codes = np.full(rows.shape, largest, np.uint8)
    least = np.full(len(rows), np.inf)
    for share in shares:
        tried = (outermost * (share / np.float32(largest))).clip(max=LARGEST_HALF).astype(np.float16)
        step = tried.astype(np.float32)[:, None]
        integers = np.rint(rows / np.where(step > 0, step, 1)).clip(-largest, largest)
        error = np.square(rows - integers * step, dtype=np.float64).sum(1)
        better = error < least
        least[better], steps[better] = error[better], tried[better]
        codes[better] = (integers[better] + largest).astype(np.uint8)
    return codes, steps


@register
@dataclass(frozen=True, slots=True)
class Int(Made):
    """A row is integers of b bits times one scale of its own: round(row / s) s, uniform and symmetric about 0.

    The scale is, of a few shares of the row's largest number, the one of least squared error.

    Attributes:
        bits: b: 2, 4 or 8.
    """

    name: ClassVar[str] = "int"
    bits: int

    def __post_init__(self) -> None:
        Made.__post_init__(self)
        if self.bits not in BITS:
            raise AutoDPQError(f"{self.name}: bits={self.bits}: {', '.join(map(str, BITS))} are possible")

    @property
    def largest(self) -> int:
        """The largest integer; the smallest is its negative."""
        return largest_integer(self.bits)

    @property
    def shares(self) -> Floats:
        """The shares of a row's outermost number that are tried as the largest: the last of all."""
        return SHARES if self.bits < max(BITS) else SHARES[-1:]

    def cost(self, n_rows: int, dim: int) -> Cost:
        """A parameter for every integer and every scale."""
        return Cost(n_rows * (dim + 1), n_rows * (dim * self.bits + SCALE_BITS))

    def layout(self, n_rows: int, dim: int) -> Layout:
        """``codes`` [bytes], integers from 0 on; ``steps`` [n], the scales."""
        return {
            "codes": (np.dtype("u1"), (words_size(n_rows, dim, self.bits),)),
            "steps": (np.dtype("<f2"), (n_rows,)),
        }

    def pack(self, rows: Floats, shared: Mapping[str, Any]) -> Arrays:
        """Integers and scales."""
        codes, steps = nearest_integers(rows, self.largest, self.shares)
        return {"codes": pack_words(codes, self.bits), "steps": steps}

    def prepared(self, arrays: Arrays, dim: int) -> Arrays:
        """Where rows begin at bytes, ``decoding`` [256, integers of a byte] beside: the integers that a byte holds."""
        if self.bits == 8 or dim * self.bits % 8:
            return arrays
        integers = np.arange(256)[:, None] >> np.arange(0, 8, self.bits) & (1 << self.bits) - 1
        return {**arrays, "decoding": integers.astype(np.float32) - self.largest}

    def made(self, arrays: Mapping[str, Any], places: Any, dim: int, operations: Operations) -> Any:
        """Integers times scales."""
        codes, n_bits = arrays["codes"], dim * self.bits
        if n_bits % 8:
            integers = operations.cast(operations.bits(codes, places, dim, self.bits)) - float(self.largest)
        elif self.bits == 8:
            integers = operations.cast(operations.row_bytes(codes, places, dim)) - float(self.largest)
        else:
            found = operations.whole(operations.row_bytes(codes, places, n_bits // 8))
            integers = operations.take(arrays["decoding"], found.reshape(-1)).reshape(-1, dim)
        return integers * operations.cast(operations.take(arrays["steps"], places))[:, None]
