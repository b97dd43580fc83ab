"""The operations of a look-up in torch, and in what ONNX has of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from autodpq.choices.codes import n_at_once

PADDING = 8
"""Zero bytes behind a stream of bits, so that eight can be read from any of its bytes on."""

Rows = Callable[[Tensor], Tensor]


class TorchOperations:
    """:class:`autodpq.choices.operations.Operations` on tensors; streams of bits end in :data:`PADDING`."""

    def take(self, array: Tensor, places: Tensor) -> Tensor:
        """Rows of a tensor."""
        # Plain selection: half as long as the same by nn.functional.embedding.
        return array.index_select(0, places)

    def bits(self, stream: Tensor, places: Tensor, n_words: int, bits: int) -> Tensor:
        """Rows of numbers out of a stream of bits."""
        at_once, row_bits = n_at_once(n_words, bits), n_words * bits
        begin = places[:, None] * row_bits
        if at_once < n_words:
            begin = begin + torch.arange(0, row_bits, at_once * bits, device=places.device)
        # The eight bytes from each byte on; every byte begins a word.
        windows = stream.as_strided((len(stream) - PADDING + 1, PADDING), (1, 1))
        words = windows.index_select(0, (begin >> 3).view(-1)).view(torch.int64)
        shifts = torch.arange(0, at_once * bits, bits, device=places.device)
        if row_bits % 8 or at_once < n_words:
            shifts = shifts + (begin & 7).view(-1, 1)
        return (words >> shifts & (1 << bits) - 1).view(-1, n_words)

    def row_bytes(self, stream: Tensor, places: Tensor, n_bytes: int) -> Tensor:
        """Rows of bytes out of a stream."""
        return stream[: len(stream) - PADDING].view(-1, n_bytes).index_select(0, places)

    def where(self, condition: Tensor, then: Any, otherwise: Any) -> Tensor:
        """Entries of one tensor or of the other."""
        return torch.where(condition, then, otherwise)

    def cast(self, array: Tensor) -> Tensor:
        """The same numbers in float32."""
        return array.float()

    def whole(self, array: Tensor) -> Tensor:
        """The same whole numbers in int64."""
        return array.long()

    def search(self, rising: Tensor, values: Tensor) -> Tensor:
        """How many of the rising numbers are smaller than each value."""
        return torch.searchsorted(rising, values.to(rising.dtype))

    def parted(self, is_first: Tensor, places: Tensor, first: Rows, second: Rows) -> Tensor:
        """Rows of which some come from one function and the others from another."""
        rows = second(places.masked_fill(is_first, 0))
        chosen = is_first.nonzero().squeeze(1)
        if len(chosen):
            rows[chosen] = first(places[chosen])
        return rows


class TracedOperations(TorchOperations):
    """The same in a graph, which has no branches, and of operations that ONNX has."""

    def bits(self, stream: Tensor, places: Tensor, n_words: int, bits: int) -> Tensor:
        """Rows of numbers, of at most 24 bits each, from single bytes: ONNX reads none as other types, and shifts no
        int64."""
        begin = (places[:, None] * (n_words * bits) + torch.arange(n_words, device=places.device) * bits).view(-1)
        scale = torch.tensor([1, 1 << 8, 1 << 16, 1 << 24], device=places.device)
        read = (begin // 8)[:, None] + torch.arange(4, device=places.device)
        words = (stream.index_select(0, read.view(-1)).view(-1, 4).long() * scale).sum(1)
        powers = (1 << torch.arange(8, device=places.device)).index_select(0, begin % 8)
        return (words // powers % (1 << bits)).view(-1, n_words)

    def row_bytes(self, stream: Tensor, places: Tensor, n_bytes: int) -> Tensor:
        """Rows of bytes, byte by byte: the exporter would store a part of the stream once more."""
        read = places[:, None] * n_bytes + torch.arange(n_bytes, device=places.device)
        return stream.index_select(0, read.view(-1)).view(-1, n_bytes)

    def search(self, rising: Tensor, values: Tensor) -> Tensor:
        """How many of the rising numbers are smaller, by halving: ONNX has no such search."""
        before = torch.zeros_like(values)
        for step in reversed(range(len(rising).bit_length())):
            probe = before + (1 << step)
            smaller = rising.index_select(0, probe.clamp(max=len(rising)) - 1) < values
            before = torch.where((probe <= len(rising)) & smaller, probe, before)
        return before

    def parted(self, is_first: Tensor, places: Tensor, first: Rows, second: Rows) -> Tensor:
        """Rows of both functions, of which one is taken."""
        of_first = first(places.masked_fill(~is_first, 0))
        return torch.where(is_first[:, None], of_first, second(places.masked_fill(is_first, 0)))


def operations() -> TorchOperations:
    """Those of a graph while one is made, else torch's own."""
    return TracedOperations() if torch.compiler.is_compiling() else TorchOperations()
