"""A packed file on disk: safetensors, with a manifest and a checksum over every byte (numpy only).

Any safetensors reader opens it. ``__metadata__`` holds ``autodpq``, the manifest, and ``sha256``, the digest of the
whole file with zeros where the digest stands. Tensors are ``tables.NAME.PART``, as the layouts of
:mod:`autodpq.packed.spec` list them, and ``dense.NAME``, the rest of the model's state, of a network in few bits where
tables have bands. They follow one another by falling size of their numbers, so that each is aligned and no byte is
lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autodpq.errors import AutoDPQError
from autodpq.files import whole_file, write_whole
from autodpq.packed.dense import read_dense
from autodpq.packed.manifest import Manifest, strict_json
from autodpq.packed.table import PackedTable

Array = npt.NDArray[Any]

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}
_LENGTH = 8  # bytes that say how long the header is
_MOST_HEADER = 100_000_000  # as safetensors itself allows
_MOST_DIMENSIONS = 64  # as numpy itself allows
_NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class PackedFile:
    """An opened packed file; its arrays are memory-mapped.

    Attributes:
        path: The file.
        manifest: What it says of itself.
        tables: Its tables, in the manifest's order.
        dense: The rest of the model's state, by name.
        stored_dense: The same as it is stored; see :mod:`autodpq.packed.dense`.
        sizes: Bytes by part: ``header``, then every array's; their sum is the file's size.
    """

    path: Path
    manifest: Manifest
    tables: tuple[PackedTable, ...]
    dense: Mapping[str, Array]
    stored_dense: Mapping[str, Array]
    sizes: Mapping[str, int]


def write_packed(
    path: Path, manifest: Manifest, tables: Mapping[str, Mapping[str, Array]], dense: Mapping[str, Array]
) -> None:
    """Writes a packed file, whole or not at all.

    Args:
        path: Where to.
        manifest: What the file says of itself.
        tables: Per table of the manifest, the arrays of :meth:`TableSpec.layout`.
        dense: The rest of the model's state.

    Raises:
        AutoDPQError: An array is missing, of another type or shape, or has no place in its table; the manifest or a
            name cannot be written as JSON; or the file cannot be written.
    """
    arrays = {
        f"tables.{spec.name}.{part}": array
        for spec in manifest.tables
        for part, array in PackedTable(spec, tables.get(spec.name, {})).arrays.items()
    }
    arrays |= {f"dense.{name}": array for name, array in dense.items()}
    write_arrays(path, manifest.to_json, arrays)


def write_arrays(path: Path, manifest: Callable[[], str], arrays: Mapping[str, Array]) -> None:
    """Writes arrays and what tells of them, whole or not at all.

    Args:
        path: Where to.
        manifest: Makes the JSON that tells of them.
        arrays: The arrays, by name.

    Raises:
        AutoDPQError: The format has no place for an array's type, the manifest or a name cannot be written as JSON, or
            the file cannot be written.
    """
    for name, array in arrays.items():
        if array.dtype not in _NAMES:
            raise AutoDPQError(f"{path}: {name!r} holds {array.dtype}, which the format has no place for")
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    try:
        text = _header_text(manifest(), {name: arrays[name] for name in order})
    except ValueError as error:  # NaN, or half of a surrogate pair
        raise AutoDPQError(f"{path}: cannot be written ({error})") from None
    start = len(text).to_bytes(_LENGTH, "little") + text
    digest = hashlib.sha256(start)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(start)
        for name in order:
            content = np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data
            digest.update(content)
            file.write(content)
        place = _digest_place(text)
        file.seek(_LENGTH + place)
        file.write(digest.hexdigest().encode())


def _header_text(manifest: str, arrays: Mapping[str, Array]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"autodpq": manifest, "sha256": _NO_DIGEST}}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def open_packed(path: Path, *, remember: bool = False) -> PackedFile:
    """Opens a packed file; nothing of it is run, and every byte of it is checked.

    Args:
        path: The file.
        remember: Whether ``NAME.checked`` beside it says that it was checked, and the check is left out where it does:
            until the file has another size or was changed at another time.

    Raises:
        AutoDPQError: It is no such file, is cut off or altered, or is of a format that this version does not know; or
            what is to be remembered cannot be written.
    """
    with named(path):
        text, arrays, begin = map_arrays(path, remember=remember)
        manifest = Manifest.from_json(text)
        tables = []
        for spec in manifest.tables:
            names = {part: f"tables.{spec.name}.{part}" for part in spec.layout}
            tables.append(PackedTable(spec, {part: arrays[name] for part, name in names.items() if name in arrays}))
        known = {f"tables.{spec.name}.{part}" for spec in manifest.tables for part in spec.layout}
        stored = {name.removeprefix("dense."): array for name, array in arrays.items() if name not in known}
        if any(not name.startswith("dense.") for name in set(arrays) - known):
            raise AutoDPQError("it holds arrays that its manifest does not tell of")
        sizes = {"header": begin, **{name: array.nbytes for name, array in arrays.items()}}
        dense = read_dense(stored)
    return PackedFile(path, manifest, tuple(tables), dense, stored, sizes)


def map_arrays(path: Path, *, remember: bool = False) -> tuple[str, dict[str, Array], int]:
    """Maps what :func:`write_arrays` wrote; every byte of it is checked.

    Args:
        path: The file.
        remember: As of :func:`open_packed`.

    Returns:
        The JSON that tells of the arrays, the arrays, and the byte at which they begin.

    Raises:
        AutoDPQError: It is no such file, or is cut off or altered; the message does not name it.
    """
    try:
        status = path.stat()
        size = status.st_size
        content = np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)
    except OSError as error:
        raise AutoDPQError(f"cannot be read ({error.strerror})") from None
    except ValueError:
        raise AutoDPQError("this is no file") from None
    header, text = _read_header(content)
    seen = {"bytes": size, "changed": status.st_mtime_ns, "sha256": header["__metadata__"]["sha256"]}
    if not (remember and _remembered(path) == seen):
        _check_digest(content, header, text)
        if remember:
            write_whole(_checked_path(path), json.dumps(seen))
    manifest = str(header.pop("__metadata__")["autodpq"])
    begin = _LENGTH + len(text)
    arrays = {name: _array(name, entry, content[begin:]) for name, entry in _in_order(header, size - begin)}
    return manifest, arrays, begin


def array_places(path: Path) -> dict[str, tuple[int, int]]:
    """Where the arrays of a file that :func:`map_arrays` has checked lie, in its order: first bytes, and how many."""
    content = np.memmap(path, np.uint8, "r")
    header, text = _read_header(content)
    del header["__metadata__"]
    begin = _LENGTH + len(text)
    offsets = [(name, entry["data_offsets"]) for name, entry in _in_order(header, len(content) - begin)]
    return {name: (begin + first, behind - first) for name, (first, behind) in offsets}


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Puts the file's name before what is wrong with it."""
    try:
        yield
    except AutoDPQError as error:
        raise AutoDPQError(f"{path}: {error}") from None


_FOREIGN = "this is no file that autodpq exported"


def _read_header(content: npt.NDArray[np.uint8]) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:_LENGTH].tobytes(), "little")
    if len(content) < _LENGTH or not 2 <= length <= _MOST_HEADER:
        raise AutoDPQError(_FOREIGN)
    if length > len(content) - _LENGTH:
        raise AutoDPQError(f"{_FOREIGN}, or it is cut off")
    text = content[_LENGTH : _LENGTH + length].tobytes()
    try:
        header = strict_json(text.decode())
    except (ValueError, RecursionError):
        raise AutoDPQError(_FOREIGN) from None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(type(metadata.get(key)) is str for key in ("autodpq", "sha256")):
        raise AutoDPQError(_FOREIGN)
    return header, text


def _digest_place(text: bytes) -> int:
    """Where in the header the digest stands: after the manifest, in which every quote is escaped."""
    key = b'"sha256":"'
    return text.find(key) + len(key)


def _check_digest(content: npt.NDArray[np.uint8], header: dict[str, Any], text: bytes) -> None:
    place = _digest_place(text)
    behind = place + len(_NO_DIGEST)
    expected = header["__metadata__"]["sha256"]
    if text[place:behind] != expected.encode(errors="replace"):
        raise AutoDPQError(_FOREIGN)
    digest = hashlib.sha256(content[:_LENGTH].data)
    digest.update(text[:place] + _NO_DIGEST.encode() + text[behind:])
    digest.update(content[_LENGTH + len(text) :].data)
    if digest.hexdigest() != expected:
        raise AutoDPQError("its content is not what was exported: it is cut off or altered; copy or export it again")


def _checked_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.checked")


def _remembered(path: Path) -> object:
    """What was written of a file when it was checked; None where nothing was, or nothing that can be read."""
    try:
        return strict_json(_checked_path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _in_order(header: dict[str, Any], size: int) -> list[tuple[str, dict[str, Any]]]:
    """The arrays' entries in the order of the file, without gaps or overlaps."""
    for name, entry in header.items():
        is_entry = isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}
        if not is_entry or not _whole(entry["data_offsets"]) or not _is_shape(entry["shape"]):
            raise AutoDPQError(f"array {name!r} is not described as it should be")
        if len(entry["data_offsets"]) != 2 or entry["dtype"] not in list(_DTYPES):
            raise AutoDPQError(f"array {name!r} is not described as it should be")
    entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    end = 0
    for name, entry in entries:
        begin, behind = entry["data_offsets"]
        n_bytes = math.prod(entry["shape"]) * np.dtype(_DTYPES[entry["dtype"]]).itemsize
        if begin != end or behind - begin != n_bytes:
            raise AutoDPQError(f"array {name!r} is not where it should be")
        end = behind
    if end != size:
        raise AutoDPQError(f"its arrays end at byte {end} of {size}")
    return entries


def _whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and 0 <= number < 1 << 62 for number in numbers)


def _is_shape(numbers: Any) -> bool:
    """Whether numpy can make an array of such a shape, were there the bytes; one without numbers has its limits too."""
    if not _whole(numbers) or len(numbers) > _MOST_DIMENSIONS:
        return False
    n_numbers: int = math.prod(number or 1 for number in numbers)
    return n_numbers < 1 << 59


def _array(name: str, entry: dict[str, Any], data: npt.NDArray[np.uint8]) -> Array:
    begin, end = entry["data_offsets"]
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    if begin == end:
        return np.zeros(entry["shape"], dtype)
    array: Array = np.asarray(data[begin:end]).view(dtype).reshape(entry["shape"])
    return array
