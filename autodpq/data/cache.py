"""Encoded data sets on disk: written once, whole or not at all, and memory-mapped from then on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autodpq.data.dataset import EncodedDataset, Truth
from autodpq.data.encoding import encode_table
from autodpq.data.inventory import read_inventory, write_inventory
from autodpq.data.source import Source, Table
from autodpq.files import whole_folder
from autodpq.plan import Bag, CompressionPlan

ENCODING_VERSION = 1
"""Goes up when the same source and settings would be encoded otherwise."""

_TEXTS = 1
"""Goes up when other texts count as one value; what was encoded before is encoded again."""


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
        arrays = encode_table(table, partial, source.where)
        widths = dict(zip(table.field_names, arrays["columns"].tolist(), strict=True)) if table.separators else {}
        _write_meta(partial, fingerprint, table, widths)

    return whole_folder(folder, lambda: open_cached(folder, source.name, fingerprint), write)


def open_cached(folder: Path, name: str, fingerprint: str) -> EncodedDataset | None:
    """Opens an encoded data set, or returns None where there is no sound one.

    Args:
        folder: Its folder.
        name: What the data set is to be called.
        fingerprint: What it must have been encoded from.
    """
    meta = read_inventory(folder)
    if meta is None or meta["version"] != ENCODING_VERSION or meta["fingerprint"] != fingerprint:
        return None
    if meta.get("texts") != _TEXTS:
        return None
    return _open(folder, name, meta)


def _open(folder: Path, name: str, meta: dict[str, Any]) -> EncodedDataset:
    def column(file: str) -> npt.NDArray[Any] | None:
        present = f"{file}.npy" in meta["files"]
        return np.load(folder / f"{file}.npy", allow_pickle=False) if present else None

    labels, counts, cardinalities = (np.load(folder / f"{file}.npy") for file in ("labels", "counts", "cardinalities"))
    probabilities, plan = column("probabilities"), meta["plan"]
    truth = Truth(CompressionPlan.from_json(plan), probabilities) if plan and probabilities is not None else None
    return EncodedDataset(
        name=name,
        field_names=tuple(meta["field_names"]),
        ids=np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False),
        labels=labels,
        counts=tuple(np.split(counts, np.cumsum(cardinalities)[:-1])),
        time=column("time"),
        split_column=column("split"),
        fingerprint=_encoded_fingerprint(meta["fingerprint"], column("merged") is not None),
        truth=truth,
        folder=folder,
        binned=meta["binned"],
        missing=tuple(meta.get("missing", ())),
        weights=column("weights"),
        bags={
            name: Bag(separator, own, tuple(meta.get("missing", ())))
            for name, (separator, own) in meta.get("bags", {}).items()
        },
    )


def _encoded_fingerprint(source: str, merged: bool) -> str:
    """The source's, but where texts were several for one value: its ids are others than when each had its own."""
    return hashlib.sha256(f"{source}:texts {_TEXTS}".encode()).hexdigest() if merged else source


def _write_meta(folder: Path, fingerprint: str, table: Table, widths: Mapping[str, int]) -> None:
    """Describes the folder's files."""
    about = {
        "version": ENCODING_VERSION,
        "texts": _TEXTS,
        "fingerprint": fingerprint,
        "field_names": table.field_names,
        "plan": table.plan.to_json() if table.plan is not None else None,
        "binned": {name: len(bins) for name, bins in table.bins.items()},
    }
    if table.missing:
        about["missing"] = table.missing
    if table.separators:
        about["bags"] = {name: (separator, widths[name]) for name, separator in table.separators.items()}
    write_inventory(folder, about)
