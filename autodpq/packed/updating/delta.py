"""What tells a new packed file and its vocabulary from old ones, in few bytes, and how those become these (numpy only).

A delta is a file of :mod:`autodpq.packed.file`'s kind, checked to the last byte. Of each file that it makes it holds
the exclusive or with what the old one has in the same place, compressed: where nothing changed these are zeros. What
lies where, the delta says itself, array by array, so that whoever applies it needs to know nothing of formats.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autodpq.data.digest import file_digest
from autodpq.errors import AutoDPQError
from autodpq.files import whole_file
from autodpq.packed.file import PackedFile, array_places, map_arrays, named, open_packed, write_arrays
from autodpq.packed.manifest import SideFile, strict_json

FORMAT = 1
_CHUNK = 1 << 20  # bytes that are compared at a time
_NOTHING = -1  # where a piece has no bytes in the old file

_Bytes = npt.NDArray[np.uint8]
_Pieces = list[list[int]]
"""Of a new file, piece after piece, where the old one has what is alike, and how many bytes it is long."""


def write_delta(path: Path, old: Path, new: Path) -> int:
    """Writes the delta between two packed files, their vocabularies beside them, whole or not at all.

    Args:
        path: Where to.
        old: A packed file of a network.
        new: What it is to become.

    Returns:
        Bytes of the delta.

    Raises:
        AutoDPQError: A file cannot be read or written.
    """
    before, after = open_packed(old), open_packed(new)
    pieces = _by_arrays(old, new)
    arrays = {"model": _compressed(new, old, pieces)}
    manifest: dict[str, Any] = {"delta": FORMAT, "model": _entry(old, new, pieces), "vocabulary": None}
    sides = [packed.manifest.vocabulary for packed in (before, after)]
    first, second = (
        None if side is None else _beside(packed, side) for packed, side in zip((before, after), sides, strict=True)
    )
    if first is not None and second is not None:
        pieces = _by_beginning(first, second)
        arrays["vocabulary"] = _compressed(second, first, pieces)
        manifest["vocabulary"] = {**_entry(first, second, pieces), "name": second.name}
    write_arrays(path, lambda: json.dumps(manifest, separators=(",", ":"), ensure_ascii=False), arrays)
    return path.stat().st_size


def apply_delta(delta: Path, old: Path, out: Path) -> PackedFile:
    """Makes the new packed file of an old one, byte for byte, and the vocabulary beside it.

    The vocabulary has a name of its own, and is there before the file that needs it takes its place: who opens the file
    meanwhile finds the old pair or the new one.

    Args:
        delta: What :func:`write_delta` wrote.
        old: The packed file that it was made for, under any name.
        out: Where the new one goes, which may be ``old``.

    Returns:
        The new file, opened.

    Raises:
        AutoDPQError: The delta is none, is altered, or was made for another file; or a file cannot be written.
    """
    with named(delta):
        text, arrays, _ = map_arrays(delta)
        model, vocabulary = _read(text, arrays)
    digest = file_digest(old)
    if digest != model["of"]:
        is_new = digest == model["makes"]
        reason = "it is what the delta makes already" if is_new else "the delta was made for another file"
        raise AutoDPQError(f"{old}: {reason} (SHA-256 {digest[:12]}, not {model['of'][:12]})")
    packed = open_packed(old)
    if vocabulary is not None:
        side = packed.manifest.vocabulary
        assert side is not None, "the delta was made for this file"
        beside = _beside(packed, side)
        if file_digest(beside) != vocabulary["of"]:
            raise AutoDPQError(f"{beside}: this is not the model's vocabulary, or it is altered; copy it anew")
        _restore(beside, arrays["vocabulary"], vocabulary, out.with_name(vocabulary["name"]), delta)
    _restore(old, arrays["model"], model, out, delta)
    return open_packed(out)


def _beside(packed: PackedFile, side: SideFile) -> Path:
    path = packed.path.with_name(side.name)
    if not path.is_file():
        raise AutoDPQError(f"{path}: the vocabulary of the model is missing; put it back beside {packed.path.name}")
    return path


def _by_arrays(old: Path, new: Path) -> _Pieces:
    """Each array beside the one of its name; one that has grown beside its beginning."""
    before, after = array_places(old), array_places(new)
    end = 0
    pieces: _Pieces = []
    for name, (begin, size) in after.items():
        pieces.append([_NOTHING, begin - end])  # the header, which is before all arrays
        own, alike = before.get(name, (_NOTHING, 0))
        alike = min(alike, size)
        pieces += [[own, alike], [_NOTHING, size - alike]]
        end = begin + size
    pieces.append([_NOTHING, new.stat().st_size - end])
    return [piece for piece in pieces if piece[1]]


def _by_beginning(old: Path, new: Path) -> _Pieces:
    """As far as files are alike from their first byte on."""
    first, second = _mapped(old), _mapped(new)
    least = min(len(first), len(second))
    alike = least
    for start in range(0, least, _CHUNK):
        stop = min(start + _CHUNK, least)
        differs = np.flatnonzero(first[start:stop] != second[start:stop])
        if len(differs):
            alike = start + int(differs[0])
            break
    return [piece for piece in ([0, alike], [_NOTHING, len(second) - alike]) if piece[1]]


def _mapped(path: Path) -> _Bytes:
    content: _Bytes = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
    return content


def _bases(old: _Bytes, pieces: Sequence[Sequence[int]]) -> Iterator[_Bytes]:
    """What the bytes of the new file are compared with, some at a time."""
    for begin, size in pieces:
        for start in range(0, size, _CHUNK):
            count = min(_CHUNK, size - start)
            yield np.zeros(count, np.uint8) if begin == _NOTHING else old[begin + start : begin + start + count]


def _compressed(new: Path, old: Path, pieces: _Pieces) -> _Bytes:
    compressor, content, place = lzma.LZMACompressor(), _mapped(new), 0
    parts = []
    for base in _bases(_mapped(old), pieces):
        parts.append(compressor.compress((content[place : place + len(base)] ^ base).tobytes()))
        place += len(base)
    return np.frombuffer(b"".join([*parts, compressor.flush()]), np.uint8)


def _entry(old: Path, new: Path, pieces: _Pieces) -> dict[str, Any]:
    return {"of": file_digest(old), "makes": file_digest(new), "pieces": pieces}


def _read(text: str, arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What a delta says of the packed file and of the vocabulary."""
    try:
        manifest = strict_json(text)
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict) or "delta" not in manifest:
        raise AutoDPQError("this is no delta that 'update' wrote")
    if manifest["delta"] != FORMAT:
        raise AutoDPQError(f"it is of format {manifest['delta']!r}, this version reads format {FORMAT}")
    model: Any = manifest.get("model")
    vocabulary: Any = manifest.get("vocabulary")
    expected = {"model"} if vocabulary is None else {"model", "vocabulary"}
    sound = set(arrays) == expected and all(array.dtype == np.uint8 and array.ndim == 1 for array in arrays.values())
    sound = sound and _is_entry(model, {"of", "makes", "pieces"})
    if vocabulary is not None:
        sound = sound and _is_entry(vocabulary, {"of", "makes", "pieces", "name"})
        sound = sound and bool(SideFile(vocabulary["name"], ""))  # which refuses what is no name of a file beside
    if not sound:
        raise AutoDPQError("it does not say what a delta says")
    return dict(model), None if vocabulary is None else dict(vocabulary)


def _is_entry(entry: Any, keys: set[str]) -> bool:
    if not isinstance(entry, dict) or set(entry) != keys or not isinstance(entry["pieces"], list):
        return False
    pieces = all(
        isinstance(piece, list)
        and [type(number) for number in piece] == [int, int]
        and piece[0] >= _NOTHING
        and piece[1] > 0
        for piece in entry["pieces"]
    )
    return pieces and all(isinstance(entry[key], str) for key in keys - {"pieces"})


def _restore(old: Path, compressed: npt.NDArray[Any], entry: Mapping[str, Any], out: Path, delta: Path) -> None:
    """Writes a new file of an old one, and holds it against its digest before it is there."""
    before, digest, unpacked = _mapped(old), hashlib.sha256(), lzma.LZMADecompressor()
    if any(begin + size > len(before) for begin, size in entry["pieces"] if begin != _NOTHING):
        raise AutoDPQError(f"{delta}: it compares with bytes behind the end of {old}; write it again")
    waiting = compressed.tobytes()
    with whole_file(out) as temporary, temporary.open("wb") as file:
        for base in _bases(before, entry["pieces"]):
            changes = b""
            while len(changes) < len(base):
                try:
                    more = unpacked.decompress(waiting, len(base) - len(changes))
                except (lzma.LZMAError, EOFError):
                    more = b""
                waiting = b""
                if not more and (unpacked.eof or unpacked.needs_input):
                    raise AutoDPQError(f"{delta}: it ends before {out.name} does; write it again")
                changes += more
            made = (np.frombuffer(changes, np.uint8) ^ base).tobytes()
            digest.update(made)
            file.write(made)
        if digest.hexdigest() != entry["makes"]:
            raise AutoDPQError(f"{delta}: what it makes of {old} is not {out.name} as it was written; write it again")
