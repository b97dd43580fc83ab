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
from autodpq.packed.lookup import first_order, look_up, prepared
from autodpq.packed.spec import AnySpec
from autodpq.packed.table import PackedTable
from autodpq.packed.torch_operations import PADDING, operations


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

    Its arrays are copied from the table, so that a memory-mapped file may go. What is made of them to be read faster is
    made anew when a state is loaded.

    Args:
        table: The table.
    """

    def __init__(self, table: PackedTable) -> None:
        super().__init__()
        self.spec: AnySpec = table.spec
        own = self.spec.own_layout
        for name, array in table.arrays.items():
            self.register_buffer(_OWN + name if name in own else name, torch.from_numpy(_padded(array)))
        self._prepare()
        self.register_load_state_dict_post_hook(_prepare_again)  # type: ignore[no-untyped-call]

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings of ids, integer of any shape; gives float32 [*ids.shape, X].

        Raises:
            IndexError: An id is outside the table, as ``nn.Embedding`` has it.
            AutoDPQError: ``torch.jit`` traces.
        """
        rows: Tensor = look_up(self.spec, self._arrays(), self._checked(ids), operations())
        return rows.view(*ids.shape, self.spec.dim)

    def first_order_of(self, ids: Tensor) -> Tensor:
        """First-order weights of ids, float32 in the shape of the ids; errors are those of :meth:`forward`."""
        weights: Tensor = first_order(self.spec, self._arrays(), self._checked(ids), operations())
        return weights.view(ids.shape)

    def __prepare_scriptable__(self) -> nn.Module:
        """What ``torch.jit.script`` asks every module for; it has no answer.

        Raises:
            AutoDPQError: Always.
        """
        raise _no_script()

    def table(self) -> PackedTable:
        """The table as it is stored."""
        return PackedTable(self.spec, {name: self._stored(name) for name in self.spec.layout})

    def _checked(self, ids: Tensor) -> Tensor:
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            raise _no_script()
        flat = ids.reshape(-1).long().contiguous()
        if torch.compiler.is_compiling():
            # A graph cannot raise; but no array has such an id, not even counted from its end.
            return torch.where((flat < 0) | (flat >= self.spec.n_rows), 1 << 40, flat)
        if len(flat):
            # Without this, what lies behind the last row would be read, or a shared row be the answer.
            low, high = (int(bound) for bound in torch.aminmax(flat))
            if low < 0 or high >= self.spec.n_rows:
                wrong = low if low < 0 else high
                raise IndexError(f"table {self.spec.name!r}: id {wrong} given, 0..{self.spec.n_rows - 1} are possible")
        return flat

    def _arrays(self) -> dict[str, Tensor]:
        """What look-ups read."""
        return {name: self.get_buffer(buffer) for name, buffer in self._read.items()}

    def _stored(self, name: str) -> npt.NDArray[Any]:
        dtype, shape = self.spec.layout[name]
        array = to_array(self.get_buffer(_OWN + name if name in self.spec.own_layout else name))
        return array[: shape[0]].astype(dtype, copy=False)  # without what a stream of bits is padded by

    def _prepare(self) -> None:
        """Makes what is faster to read."""
        own = self.spec.own_layout
        self._read: dict[str, str] = {name: _OWN + name if name in own else name for name in self.spec.layout}
        stored = {name: self._stored(name) for name in own}
        device = next(self.buffers()).device
        for name, array in prepared(self.spec, stored).items():
            if array is not stored.get(name):
                self._read[name] = f"read_{name}"
                self.register_buffer(self._read[name], torch.from_numpy(_padded(array)).to(device), persistent=False)


def _no_script() -> AutoDPQError:
    # A trace would keep which rows the ids that it was made with are looked up in, and give wrong rows for others.
    return AutoDPQError(
        "torch.jit: a compressed table can be neither traced nor scripted; use torch.compile or torch.export"
    )


def _prepare_again(module: PackedEmbedding, _: object) -> None:
    """After a state is loaded; no method, so that a copied module does not prepare the one that it was copied from."""
    module._prepare()


_OWN = "choice_"  # before the names of the choice's own arrays, which could be those of a module's attributes


def _padded(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy; of a stream of bits, with zeros behind it."""
    is_stream = array.dtype == np.uint8 and array.ndim == 1
    return np.append(array, np.zeros(PADDING, np.uint8)) if is_stream else np.array(array, order="C")
