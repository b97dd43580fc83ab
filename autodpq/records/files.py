"""JSON written whole or not at all, lines of it appended for good, and one way to tell of damage."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from autodpq.errors import AutoDPQError, in_words, one_line
from autodpq.files import write_whole, writing
from autodpq.seals import sealed, unsealed

Content = TypeVar("Content")

ANEW = "delete the folder it lies in to measure it anew"
LINE_ANEW = "delete that line and those after it to measure them anew"

# Where several entries are missing, the one without which the others say nothing is named.
_TELLING = ("record",), ("plan",)
_LONGEST_REASON = 300  # letters


def damaged(where: object, reason: str, advice: str) -> AutoDPQError:
    """The error that tells of a damaged record.

    Args:
        where: The file, or the line of it.
        reason: What is wrong, of any length and number of lines.
        advice: What to do.
    """
    return AutoDPQError(f"{where}: damaged ({shorten(reason, _LONGEST_REASON)}); {advice}")


@contextmanager
def damage_told(where: object, advice: str) -> Iterator[None]:
    """Makes one line, with what to do, of what goes wrong inside where a record is not what it should be.

    Args:
        where: The file, or the line of it.
        advice: What to do.

    Raises:
        AutoDPQError: The record is damaged, or cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise AutoDPQError(f"{where}: cannot be read ({error.strerror or error})") from None
    except ValidationError as error:
        raise _invalid(where, error, advice) from None
    except AutoDPQError as error:
        raise damaged(where, str(error), advice) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise damaged(where, one_line(error), advice) from None


def _invalid(where: object, error: ValidationError, advice: str) -> AutoDPQError:
    faults = error.errors(include_url=False, include_context=False)
    first = min(faults, key=lambda fault: fault["loc"] not in _TELLING)
    name, kind = ".".join(map(str, first["loc"])), first["type"]
    if kind == "json_invalid":
        return AutoDPQError(f"{where}: not valid JSON ({first['msg'].removeprefix('Invalid JSON: ')}); {advice}")
    if kind == "missing":
        return damaged(where, f"KeyError: {name!r}", advice)
    if not name:
        return damaged(where, "it holds no JSON object", advice)
    return damaged(where, f"{name} = {first['input']!r}: {in_words(first['msg'])}", advice)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes an object of JSON, sealed, whole or not at all."""
    write_whole(path, json.dumps(sealed(value), indent=1, allow_nan=False) + "\n")


def read_json(path: Path, kind: TypeAdapter[Content], advice: str = ANEW) -> Content:
    """Reads an object of JSON; one that earlier versions wrote has no seal.

    Args:
        path: The file.
        kind: What it must hold.
        advice: What to do where it is damaged.

    Raises:
        AutoDPQError: The file is damaged, or cannot be read.
    """
    with damage_told(path, advice):
        return kind.validate_json(unsealed(path.read_bytes()))


def append_line(path: Path, value: Mapping[str, Any], *, for_good: bool = True) -> None:
    """Appends one line of JSON, sealed and flushed: whole, or not at all where it cannot be written.

    Args:
        path: The file.
        value: What the line holds.
        for_good: Whether it must outlast a power cut: waiting for the disk takes milliseconds.

    Raises:
        AutoDPQError: It cannot be written.
    """
    line = (json.dumps(sealed(value), allow_nan=False, separators=(",", ":")) + "\n").encode()
    # Without a buffer, which would be written again when the file is closed.
    with writing(path), path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            left = memoryview(line)
            while left:
                left = left[file.write(left) :]
            if for_good:
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(end)  # the next line would go on where this one broke off
            raise


def drop_cut_line(path: Path) -> None:
    """Removes a last line that was cut off while it was written, so that the next one stands alone.

    Raises:
        AutoDPQError: The file cannot be read or written.
    """
    if path.exists():
        with damage_told(path, ANEW):
            text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            write_whole(path, whole)


def read_lines(path: Path, kind: TypeAdapter[Content]) -> list[Content]:
    """Reads lines of JSON, but for a last one that was cut off; none where there is no file.

    Args:
        path: The file.
        kind: What each line must hold.

    Raises:
        AutoDPQError: A line is damaged, or the file cannot be read.
    """
    if not path.exists():
        return []
    with damage_told(path, ANEW):
        *lines, rest = path.read_bytes().split(b"\n")
    values = []
    for number, line in enumerate(lines, 1):
        with damage_told(f"{path}, line {number}", LINE_ANEW):
            values.append(kind.validate_json(unsealed(line)))
    with damage_told(f"{path}, line {len(values) + 1}", LINE_ANEW):
        # One that was cut off is the beginning of a line; this one is whole, and would be left out without a word.
        if unsealed(rest[:-1]) != rest[:-1]:
            raise AutoDPQError("its end is not the one that was written")
    return values
