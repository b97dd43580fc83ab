"""What can be named: built in, announced by an installed plug-in, or given as ``module:Name`` or ``file.py:Name``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from autodpq.errors import AutoDPQError, one_line
from autodpq.nearest import nearest

Thing = TypeVar("Thing")

# Names stand between commas and before parentheses on the command line, and in the names of pictures.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_OURS = frozenset({"autodpq", "baselines"})


@dataclass(frozen=True)
class Known(Generic[Thing]):
    """One thing that can be named.

    Attributes:
        name: Its name.
        origin: ``built in``, the distribution that brought it, or where it was loaded from.
        thing: The thing; None where it cannot be used.
        error: Why it cannot be used; None where it can.
    """

    name: str
    origin: str
    thing: Thing | None
    error: str | None = None


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
    """Things of one kind by name; as a mapping, those that are loaded.

    Args:
        kind: What they are, for error messages.
        group: The entry-point group that plug-ins announce them in.
        check: Says what a thing must be and is not; None where it is right.
    """

    def __init__(self, kind: str, group: str, check: Callable[[object], str | None]) -> None:
        self.kind = kind
        self.group = group
        self._check = check
        self._things: dict[str, Thing] = {}
        self._origins: dict[str, str] = {}

    def __getitem__(self, name: str) -> Thing:
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def add(self, thing: Thing, origin: str | None = None) -> None:
        """Makes a thing known by its name.

        Raises:
            AutoDPQError: It is not of the kind, or another one has the name.
        """
        place = _place(thing)
        wrong = self._check(thing)
        if wrong is not None:
            raise AutoDPQError(f"{origin or place}: {wrong}")
        name: str = thing.name  # type: ignore[attr-defined]
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise AutoDPQError(
                f"{origin or place}: a {self.kind}'s name is made of letters, digits and -_.+, not {name!r}"
            )
        known = self._things.get(name)
        if known is not None and known != thing and not (isinstance(thing, type) and _place(known) == place):
            first = _place(known) if isinstance(known, type) else self._origins[name]
            raise AutoDPQError(f"{self.kind} {name!r} is there twice: {first} and {origin or place}; rename one")
        self._things[name] = thing
        if origin is not None or name not in self._origins:
            built_in = place.partition(".")[0] in _OURS
            self._origins[name] = origin or ("built in" if built_in else place)

    def forget(self, name: str) -> None:
        """Takes a thing out again."""
        del self._things[name], self._origins[name]

    def names(self) -> list[str]:
        """All names, those of plug-ins that are not loaded yet included."""
        return list(dict.fromkeys([*self._things, *self._announced()]))

    def find(self, reference: str) -> Thing:
        """The thing of a name, or the one that ``package.module:Name`` or ``path/to/file.py:Name`` refers to.

        Raises:
            AutoDPQError: There is none, it cannot be loaded, or two have the name.
        """
        if reference in self._things:
            return self._things[reference]
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
        """All that are registered, and all that plug-ins announce, loaded; one that fails harms no other."""
        failed: list[Known[Thing]] = []
        for name, points in self._announced().items():
            try:
                self._load_announced(name, points)
            except AutoDPQError as error:
                failed += [Known(name, _distribution(point), None, str(error)) for point in points]
        return [*(Known(name, self._origins[name], thing) for name, thing in self._things.items()), *failed]

    def _check_announced(self, thing: Thing, reference: str) -> None:
        """Refuses the name of an installed plug-in: else what it means would depend on which was loaded first."""
        points = self._announced().get(thing.name, [])  # type: ignore[attr-defined]
        if points and all(point.value not in (reference, _place(thing)) for point in points):
            first = f"{points[0].value} of {_distribution(points[0])}"
            raise AutoDPQError(f"{self.kind} {points[0].name!r} is there twice: {first} and {reference}; rename one")

    def _announced(self) -> dict[str, list[EntryPoint]]:
        """What installed plug-ins announce, by name; what is on the path twice counts once."""
        points = {(point.name, point.value): point for point in entry_points(group=self.group)}
        announced: dict[str, list[EntryPoint]] = {}
        for name, value in sorted(points):
            announced.setdefault(name, []).append(points[name, value])
        return announced

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
            self.add(thing, "built in" if origin.split()[0] in _OURS else origin)
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


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unnamed distribution"


def _place(thing: object) -> str:
    """Where a thing is written, as ``module:Name`` or ``file.py:Name``; one that is no class, by its class."""
    kind = thing if isinstance(thing, type) else type(thing)
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if kind.__module__.startswith(_FILE_MODULE) and file is not None:
        return f"{file}:{kind.__qualname__}"
    return f"{kind.__module__}:{kind.__qualname__}"


def source_digest(kind: type) -> str | None:
    """Twelve hexadecimal digits of the file that a plug-in's class is written in; None for what is built in."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if kind.__module__.partition(".")[0] in _OURS or file is None:
        return None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]


_FILE_MODULE = "autodpq_file_"


def load(reference: str) -> object:
    """Loads what ``package.module:Name`` or ``path/to/file.py:Name`` refers to; its folder is importable then.

    Raises:
        AutoDPQError: It cannot be loaded; names the line where a file fails.
    """
    where, _, name = reference.rpartition(":")
    if not where or not name.isidentifier():
        raise AutoDPQError(f"{reference!r}: expected package.module:Name or path/to/file.py:Name")
    module = _module_of_file(reference, home_expanded(where)) if where.endswith(".py") else _module(reference, where)
    if not hasattr(module, name):
        public = [known for known in vars(module) if not known.startswith("_")]
        raise AutoDPQError(f"{reference}: {where} has no {name!r}{nearest(name, public)}")
    return getattr(module, name)


def home_expanded(text: str) -> Path:
    """A path whose ~ is a home folder; one of nobody's stays as it is."""
    with suppress(RuntimeError):
        return Path(text).expanduser()
    return Path(text)


def _importable(folder: Path) -> None:
    """Lets modules beside a plug-in be imported, after all that is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _module(reference: str, name: str) -> ModuleType:
    _importable(Path.cwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise AutoDPQError(f"{reference}: {name} does not import: {one_line(error)}") from None


def _module_of_file(reference: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise AutoDPQError(f"{reference}: there is no file {path}")
    path = path.resolve()
    name = f"{_FILE_MODULE}{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "a path that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    _importable(path.parent)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = f", line {lines[-1]}" if lines else ""
        raise AutoDPQError(f"{reference}: {path.name}{line}: {one_line(error)}") from None
    return module
