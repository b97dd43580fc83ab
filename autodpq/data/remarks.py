"""What a person should be told of a column that is a field: almost numbers, times, weights, several values in one.

Values alone say it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.binning import MISSING_NUMBERS
from autodpq.data.readers.columns import NUMBER, dates

_HEAD = 1000
"""The most frequent values, by which it is decided whether a column is looked through."""
_MOSTLY = 0.9
_NUMBER = rf"^\s*{NUMBER}\s*$"
_FRACTION = r"\.[0-9]*[1-9]"
_SIGN = r"(?:[$€£¥%]|[A-Z]{3})"
_DRESSED = rf"^\s*{_SIGN}? ?[+-]?{_SIGN}?[0-9]+(?:[ ,.'][0-9]{{3}})*(?:[.,][0-9]+)? ?{_SIGN}?\s*$"
_WHOLE = r"^[+-]?[0-9]+(?:\.0*)?$"
_YEARS = 631_152_000, 2_208_988_800  # 1990 and 2040, in seconds since 1970
_UNITS = 1, 10**3, 10**6, 10**9
_TIMES = {"time", "times", "timestamp", "ts", "date", "datetime", "day", "created", "unixtime"}
_MANY = 31  # more distinct whole numbers than a month has days
_BETWEEN = ("|", ";", ",")  # values of one cell
_OFTEN = 0.05
_WEIGHTS = {"weight", "weights", "sample_weight", "sampleweight", "importance_weight", "w"}


@dataclass(frozen=True)
class Column:
    """A field's values.

    Attributes:
        name: The field.
        values: String [values], the most frequent ones first, the missing one being empty.
        counts: int64 [values], in how many rows each is.
        least: float64 [bins], the least number of each bin; None where the field is not binned.
        first_row: The first of the rows, from 1, that hold one of some values, given as bool [values].
        is_bag: Whether a row has several of them.
    """

    name: str
    values: pl.Series
    counts: npt.NDArray[np.int64]
    least: npt.NDArray[np.float64] | None
    first_row: Callable[[npt.NDArray[np.bool_]], int]
    is_bag: bool = False

    def notes(self, *, split_by_time: bool) -> list[str]:
        """What a person should look at, one line each.

        Args:
            split_by_time: Whether another column says when rows came.
        """
        notes = [] if split_by_time or not self.is_time else [
            f"{self.name} looks like a time; if it says when a row came, --time-column {self.name} splits by it, else "
            "exclude it unless its values come again"
        ]  # fmt: skip
        if self.name.lower() in _WEIGHTS and (self.least is not None or self._all(_NUMBER)):
            notes.append(
                f"{self.name} is a field, named as weights of samples are; if it is one, --weight-column {self.name} "
                "weighs them by it, else --exclude leaves it out"
            )
        several = self._several()
        if several is not None:
            notes.append(several)
        almost = self._almost_numbers()
        return notes if almost is None else [*notes, almost]

    @cached_property
    def is_time(self) -> bool:
        """Whether it looks like a time: by its values, or as whole numbers of such a name."""
        named = not _TIMES.isdisjoint(re.findall("[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.name).lower()))
        if self.least is not None:
            numbers = self.least[np.isfinite(self.least)]
            return len(numbers) > 0 and _are_seconds(numbers)
        present = self.values.filter(self.values != "")
        head = present.head(_HEAD)
        if len(head) < 2:
            return False
        if not head.str.contains(_WHOLE).all():
            return dates(head).is_not_null().mean() == 1
        numbers = head.cast(pl.Float64).to_numpy()
        if named and len(present) > _MANY:
            return True
        days = head.str.strptime(pl.Date, "%Y%m%d", strict=False).dt.epoch("s")
        if head.str.contains(r"^[0-9]{8}$").all() and not days.has_nulls():
            return _are_seconds(days.to_numpy())
        return len(present) > _MANY and _are_seconds(numbers)

    def _all(self, pattern: str) -> bool:
        return self.values.filter(self.values != "").head(_HEAD).str.contains(pattern).all()

    def _several(self) -> str | None:
        """Says of a column whose texts are made of the same few parts that these may be values."""
        if self.least is not None or self.is_bag or self.is_time:
            return None
        head = self.values.head(_HEAD).filter(self.values.head(_HEAD) != "")
        for mark in _BETWEEN:
            holds = head.str.contains(mark, literal=True)
            parts = head.str.split(mark).explode().str.strip_chars()
            if holds.sum() < 3 or parts.n_unique() >= len(head):
                continue
            rows = int(self.counts[self.values.str.contains(mark, literal=True).to_numpy()].sum())
            present = int(self.counts[(self.values != "").to_numpy()].sum())
            if rows >= _OFTEN * present:
                option = self.name if mark == "," else f'"{self.name}:{mark}"'
                return (
                    f"{self.name} looks like several values in one, {mark!r} between them, in {rows:,} of {present:,} "
                    f"rows; --multi {option} reads them as bags"
                )
        return None

    def _almost_numbers(self) -> str | None:
        """Says of a column that would be binned but for some values how many these are, and the first of them."""
        if self.least is not None:
            return None
        head = _looked_at(self.values.head(_HEAD), self.counts[:_HEAD])
        if not head.fractions or head.dressed < _MOSTLY * head.present:
            return None
        whole = _looked_at(self.values, self.counts)
        texts = self.values.filter(pl.Series(whole.wrong))
        if not len(texts):
            return f"{self.name}: all values are numbers, but text, and count as names; --numeric {self.name} bins them"
        row = self.first_row(whole.wrong)
        first = self.values[int(np.flatnonzero(whole.wrong)[0])]
        return (
            f"{self.name}: {whole.plain:,} of {whole.present:,} values are numbers; the others (the first in row "
            f"{row:,}, the most frequent {first[:40]!r}) make names of all; {_advice(self.name, whole, texts)}"
        )


@dataclass(frozen=True)
class _Looked:
    """How many rows hold what.

    Attributes:
        present: A value.
        plain: A number.
        dressed: A number, or one with a currency, a percent sign, a decimal comma or separators of thousands.
        fractions: Whether one of these is not whole.
        wrong: bool [values], whether it is no number, and not missing.
    """

    present: int
    plain: int
    dressed: int
    fractions: bool
    wrong: npt.NDArray[np.bool_]


def _looked_at(values: pl.Series, counts: npt.NDArray[np.int64]) -> _Looked:
    absent = values.str.strip_chars().str.to_lowercase().is_in(MISSING_NUMBERS).to_numpy()
    plain = values.str.contains(_NUMBER).to_numpy()
    dressed = values.str.contains(_DRESSED).to_numpy()
    fractions = values.filter(pl.Series(plain)).str.contains(_FRACTION).any() or (
        values.filter(pl.Series(dressed & ~plain)).str.contains(r"[.,][0-9]{1,2}(?:[^0-9]|$)").any()
    )
    present, numbers, others = (int(counts[chosen].sum()) for chosen in (~absent, plain, plain | dressed))
    return _Looked(present, numbers, others, bool(fractions), ~plain & ~absent)


def _advice(name: str, found: _Looked, texts: pl.Series) -> str:
    if found.plain < _MOSTLY * found.present:
        return "write all as 7.69, without a comma or a sign, to have them binned"
    given = ",".join(texts.head(3))
    if len(texts) > 3 or found.dressed > found.plain or len(given) > 40 or texts.str.contains('[,"]').any():
        return "correct these, or name by --missing the texts that stand for a missing number, to have it binned"
    return f'--missing "{given}" --numeric {name} bins the numbers, and makes these missing'


def _are_seconds(numbers: npt.NDArray[np.floating | np.integer]) -> bool:
    """Whether all lie between 1990 and 2040, in seconds or a thousandth, millionth or billionth of one since 1970."""
    low, high = _YEARS
    return any(low * unit <= numbers.min() and numbers.max() <= high * unit for unit in _UNITS)
