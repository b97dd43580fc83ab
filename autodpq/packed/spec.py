"""What a packed table is, and how its rows are stored (numpy only)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from autodpq.choices import Choice, Full
from autodpq.choices.base import Floats, Layout, narrowed
from autodpq.choices.codes import words_size
from autodpq.choices.weights import weight_bits
from autodpq.errors import AutoDPQError
from autodpq.plan import band_names

HEAD_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2"), "int8": np.dtype("i1")}
"""How rows of their own can be stored; int8 has one scale per row."""

_MOST_ROWS = (1 << 31) - 1  # ids are stored in 32 bits
_MOST_DIM = 1 << 14


@dataclass(frozen=True)
class TableSpec:
    """What a table is; what follows from that is worked out once, for look-ups ask for it.

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
        compact: Whether what choices store as 32-bit floats has 16 bits, and first-order weights few and one scale.
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
    compact: bool = False

    def __post_init__(self) -> None:
        where = f"table {self.name!r}"
        if not 0 < self.n_rows <= _MOST_ROWS or not 0 < self.dim <= _MOST_DIM or not 0 <= self.head <= self.n_rows:
            raise AutoDPQError(f"{where}: {self.n_rows} rows of {self.dim} numbers, {self.head} frequent: impossible")
        if not 0 <= self.fallback < self.n_rows:
            raise AutoDPQError(f"{where}: id {self.fallback} for values never seen is outside 0..{self.n_rows - 1}")
        if self.head_dtype not in HEAD_DTYPES:
            raise AutoDPQError(f"{where}: {self.head_dtype!r} given, one of {', '.join(HEAD_DTYPES)} is needed")
        self.choice.check(self.dim, where)
        if self.head == self.n_rows and self.choice != Full():
            raise AutoDPQError(f"{where}: {self.choice} given, but every id has a row of its own")
        if not self.ranked and self.choice == Full():
            raise AutoDPQError(f"{where}: no id is listed under {self.choice}")

    @cached_property
    def tail(self) -> int:
        """How many ids have no row of their own."""
        return 0 if self.choice == Full() else self.n_rows - self.head

    @property
    def n_stored(self) -> int:
        """Rows as they are stored: those of their own, and those that others share."""
        return self.n_weights if self.choice.keeps else self.n_rows - self.tail

    @cached_property
    def n_weights(self) -> int:
        """First-order weights: one per id, or one for all that share a row."""
        return self.n_rows - self.tail + self.choice.modulus(self.tail)

    @cached_property
    def weight_bits(self) -> int:
        """Bits of a first-order weight, where all is compact."""
        return weight_bits(self.choice, self.dim)

    @property
    def tables(self) -> tuple[TableSpec, ...]:
        """The tables that it is made of: itself."""
        return (self,)

    @cached_property
    def own_layout(self) -> Layout:
        """Type and shape of the arrays that the choice has of its own."""
        own = self.choice.layout(self.tail, self.dim)
        return narrowed(own) if self.compact else own

    @cached_property
    def layout(self) -> Layout:
        """Type and shape of every array of the table: ``rows`` [stored, X]; ``scales`` [stored] of int8 rows; those of
        the choice; ``head_ids`` [head], rising; ``first_order`` [weights]; where they are integers, the bytes
        of these and ``weight_scale`` [1]."""
        float32 = np.dtype("<f4")
        arrays: Layout = {"rows": (HEAD_DTYPES[self.head_dtype], (self.n_stored, self.dim))}
        if self.head_dtype == "int8":
            arrays["scales"] = (float32, (self.n_stored,))
        arrays |= self.own_layout
        if not self.ranked:
            arrays["head_ids"] = (np.dtype("<i4"), (self.head,))
        if self.first_order and self.compact:
            arrays["first_order"] = (np.dtype("u1"), (words_size(self.n_weights, 1, self.weight_bits),))
            arrays["weight_scale"] = (np.dtype("<f2"), (1,))
        elif self.first_order:
            arrays["first_order"] = (float32, (self.n_weights,))
        return arrays


@dataclass(frozen=True)
class BandedSpec:
    """A table of several bands of ids, each with a choice of its own; all is compact.

    Attributes:
        name: Of the field.
        dim: X.
        bands: Of each band, how many ids it has, and what they have.
        fallback: The id that stands for values never seen.
        first_order: Whether there are first-order weights.
        ranked: Whether the ids of a band follow those of the band before it, as frequency ranks do; else it is stored
            of each id which band it is of.
    """

    name: str
    dim: int
    bands: tuple[tuple[int, Choice], ...]
    fallback: int
    first_order: bool = False
    ranked: bool = True

    def __post_init__(self) -> None:
        if not self.bands:
            raise AutoDPQError(f"table {self.name!r}: it has no band")
        if not self.ranked and len(self.bands) == 1:
            raise AutoDPQError(f"table {self.name!r}: of one band, ids are ranked")
        if not 0 <= self.fallback < self.n_rows:
            raise AutoDPQError(f"table {self.name!r}: id {self.fallback} for values never seen is no id of it")
        _ = self.tables  # each of which is checked

    @cached_property
    def n_rows(self) -> int:
        """Ids: 0 to n_rows - 1."""
        return sum(n_rows for n_rows, _ in self.bands)

    @cached_property
    def tables(self) -> tuple[TableSpec, ...]:
        """Each band as a table of its own."""
        return tuple(
            TableSpec(
                name, n_rows, self.dim, 0, choice, 0,
                first_order=self.first_order, head_dtype="float16", compact=True,
            )
            for name, (n_rows, choice) in zip(band_names(self.name, len(self.bands)), self.bands, strict=True)
        )  # fmt: skip

    @property
    def head_dtype(self) -> str:
        """How rows of their own are stored."""
        return "float16"

    @cached_property
    def own_layout(self) -> Layout:
        """Type and shape of the arrays that the choices have of their own, and of those that tell bands apart."""
        return self._of_bands([table.own_layout for table in self.tables])

    @cached_property
    def layout(self) -> Layout:
        """Type and shape of every array of the bands' tables, its band's number before its name: ``1:rows``; and,
        where ids are not ranked, ``band_numbers`` [bytes], a stream of :attr:`band_bits` bits for each id."""
        return self._of_bands([table.layout for table in self.tables])

    @cached_property
    def band_bits(self) -> int:
        """Bits of the number of an id's band: ceil(log2 bands)."""
        return (len(self.bands) - 1).bit_length()

    def _of_bands(self, layouts: Sequence[Layout]) -> Layout:
        arrays = {
            band_part(number, part): entry for number, of_band in enumerate(layouts) for part, entry in of_band.items()
        }
        if not self.ranked:
            arrays[BAND_NUMBERS] = (np.dtype("u1"), (words_size(self.n_rows, 1, self.band_bits),))
        return arrays


AnySpec = TableSpec | BandedSpec

BAND_NUMBERS = "band_numbers"
"""The array that says of each id which band it is of, from 0."""


def band_part(number: int, part: str) -> str:
    """What an array of a band is called, ``number`` from 0."""
    return f"{number + 1}:{part}"


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
