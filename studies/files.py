"""JSON written whole or not at all, and lines of it appended for good."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from autodpq.errors import AutoDPQError
from autodpq.files import write_whole


def write_json(path: Path, value: Any) -> None:
    """Writes JSON whole or not at all."""
    write_whole(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        AutoDPQError: The file is damaged.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise AutoDPQError(
            f"{path}: not valid JSON ({error}); delete the folder it lies in to measure it anew"
        ) from None


def append_line(path: Path, value: Any) -> None:
    """Appends one line of JSON, flushed to disk."""
    with path.open("a") as file:
        file.write(json.dumps(value, allow_nan=False, separators=(",", ":")) + "\n")
        file.flush()
        os.fsync(file.fileno())


def drop_cut_line(path: Path) -> None:
    """Removes a last line that was cut off while it was written, so that the next one stands alone."""
    if path.exists():
        text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            write_whole(path, whole)


def read_lines(path: Path) -> list[Any]:
    """Reads lines of JSON, but for a last one that was cut off; none where there is no file.

    Raises:
        AutoDPQError: A line is damaged.
    """
    if not path.exists():
        return []
    values = []
    for number, line in enumerate(path.read_text().split("\n")[:-1], 1):
        try:
            values.append(json.loads(line))
        except ValueError:
            raise AutoDPQError(f"{path}, line {number}: not valid JSON; delete that line to measure it anew") from None
    return values
