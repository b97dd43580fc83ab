"""Differentiable product quantization (Eq. 1; Chen et al., ICML 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from autodpq.choices.base import FLOAT_BITS, Arrays, Cost, Floats, Layout, Made
from autodpq.choices.codes import pack_words, words_size
from autodpq.choices.operations import Operations
from autodpq.choices.registry import register
from autodpq.errors import AutoDPQError

_MOST_CENTROIDS = 1 << 24

# Subspaces are decoded together as long as so many bits name an entry of the decoding table, which then is in the cache
# of a core.
_ENTRY_BITS = 11


def read_codes(stream: Any, places: Any, n_codes: int, bits: int, operations: Operations) -> Any:
    """Rows of codes of so many bits out of a stream, int64 [n, n_codes]; those that are bytes are read as such."""
    if bits == 8:
        return operations.whole(operations.row_bytes(stream, places, n_codes))
    return operations.bits(stream, places, n_codes, bits)


def code_bits(K: int) -> int:
    """Bits of one packed code: ceil(log2 K)."""
    return (K - 1).bit_length()


@register
@dataclass(frozen=True, slots=True)
class DPQ(Made):
    """Rare values are product-quantized: D codes per value, each one of K centroids (Eq. 1).

    Attributes:
        K: Centroids per subspace, at least 2.
        D: Subspaces; must divide the embedding dimension.
    """

    name: ClassVar[str] = "dpq"
    normalises: ClassVar[bool] = True
    K: int
    D: int

    def __post_init__(self) -> None:
        Made.__post_init__(self)
        if self.K < 2:
            raise AutoDPQError(f"K={self.K}: a code needs at least 2 centroids; use the choice 'others' for one")
        if self.K > _MOST_CENTROIDS:
            raise AutoDPQError(f"K={self.K} given, at most {_MOST_CENTROIDS} is possible")
        if self.D < 1:
            raise AutoDPQError(f"D={self.D}: at least one subspace is needed")

    @property
    def bits(self) -> int:
        """Bits of one packed code."""
        return code_bits(self.K)

    def check(self, dim: int, where: str) -> None:
        """D divides X."""
        if dim % self.D:
            raise AutoDPQError(f"{where}: D={self.D} does not divide the embedding dimension {dim}")

    def cost(self, n_rows: int, dim: int) -> Cost:
        """n D + K X parameters; codes of ceil(log2 K) bits, centroids in 32-bit floats."""
        n_codes, n_floats = n_rows * self.D, self.K * dim
        return Cost(n_codes + n_floats, n_codes * self.bits + FLOAT_BITS * n_floats)

    def layout(self, n_rows: int, dim: int) -> Layout:
        """``centroids`` [K, X], the D subspaces side by side; ``codes`` [bytes]."""
        return {
            "centroids": (np.dtype("<f4"), (self.K, dim)),
            "codes": (np.dtype("u1"), (words_size(n_rows, self.D, self.bits),)),
        }

    def pack(self, rows: Floats, shared: Mapping[str, Any]) -> Arrays:
        """The trained centroids, and the codes that their group gives, ``codes`` int64 [n, D]."""
        return {"centroids": shared["centroids"], "codes": pack_words(shared["codes"], self.bits)}

    def prepared(self, arrays: Arrays, dim: int) -> Arrays:
        """``decoding`` [groups x entries, X / groups] for the centroids: what any codes of subspaces that lie together
        stand for, the first in the lowest bits; codes of K or more, which no table has, stand for NaN. ``offsets``
        [groups]: where a group's entries begin."""
        bits, width = self.bits, dim // self.D
        together = self._together(dim, len(arrays["codes"]))
        parts = np.full((self.D, 1 << bits, width), np.nan, np.float32)
        parts[:, : self.K] = arrays["centroids"].reshape(self.K, self.D, width).transpose(1, 0, 2)
        n_groups = self.D // together
        entries = np.arange(1 << together * bits)
        table = np.empty((n_groups, len(entries), together * width), np.float32)
        for place in range(together):
            codes = entries >> place * bits & (1 << bits) - 1
            table[:, :, place * width : (place + 1) * width] = parts[place::together][:, codes]
        offsets = np.arange(n_groups) * len(entries)
        return {"decoding": table.reshape(-1, together * width), "offsets": offsets, "codes": arrays["codes"]}

    def made(self, arrays: Mapping[str, Any], places: Any, dim: int, operations: Operations) -> Any:
        """What the codes stand for."""
        decoding, offsets = arrays["decoding"], arrays["offsets"]
        n_groups = dim // decoding.shape[1]
        bits = (decoding.shape[0] // n_groups).bit_length() - 1
        entries = read_codes(arrays["codes"], places, n_groups, bits, operations) + offsets
        return operations.take(decoding, entries.reshape(-1)).reshape(-1, dim)

    def _together(self, dim: int, n_bytes: int) -> int:
        """How many subspaces are decoded by one look-up.

        As many as the decoding table stays in a core's cache with, and smaller than the codes: else it would take what
        the codes save.
        """

        def is_small(n: int) -> bool:
            return n * self.bits <= _ENTRY_BITS and (1 << n * self.bits) * dim * 4 <= n_bytes

        return max(n for n in range(1, self.D + 1) if n == 1 or (self.D % n == 0 and is_small(n)))

    @classmethod
    def group_key(cls, choice: Any) -> object:
        """D: those with fewer centroids are padded."""
        return choice.D

    @classmethod
    def group(cls, members: Sequence[Sequence[Any]], dim: int, options: Any) -> Any:
        """Quantizers of one D, computed together."""
        from autodpq.embedding.product import ProductQuantizers

        return ProductQuantizers([[choice.K for choice in row] for row in members], members[0][0].D, dim, options)
