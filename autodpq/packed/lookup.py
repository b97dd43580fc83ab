"""How an id of a packed table becomes a row: one body for numpy, torch and ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autodpq.choices import Arrays, Made
from autodpq.choices.codes import read_words
from autodpq.choices.operations import Operations
from autodpq.choices.weights import read_weights
from autodpq.errors import AutoDPQError
from autodpq.packed.spec import BAND_NUMBERS, AnySpec, BandedSpec, TableSpec, band_part

Read = Mapping[str, Any]
"""A table's arrays, those of its choices as :func:`prepared` gives them; numpy's or torch's."""

_POSITIONS = "positions"  # what is read instead of the bands' numbers


def prepared(spec: AnySpec, arrays: Read) -> Arrays:
    """What look-ups read instead of the stored arrays that choices have of their own.

    Args:
        spec: What the table is.
        arrays: Its arrays as they are stored.

    Raises:
        AutoDPQError: The bands have not as many ids as they should.
    """
    if isinstance(spec, BandedSpec):
        read = {
            band_part(number, part): array
            for number, table in enumerate(spec.tables)
            for part, array in prepared(table, _Band(arrays, number, table)).items()
        }
        return read if spec.ranked else {**read, _POSITIONS: _positions(spec, arrays[BAND_NUMBERS])}
    if not isinstance(spec.choice, Made):
        return {}
    own = {part: arrays[part] for part in spec.own_layout}
    if spec.compact:
        expected = spec.choice.layout(spec.tail, spec.dim)
        own = {part: array.astype(expected[part][0], copy=False) for part, array in own.items()}
    return spec.choice.prepared(own, spec.dim)


def _positions(spec: BandedSpec, stream: Any) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Of each id its place where bands follow one another, within a band by rising id, int32 [rows]."""
    small = np.min_scalar_type(len(spec.bands))  # which is sorted in one pass
    numbers = np.empty(spec.n_rows, small)
    for start in range(0, spec.n_rows, _CHUNK):
        ids = np.arange(start, min(start + _CHUNK, spec.n_rows))
        numbers[ids] = read_words(stream, ids, 1, spec.band_bits)[:, 0]
    sizes = [n_rows for n_rows, _ in spec.bands]
    if np.bincount(numbers, minlength=len(sizes)).tolist() != sizes:
        raise AutoDPQError(f"table {spec.name!r}: its {BAND_NUMBERS} do not give each band as many ids as it has")
    positions = np.empty(spec.n_rows, np.int32)
    positions[np.argsort(numbers, kind="stable")] = np.arange(spec.n_rows, dtype=np.int32)
    return positions


_CHUNK = 1 << 20  # ids whose bands are read at once


class _Band(Mapping[str, Any]):
    """The arrays of one band by their names without its number."""

    def __init__(self, arrays: Read, number: int, spec: TableSpec) -> None:
        self._arrays, self._number, self._parts = arrays, number, spec.layout

    def __getitem__(self, part: str) -> Any:
        return self._arrays[band_part(self._number, part)]

    def __iter__(self) -> Any:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def look_up(spec: AnySpec, arrays: Read, ids: Any, operations: Operations) -> Any:
    """Embeddings of ids, int64 [n]; gives float32 [n, X]."""
    if isinstance(spec, BandedSpec):
        return _by_bands(spec, arrays, ids, operations, look_up)
    choice = spec.choice
    if not isinstance(choice, Made):
        return _stored(spec, arrays, _row_numbers(spec, arrays, ids, operations), operations)
    if not spec.head:
        return choice.made(arrays, ids, spec.dim, operations)
    places, is_tail = _places(spec, arrays, ids, operations)
    return operations.parted(
        is_tail,
        places,
        lambda of_tail: choice.made(arrays, of_tail, spec.dim, operations),
        lambda of_head: _stored(spec, arrays, of_head, operations),
    )


def first_order(spec: AnySpec, arrays: Read, ids: Any, operations: Operations) -> Any:
    """First-order weights of ids, int64 [n]; gives float32 [n, 1]."""
    if isinstance(spec, BandedSpec):
        return _by_bands(spec, arrays, ids, operations, first_order)
    places = _row_numbers(spec, arrays, ids, operations)
    if spec.compact:
        return read_weights(arrays, places, spec.weight_bits, operations)
    return operations.take(arrays["first_order"], places)[:, None]


def _by_bands(spec: BandedSpec, arrays: Read, ids: Any, operations: Operations, find: Callable[..., Any]) -> Any:
    """What a function finds for ids in the table of the band that each is of."""
    tables = spec.tables

    def from_band(number: int, places: Any) -> Any:
        """Of the ids of a band and those behind it, numbered from its first."""
        table = tables[number]
        of_band = _Band(arrays, number, table)
        if number == len(tables) - 1:
            return find(table, of_band, places, operations)
        is_here = places < table.n_rows
        return operations.parted(
            is_here,
            places,
            lambda here: find(table, of_band, here, operations),
            # Where an operation gives all of them, those of other bands stand at 0.
            lambda behind: from_band(number + 1, operations.where(behind < table.n_rows, 0, behind - table.n_rows)),
        )

    return from_band(0, ids if spec.ranked else operations.whole(operations.take(arrays[_POSITIONS], ids)))


def _row_numbers(spec: TableSpec, arrays: Read, ids: Any, operations: Operations) -> Any:
    """Numbers of rows or weights where values share them; what is outside the table stays outside."""
    modulus = spec.choice.modulus(spec.tail)
    if modulus == spec.tail and (spec.ranked or not spec.choice.keeps):
        return ids  # weights, and rows of their own, lie by id
    places, is_tail = _places(spec, arrays, ids, operations)
    return operations.where(is_tail & (places < spec.tail), places % modulus + spec.head, places)


def _places(spec: TableSpec, arrays: Read, ids: Any, operations: Operations) -> tuple[Any, Any]:
    """Places of ids among the rows of their own, or among the others; and which ids are of the others."""
    if spec.ranked:
        is_tail = ids >= spec.head
        return operations.where(is_tail, ids - spec.head, ids), is_tail
    head_ids = arrays["head_ids"]
    if not spec.head:
        return ids, ids >= 0
    before = operations.search(head_ids, ids)
    is_tail = operations.take(head_ids, before.clip(max=spec.head - 1)) != ids
    return operations.where(is_tail, ids - before, before), is_tail


def _stored(spec: TableSpec, arrays: Read, places: Any, operations: Operations) -> Any:
    """Rows of their own."""
    rows = operations.cast(operations.take(arrays["rows"], places))
    return rows * operations.take(arrays["scales"], places)[:, None] if spec.head_dtype == "int8" else rows
