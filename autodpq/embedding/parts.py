"""What candidates train beside rows, as compiled code finds it and gives its gradients."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autodpq.kernels.native import library


@cache
def compiled(name: str) -> ctypes.CDLL:
    """A source whose ``mix`` mixes rows by candidates, and whose ``mix_gradients`` gives the gradients.

    Raises:
        AutoDPQError: It cannot be compiled.
    """
    found = library(name)
    found.mix.argtypes = [ctypes.c_void_p] * 2
    found.mix_gradients.argtypes = [ctypes.c_void_p] * 5
    found.mix.restype = found.mix_gradients.restype = None
    return found


class Parts:
    """The tensors that candidates of some bands train beside rows, and where in them each candidate's own lies.

    Attributes:
        tensors: The tensors, float.

    Args:
        shape: Bands, and candidates at most.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.tensors: list[Tensor] = []
        self._owners, self._offsets = np.full(shape, -1, np.int64), np.zeros(shape, np.uint64)

    def add(self, at: tuple[int, int], tensor: Tensor, offset: int = 0) -> None:
        """Says that the candidate ``at`` (band, number) has its own in a tensor, from so many numbers on."""
        known = [number for number, own in enumerate(self.tensors) if own is tensor]
        if not known:
            self.tensors.append(tensor)
        self._owners[at] = known[0] if known else len(self.tensors) - 1
        self._offsets[at] = tensor.element_size() * offset

    def addresses(self, tensors: Sequence[Tensor]) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Where every candidate's own lies in tensors like these, uint64 [bands, candidates]; 0 where it has none."""
        starts = np.array([*(tensor.data_ptr() for tensor in tensors), 0], np.uint64)
        return starts[self._owners] + self._offsets

    def gradients(
        self,
        source: str,
        shape: ctypes.Structure,
        inputs: tuple[Tensor, Tensor, Sequence[Tensor]],
        counts: Tensor,
        gradient: Tensor,
        *,
        of_all: bool,
    ) -> tuple[Tensor | None, Tensor, list[Tensor | None]]:
        """The gradients of what ``mix`` was given.

        Args:
            source: What is compiled.
            shape: What ``mix`` was given.
            inputs: Rows, the candidates' weights, and the tensors of the parts.
            counts: int64 [bands], rows of each.
            gradient: By what came of it.
            of_all: Whether there are gradients by others than the candidates' weights.

        Returns:
            By rows, by weights and by the tensors; None where there is none.
        """
        rows, weights, tensors = inputs
        gradient = gradient.contiguous()
        by_weights, by_rows = torch.zeros_like(weights), torch.zeros_like(rows)
        by_parts: list[Tensor | None] = [None] * len(tensors)
        addresses = None
        if of_all:
            made = [torch.zeros_like(tensor) for tensor in tensors]
            # Without a row there is no gradient, rather than one of zeros, by which Adam's momentum would move them.
            used = set(self._owners[(counts > 0).numpy()].flatten().tolist())
            by_parts = [tensor if number in used else None for number, tensor in enumerate(made)]
            addresses = self.addresses(made)
        compiled(source).mix_gradients(
            ctypes.byref(shape),
            gradient.data_ptr(),
            by_weights.data_ptr(),
            by_rows.data_ptr(),
            None if addresses is None else addresses.ctypes.data,
        )
        return by_rows if of_all else None, by_weights, by_parts
