"""Packed files for those who serve them: of a packed file, or of a model that was compressed."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autodpq.choices import Arrays
from autodpq.errors import AutoDPQError
from autodpq.files import whole_file
from autodpq.packed.file import PackedFile, open_packed, write_packed
from autodpq.packed.manifest import Manifest, SideFile
from autodpq.packed.spec import HEAD_DTYPES, AnySpec, BandedSpec, store_rows
from autodpq.packed.vocabulary.side_file import hash_vocabulary

if TYPE_CHECKING:
    from torch import nn


def export(
    source: str | Path | nn.Module, out: str | Path, *, head_dtype: str = "float32", hashed_vocabulary: bool = False
) -> PackedFile:
    """Writes a packed file; the vocabulary, where there is one, goes beside it as ``NAME.vocabulary.parquet``.

    Args:
        source: A packed file, as a study keeps one per run in ``models``; or a model that
            :func:`autodpq.compress` compressed.
        out: Where to, ending in ``.safetensors``.
        head_dtype: How rows of their own are stored: ``float32``; ``float16``; ``int8`` with one scale per row.
        hashed_vocabulary: Whether the vocabulary holds hashes of values, as ``NAME.vocabulary.safetensors``, and not
            their texts, which cannot be had back from it.

    Returns:
        The file, opened.

    Raises:
        AutoDPQError: The source is no such file or model, has no vocabulary that could be hashed or one that is
            hashed already and is to be texts, or a file cannot be written.
    """
    path = Path(out)
    if path.suffix != ".safetensors":
        raise AutoDPQError(f"{path}: a packed file ends in .safetensors")
    if head_dtype not in HEAD_DTYPES:
        raise AutoDPQError(f"head_dtype: {head_dtype!r} given, one of {', '.join(HEAD_DTYPES)} is needed")
    manifest, tables, dense, vocabulary = _read(source)
    where = source if isinstance(source, str | Path) else type(source).__name__
    for spec in manifest.tables:
        if isinstance(spec, BandedSpec):
            if head_dtype == "int8":
                raise AutoDPQError(f"{where}: head_dtype: its tables have bands, whose rows are float16; leave it out")
        elif spec.head_dtype not in ("float32", head_dtype):
            raise AutoDPQError(f"{where}: its rows are stored as {spec.head_dtype} already; export the float32 file")
    stored = {spec.name: _stored(spec, tables[spec.name], head_dtype) for spec in manifest.tables}
    specs = tuple(
        spec if isinstance(spec, BandedSpec) else dataclasses.replace(spec, head_dtype=head_dtype)
        for spec in manifest.tables
    )
    side = manifest.vocabulary
    if hashed_vocabulary and side is None:
        raise AutoDPQError(f"{source}: hashed_vocabulary: it has no vocabulary; leave it out")
    if side is not None and vocabulary is not None:
        side = _write_vocabulary(vocabulary, side, manifest.tables, path, hashed_vocabulary)
    write_packed(path, dataclasses.replace(manifest, tables=specs, vocabulary=side), stored, dense)
    return open_packed(path)


def _read(source: str | Path | nn.Module) -> tuple[Manifest, dict[str, Arrays], Arrays, Path | None]:
    """The parts of a packed file or of a compressed model, and where the vocabulary is."""
    if not isinstance(source, str | Path):
        from autodpq.packed.drop_in import pack_modules

        return *pack_modules(source), None
    packed = open_packed(Path(source))
    side = packed.manifest.vocabulary
    vocabulary = None if side is None else packed.path.with_name(side.name)
    return (
        packed.manifest,
        {table.spec.name: table.arrays for table in packed.tables},
        dict(packed.stored_dense),
        vocabulary,
    )


def _stored(spec: AnySpec, arrays: Arrays, head_dtype: str) -> Arrays:
    if isinstance(spec, BandedSpec) or spec.head_dtype == head_dtype:
        return arrays
    return arrays | store_rows(arrays["rows"], head_dtype)


def _write_vocabulary(source: Path, side: SideFile, tables: Sequence[AnySpec], path: Path, hashed: bool) -> SideFile:
    """Writes the vocabulary beside a packed file, from what it is beside the source."""
    if side.hash is not None and not hashed:
        raise AutoDPQError(
            f"{source}: it holds hashes, and values cannot be had back from them; export the run, or give "
            "hashed_vocabulary=True"
        )
    target = path.with_name(f"{path.stem}.vocabulary.{'safetensors' if hashed else 'parquet'}")
    if hashed and side.hash is None:
        return hash_vocabulary(source, side, tables, target)
    _copy(source, target)
    return dataclasses.replace(side, name=target.name)


def _copy(source: Path, target: Path) -> None:
    if source.resolve() == target.resolve():
        return
    if not source.is_file():
        raise AutoDPQError(f"{source}: the vocabulary of the model is missing; put it back, or run the study again")
    with whole_file(target) as temporary:
        shutil.copyfile(source, temporary)
