"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from autodpq.errors import AutoDPQError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` that takes its place when the block ends without an error.

    Raises:
        AutoDPQError: The file cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # A rename can reach the disk before the data: without this, a power cut leaves an empty file.
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())  # mkstemp makes files that others cannot read
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise AutoDPQError(f"{path}: cannot be written ({error.strerror or error})") from None


def write_whole(path: Path, content: str | bytes) -> Path:
    """Writes a file whole, text in UTF-8; returns its path.

    Raises:
        AutoDPQError: The file cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
