"""Loads what ``module:Name`` and ``file.py:Name`` refer to, and says where a thing is written."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from autodpq.errors import AutoDPQError, nearest, one_line

OURS = frozenset({"autodpq", "baselines"})
"""The packages whose strategies, models and data sets are built in."""

_FILE_MODULE = "autodpq_file_"


def place_of(thing: object) -> str:
    """Where a thing is written, as ``module:Name`` or ``file.py:Name``; one that is no class, by its class."""
    kind = thing if isinstance(thing, type) else type(thing)
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if kind.__module__.startswith(_FILE_MODULE) and file is not None:
        return f"{file}:{kind.__qualname__}"
    return f"{kind.__module__}:{kind.__qualname__}"


def file_places(kinds: Iterable[type]) -> tuple[str, ...]:
    """Where classes are written that were loaded from files, as ``file.py:Name``, each once."""
    places = {place_of(kind) for kind in kinds}
    return tuple(sorted(place for place in places if place.rpartition(":")[0].endswith(".py")))


def source_digest(kind: type) -> str | None:
    """Twelve hexadecimal digits of the file that a plug-in's class is written in; None for what is built in."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if kind.__module__.partition(".")[0] in OURS or file is None:
        return None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]


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
