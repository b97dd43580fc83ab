"""What can be named: built in, announced by an installed plug-in, or given as ``module:Name`` or ``file.py:Name``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Generic, TypeVar

from autodpq.errors import AutoDPQError, nearest, one_line
from autodpq.plugins.loading import OURS, load, place_of
from autodpq.plugins.loading import home_expanded as home_expanded
from autodpq.plugins.loading import source_digest as source_digest

Thing = TypeVar("Thing")

# Names stand between commas and before parentheses on the command line, and in the names of pictures.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def is_name(text: object) -> bool:
    """Whether a thing can be called so."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


@dataclass(frozen=True)
class Known(Generic[Thing]):
    """One thing that can be named.

    Attributes:
        name: Its name.
        origin: ``built in``, the distribution that brought it, or where it was loaded from.
        thing: The thing; None where it cannot be used, or is not loaded yet.
        error: Why it cannot be used; None where it can.
        reference: Where a thing that is not loaded yet is written, as ``module:Name``; None for all others.
    """

    name: str
    origin: str
    thing: Thing | None
    error: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class _Late:
    """Stands for a thing until it is loaded from ``module:Name``."""

    reference: str


def is_class_of(base: type) -> Callable[[object], str | None]:
    """A registry's check: things are complete subclasses of ``base``."""

    def check(thing: object) -> str | None:
        if not isinstance(thing, type) or not issubclass(thing, base):
            shown = thing.__qualname__ if isinstance(thing, type) else repr(thing)
            return f"{shown} is no subclass of {base.__module__}.{base.__qualname__}"
        missing = sorted(getattr(thing, "__abstractmethods__", ()))
        if missing:
            return f"{thing.__qualname__} does not define {', '.join(missing)}"
        return None if isinstance(getattr(thing, "name", None), str) else f"{thing.__qualname__} has no name"

    return check


class Registry(Mapping[str, Thing]):
    """Things of one kind by name; as a mapping, those that are built in and those that are loaded.

    Args:
        kind: What they are, for error messages.
        group: The entry-point group that plug-ins announce them in.
        check: Says what a thing must be and is not; None where it is right.
    """

    def __init__(self, kind: str, group: str, check: Callable[[object], str | None]) -> None:
        self.kind = kind
        self.group = group
        self._check = check
        self._things: dict[str, Thing | _Late] = {}
        self._origins: dict[str, str] = {}

    def __getitem__(self, name: str) -> Thing:
        thing = self._things[name]
        if isinstance(thing, _Late):
            loaded: Thing = resolve_name(thing.reference)
            self._things[name] = thing = loaded
        return thing

    def __contains__(self, name: object) -> bool:
        return name in self._things  # the mapping's own would load it

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def add(self, thing: Thing, origin: str | None = None) -> None:
        """Makes a thing known by its name.

        Raises:
            AutoDPQError: It is not of the kind, or another one has the name.
        """
        place = place_of(thing)
        wrong = self._check(thing)
        if wrong is not None:
            raise AutoDPQError(f"{origin or place}: {wrong}")
        name: str = thing.name  # type: ignore[attr-defined]
        if not is_name(name):
            raise AutoDPQError(
                f"{origin or place}: a {self.kind}'s name is made of letters, digits and -_.+, not {name!r}"
            )
        known = self.get(name)
        if known is not None and known != thing and not (isinstance(thing, type) and place_of(known) == place):
            first = place_of(known) if isinstance(known, type) else self._origins[name]
            raise AutoDPQError(f"{self.kind} {name!r} is there twice: {first} and {origin or place}; rename one")
        self._things[name] = thing
        if origin is not None or name not in self._origins:
            built_in = place.partition(".")[0] in OURS
            self._origins[name] = origin or ("built in" if built_in else place)

    def add_late(self, name: str, reference: str) -> None:
        """Makes a thing of the project's own known that is slow to import: it is loaded when it is first used.

        Args:
            name: Its name.
            reference: Where it is written, as ``module:Name``.
        """
        self._things[name] = _Late(reference)
        self._origins[name] = "built in"

    def forget(self, name: str) -> None:
        """Takes a thing out again."""
        del self._things[name], self._origins[name]

    def names(self) -> list[str]:
        """All names, those of plug-ins that are not loaded yet included."""
        return list(dict.fromkeys([*self._things, *self._announced()]))

    def knows(self, name: str) -> bool:
        """Whether a thing of the name is built in, loaded, or announced by a plug-in."""
        return name in self._things or name in self._announced()

    def find(self, reference: str) -> Thing:
        """The thing of a name, or the one that ``package.module:Name`` or ``path/to/file.py:Name`` refers to.

        Raises:
            AutoDPQError: There is none, it cannot be loaded, or two have the name.
        """
        if reference in self._things:
            return self[reference]
        announced = self._announced().get(reference, [])
        if announced:
            return self._load_announced(reference, announced)
        if ":" in reference:
            with self._as_before_on_error():
                thing: Thing = load(reference)  # type: ignore[assignment]
                self.add(thing, reference)
                self._check_announced(thing, reference)
            return thing
        raise AutoDPQError(f"unknown {self.kind} {reference!r}{nearest(reference, self.names())}")

    def known(self) -> list[Known[Thing]]:
        """All that are registered, and all that plug-ins announce, those loaded; one that fails harms no other."""
        failed: list[Known[Thing]] = []
        for name, points in self._announced().items():
            try:
                self._load_announced(name, points)
            except AutoDPQError as error:
                failed += [Known(name, _distribution(point), None, str(error)) for point in points]
        registered: list[Known[Thing]] = [
            Known(name, self._origins[name], None, reference=thing.reference)
            if isinstance(thing, _Late)
            else Known(name, self._origins[name], thing)
            for name, thing in self._things.items()
        ]
        return [*registered, *failed]

    def _check_announced(self, thing: Thing, reference: str) -> None:
        """Refuses the name of an installed plug-in: else what it means would depend on which was loaded first."""
        points = self._announced().get(thing.name, [])  # type: ignore[attr-defined]
        if points and all(point.value not in (reference, place_of(thing)) for point in points):
            first = f"{points[0].value} of {_distribution(points[0])}"
            raise AutoDPQError(f"{self.kind} {points[0].name!r} is there twice: {first} and {reference}; rename one")

    def _announced(self) -> Mapping[str, list[EntryPoint]]:
        """What installed plug-ins announce, by name."""
        return _announced_on(tuple((place, _changed_at(place)) for place in sys.path), self.group)

    def _load_announced(self, name: str, points: list[EntryPoint]) -> Thing:
        if len(points) > 1:
            both = " and ".join(f"{point.value} of {_distribution(point)}" for point in points)
            raise AutoDPQError(f"{self.kind} {name!r} is there twice: {both}; uninstall one, or say module:Class")
        (point,), origin = points, _distribution(points[0])
        with self._as_before_on_error():
            try:
                thing: Thing = point.load()
            except (Exception, SystemExit) as error:
                reason = str(error) if isinstance(error, AutoDPQError) else one_line(error)
                raise AutoDPQError(f"{self.kind} {name!r} of {origin} does not load: {reason}") from None
            if getattr(thing, "name", name) != name:
                raise AutoDPQError(
                    f"{self.kind} {name!r} of {origin}: {point.value} calls itself {thing.name!r}, "  # type: ignore[attr-defined]
                    f"which its entry point must be called too"
                )
            self.add(thing, "built in" if origin.split()[0] in OURS else origin)
        return thing

    @contextmanager
    def _as_before_on_error(self) -> Iterator[None]:
        """Forgets what a plug-in registered before it failed."""
        before = dict(self._things), dict(self._origins)
        try:
            yield
        except AutoDPQError:
            self._things, self._origins = before
            raise


@cache
def _announced_on(path: tuple[tuple[str, int], ...], group: str) -> Mapping[str, list[EntryPoint]]:
    """What is announced in a group, by name; what is on the path twice counts once.

    Files of all that is installed are read for it: once, until something is installed or taken away, which changes the
    folder that it lies in.
    """
    points = {(point.name, point.value): point for point in entry_points(group=group)}
    announced: dict[str, list[EntryPoint]] = {}
    for name, value in sorted(points):
        announced.setdefault(name, []).append(points[name, value])
    return MappingProxyType(announced)


def _changed_at(place: str) -> int:
    """When an entry of the path was changed, in nanoseconds; 0 where there is none."""
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return 0


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unnamed distribution"
