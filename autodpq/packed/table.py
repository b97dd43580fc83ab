"""One packed table: rows of their own for some ids, and for the others a shared row or codes (numpy only)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autodpq.errors import AutoDPQError
from autodpq.ledger import code_bits
from autodpq.packed.codes import packed_size, read_words
from autodpq.plan import DPQ, Choice, Full, Others

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.integer]
Arrays = dict[str, npt.NDArray[Any]]

HEAD_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2"), "int8": np.dtype("i1")}
"""How rows of their own can be stored; int8 has one scale per row."""

_MOST_ROWS = (1 << 31) - 1  # ids are stored in 32 bits
_MOST_DIM = 1 << 14
_MOST_CENTROIDS = 1 << 24

# Subspaces are decoded together as long as so many bits name an entry of the decoding table, which then is in the cache
# of a core.
_ENTRY_BITS = 11


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What a table is.

    Attributes:
        name: Of the field or of the module.
        n_rows: Ids: 0 to n_rows - 1.
        dim: X.
        head: How many ids have a row of their own. Under ``Full`` all have, whatever this number is.
        choice: What the other ids have.
        fallback: The id that stands for values never seen.
        ranked: Whether ids are frequency ranks, so that the first ``head`` ids have rows; else they are listed.
        first_order: Whether there are first-order weights.
        head_dtype: How rows of their own are stored: float32, float16 or int8.
    """

    name: str
    n_rows: int
    dim: int
    head: int
    choice: Choice
    fallback: int
    ranked: bool = True
    first_order: bool = False
    head_dtype: str = "float32"

    def __post_init__(self) -> None:
        where = f"table {self.name!r}"
        if not 0 < self.n_rows <= _MOST_ROWS or not 0 < self.dim <= _MOST_DIM or not 0 <= self.head <= self.n_rows:
            raise AutoDPQError(f"{where}: {self.n_rows} rows of {self.dim} numbers, {self.head} frequent: impossible")
        if not 0 <= self.fallback < self.n_rows:
            raise AutoDPQError(f"{where}: id {self.fallback} for values never seen is outside 0..{self.n_rows - 1}")
        if self.head_dtype not in HEAD_DTYPES:
            raise AutoDPQError(f"{where}: {self.head_dtype!r} given, one of {', '.join(HEAD_DTYPES)} is needed")
        if isinstance(self.choice, DPQ) and self.dim % self.choice.D:
            raise AutoDPQError(f"{where}: D={self.choice.D} does not divide {self.dim}")
        if isinstance(self.choice, DPQ) and self.choice.K > _MOST_CENTROIDS:
            raise AutoDPQError(f"{where}: K={self.choice.K} given, at most {_MOST_CENTROIDS} is possible")
        if self.head == self.n_rows and not isinstance(self.choice, Full):
            raise AutoDPQError(f"{where}: {self.choice} given, but every id has a row of its own")
        if not self.ranked and isinstance(self.choice, Full):
            raise AutoDPQError(f"{where}: no id is listed under {self.choice}")

    @property
    def tail(self) -> int:
        """How many ids have no row of their own."""
        return 0 if isinstance(self.choice, Full) else self.n_rows - self.head

    @property
    def n_stored(self) -> int:
        """Rows as they are stored: those of their own, and the shared one."""
        return self.n_rows - self.tail + isinstance(self.choice, Others)

    @property
    def n_weights(self) -> int:
        """First-order weights: one per id, or one for all that share a row."""
        return self.n_stored if isinstance(self.choice, Others) else self.n_rows

    def layout(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Type and shape of every array of the table: ``rows`` [stored, X]; ``scales`` [stored] of int8 rows;
        ``centroids`` [K, X]; ``codes`` [bytes]; ``head_ids`` [head], rising; ``first_order`` [weights]."""
        float32 = np.dtype("<f4")
        arrays: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            "rows": (HEAD_DTYPES[self.head_dtype], (self.n_stored, self.dim))
        }
        if self.head_dtype == "int8":
            arrays["scales"] = (float32, (self.n_stored,))
        if isinstance(self.choice, DPQ):
            arrays["centroids"] = (float32, (self.choice.K, self.dim))
            arrays["codes"] = (np.dtype("u1"), (packed_size(self.tail, self.choice.K, self.choice.D),))
        if not self.ranked:
            arrays["head_ids"] = (np.dtype("<i4"), (self.head,))
        if self.first_order:
            arrays["first_order"] = (float32, (self.n_weights,))
        return arrays


def store_rows(rows: Floats, head_dtype: str) -> dict[str, npt.NDArray[Any]]:
    """Rows as they are stored: ``rows``, and for int8 ``scales``.

    Args:
        rows: float32 [n, X].
        head_dtype: float32, float16 or int8.

    Raises:
        AutoDPQError: A number is too large for float16.
    """
    largest = np.finfo(np.float16).max
    if head_dtype == "float16" and (np.abs(rows) > largest).any():
        raise AutoDPQError(f"head_dtype: a row holds a number beyond {largest}, float16's largest; use int8 or float32")
    if head_dtype != "int8":
        return {"rows": rows.astype(HEAD_DTYPES[head_dtype])}
    scales = np.abs(rows).max(1, initial=0.0) / np.float32(127)
    return {
        "rows": np.rint(rows / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8),
        "scales": scales.astype(np.float32),
    }


def n_together(spec: TableSpec) -> int:
    """How many subspaces are decoded by one look-up.

    As many as the decoding table stays in a core's cache with, and smaller than the codes: else it would take what the
    codes save.
    """
    assert isinstance(spec.choice, DPQ), "nothing is decoded otherwise"
    D, bits = spec.choice.D, code_bits(spec.choice.K)
    most = packed_size(spec.tail, spec.choice.K, D)

    def is_small(n: int) -> bool:
        return n * bits <= _ENTRY_BITS and (1 << n * bits) * spec.dim * 4 <= most

    return max(n for n in range(1, D + 1) if n == 1 or (D % n == 0 and is_small(n)))


def decoding_table(centroids: Floats, spec: TableSpec) -> Floats:
    """What any codes of subspaces that lie together stand for.

    Args:
        centroids: float32 [K, X], the D subspaces side by side.
        spec: What the table is.

    Returns:
        float32 [groups, 2 ** bits of a group, X / groups], with :func:`n_together` subspaces to a group, the first in
        the lowest bits. Codes of K or more, which no table has, stand for NaN.
    """
    assert isinstance(spec.choice, DPQ), "nothing is decoded otherwise"
    K, D = spec.choice.K, spec.choice.D
    bits, together, width = code_bits(K), n_together(spec), spec.dim // D
    parts = np.full((D, 1 << bits, width), np.nan, np.float32)
    parts[:, :K] = centroids.reshape(K, D, width).transpose(1, 0, 2)
    n_groups = D // together
    entries = np.arange(1 << together * bits)
    table = np.empty((n_groups, len(entries), together * width), np.float32)
    for place in range(together):
        codes = entries >> place * bits & (1 << bits) - 1
        table[:, :, place * width : (place + 1) * width] = parts[place::together][:, codes]
    return table


class PackedTable:
    """A table that is looked up in as it is stored.

    Args:
        spec: What it is.
        arrays: What :meth:`TableSpec.layout` lists; they may be memory-mapped.

    Raises:
        AutoDPQError: An array is missing, has no place here, or its type or shape is another; or the listed ids do not
            rise within the table.
    """

    def __init__(self, spec: TableSpec, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.spec = spec
        self.arrays = dict(arrays)
        layout = spec.layout()
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
        if not spec.ranked:
            self._check_head_ids(self.arrays["head_ids"])
        self._decoding: Floats | None = None
        self._offsets = np.zeros(0, np.int64)
        if isinstance(spec.choice, DPQ):
            table = decoding_table(self.arrays["centroids"], spec)
            self._group_bits = code_bits(spec.choice.K) * n_together(spec)
            self._offsets = np.arange(len(table)) * table.shape[1]
            self._decoding = table.reshape(-1, table.shape[2])

    def _check_head_ids(self, ids: Integers) -> None:
        # Ids in any other order would be looked up as other ids, without an error.
        if len(ids) and not (ids[0] >= 0 and ids[-1] < self.spec.n_rows and (ids[1:] > ids[:-1]).all()):
            raise AutoDPQError(f"table {self.spec.name!r}: its head_ids do not rise within 0..{self.spec.n_rows - 1}")

    @property
    def resident_bytes(self) -> int:
        """Bytes that looking up reads from: the arrays, and the decoding table."""
        decoding = 0 if self._decoding is None else self._decoding.nbytes
        return sum(array.nbytes for array in self.arrays.values()) + decoding

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
        return self._lookup(flat).reshape(*ids.shape, self.spec.dim)

    def first_order(self, ids: Integers) -> Floats:
        """First-order weights of ids, float32 in the shape of the ids.

        Raises:
            AutoDPQError: An id is outside the table.
        """
        flat = self._checked(ids)
        weights: Floats = self.arrays["first_order"].take(self._weight_numbers(flat)).reshape(ids.shape)
        return weights

    def _checked(self, ids: Integers) -> npt.NDArray[np.int64]:
        flat = ids.reshape(-1)
        if len(flat) and not 0 <= flat.min() <= flat.max() < self.spec.n_rows:
            wrong = flat.min() if flat.min() < 0 else flat.max()
            raise AutoDPQError(f"table {self.spec.name!r}: id {wrong} given, 0..{self.spec.n_rows - 1} are possible")
        return flat.astype(np.int64, copy=False)

    def _places(self, ids: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Places of ids among the rows of their own, or among the others; and which ids are of the others."""
        if self.spec.ranked:
            is_tail = ids >= self.spec.head
            return np.where(is_tail, ids - self.spec.head, ids), is_tail
        head_ids = self.arrays["head_ids"]
        before = np.searchsorted(head_ids, ids)
        is_tail = np.ones(len(ids), np.bool_)
        inside = before < len(head_ids)
        is_tail[inside] = head_ids[before[inside]] != ids[inside]
        return np.where(is_tail, ids - before, before), is_tail

    def _weight_numbers(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        match self.spec.choice:
            case Others():
                places, is_tail = self._places(ids)
                return np.where(is_tail, self.spec.head, places)
            case _:
                return ids

    def _lookup(self, ids: npt.NDArray[np.int64]) -> Floats:
        choice = self.spec.choice
        if isinstance(choice, Full):
            return self._stored(ids)
        places, is_tail = self._places(ids)
        if isinstance(choice, Others):
            return self._stored(np.where(is_tail, self.spec.head, places))
        if is_tail.all():
            return self._decoded(places)
        found = np.empty((len(ids), self.spec.dim), np.float32)
        found[~is_tail] = self._stored(places[~is_tail])
        found[is_tail] = self._decoded(places[is_tail])
        return found

    def _stored(self, places: npt.NDArray[np.int64]) -> Floats:
        rows = self.arrays["rows"].take(places, 0)
        if self.spec.head_dtype == "int8":
            rows = rows * self.arrays["scales"].take(places)[:, None]
        return rows.astype(np.float32, copy=False)

    def _decoded(self, places: npt.NDArray[np.int64]) -> Floats:
        assert self._decoding is not None, "there are centroids"
        entries = read_words(self.arrays["codes"], places, len(self._offsets), self._group_bits)
        decoded: Floats = self._decoding.take(entries + self._offsets, 0)
        return decoded.reshape(len(places), self.spec.dim)
