"""What a packed file says of itself (no torch, no numpy arrays)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from textwrap import shorten
from typing import Any, Literal

from autodpq.calibration import Calibration
from autodpq.choices import CHOICES, Choice, Unknown, read_choice
from autodpq.errors import AutoDPQError, nearest
from autodpq.packed.spec import AnySpec, BandedSpec, TableSpec
from autodpq.plan import Bag

FORMAT, CALIBRATED_FORMAT, BANDED_FORMAT, HASHED_FORMAT, BAGS_FORMAT = 1, 2, 3, 4, 5
"""Of files; of those whose logits are calibrated, which who does not know of it must refuse; of those whose tables have
bands, calibrated or not; of those whose vocabulary holds hashes, with bands or without, calibrated or not; and of those
of which a field has several values a sample, whatever else they have."""
_FORMATS = (FORMAT, CALIBRATED_FORMAT, BANDED_FORMAT, HASHED_FORMAT, BAGS_FORMAT)

HASH = "xxh64"
"""How the values of a vocabulary are hashed, where they are: :mod:`autodpq.data.xxh64`."""

Kind = Literal["network", "modules"]

_MOST_WIDTH = 1 << 20
_MOST_BLOCKS = 1 << 10


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The click-through model of a network.

    Attributes:
        name: Its name in the registry of models.
        hidden: Widths of its MLP's blocks.
    """

    name: str
    hidden: tuple[int, ...]

    def __post_init__(self) -> None:
        possible = all(type(width) is int and 0 < width <= _MOST_WIDTH for width in self.hidden)
        if not isinstance(self.name, str) or not possible or len(self.hidden) > _MOST_BLOCKS:
            raise AutoDPQError(f"model {self.name!r} of widths {shorten(repr(self.hidden), 80)}: impossible")


@dataclass(frozen=True, slots=True)
class SideFile:
    """A file that belongs to a packed one and lies beside it.

    Attributes:
        name: Its name, without folders.
        sha256: Hexadecimal digest of its content.
        hash: How the values that it holds are hashed; None where they are texts.
    """

    name: str
    sha256: str
    hash: str | None = None

    def __post_init__(self) -> None:
        is_name = isinstance(self.name, str) and self.name not in ("", ".", "..") and not set(self.name) & set("/\\\0")
        if not is_name or not isinstance(self.sha256, str):
            raise AutoDPQError(f"{self.name!r} is no name of a file beside this one")
        if self.hash not in (None, HASH):
            raise AutoDPQError(f"its vocabulary holds hashes of the kind {shorten(repr(self.hash), 80)}, not {HASH}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a packed file holds.

    Attributes:
        kind: ``network``: a table per field and one of this project's models; ``modules``: the compressed tables of any
            torch model, by module, and the rest of its state.
        tables: The tables; of a network, one per field in the order of the ids' columns.
        model: The click-through model; None unless it is a network.
        vocabulary: The side file of raw values; None where there is none.
        version: The version of this project that wrote the file.
        about: For people: plan, ledger, metrics, data set and its fingerprint, recipe, run.
        calibration: What is done to a network's logits; None where it is nothing.
        bags: The fields of several values a sample, by name.
    """

    kind: Kind
    tables: tuple[AnySpec, ...]
    model: ModelSpec | None
    vocabulary: SideFile | None
    version: str
    about: Mapping[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    bags: Mapping[str, Bag] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[int, ...]:
        """How many columns of ids each table has."""
        return tuple(self.bags[table.name].columns if table.name in self.bags else 1 for table in self.tables)

    @property
    def format(self) -> int:
        """The version of the format."""
        if self.bags:
            return BAGS_FORMAT
        if self.vocabulary is not None and self.vocabulary.hash is not None:
            return HASHED_FORMAT
        if any(isinstance(table, BandedSpec) for table in self.tables):
            return BANDED_FORMAT
        return FORMAT if self.calibration is None else CALIBRATED_FORMAT

    def to_json(self) -> str:
        """The manifest as one line of JSON."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        values["tables"] = [_entry(table) for table in self.tables]
        for name in ("model", "vocabulary", "calibration"):
            values[name] = None if values[name] is None else asdict(values[name])
        if self.format == FORMAT:
            del values["calibration"]  # format 1 has no such entry
        if self.vocabulary is not None and self.vocabulary.hash is None and not self.bags:
            del values["vocabulary"]["hash"]  # nor have any but formats 4 and 5 this one
        if self.bags:
            values["bags"] = {name: asdict(bag) for name, bag in self.bags.items()}
        else:
            del values["bags"]  # nor any but format 5 this one
        values["format"] = self.format
        return json.dumps(values, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Reads what :meth:`to_json` wrote.

        Raises:
            AutoDPQError: The text is no manifest, or one of a format that this version does not know.
        """
        try:
            values = strict_json(text)
        except (ValueError, RecursionError) as error:
            raise AutoDPQError(f"its manifest is not valid JSON: {error}") from None
        if not isinstance(values, dict) or type(values.get("format")) is not int:
            raise AutoDPQError("its manifest names no format")
        written = values.pop("format")
        if written not in _FORMATS:
            raise AutoDPQError(
                f"it is of format {written}, this version reads formats {FORMAT} to {BAGS_FORMAT}; install the "
                "autodpq that wrote it, or export it anew"
            )
        left_out = {"calibration"} if written == FORMAT else set()
        values = _keys(values, cls, "the manifest", left_out | ({"bags"} if written != BAGS_FORMAT else set()))
        if values["kind"] not in ("network", "modules"):
            raise AutoDPQError(f"its manifest has the kind {values['kind']!r}; network or modules is needed")
        for name, kind in (("tables", list), ("about", dict), ("version", str)):
            if not isinstance(values[name], kind):
                raise AutoDPQError(f"its manifest has {name} that are {type(values[name]).__name__}")
        has_bands = written == BANDED_FORMAT or (
            written >= HASHED_FORMAT and any(isinstance(entry, dict) and "bands" in entry for entry in values["tables"])
        )
        read = _banded if has_bands else _table
        values["tables"] = tuple(read(entry) for entry in values["tables"])
        names = [table.name for table in values["tables"]]
        if len(set(names)) < len(names) or not names:
            raise AutoDPQError("its manifest has no tables, or two of one name")
        if values["vocabulary"] is not None:
            without = set() if written >= HASHED_FORMAT else {"hash"}
            values["vocabulary"] = SideFile(**_keys(values["vocabulary"], SideFile, "the vocabulary", without))
        if written == HASHED_FORMAT and (values["vocabulary"] is None or values["vocabulary"].hash is None):
            raise AutoDPQError(f"it is of format {HASHED_FORMAT}, and its vocabulary does not say how it is hashed")
        if (values["model"] is None) != (values["kind"] == "modules"):
            raise AutoDPQError("its manifest has a network without a model, or a model that is no network")
        if written >= BANDED_FORMAT and values["calibration"] is None:
            del values["calibration"]
        elif "calibration" in values and values["kind"] == "modules":
            raise AutoDPQError("its manifest has a calibration of logits, and no network that gives them")
        if values["model"] is not None:
            model = _keys(values["model"], ModelSpec, "the model")
            if not isinstance(model["hidden"], list):
                raise AutoDPQError("its manifest has a model without widths")
            values["model"] = ModelSpec(model["name"], tuple(model["hidden"]))
        if "calibration" in values:
            values["calibration"] = Calibration(**_keys(values["calibration"], Calibration, "the calibration"))
        if written == BAGS_FORMAT:
            values["bags"] = _bags(values["bags"], names)
            if values["kind"] == "modules":
                raise AutoDPQError("its manifest has fields of several values, and no network that reads them")
        return cls(**values)


def strict_json(text: str) -> Any:
    """Reads JSON of which every reader makes the same, and which can be written again.

    Raises:
        ValueError: It is no JSON, has a key twice, a number that is not finite, or half of a surrogate pair.
        RecursionError: It is too deep.
    """
    value = json.loads(text, object_pairs_hook=_each_once)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _entry(table: AnySpec) -> dict[str, Any]:
    """A table as the manifest has it."""
    if isinstance(table, BandedSpec):
        return {**asdict(table), "bands": [[n_rows, str(choice)] for n_rows, choice in table.bands]}
    values = {**asdict(table), "choice": str(table.choice)}
    del values["compact"]  # as no table without bands is
    return values


def _bags(entry: Any, tables: list[str]) -> dict[str, Bag]:
    if not isinstance(entry, dict) or not entry or not set(entry) <= set(tables):
        raise AutoDPQError("its manifest has no fields of several values, or such as have no table")
    found = {}
    for name, own in entry.items():
        parts = _keys(own, Bag, f"field {name!r}")
        if not isinstance(parts["missing"], list):
            raise AutoDPQError(f"field {name!r} in its manifest has missing values that are no list")
        found[name] = Bag(parts["separator"], parts["columns"], tuple(parts["missing"]))
    return found


def _banded(entry: Any) -> BandedSpec:
    values = _keys(entry, BandedSpec, "a table")
    types = {"name": str, "dim": int, "fallback": int, "first_order": bool, "bands": list, "ranked": bool}
    for part, expected in types.items():
        if type(values[part]) is not expected:
            raise AutoDPQError(f"its manifest has a table with {part} {values[part]!r}")
    for band in values["bands"]:
        if not isinstance(band, list) or [type(part) for part in band] != [int, str]:
            raise AutoDPQError(f"its manifest has a table with a band {band!r}")
    return BandedSpec(**{**values, "bands": tuple((n_rows, _choice(text)) for n_rows, text in values["bands"])})


def _table(entry: Any) -> TableSpec:
    values = _keys(entry, TableSpec, "a table", {"compact"})
    for part in fields(TableSpec):
        if part.name == "compact":
            continue
        # Annotations are text here: the types are few.
        expected = {"str": str, "int": int, "bool": bool, "Choice": str}[str(part.type)]
        if type(values[part.name]) is not expected:
            raise AutoDPQError(f"its manifest has a table with {part.name} {values[part.name]!r}")
    return TableSpec(**{**values, "choice": _choice(values["choice"])})


def _choice(text: str) -> Choice:
    choice = read_choice(text)
    if isinstance(choice, Unknown):
        raise AutoDPQError(
            f"its choice {text} is of a kind that is not known here{nearest(choice.kind, CHOICES.names())}; import its "
            "module first, or name it by --kinds file.py:Class"
        )
    return choice


def _keys(entry: Any, kind: type, what: str, without: Collection[str] = ()) -> dict[str, Any]:
    """An object of JSON that has the attributes of a class, all or without some, and no others."""
    expected = {part.name for part in fields(kind)}.difference(without)
    if not isinstance(entry, dict) or set(entry) != expected:
        raise AutoDPQError(f"{what} in its manifest has not the entries {', '.join(sorted(expected))}")
    return entry
