"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from autodpq.errors import AutoDPQError

Content = TypeVar("Content")

_PART = ".part"
_RANDOM = 8  # letters that mkstemp puts before it
_PARTIAL = ".partial-"
_STALE_SECONDS = 24 * 3600.0

_ADVICE = {
    **dict.fromkeys(("ENOSPC", "EDQUOT", "EFBIG"), "make room there and try again"),
    **dict.fromkeys(("EROFS", "EACCES", "EPERM"), "make it writable, or name another place"),
    **dict.fromkeys(("ENOENT", "ENOTDIR"), "its folder is gone: put it back, or name another place"),
}


def _system_error(error: Exception) -> int | None:
    """The number that the operating system gave; libraries written in Rust put it into their message alone."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return None if found is None else int(found[1])


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes one line, with what to do, of what keeps a file or folder from being written inside.

    Args:
        path: What is written.

    Raises:
        AutoDPQError: It cannot be written.
    """
    try:
        yield
    except Exception as error:
        number = _system_error(error)
        if isinstance(error, AutoDPQError) or (number is None and not isinstance(error, OSError)):
            raise
        reason = os.strerror(number) if number else str(error)
        advice = _ADVICE.get(errno.errorcode.get(number or 0, ""))
        raise AutoDPQError(f"{path}: cannot be written ({reason})" + (f"; {advice}" if advice else "")) from None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` that takes its place when the block ends without an error.

    Raises:
        AutoDPQError: The file cannot be written.
    """
    with writing(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_PART, dir=path.parent)
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


def remove_parts(folder: Path, names: Iterable[str]) -> None:
    """Removes the parts of files whose writing was killed; those of other files stay.

    Args:
        folder: Where nobody writes these files meanwhile.
        names: Patterns of the files within it, as of :meth:`pathlib.Path.glob`.

    Raises:
        AutoDPQError: One cannot be removed.
    """
    for name in names:
        within, _, file = name.rpartition("/")
        for part in folder.glob(f"{within}/.{file}.{'[a-z0-9_]' * _RANDOM}{_PART}".lstrip("/")):
            with writing(part):
                part.unlink(missing_ok=True)


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


def whole_folder(folder: Path, read: Callable[[], Content | None], write: Callable[[Path], None]) -> Content:
    """What a folder holds: read where it is sound; else written, whole or not at all, and read then.

    Args:
        folder: The folder; a damaged one is replaced.
        read: Reads it; None where it is missing or damaged.
        write: Writes the files into the folder given, which becomes ``folder``.

    Raises:
        AutoDPQError: It cannot be written.
    """
    content = read()
    if content is not None:
        return content
    try:
        with _partial_folder(folder.parent) as partial:
            write(partial)
            # A rename can reach the disk before the data: without this, a power cut leaves files of the right size,
            # empty.
            for path in partial.iterdir():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
            _publish(partial, folder, read)
    except OSError as error:
        raise AutoDPQError(
            f"{folder.parent}: the cache cannot be written: {error.strerror or error}; make room, or choose another "
            "folder with cache_dir or AUTODPQ_CACHE"
        ) from None
    content = read()
    if content is None:
        raise AutoDPQError(f"{folder}: what was just written cannot be read back; is the disk full or failing?")
    return content


@contextmanager
def _partial_folder(parent: Path) -> Iterator[Path]:
    """A folder to write in that never outlives the writing, beside the folder that it may become."""
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{_PARTIAL}*"):  # of processes that were killed
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    partial = parent / f"{_PARTIAL}{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, folder: Path, read: Callable[[], object | None]) -> None:
    """Moves a finished folder into place, unless another process has put the same there meanwhile."""
    if folder.exists():
        if read() is not None:
            return
        # Moved away first, so that the damaged copy is never half removed under its name.
        damaged = folder.with_name(f"{_PARTIAL}{uuid.uuid4().hex}")
        folder.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        partial.rename(folder)
    except OSError:
        if read() is None:
            raise
