"""Damage by chance: to bytes, and to JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

# What has a meaning in JSON, or in its encoding.
JSON_PIECES = [
    *(b"0", b"-", b".", b"e9", b",", b'"', b"}", b"[", b"\\", b"\\ud800", b"NaN", b"null", b'"run":1,', b'"a":1,'),
    *(b"\n", b"\xff", b""),
]


def json_values(nasty: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Any JSON, and often one of the values that are given."""
    return st.sampled_from(nasty) | st.recursive(
        st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )


def altered_json(data: st.DataObject, value: Any, leaves: st.SearchStrategy[Any]) -> Any:
    """The same JSON with one part of it replaced, removed or added."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 5)):
        key = data.draw(st.sampled_from(sorted(value)))
        if not data.draw(st.integers(0, 5)):
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: altered_json(data, value[key], leaves)}
    if isinstance(value, list) and value and data.draw(st.integers(0, 5)):
        place = data.draw(st.integers(0, len(value) - 1))
        return [*value[:place], altered_json(data, value[place], leaves), *value[place + 1 :]]
    return data.draw(leaves)


def spliced(
    data: st.DataObject, content: bytes, pieces: Sequence[bytes] = JSON_PIECES, removed: Sequence[int] = range(13)
) -> bytes:
    """The same bytes, in up to four places replaced, cut out or added to.

    Args:
        data: Draws.
        content: The bytes.
        pieces: What is often put in.
        removed: How many bytes are taken out at a place; -1 stands for as many as are put in.
    """
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        piece = data.draw(st.sampled_from(pieces) | st.binary(max_size=6))
        length = data.draw(st.sampled_from(removed))
        content = content[:place] + piece + content[place + (len(piece) if length < 0 else length) :]
    return content
