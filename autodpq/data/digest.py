"""Digests of source files, remembered so that a second run does not read gigabytes to learn that nothing changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from autodpq.errors import AutoDPQError
from autodpq.files import write_whole
from autodpq.seals import opened, sealed

_SETTLED_NS = 2_000_000_000
"""A file changed more recently than this may change again without its time stamps showing it."""


def file_digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file.

    Raises:
        AutoDPQError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AutoDPQError(f"{path}: cannot be read: {error.strerror}") from None


def remembered_digest(files: Sequence[Path], compute: Callable[[], str], cache: Path, kind: str) -> str:
    """The digest of some files: as remembered where no file has changed since, else computed and remembered.

    Args:
        files: The files that decide the digest.
        compute: Computes it.
        cache: The cache folder.
        kind: What is digested; the same files may be digested in several ways.

    Raises:
        AutoDPQError: A file is missing or cannot be read.
    """
    before = _state(files)
    key = hashlib.sha256(json.dumps([kind, *(str(path.absolute()) for path in files)]).encode()).hexdigest()
    memo = cache / "digests" / f"{key[:32]}.json"
    with contextlib.suppress(OSError, LookupError, AutoDPQError):
        remembered = opened(memo.read_bytes())
        if remembered["state"] == before:
            return str(remembered["digest"])
    digest = compute()
    newest = max(modified for _, modified, _, _ in before)
    if _state(files) == before and time.time_ns() - newest > _SETTLED_NS:
        # A cache that cannot be written is reported where the encoded rows are written, not here.
        with contextlib.suppress(OSError, AutoDPQError):
            memo.parent.mkdir(parents=True, exist_ok=True)
            write_whole(memo, json.dumps(sealed({"state": before, "digest": digest})))
    return digest


def _state(files: Sequence[Path]) -> list[list[int]]:
    """Size, time of change of content and of status, and inode of each file."""
    try:
        return [[s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for s in (path.stat() for path in files)]
    except OSError as error:
        raise AutoDPQError(f"{error.filename}: cannot be read: {error.strerror}") from None
