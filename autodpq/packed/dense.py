"""Weights beside the embeddings as a compact file holds them: matrices in 8 bits, all else in 16 (numpy only)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from autodpq.choices import Arrays
from autodpq.choices.base import LARGEST_HALF, narrow_floats
from autodpq.costs import is_matrix
from autodpq.errors import AutoDPQError

_LARGEST = 127
# Below the least normal number of 16 bits a step would be so coarse that integers rounded twice were others.
_LEAST_STEP = np.finfo(np.float16).tiny
_STEPS = ":steps"  # no weight of torch's has such a name


def stored_dense(name: str, weight: npt.NDArray[np.float32]) -> Arrays:
    """A weight as it is stored: a matrix as integers [n, m] of 8 bits and, of each row, what these are multiplied by.

    Args:
        name: Its torch name.
        weight: float32.
    """
    if not is_matrix(weight.shape):
        return {name: narrow_floats(weight)}
    outermost = np.abs(weight).max(1)
    steps = (outermost / np.float32(_LARGEST)).clip(_LEAST_STEP, LARGEST_HALF).astype(np.float16)
    # A row with something that is no finite number is none at all, rather than any other row.
    steps[~np.isfinite(outermost)] = np.nan
    integers = np.nan_to_num(np.rint(weight / steps.astype(np.float32)[:, None])).clip(-_LARGEST, _LARGEST)
    return {name: integers.astype(np.int8), name + _STEPS: steps}


def rounded_dense(weight: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """A weight as it is read from a compact file."""
    return read_dense(stored_dense("", weight))[""]


def read_dense(stored: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """Weights by their torch names; what was stored in integers is float32 again.

    Args:
        stored: What :func:`stored_dense` gives, or weights as they are.

    Raises:
        AutoDPQError: Integers and what they are multiplied by do not belong together.
    """
    read = {name: array for name, array in stored.items() if not name.endswith(_STEPS)}
    for name, steps in stored.items():
        if not name.endswith(_STEPS):
            continue
        own = name.removesuffix(_STEPS)
        integers = read.get(own)
        if integers is None or integers.dtype != np.int8 or integers.ndim != 2 or steps.shape != integers.shape[:1]:
            raise AutoDPQError(f"{name!r} does not belong to a matrix of integers")
        read[own] = integers.astype(np.float32) * steps.astype(np.float32)[:, None]
    return read
