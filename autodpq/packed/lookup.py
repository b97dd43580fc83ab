"""How an id of a packed table becomes a row: one body for numpy, torch and ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autodpq.choices import Made
from autodpq.choices.operations import Operations
from autodpq.packed.spec import TableSpec

Read = Mapping[str, Any]
"""A table's arrays, those of its choice as :meth:`autodpq.choices.Made.prepared` gives them; numpy's or torch's."""


def look_up(spec: TableSpec, arrays: Read, ids: Any, operations: Operations) -> Any:
    """Embeddings of ids, int64 [n]; gives float32 [n, X]."""
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


def first_order(spec: TableSpec, arrays: Read, ids: Any, operations: Operations) -> Any:
    """First-order weights of ids, int64 [n]; gives float32 [n]."""
    return operations.take(arrays["first_order"], _row_numbers(spec, arrays, ids, operations))


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
