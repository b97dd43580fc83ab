"""One command at a time in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from autodpq.errors import AutoDPQError

_NAME = ".lock"
_PATIENCE = 0.2  # seconds: as long as somebody may look whether it is held


def is_held(out: Path) -> bool:
    """Whether a command is at work in a folder."""
    path = out / _NAME
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # nobody can write here
        return False


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Holds a folder while a command works in it, so that two never mix; the lock dies with its process.

    Args:
        out: The folder; made if it is missing.

    Raises:
        AutoDPQError: Another process works there, or it cannot be written.
    """
    lock = FileLock(out / _NAME, timeout=_PATIENCE)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise AutoDPQError(
            f"--out: another process is at work in {out}; wait until it ends, or name another folder"
        ) from None
    except OSError as error:
        raise AutoDPQError(f"--out: {out} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()
