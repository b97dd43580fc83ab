"""First-order weights where all is stored compactly: integers of few bits, a scale a band (no torch here)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from autodpq.choices.base import Arrays, Choice, Floats, layout_bytes, narrowed
from autodpq.choices.codes import pack_words
from autodpq.choices.integer import SHARES, largest_integer, nearest_integers
from autodpq.choices.operations import NUMPY, Operations

MOST_WEIGHT_BITS = 6
_AHEAD = 3  # bits, of a number of a row
_MANY = 1 << 16  # rows


def weight_bits(choice: Choice, dim: int) -> int:
    """Bits of a first-order weight: by 3 more than what a number of a row takes, at most 6.

    Bytes are well spent where a further bit of a weight lowers the loss as much as a further bit of a row's number; how
    many bits these are apart is what the loss's second derivatives say, on MovieLens-1M 3 in bands hot and cold.

    Args:
        choice: Of the rows.
        dim: X.
    """
    if choice.keeps:
        return MOST_WEIGHT_BITS
    several, twice = (layout_bytes(narrowed(choice.layout(n, dim))) for n in (_MANY, 2 * _MANY))
    return min(MOST_WEIGHT_BITS, _AHEAD + math.floor(8 * (twice - several) / (_MANY * dim) + 0.5))


def stored_weights(weights: Floats, bits: int) -> Arrays:
    """First-order weights, float32 [n], as a compact table holds them; those of what this gives are the same again."""
    codes, scale = nearest_integers(weights[None], largest_integer(bits), SHARES)
    return {"first_order": pack_words(codes.T, bits), "weight_scale": scale}


def read_weights(arrays: Mapping[str, Any], places: Any, bits: int, operations: Operations) -> Any:
    """First-order weights by their numbers, float32 [n, 1]; see :meth:`autodpq.choices.Made.made` for arguments."""
    integers = operations.cast(operations.bits(arrays["first_order"], places, 1, bits)) - float(largest_integer(bits))
    return integers * operations.cast(arrays["weight_scale"])


def rounded_weights(weights: Floats, bits: int) -> Floats:
    """First-order weights, float32 [n], as they are read from a compact table."""
    rounded: Floats = read_weights(stored_weights(weights, bits), np.arange(len(weights)), bits, NUMPY)[:, 0]
    return rounded
