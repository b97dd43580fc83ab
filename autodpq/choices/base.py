"""What becomes of the rows of a field's rare values: the interface of choices (no torch here).

A choice is a frozen dataclass whose fields are its parameters: ``str`` writes it as ``name(first,second)``, and the
registry reads that again. It says two things of the n rare values of a field, numbered from 0 by falling frequency:
*where* a value's row lies (:class:`Kept`), or *what* is stored of it and made into a row again (:class:`Made`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, SupportsIndex, cast

import numpy as np
import numpy.typing as npt

from autodpq.choices.operations import NUMPY, Operations
from autodpq.errors import AutoDPQError

FLOAT_BITS = 32
LARGEST_HALF = float(np.finfo(np.float16).max)
"""The largest number of 16 bits."""

Floats = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[Any]]
Layout = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Type and shape of arrays by name, as a packed file holds them."""

RESERVED = frozenset({"rows", "scales", "head_ids", "first_order"})
"""Names of arrays that every table may have: no choice has one of its own so called."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the rare values of a field cost.

    Attributes:
        parameters: Parameters as the paper counts them: a code is a whole parameter.
        bits: Bits as stored.
    """

    parameters: int
    bits: int


def narrowed(layout: Layout) -> Layout:
    """The same arrays, 32-bit floats stored in 16 bits."""
    float32, float16 = np.dtype("<f4"), np.dtype("<f2")
    return {name: (float16 if dtype == float32 else dtype, shape) for name, (dtype, shape) in layout.items()}


def narrow_floats(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array as :func:`narrowed` stores it; numbers beyond float16's largest become that."""
    if array.dtype != np.float32:
        return array
    return array.clip(-LARGEST_HALF, LARGEST_HALF).astype(np.float16)


def as_stored(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array as it is after it was stored in 16 bits, in its own type."""
    return narrow_floats(array).astype(array.dtype)


def layout_bytes(layout: Layout) -> int:
    """Bytes of all arrays."""
    return sum(dtype.itemsize * math.prod(shape) for dtype, shape in layout.values())


def _whole(value: object) -> int | None:
    """A whole number of any type as a plain one; None for anything else, bools among it."""
    try:
        return None if isinstance(value, bool) else operator.index(cast(SupportsIndex, value))
    except TypeError:
        return None


class Choice(ABC):
    """What becomes of the rows of rare values.

    Attributes:
        name: What it is called in plans, on the command line and in files.
        keeps: Whether rows are kept as they are, so that only where they lie is chosen.
        normalises: Whether the union of candidates brings its rows to one scale (Eq. 2) where all candidates do so.
    """

    name: ClassVar[str]
    keeps: ClassVar[bool]
    normalises: ClassVar[bool] = False
    __slots__ = ()

    def __post_init__(self) -> None:
        """Makes whole numbers of any type, as ``rng.choice`` gives them, plain ones: texts and records hold these.

        A kind with a ``__post_init__`` of its own calls this first, as ``Made.__post_init__(self)``.

        Raises:
            AutoDPQError: A parameter declared as ``int`` is something else.
        """
        parameters: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(cast(Any, self))
        for field in parameters:
            value = getattr(self, field.name)
            whole = _whole(value)
            if whole is not None:
                object.__setattr__(self, field.name, whole)
            elif field.type in (int, "int"):
                raise AutoDPQError(f"{self.name}: {field.name}={value!r}: a whole number is needed")

    def __str__(self) -> str:
        values = [getattr(self, parameter) for parameter in self.parameters()]
        shown = [value if isinstance(value, str) else json.dumps(value) for value in values]
        return f"{self.name}({','.join(shown)})" if shown else self.name

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """The names of its parameters, in the order in which they are written."""
        return tuple(field.name for field in dataclasses.fields(cls)) if dataclasses.is_dataclass(cls) else ()

    def check(self, dim: int, where: str) -> None:
        """Refuses an embedding dimension that the choice cannot be had with.

        Args:
            dim: X.
            where: What the error names first: an option, a field, a table.

        Raises:
            AutoDPQError: The parameters do not fit X.
        """
        return None

    def modulus(self, n_rows: int) -> int:
        """How many rows n rare values have: value t has the row t modulo this number."""
        return n_rows

    @abstractmethod
    def cost(self, n_rows: int, dim: int) -> Cost:
        """What n rows of X numbers cost."""

    @abstractmethod
    def layout(self, n_rows: int, dim: int) -> Layout:
        """The arrays that a packed file holds of n rows, beside those that are kept as they are."""


class Kept(Choice):
    """Rows are kept as they are; values may share them.

    A subclass says by :meth:`modulus` how many rows there are.
    """

    keeps: ClassVar[bool] = True
    __slots__ = ()

    def cost(self, n_rows: int, dim: int) -> Cost:
        """What the rows cost in 32-bit floats."""
        kept = self.modulus(n_rows) * dim
        return Cost(kept, FLOAT_BITS * kept)

    def layout(self, n_rows: int, dim: int) -> Layout:
        """Nothing: its rows lie with the frequent values'."""
        return {}


class Made(Choice):
    """Something smaller is stored of every row, from which a row is made when it is looked up.

    A subclass says by :meth:`layout` what is stored, by :meth:`pack` how it comes from trained rows, and by
    :meth:`made` how rows come from it. Without more, rows are trained straight through: forward as they will be looked
    up, backward as if nothing had been done to them. What is trained for all rows of a field together is started by
    :meth:`start` and used by :meth:`trained`.
    """

    keeps: ClassVar[bool] = False
    __slots__ = ()

    def cost(self, n_rows: int, dim: int) -> Cost:
        """What the layout takes; every number of it is a parameter."""
        layout = self.layout(n_rows, dim)
        return Cost(sum(math.prod(shape) for _, shape in layout.values()), 8 * layout_bytes(layout))

    @abstractmethod
    def pack(self, rows: Floats, shared: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """What is stored of trained rows.

        Args:
            rows: float32 [n, X].
            shared: What was trained for all rows together, by the names of :meth:`start`; DPQ's codes, too.

        Returns:
            The arrays of :meth:`layout`.
        """

    @abstractmethod
    def made(self, arrays: Mapping[str, Any], places: Any, dim: int, operations: Operations) -> Any:
        """Rows by their numbers; one body for numpy, torch and ONNX, whose operators are the same.

        Args:
            arrays: What :meth:`prepared` gives, as arrays or as tensors.
            places: int64 [m], row numbers.
            dim: X.
            operations: What their operators do not give.

        Returns:
            float32 [m, X].
        """

    def prepared(self, arrays: Arrays, dim: int) -> Arrays:
        """What look-ups read instead of the stored arrays, where something is faster to read; of few bytes."""
        return arrays

    def start(self, rows: Floats, seed: int) -> Arrays:
        """What all rows share while they are trained, from the rows that training starts with, float32 [n, X]."""
        return {}

    def trained(self, rows: Any, shared: Mapping[str, Any]) -> Any:
        """Rows as training sees them, where gradients are to flow through what is done to them.

        Only asked where :meth:`start` gives something.

        Args:
            rows: A tensor, float32 [n, X].
            shared: Tensors by the names of :meth:`start`.

        Returns:
            A tensor, float32 [n, X].
        """
        raise TypeError(f"{type(self).__name__} starts what rows share, but does not say how they are trained by it")

    def rounded(self, rows: Floats, shared: Mapping[str, npt.NDArray[Any]], compact: bool = False) -> Floats:
        """Rows as they will be looked up, float32 [n, X].

        Args:
            rows: As :meth:`pack` takes them.
            shared: As :meth:`pack` takes it.
            compact: Whether floats are stored in 16 bits.
        """
        packed = self.pack(rows, shared)
        if compact:
            packed = {name: as_stored(array) for name, array in packed.items()}
        arrays = self.prepared(packed, rows.shape[1])
        made: Floats = self.made(arrays, np.arange(len(rows)), rows.shape[1], NUMPY)
        return made

    @classmethod
    def group_key(cls, choice: Any) -> object:
        """What candidates that are trained together have in common."""
        return choice

    @classmethod
    def group(cls, members: Sequence[Sequence[Any]], dim: int, options: Any) -> Any:
        """What trains candidates of this kind together, where that is more than training rows straight through.

        Args:
            members: The candidates of some fields, equally many of each, all of one :meth:`group_key`.
            dim: X.
            options: How codes are chosen, an :class:`autodpq.embedding.options.QuantizerOptions`.

        Returns:
            An :class:`autodpq.embedding.groups.Group`, whose module is imported here, for it stands on torch; None for
            the one that trains rows straight through.
        """
        return None
