"""A last entry of a JSON object that tells whether the others are still what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from autodpq.errors import AutoDPQError

SEAL = "seal"
_DIGITS = 16


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its seal: the beginning of the SHA-256 of its entries, as JSON without blanks."""
    return {**value, SEAL: _seal(_text(value))}


def unsealed(content: bytes) -> bytes:
    """An object's JSON without its seal, which is checked.

    What has none, as earlier versions wrote, and what is no object at all, comes back as it is.

    Raises:
        AutoDPQError: An entry was altered, or the seal.
    """
    try:
        value = json.loads(content.decode())
    except (ValueError, RecursionError):
        return content  # whoever reads it tells what is wrong
    if not isinstance(value, dict) or not value:
        return content
    name = SEAL if SEAL in value else next(reversed(value))
    seal, text = value.pop(name), _text(value)
    # Under another name it was a seal, too, if it fits: the name was altered.
    if (name == SEAL) != (seal == _seal(text)):
        raise AutoDPQError(f"its entries are not those that were written: its {SEAL} does not fit them")
    return text.encode() if name == SEAL else content


def opened(content: bytes) -> dict[str, Any]:
    """The entries of an object that must have a seal.

    Raises:
        AutoDPQError: It has none, or an entry was altered.
    """
    text = unsealed(content)
    if text == content:
        raise AutoDPQError(f"it has no {SEAL}")
    entries: dict[str, Any] = json.loads(text)
    return entries


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _seal(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
