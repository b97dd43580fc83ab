"""JSON written whole or not at all, and lines of it appended for good."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from autodpq.errors import AutoDPQError, one_line
from autodpq.files import write_whole, writing

ANEW = "delete the folder it lies in to measure it anew"
LINE_ANEW = "delete that line and those after it to measure them anew"


def write_json(path: Path, value: Any) -> None:
    """Writes JSON whole or not at all."""
    write_whole(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


@contextmanager
def damage_told(where: str, advice: str) -> Iterator[None]:
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
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, AutoDPQError) as error:
        reason = str(error) if isinstance(error, AutoDPQError) else one_line(error)
        raise AutoDPQError(f"{where}: damaged ({reason}); {advice}") from None


def read_json(path: Path, advice: str = ANEW) -> dict[str, Any]:
    """Reads an object of JSON.

    Args:
        path: The file.
        advice: What to do where it is damaged.

    Raises:
        AutoDPQError: The file is damaged, or cannot be read.
    """
    with damage_told(str(path), advice):
        text = path.read_bytes()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AutoDPQError(f"{path}: not valid JSON ({error}); {advice}") from None
    if not isinstance(value, dict):
        raise AutoDPQError(f"{path}: damaged (it holds no JSON object); {advice}")
    return value


def append_line(path: Path, value: Any, *, for_good: bool = True) -> None:
    """Appends one line of JSON, flushed: whole, or not at all where it cannot be written.

    Args:
        path: The file.
        value: What the line holds.
        for_good: Whether it must outlast a power cut: waiting for the disk takes milliseconds.

    Raises:
        AutoDPQError: It cannot be written.
    """
    line = (json.dumps(value, allow_nan=False, separators=(",", ":")) + "\n").encode()
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
        with damage_told(str(path), ANEW):
            text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            write_whole(path, whole)


def read_lines(path: Path) -> list[Any]:
    """Reads lines of JSON, but for a last one that was cut off; none where there is no file.

    Raises:
        AutoDPQError: A line is damaged, or the file cannot be read.
    """
    if not path.exists():
        return []
    with damage_told(str(path), ANEW):
        lines = path.read_bytes().split(b"\n")[:-1]
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            raise AutoDPQError(f"{path}, line {number}: not valid JSON; {LINE_ANEW}") from None
    return values
