"""Choices by name, and choices as text."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import TypeVar

from autodpq.choices.base import Choice, Kept, Made
from autodpq.choices.unknown import Unknown
from autodpq.errors import AutoDPQError, nearest
from autodpq.plugins.options import construct, signature, split_names
from autodpq.plugins.registry import Registry, is_class_of, is_name

AnyChoice = TypeVar("AnyChoice", bound=type[Choice])


def _check(thing: object) -> str | None:
    wrong = is_class_of(Choice)(thing)
    if wrong is None and not issubclass(thing, Kept | Made):  # type: ignore[arg-type]
        wrong = f"{thing.__qualname__} is neither Kept nor Made"  # type: ignore[attr-defined]
    return wrong


CHOICES: Registry[type[Choice]] = Registry("choice", "autodpq.choices", _check)


def register(choice: AnyChoice) -> AnyChoice:
    """Class decorator: makes a choice known by its name.

    Raises:
        AutoDPQError: Another choice has the name.
    """
    CHOICES.add(choice)
    return choice


def parse_choice(text: str) -> Choice:
    """Reads a choice as ``str`` writes it: ``full``, ``others``, ``dpq(K,D)``, or another one's ``name(parameters)``.

    Raises:
        AutoDPQError: The text is none of these; names the nearest.
    """
    reference, values = _parted(text)
    if ":" in reference:
        raise AutoDPQError(f"choice {text!r}: it is code to load, which only the command line may name")
    return _made(reference, tuple(values))


def read_choice(text: str) -> Choice:
    """Reads a choice out of a record: one whose kind is not known here can still be shown.

    Raises:
        AutoDPQError: The kind is known, and the text is none of its choices.
    """
    reference, _ = _parted(text)
    return parse_choice(text) if CHOICES.knows(reference) or not is_name(reference) else Unknown(text)


def parse_candidates(texts: str | Sequence[str]) -> tuple[Choice, ...]:
    """Reads candidates: choices with commas between, ``|`` between several values of a parameter.

    ``dpq(8|16,2|4),int(4),others`` are six. A kind may be named by ``module:Class`` or ``file.py:Class``.

    Args:
        texts: One text, or several.

    Raises:
        AutoDPQError: A choice is unknown, its parameters are not such, or it is there twice.
    """
    found: list[Choice] = []
    for text in [texts] if isinstance(texts, str) else texts:
        for part in split_names(text):
            reference, values = _parted(part)
            found += (_made(reference, given) for given in product(*(value.split("|") for value in values)))
    twice = next((choice for choice in found if found.count(choice) > 1), None)
    if twice is not None:
        raise AutoDPQError(f"{twice} is given twice")
    if not found:
        raise AutoDPQError("at least one choice is needed, as in dpq(8|16,2|4),others")
    return tuple(found)


def _parted(text: str) -> tuple[str, list[str]]:
    reference, bracket, rest = text.strip().partition("(")
    if bracket and not (rest.endswith(")") and rest[:-1].strip()):
        raise AutoDPQError(f"choice {text!r}: expected name(parameters)")
    values = split_names(rest[:-1])
    if "".join(rest[:-1].split()) != "".join(",".join(values).split()):
        raise AutoDPQError(f"choice {text!r}: a parameter is empty")
    return reference.strip(), values


def _made(reference: str, values: tuple[str, ...]) -> Choice:
    if not reference:
        raise AutoDPQError(f"unknown choice {reference!r}{nearest(reference, CHOICES.names())}")
    if not all(value.strip() for value in values):
        raise AutoDPQError(f"choice {reference!r}: a parameter is empty")
    return _construct(CHOICES.find(reference), tuple(value.strip() for value in values))


@lru_cache(4096)
def _construct(kind: type[Choice], values: tuple[str, ...]) -> Choice:
    parameters, text = signature(kind), f"{kind.name}({','.join(values)})"
    shown = text if text.isprintable() else repr(text)
    needed = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    if not len(needed) <= len(values) <= len(parameters):
        form = f"{kind.name}({','.join(parameters)})" if parameters else kind.name
        raise AutoDPQError(f"{shown}: {form} is needed")
    choice = construct(kind, dict(zip(parameters, values, strict=False)))
    for parameter, value in zip(parameters, values, strict=False):
        if type(getattr(choice, parameter)) is int and not (value.isascii() and value.lstrip("-").isdigit()):
            raise AutoDPQError(f"{shown}: {parameter} is a whole number, written in digits alone")
    return choice
