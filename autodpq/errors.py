"""The project's error class, and help for mistyped names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Thing = TypeVar("Thing")


class AutoDPQError(Exception):
    """What a person did or gave cannot be used.

    The message is one line that names the file, field or option and says what to do.
    """


class TrainingError(AutoDPQError):
    """Training came to nothing: what was trained has no numbers, and what is beside it goes on."""


def one_line(error: BaseException) -> str:
    """An error's class and message, whatever lines and blanks it has, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


_BEGINS = "Input should be "
_NEEDED = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid string": "a text",
    "a valid array": "a list",
    "a valid tuple": "a list",
    "greater than or equal to": "a number of at least",
    "greater than": "a number above",
    "less than or equal to": "a number of at most",
    "less than": "a number below",
}


def in_words(message: str) -> str:
    """A message of pydantic's, which typer hands on, in the words of all others: what is needed."""
    _, too_short, said = message.partition(" should have at least ")
    if too_short:
        return f"at least {said.split()[0]} is needed"
    before, begins, said = message.partition(_BEGINS)
    if not begins:
        return message
    for theirs, needed in _NEEDED.items():
        if said.startswith(theirs):
            return f"{before}{needed}{said.removeprefix(theirs).partition(', ')[0]} is needed"
    return f"{before}{said} is needed"


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the known name that is nearest, or all of them where none is near."""
    names = list(known)
    folded = {candidate.casefold(): candidate for candidate in names}
    matches = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    if matches:
        return f"; did you mean {folded[matches[0]]!r}?"
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"; known: {shown}" if names else ""


def look_up(kind: str, name: str, known: Mapping[str, Thing]) -> Thing:
    """What a name stands for; ``kind`` says in the error what was looked for.

    Raises:
        AutoDPQError: Nothing has the name; names the nearest.
    """
    if name not in known:
        raise AutoDPQError(f"unknown {kind} {name!r}{nearest(name, known)}")
    return known[name]
