"""What lies in a folder of the cache: a file that names the others, with their sizes and digests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autodpq.data.digest import file_digest
from autodpq.errors import AutoDPQError
from autodpq.seals import opened, sealed

FILE = "meta.json"


def write_inventory(folder: Path, about: Mapping[str, Any]) -> None:
    """Writes ``meta.json`` of a folder whose other files are written.

    Args:
        folder: The folder.
        about: What else is to be known of it; JSON values only.
    """
    files = {path.name: (path.stat().st_size, file_digest(path)) for path in sorted(folder.iterdir())}
    (folder / FILE).write_text(json.dumps(sealed({**about, "files": files}), indent=1), "utf-8")


def read_inventory(folder: Path, files: Iterable[str] | None = None) -> dict[str, Any] | None:
    """What ``meta.json`` says, or None where it, or a file that is asked for, is not as it was written.

    Files are read from one end to the other: a gigabyte takes a second or two, far below a hundredth of a training on
    as many rows.

    Args:
        folder: The folder.
        files: Names of the files that must be sound; None for all that are in it.
    """
    try:
        about = opened((folder / FILE).read_bytes())
        for name in about["files"] if files is None else files:
            size, digest = about["files"][name]
            if (folder / name).stat().st_size != size or file_digest(folder / name) != digest:
                return None
    except (OSError, LookupError, AutoDPQError):
        return None
    return about
