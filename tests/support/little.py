"""Less work where the point of a test is another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autodpq.training.recipes import RECIPES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The same for a process of its own.
LITTLE = """
import dataclasses, autodpq.data.sets.synthetic, reports.write
from autodpq.training.recipes import RECIPES
RECIPES.update({name: dataclasses.replace(recipe, max_epochs=2) for name, recipe in RECIPES.items()})
autodpq.data.sets.synthetic.N_ROWS = 5_000
reports.write._FIGURES = ()
"""


@contextmanager
def no_pictures() -> Iterator[None]:
    """Reports have no pictures: they take longer than all else of a small study; tests of reports draw them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reports.write._FIGURES", ())
        yield


@contextmanager
def blank_pictures() -> Iterator[None]:
    """Pictures of reports are made and named, but not drawn: their files say only what they are."""

    def save(figure: Figure, stem: Path) -> list[Path]:
        paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg")]
        for path in paths:
            path.write_text(path.suffix)
        return paths

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reports.write.save_figure", save)
        yield


@contextmanager
def short_trainings() -> Iterator[None]:
    """Every training ends after two epochs, and generated data are a thirtieth: what matters is what is done with a
    model, not how good it is.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, recipe in RECIPES.items():
            patch.setitem(RECIPES, name, replace(recipe, max_epochs=2))
        patch.setattr("autodpq.data.sets.synthetic.N_ROWS", 5_000)
        yield
