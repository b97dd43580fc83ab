"""Plug-ins as pip would leave them, for tests of what finds them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

# Their names are known before any test begins, so that none of them takes them for what it brought.
import autodpq.search.autodpq as _registers_autodpq  # noqa: F401
import baselines as _registers_baselines  # noqa: F401
from autodpq.choices import CHOICES
from autodpq.data import DATASETS
from autodpq.models import MODELS
from autodpq.search.strategy import STRATEGIES

REGISTRIES = (STRATEGIES, MODELS, DATASETS, CHOICES)


@dataclass(frozen=True)
class Site:
    """A folder that distributions are installed into; beside it lie the files of a person.

    Attributes:
        folder: The folder.
    """

    folder: Path

    def write(self, path: str, text: str) -> Path:
        """Writes a file, by its path from the folder."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        importlib.invalidate_caches()
        return file

    def install(self, name: str, text: str, points: Mapping[str, Mapping[str, str]], version: str = "1.0") -> str:
        """Installs a distribution of one module; gives the module's name.

        Args:
            name: The distribution's.
            text: The module's.
            points: Values of entry points, by group and name.
            version: The distribution's.
        """
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        self.write(f"{module}.py", text)
        self.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = []
        for group, values in points.items():
            lines += [f"[{group}]", *(f"{point} = {value}" for point, value in values.items())]
        self.write(f"{info}/entry_points.txt", "\n".join([*lines, ""]))
        return module


@contextmanager
def forgetting() -> Iterator[None]:
    """What is loaded within is known to nobody later, as if it had been loaded in another process."""
    names = [set(registry) for registry in REGISTRIES]
    yield
    for registry, known in zip(REGISTRIES, names, strict=True):
        for name in set(registry) - known:
            registry.forget(name)


@contextmanager
def installing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site on the path, in the folder that becomes the current one; all is forgotten in the end."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)  # puts the whole path back in the end
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)
    with forgetting():
        yield Site(folder)
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
