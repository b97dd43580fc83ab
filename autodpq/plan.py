"""Compression plans: one choice per band of every field (no torch here, so that reports load fast)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from autodpq.choices import Choice, Full, parse_choice, read_choice
from autodpq.errors import AutoDPQError

Bands = Literal["auto"] | Sequence[int]
"""How values are parted into bands: at falling counts, or by themselves."""

_BAND_SHARES = (0.05, 0.2, 0.5)  # of the values, most frequent first: where further bands begin
_FEW_VALUES = 64  # fewer are one band


@dataclass(frozen=True, slots=True)
class Band:
    """Neighbouring ids of a field, which one choice is made for: values that occur about equally often.

    Attributes:
        name: What plans call it.
        start: Its first id.
        stop: The id behind its last.
    """

    name: str
    start: int
    stop: int

    @property
    def n_rows(self) -> int:
        """How many ids it has."""
        return self.stop - self.start


NO_ID = -1
"""What stands in a table of ids behind the values of a bag that is shorter than others."""


MOST_VALUES = 255
"""Values that a bag may have: a table of ids has as many columns."""


@dataclass(frozen=True, slots=True)
class Bag:
    """How a field of several values is read.

    Attributes:
        separator: What stands between the values of a text; empty where cells are lists.
        columns: How many columns of ids it has: the values of the longest bag.
        missing: Canonical texts that stand for no value.
    """

    separator: str
    columns: int
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        texts = (self.separator, *self.missing)
        if not all(isinstance(text, str) for text in texts) or type(self.columns) is not int:
            raise AutoDPQError(f"bags of {self.columns!r} values between {self.separator!r}: impossible")
        if not 0 < self.columns <= MOST_VALUES:
            raise AutoDPQError(f"bags of {self.columns} values: 1 to {MOST_VALUES} are possible")


@dataclass(frozen=True, slots=True)
class Field:
    """One categorical field. Its ids are frequency ranks: an id is rare exactly when it is at least ``head``.

    Attributes:
        name: The column's name.
        cardinality: Number of distinct values, hence of embedding rows.
        head: Number of frequent values, whose rows are kept as they are.
        cuts: Ids, rising, with which further bands of the rare values begin; none for one band of them all.
        columns: How many columns of ids it has: 1, or of bags of values, whose mean is embedded, as many as the longest
            has values.
    """

    name: str
    cardinality: int
    head: int
    cuts: tuple[int, ...] = ()
    columns: int = 1

    def __post_init__(self) -> None:
        bounds = (self.head, *self.cuts, self.cardinality)
        if self.cuts and any(start >= stop for start, stop in pairwise(bounds)):
            raise AutoDPQError(
                f"field {self.name!r}: bands from the ids {', '.join(map(str, bounds[:-1]))}: one is empty"
            )

    @property
    def tail(self) -> int:
        """Number of rare values."""
        return self.cardinality - self.head

    @property
    def bands(self) -> tuple[Band, ...]:
        """The bands of its rare values, most frequent first; one without rows where none is rare.

        The only band of a field has its name; of several, each has its number behind: ``user/1``, ``user/2``.
        """
        bounds = [*pairwise((self.head, *self.cuts, self.cardinality))]
        names = band_names(self.name, len(bounds))
        return tuple(Band(name, *bound) for name, bound in zip(names, bounds, strict=True))


def column_slices(columns: Iterable[int]) -> tuple[slice, ...]:
    """Where in a table of ids each field's columns are, of how many each has."""
    ends = [*accumulate(columns, initial=0)]
    return tuple(map(slice, ends, ends[1:]))


def band_names(name: str, n_bands: int) -> tuple[str, ...]:
    """What the bands of a field or a module are called: the only one as that, of several each with its number."""
    return (name,) if n_bands == 1 else tuple(f"{name}/{number}" for number in range(1, n_bands + 1))


def band_cuts(counts: Sequence[npt.NDArray[Any]], bands: Bands, what: str) -> list[tuple[int, ...]]:
    """Where bands begin behind the first one, by how often values occur; no band is empty.

    Args:
        counts: Per field, how often each value occurs, falling, [values].
        bands: Falling counts: a band ends with the last value that occurs at least so often. ``auto`` takes the most
            frequent 5, 15, 30 and 50 % of the values of each field, and one band of a field that is small.
        what: What error messages say that a value is one of.

    Returns:
        Per field the ranks, rising, as :attr:`Field.cuts` has them.

    Raises:
        AutoDPQError: The counts do not fall, or the first band would have no value of any field.
    """
    if bands != "auto":
        if any(above <= below for above, below in pairwise(bands)):
            raise AutoDPQError(f"bands {', '.join(map(str, bands))}: counts must fall")
        largest = max((own[0] for own in counts if len(own)), default=0)
        if bands and bands[0] > largest:
            raise AutoDPQError(f"bands: no {what} occurs {bands[0]:,} times (most: {int(largest):,})")
    found = []
    for own in counts:
        if bands == "auto":
            cuts = [round(share * len(own)) for share in (_BAND_SHARES if len(own) >= _FEW_VALUES else ())]
        else:
            cuts = [int(np.searchsorted(-own, -count, side="right")) for count in bands]
        found.append(tuple(sorted({cut for cut in cuts if 0 < cut < len(own)})))
    return found


def bands_of(fields: Sequence[Field]) -> tuple[Band, ...]:
    """The bands of all fields, field by field."""
    return tuple(band for field in fields for band in field.bands)


class CompressionPlan(Mapping[str, Choice]):
    """One choice per band; immutable, hashable and comparable.

    Args:
        choices: A band's name, which is the field's where it has no other, to its choice; every band once.
    """

    __slots__ = ("_choices",)

    def __init__(self, choices: Mapping[str, Choice]) -> None:
        self._choices = dict(choices)
        for name, choice in self._choices.items():
            if not isinstance(choice, Choice):
                raise AutoDPQError(f"field {name!r}: {choice!r} is no choice; expected Full(), DPQ(K, D) or the like")

    def __getitem__(self, name: str) -> Choice:
        return self._choices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)

    def __len__(self) -> int:
        return len(self._choices)

    def __eq__(self, other: object) -> bool:
        # As any other mapping's, and many times faster between plans, which are looked up by the thousand.
        return self._choices == (other._choices if isinstance(other, CompressionPlan) else other)

    def __hash__(self) -> int:
        return hash(frozenset(self._choices.items()))

    def __repr__(self) -> str:
        return f"CompressionPlan({self.to_json()})"

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that name the plan, whatever the order of its fields."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """The plan as one canonical line of JSON, fields sorted by name."""
        return json.dumps({name: str(self._choices[name]) for name in sorted(self._choices)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, *, known: bool = True) -> CompressionPlan:
        """Reads what :meth:`to_json` wrote.

        Args:
            text: The line of JSON.
            known: Whether all kinds must be known here; else a plan of others can be shown, not used.

        Raises:
            AutoDPQError: The text is no plan.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise AutoDPQError(f"a plan is not valid JSON: {error}") from None
        if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
            raise AutoDPQError("a plan must be a JSON object of field name to choice")
        read = parse_choice if known else read_choice
        return cls({name: read(value) for name, value in data.items()})


def uniform_plan(fields: Sequence[Field], choice: Choice) -> CompressionPlan:
    """The plan that gives ``choice`` to every band and ``Full()`` to fields without rare values."""
    return CompressionPlan({band.name: choice if band.n_rows else Full() for band in bands_of(fields)})
