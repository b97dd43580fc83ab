"""Downloads of freely available archives, verified."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import urllib.request
import uuid
from pathlib import Path

from autodpq.errors import AutoDPQError

_TIMEOUT_SECONDS = 30
_MOST_BYTES = 64 << 20
"""No archive that is downloaded is as large; whatever a server sends, the disk is not filled."""


def download(url: str, md5: str, path: Path, advice: str) -> Path:
    """Downloads a file unless it is already there, and puts it in place only if it is the published one.

    Args:
        url: Its address.
        md5: The MD5 that its publisher gives.
        path: Where it is to lie.
        advice: How a person gets it where the network does not.

    Returns:
        ``path``.

    Raises:
        AutoDPQError: There is no network, or another file came.
    """
    if path.is_file():
        return path
    partial = path.with_name(f".partial-{uuid.uuid4().hex}")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response, partial.open("wb") as file:
            while block := response.read(1 << 20):
                if file.tell() + len(block) > _MOST_BYTES:
                    raise AutoDPQError(f"{url}: more than {_MOST_BYTES >> 20} MiB, so not the published file; {advice}")
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != md5:
            raise AutoDPQError(f"{url}: what came is not the published file (its MD5 differs); {advice}")
        partial.replace(path)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise AutoDPQError(f"{url}: cannot be downloaded to {path.parent}: {reason}; {advice}") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return path
