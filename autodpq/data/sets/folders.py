"""Where the publishers' files are looked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from autodpq.errors import AutoDPQError


def data_folder(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """The folder of source files: the argument, else the environment's ``AUTODPQ_DATA``, else None.

    Raises:
        AutoDPQError: There is no such folder.
    """
    given = data_dir or os.environ.get("AUTODPQ_DATA")
    if not given:
        return None
    folder = Path(given).expanduser()
    if not folder.is_dir():
        option = "data_dir" if data_dir else "AUTODPQ_DATA"
        raise AutoDPQError(f"{folder}: there is no such folder; {option} must name the folder of the source files")
    return folder


def find_file(folder: Path, subfolder: str, names: Sequence[str]) -> Path | None:
    """The first of some files that is in a folder or in a subfolder of it."""
    for place in (folder, folder / subfolder):
        for name in names:
            if (place / name).is_file():
                return place / name
    return None


def published_file(data_dir: str | os.PathLike[str] | None, subfolder: str, names: Sequence[str], origin: str) -> Path:
    """The source file of a data set that cannot be downloaded.

    Args:
        data_dir: The folder, if one is given.
        subfolder: The subfolder that is searched too.
        names: The names that the file may have.
        origin: Where a person gets it.

    Raises:
        AutoDPQError: It is not there.
    """
    folder = data_folder(data_dir)
    advice = f"get {names[0]} from {origin} and name its folder with data_dir or AUTODPQ_DATA"
    if folder is None:
        raise AutoDPQError(f"{subfolder}: where its file is was not said; {advice}")
    path = find_file(folder, subfolder, names)
    if path is None:
        raise AutoDPQError(f"{folder}: none of {', '.join(names)} is in it or in {subfolder}/; {advice}")
    return path
