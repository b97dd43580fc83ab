"""A packed table in torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autodpq.errors import AutoDPQError
from autodpq.ledger import code_bits
from autodpq.packed.codes import WORD_BITS
from autodpq.packed.table import Arrays, PackedTable, TableSpec, decoding_table, n_together
from autodpq.plan import DPQ, Full, Others


def to_array(values: Tensor) -> npt.NDArray[Any]:
    """A tensor as an array of its own, as files hold it."""
    return np.array(values.detach().cpu().numpy(), order="C")


def fitting_state(
    expected: Mapping[str, Tensor], dense: Mapping[str, npt.NDArray[Any]], path: Path
) -> dict[str, Tensor]:
    """Weights as a model loads them; batch counters, which inference does not read, may be missing and then stay.

    Args:
        expected: The entries of the model's state that are to be loaded.
        dense: The weights.
        path: What error messages call their file.

    Raises:
        AutoDPQError: A weight is missing, unknown or of another shape.
    """
    state = {name: torch.from_numpy(np.array(array)) for name, array in dense.items()}
    for name in [*expected, *state]:
        counter = name in expected and not expected[name].is_floating_point()
        if name not in expected or (name not in state and not counter):
            problem = "is missing" if name in expected else "has no place in the model"
            raise AutoDPQError(f"{path}: weight {name!r} {problem}; is it the model that was packed?")
        if name in state and state[name].shape != expected[name].shape:
            shapes = f"{list(state[name].shape)}, the model's is {list(expected[name].shape)}"
            raise AutoDPQError(f"{path}: weight {name!r} has the shape {shapes}; is it the model that was packed?")
    return state


class PackedEmbedding(nn.Module):
    """Looks up in a packed table; it holds buffers alone and learns nothing.

    Its arrays are copied from the table, so that a memory-mapped file may go. Of centroids only the decoding table is
    held, from which they can be read back: there is nothing that could fall behind when a state is loaded.

    Args:
        table: The table.
    """

    rows: Tensor
    scales: Tensor
    head_ids: Tensor
    first_order: Tensor
    codes: Tensor
    decoding: Tensor
    starts: Tensor
    offsets: Tensor

    def __init__(self, table: PackedTable) -> None:
        super().__init__()
        self.spec: TableSpec = table.spec
        for name in ("rows", "scales", "head_ids", "first_order"):
            if name in table.arrays:
                self.register_buffer(name, torch.from_numpy(np.array(table.arrays[name])))
        choice = self.spec.choice
        if isinstance(choice, DPQ):
            decoding = torch.from_numpy(decoding_table(table.arrays["centroids"], self.spec))
            n_groups, n_entries = decoding.shape[:2]
            self._group_bits = code_bits(choice.K) * n_together(self.spec)
            self.register_buffer("decoding", decoding.flatten(0, 1))
            self.register_buffer("codes", torch.from_numpy(np.append(table.arrays["codes"], np.zeros(8, np.uint8))))
            self.register_buffer("starts", torch.arange(n_groups) * self._group_bits, persistent=False)
            self.register_buffer("offsets", torch.arange(n_groups) * n_entries, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings of ids, integer of any shape; gives float32 [*ids.shape, X].

        Raises:
            IndexError: An id is outside the table, as ``nn.Embedding`` has it.
        """
        flat = ids.reshape(-1).long().contiguous()
        if torch.compiler.is_compiling():
            # A graph cannot raise; but no array has such an id, not even counted from its end.
            flat = torch.where((flat < 0) | (flat >= self.spec.n_rows), 1 << 40, flat)
        elif len(flat):
            # Without this, what lies behind the last row would be read, or the shared row be the answer.
            low, high = (int(bound) for bound in torch.aminmax(flat))
            if low < 0 or high >= self.spec.n_rows:
                wrong = low if low < 0 else high
                raise IndexError(f"table {self.spec.name!r}: id {wrong} given, 0..{self.spec.n_rows - 1} are possible")
        return self._lookup(flat).view(*ids.shape, self.spec.dim)

    def first_order_of(self, ids: Tensor) -> Tensor:
        """First-order weights of ids, float32 in the shape of the ids."""
        flat = ids.reshape(-1).long().contiguous()
        if isinstance(self.spec.choice, Others):
            places, is_tail = self._places(flat)
            flat = self._shared(places, is_tail)
        return self.first_order.index_select(0, flat).view(ids.shape)

    def table(self) -> PackedTable:
        """The table as it is stored."""
        names = [name for name in self.spec.layout() if name not in ("centroids", "codes")]
        arrays: Arrays = {name: to_array(getattr(self, name)) for name in names}
        choice = self.spec.choice
        if isinstance(choice, DPQ):
            arrays["centroids"] = to_array(self.centroids())
            arrays["codes"] = to_array(self.codes[:-8])
        return PackedTable(self.spec, arrays)

    def centroids(self) -> Tensor:
        """The centroids, float32 [K, X]."""
        choice = self.spec.choice
        assert isinstance(choice, DPQ), "there are none otherwise"
        bits, together = code_bits(choice.K), n_together(self.spec)
        parts = self.decoding.view(choice.D // together, -1, together, self.spec.dim // choice.D)
        codes = torch.arange(choice.K, device=parts.device)
        # Where all other codes are 0, an entry holds a place's centroids one after another.
        read = [parts[:, codes << place * bits, place] for place in range(together)]
        return torch.stack(read, 1).flatten(0, 1).transpose(0, 1).flatten(1)

    def _places(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Places of ids among the rows of their own, or among the others; and which ids are of the others."""
        if self.spec.ranked:
            is_tail = ids >= self.spec.head
            return torch.where(is_tail, ids - self.spec.head, ids), is_tail
        if not len(self.head_ids):
            return ids, torch.ones_like(ids, dtype=torch.bool)
        before = self._before(ids) if torch.compiler.is_compiling() else torch.searchsorted(self.head_ids, ids)
        is_tail = self.head_ids[before.clamp(max=len(self.head_ids) - 1)] != ids
        return torch.where(is_tail, ids - before, before), is_tail

    def _lookup(self, ids: Tensor) -> Tensor:
        choice = self.spec.choice
        if isinstance(choice, Full):
            return self._stored(ids)
        if isinstance(choice, DPQ) and not self.spec.head:
            return self._decoded(ids)
        places, is_tail = self._places(ids)
        if isinstance(choice, Others):
            return self._stored(self._shared(places, is_tail))
        found = self._stored(places.masked_fill(is_tail, 0))
        if torch.compiler.is_compiling():  # a graph has no branches
            return torch.where(is_tail[:, None], self._decoded(places.masked_fill(~is_tail, 0)), found)
        tail = is_tail.nonzero().squeeze(1)
        if len(tail):
            found[tail] = self._decoded(places[tail])
        return found

    def _shared(self, places: Tensor, is_tail: Tensor) -> Tensor:
        """Numbers of rows where all rare ids share one; what is outside the table stays outside."""
        return torch.where(is_tail & (places < self.spec.tail), self.spec.head, places)

    def _stored(self, places: Tensor) -> Tensor:
        rows = self.rows.index_select(0, places)
        if self.spec.head_dtype == "int8":
            return rows * self.scales.index_select(0, places)[:, None]
        return rows.float()

    def _decoded(self, places: Tensor) -> Tensor:
        entries = self._traced_entries(places) if torch.compiler.is_compiling() else self._entries(places)
        # Plain selection: half as long as the same by nn.functional.embedding.
        return self.decoding.index_select(0, entries.view(-1)).view(-1, self.spec.dim)

    def _entries(self, places: Tensor) -> Tensor:
        """Entries of the decoding table, int64 [n, groups]."""
        n_groups = len(self.starts)
        row_bits = n_groups * self._group_bits
        if row_bits <= WORD_BITS:  # a whole row is in one word
            begin, starts = places[:, None] * row_bits, self.starts
        else:
            begin, starts = places[:, None] * row_bits + self.starts, self.starts[:1]
        if row_bits % 8 or len(starts) < n_groups:
            starts = starts + (begin & 7)
        return (self._words(begin >> 3) >> starts & (1 << self._group_bits) - 1) + self.offsets

    def _before(self, ids: Tensor) -> Tensor:
        """How many listed ids are smaller, by halving: ONNX has no such search."""
        before = torch.zeros_like(ids)
        for step in reversed(range(len(self.head_ids).bit_length())):
            probe = before + (1 << step)
            smaller = self.head_ids.index_select(0, probe.clamp(max=len(self.head_ids)) - 1) < ids
            before = torch.where((probe <= len(self.head_ids)) & smaller, probe, before)
        return before

    def _traced_entries(self, places: Tensor) -> Tensor:
        """Entries of the decoding table from single bytes: ONNX reads none as other types, and shifts no int64."""
        bits = (places[:, None] * (len(self.starts) * self._group_bits) + self.starts).view(-1)
        scale = torch.tensor([1, 1 << 8, 1 << 16, 1 << 24], device=bits.device)
        read = (bits // 8)[:, None] + torch.arange(4, device=bits.device)
        words = (self.codes.index_select(0, read.view(-1)).view(-1, 4).long() * scale).sum(1)
        powers = (1 << torch.arange(8, device=bits.device)).index_select(0, bits % 8)
        return (words // powers % (1 << self._group_bits)).view(-1, len(self.starts)) + self.offsets

    def _words(self, first: Tensor) -> Tensor:
        """The eight bytes from each byte on, as int64 in the shape of ``first``; every byte begins a word."""
        windows = self.codes.as_strided((len(self.codes) - 7, 8), (1, 1))
        return windows.index_select(0, first.view(-1)).view(torch.int64).view(first.shape)
