"""One packed table: rows of their own for some ids, and for the others what a choice makes of theirs (numpy only)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from autodpq.choices.base import Floats
from autodpq.choices.operations import NUMPY
from autodpq.errors import AutoDPQError
from autodpq.packed.lookup import first_order, look_up, prepared
from autodpq.packed.spec import AnySpec, TableSpec, band_part

Integers = npt.NDArray[np.integer]


class PackedTable:
    """A table that is looked up in as it is stored.

    Args:
        spec: What it is.
        arrays: What :meth:`TableSpec.layout` lists; they may be memory-mapped.

    Raises:
        AutoDPQError: An array is missing, has no place here, or its type or shape is another; or the listed ids do not
            rise within the table.
    """

    def __init__(self, spec: AnySpec, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.spec = spec
        self.arrays = dict(arrays)
        layout = spec.layout
        if unknown := sorted(self.arrays.keys() - layout):
            raise AutoDPQError(f"table {spec.name!r}: there is no place for its {', '.join(unknown)}")
        for part, (dtype, shape) in layout.items():
            array = self.arrays.get(part)
            if array is None:
                raise AutoDPQError(f"table {spec.name!r}: its {part} are missing")
            if array.dtype != dtype or array.shape != shape:
                raise AutoDPQError(
                    f"table {spec.name!r}: its {part} are {array.dtype} {list(array.shape)}, "
                    f"{dtype} {list(shape)} are needed"
                )
        if isinstance(spec, TableSpec) and not spec.ranked:
            self._check_head_ids(self.arrays["head_ids"])
        self._read = self.arrays | prepared(spec, self.arrays)

    def _check_head_ids(self, ids: Integers) -> None:
        # Ids in any other order would be looked up as other ids, without an error.
        if len(ids) and not (ids[0] >= 0 and ids[-1] < self.spec.n_rows and (ids[1:] > ids[:-1]).all()):
            raise AutoDPQError(f"table {self.spec.name!r}: its head_ids do not rise within 0..{self.spec.n_rows - 1}")

    def bands(self) -> tuple[PackedTable, ...]:
        """Its bands, each as a table of its own; itself where it has none."""
        if isinstance(self.spec, TableSpec):
            return (self,)
        return tuple(
            PackedTable(table, {part: self.arrays[band_part(number, part)] for part in table.layout})
            for number, table in enumerate(self.spec.tables)
        )

    @property
    def resident_bytes(self) -> int:
        """Bytes that looking up reads from: the arrays, and what is made of them to be read faster."""
        return sum(array.nbytes for array in self._read.values())

    def lookup(self, ids: Integers) -> Floats:
        """Embeddings of ids.

        Args:
            ids: integer, any shape.

        Returns:
            float32 [*shape of ids, X].

        Raises:
            AutoDPQError: An id is outside the table.
        """
        flat = self._checked(ids)
        embeddings: Floats = look_up(self.spec, self._read, flat, NUMPY)
        return embeddings.reshape(*ids.shape, self.spec.dim)

    def first_order(self, ids: Integers) -> Floats:
        """First-order weights of ids, float32 in the shape of the ids.

        Raises:
            AutoDPQError: An id is outside the table.
        """
        flat = self._checked(ids)
        weights: Floats = first_order(self.spec, self._read, flat, NUMPY)
        return weights.reshape(ids.shape)

    def _checked(self, ids: Integers) -> npt.NDArray[np.int64]:
        flat = ids.reshape(-1)
        if len(flat) and not 0 <= flat.min() <= flat.max() < self.spec.n_rows:
            wrong = flat.min() if flat.min() < 0 else flat.max()
            raise AutoDPQError(f"table {self.spec.name!r}: id {wrong} given, 0..{self.spec.n_rows - 1} are possible")
        return flat.astype(np.int64, copy=False)
