"""What a person may ask of a loader."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class LoadOptions:
    """Options of :func:`autodpq.data.load_dataset`, described there; each loader takes some of them."""

    data_dir: str | os.PathLike[str] | None = None
    cache_dir: str | os.PathLike[str] | None = None
    label: str = "click"
    fields: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    multi: tuple[str, ...] = ()
    split_column: str | None = None
    time_column: str | None = None
    weight_column: str | None = None
    label_above: float = 3
