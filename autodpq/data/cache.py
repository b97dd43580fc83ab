"""Encoded data sets on disk: written once, whole or not at all, and memory-mapped from then on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autodpq.data.dataset import EncodedDataset, Truth
from autodpq.data.digest import file_digest
from autodpq.data.encoding import encode_table
from autodpq.data.source import Source, Table
from autodpq.errors import AutoDPQError
from autodpq.files import whole_folder
from autodpq.plan import CompressionPlan

ENCODING_VERSION = 1
"""Goes up when the same source and settings would be encoded otherwise."""

_TEXTS = 1
"""Goes up when other texts count as one value; what was encoded before is encoded again."""

_META = "meta.json"


def cache_root(cache_dir: str | os.PathLike[str] | None) -> Path:
    """The cache folder: the argument, else the environment's ``AUTODPQ_CACHE``, else ``~/.cache/autodpq``."""
    given = cache_dir or os.environ.get("AUTODPQ_CACHE") or Path("~") / ".cache" / "autodpq"
    return Path(given).expanduser()


def fingerprint_of(source: Source) -> str:
    """Hexadecimal digest of a source's content, of its settings and of the way of encoding."""
    asked = {"version": ENCODING_VERSION, "digest": source.digest, "settings": dict(source.settings)}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def load_cached(source: Source, cache: Path) -> EncodedDataset:
    """The encoded rows of a source: from the cache, else encoded and put there.

    A damaged copy (a file missing, cut short or changed) is encoded again.

    Args:
        source: The source. It is read only where the cache has no sound copy.
        cache: The cache folder.

    Raises:
        AutoDPQError: The source cannot be used, or the cache cannot be written.
    """
    fingerprint = fingerprint_of(source)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", source.name)[:40].lstrip(".")
    folder = cache / "datasets" / f"{name}-{fingerprint[:16]}"

    def write(partial: Path) -> None:
        table = source.read()
        encode_table(table, partial, source.where)
        _write_meta(partial, fingerprint, table)

    return whole_folder(folder, lambda: open_cached(folder, source.name, fingerprint), write)


def open_cached(folder: Path, name: str, fingerprint: str) -> EncodedDataset | None:
    """Opens an encoded data set, or returns None where there is no sound one.

    Args:
        folder: Its folder.
        name: What the data set is to be called.
        fingerprint: What it must have been encoded from.
    """
    try:
        meta = json.loads((folder / _META).read_text("utf-8"))
        if meta["version"] != ENCODING_VERSION or meta["fingerprint"] != fingerprint or meta["texts"] != _TEXTS:
            return None
        for file, (size, digest) in meta["files"].items():
            if (folder / file).stat().st_size != size or (digest and file_digest(folder / file) != digest):
                return None
        return _open(folder, name, meta)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, AutoDPQError):
        return None


def _open(folder: Path, name: str, meta: dict[str, Any]) -> EncodedDataset:
    def column(file: str) -> npt.NDArray[Any] | None:
        present = f"{file}.npy" in meta["files"]
        return np.load(folder / f"{file}.npy", allow_pickle=False) if present else None

    def required(file: str) -> npt.NDArray[Any]:
        values = column(file)
        if values is None:
            raise ValueError(f"{file}.npy is missing")
        return values

    labels, counts = required("labels"), required("counts")
    probabilities, plan = column("probabilities"), meta["plan"]
    truth = Truth(CompressionPlan.from_json(plan), probabilities) if plan and probabilities is not None else None
    ids: npt.NDArray[np.int32] = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
    if ids.dtype != np.int32 or ids.shape != (len(labels), len(meta["field_names"])):
        raise ValueError("ids.npy does not fit its labels")
    return EncodedDataset(
        name=name,
        field_names=tuple(meta["field_names"]),
        ids=ids,
        labels=labels,
        counts=tuple(np.split(counts, np.cumsum(required("cardinalities"))[:-1])),
        time=column("time"),
        split_column=column("split"),
        fingerprint=_encoded_fingerprint(meta["fingerprint"], column("merged") is not None),
        truth=truth,
        folder=folder,
        binned={name: int(count) for name, count in meta.get("binned", {}).items()},
    )


def _encoded_fingerprint(source: str, merged: bool) -> str:
    """The source's, but where texts were several for one value: its ids are others than when each had its own."""
    return hashlib.sha256(f"{source}:texts {_TEXTS}".encode()).hexdigest() if merged else source


def _write_meta(folder: Path, fingerprint: str, table: Table) -> None:
    """Describes the folder's files."""
    files: dict[str, tuple[int, str | None]] = {}
    for path in sorted(folder.iterdir()):
        # The ids may be gigabytes: their size is checked whenever they are opened, their content is not.
        digest = None if path.name == "ids.npy" else file_digest(path)
        files[path.name] = (path.stat().st_size, digest)
    meta = {
        "version": ENCODING_VERSION,
        "texts": _TEXTS,
        "fingerprint": fingerprint,
        "field_names": table.field_names,
        "plan": table.plan.to_json() if table.plan is not None else None,
        "files": files,
        "binned": {name: len(bins) for name, bins in table.bins.items()},
    }
    (folder / _META).write_text(json.dumps(meta, indent=1), "utf-8")
