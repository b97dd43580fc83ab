"""Downloads of freely available archives, verified."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from pathlib import Path

from autodpq.errors import AutoDPQError
from autodpq.files import write_whole, writing

_TIMEOUT_SECONDS = 30
_MOST_BYTES = 64 << 20
"""No archive that is downloaded is as large; whatever a server sends, neither memory nor disk is filled."""


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
        AutoDPQError: There is no network, another file came, or it cannot be written.
    """
    if path.is_file():
        return path
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            content = response.read(_MOST_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise AutoDPQError(f"{url}: cannot be downloaded to {path.parent}: {reason}; {advice}") from None
    if len(content) > _MOST_BYTES:
        raise AutoDPQError(f"{url}: more than {_MOST_BYTES >> 20} MiB, so not the published file; {advice}")
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise AutoDPQError(f"{url}: what came is not the published file (its MD5 differs); {advice}")
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(path, content)
