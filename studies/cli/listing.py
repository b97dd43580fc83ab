"""Lines of ``autodpq-study list``."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autodpq.errors import AutoDPQError
from autodpq.plugins.options import signature
from autodpq.plugins.registry import Known

_MARKUP = re.compile(r"(?::[\w:]+:)?`+(?:~[\w.]*\.)?([^`]+)`+")  # a role or a literal of docstrings
_NARROWEST = 40  # what is narrower than this is no column of text: it goes below its name


def _first_line(entry: Known[Any]) -> str:
    """What the docstring begins with, as plain text."""
    docstring = inspect.getdoc(entry.thing) if entry.reference is None else _unloaded_docstring(entry.reference)
    return _MARKUP.sub(r"\1", next(iter((docstring or "").splitlines()), ""))


def _unloaded_docstring(reference: str) -> str | None:
    """The docstring of the class at ``module:Class``, read from its source: importing it would import torch."""
    module, _, name = reference.partition(":")
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None, f"{module} is part of the project"
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return next(ast.get_docstring(node) for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def _options(thing: type) -> str:
    """The options of a class with their defaults; those without one as they are."""
    try:
        shown = ", ".join(
            option.name if option.default is option.empty else f"{option.name}={option.default!r}"
            for option in signature(thing).values()
        )
    except AutoDPQError as error:
        return f" {error}"
    return f" Options: {shown}." if shown else ""


def list_lines(what: str, width: int | None = None) -> Iterator[str]:
    """One entry for each strategy, model or data set: name, origin, what it is, its options or threshold.

    Of recipes, one for each setting: name, its value in the recipes, what it is. Of tables of plans: name, how many
    trainings, of what.

    Args:
        what: ``strategies``, ``models``, ``datasets``, ``recipes`` or ``tables``.
        width: Columns of the terminal, where long texts go on in lines of their own; None keeps one line per entry.
    """
    known: list[Known[Any]]
    if what == "recipes":
        yield from _lines(_settings(), width)
        return
    if what == "tables":
        yield from _lines(_tables(), width)
        return
    if what == "datasets":
        from autodpq.data import DATASETS

        known = list(DATASETS.known())
        texts = {
            spec.name: f"{spec.description} (threshold {spec.threshold})"
            for spec in (entry.thing for entry in known)
            if spec is not None
        }
    elif what == "models":
        from autodpq.models import MODELS

        known = list(MODELS.known())
        texts = {entry.name: _first_line(entry) for entry in known if entry.error is None}
    else:
        from autodpq.search.strategy import STRATEGIES
        from studies.strategies import ALL_STRATEGIES

        known = sorted(
            STRATEGIES.known(),
            key=lambda entry: (entry.name not in ALL_STRATEGIES, entry.origin != "built in", entry.name),
        )
        texts = {
            entry.name: f"{_first_line(entry)}{_options(entry.thing)}" for entry in known if entry.thing is not None
        }
    entries = [
        (entry.name, entry.origin, texts[entry.name] if entry.error is None else f"cannot be used: {entry.error}")
        for entry in known
    ]
    yield from _lines(entries, width)


def _settings() -> Iterator[tuple[str, str, str]]:
    """The settings of recipes: name, value in the recipes, what it is."""
    from autodpq.training.recipes import RECIPES, SETTINGS, Recipe

    attributes = inspect.cleandoc(Recipe.__doc__ or "").partition("Attributes:\n")[2]
    texts = dict(re.findall(r"(\w+): (.*?)(?=\n    \w|\Z)", attributes, re.DOTALL))
    for setting in SETTINGS:
        by_value: dict[object, list[str]] = {}
        for recipe in RECIPES.values():
            by_value.setdefault(getattr(recipe, setting), []).append(recipe.name)
        shown = [
            f"{value}" if len(by_value) == 1 else f"{value} ({', '.join(names)})" for value, names in by_value.items()
        ]
        text = " ".join(texts[setting].split())
        yield setting, "; ".join(shown), _MARKUP.sub(r"\1", text)


def _tables() -> Iterator[tuple[str, str, str]]:
    """The tables of plans that come with the package: name, plans and seeds, what they are of."""
    from autodpq.records.shipped import open_table, shipped_tables

    for name in shipped_tables():
        about = open_table(name).about
        alike: dict[str, list[str]] = {}  # bands by their candidates
        for band, texts in about.searched.items():
            if len(texts) > 1:
                alike.setdefault(", ".join(texts), []).append(band)
        choices = "; ".join(f"{texts} for {', '.join(bands)}" for texts, bands in alike.items())
        text = f"{about.of.data.name}, {about.of.model}, {about.of.recipe.name}, {about.of.space} space: {choices}"
        yield name, f"{about.n_plans:,} plans x {len(about.seeds)} seeds, {about.licence}", text


def _lines(entries: Iterable[tuple[str, str, str]], width: int | None) -> Iterator[str]:
    """Two columns and a text; what is too long goes on below."""
    rows = list(entries)
    firsts, seconds = (max(map(len, column)) + 2 for column in list(zip(*rows, strict=True))[:2])
    for first, second, text in rows:
        head = f"{first:<{firsts}}{second:<{seconds}}"
        if width is None or len(head) + len(text) <= width:
            yield f"{head}{text}"
        elif width - len(head) >= _NARROWEST:
            yield from textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head))
        else:
            yield from textwrap.wrap(head.rstrip(), width, subsequent_indent="    ")
            yield from textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="    ")
