"""Packed files for those who serve them: of a packed file, or of a model that was compressed."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq._version import __version__
from autodpq.choices import Arrays, Full
from autodpq.data.values import as_text, canonical_texts
from autodpq.errors import AutoDPQError, nearest
from autodpq.files import whole_file
from autodpq.packed.file import PackedFile, open_packed, write_packed
from autodpq.packed.manifest import Manifest, ModelSpec, SideFile
from autodpq.packed.spec import HEAD_DTYPES, AnySpec, BandedSpec, TableSpec, store_rows
from autodpq.packed.vocabulary.side_file import hash_vocabulary, write_vocabulary

if TYPE_CHECKING:
    from torch import nn

    from autodpq.models import CTRModel


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
    path = _target(out)
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


def export_network(
    out: str | Path,
    model: CTRModel,
    hidden: Sequence[int],
    tables: Mapping[str, tuple[Sequence[Any], npt.ArrayLike]],
    *,
    first_order: Mapping[str, npt.ArrayLike] | None = None,
    unseen: Mapping[str, Any] | None = None,
) -> PackedFile:
    """Writes a network that was trained elsewhere, nothing of it compressed, and its vocabulary beside it.

    ``autodpq-study run --pretrained`` starts from it, and whatever reads packed files serves it.

    Args:
        out: Where to, ending in ``.safetensors``.
        model: What maps embeddings to logits, trained; of a class that studies know, or that is named to them.
        hidden: The widths that it was made with.
        tables: By field, in the order of the embeddings that the model takes, its values and their rows, [values, X].
            None is the missing value.
        first_order: By field the first-order weights of its values, [values], where the model has such.
        unseen: By field the value whose row stands for values never seen; the last one's, unless it is given.

    Returns:
        The file, opened.

    Raises:
        AutoDPQError: Names the field and what does not fit, or the file cannot be written.
    """
    from autodpq.packed.network import dense_weights

    path = _target(out)
    if model.first_order != (first_order is not None):
        what = "needs the values' first-order weights" if model.first_order else "has no first-order weights"
        raise AutoDPQError(f"first_order: the model {model.name} {what}")
    specs: list[TableSpec] = []
    stored: dict[str, Arrays] = {}
    words: list[pl.DataFrame] = []
    for name, (values, rows) in tables.items():
        texts = _texts(name, values)
        arrays = {"rows": _floats(f"tables: {name!r}", rows, (len(texts), None))}
        if first_order is not None:
            weights = first_order.get(name, ())
            arrays["first_order"] = _floats(f"first_order: {name!r}", weights, (len(texts),))
        fallback = len(texts) - 1
        if unseen is not None and name in unseen:
            (text,) = _texts(name, [unseen[name]])
            if text not in texts:
                raise AutoDPQError(f"unseen: {name!r} has no value {unseen[name]!r}{nearest(text, texts)}")
            fallback = texts.index(text)
        width = arrays["rows"].shape[1]
        specs.append(TableSpec(name, len(texts), width, len(texts), Full(), fallback, first_order=model.first_order))
        stored[name] = arrays
        words.append(pl.DataFrame({"field": name, "id": np.arange(len(texts), dtype=np.int32), "value": texts}))
    _check_sizes(model, hidden, specs)
    side = write_vocabulary(path.with_name(f"{path.stem}.vocabulary.parquet"), pl.concat(words), specs)
    dense = {name: array.astype(np.float32) for name, array in dense_weights(model).items()}
    about = ModelSpec(model.name, tuple(hidden))
    write_packed(path, Manifest("network", tuple(specs), about, side, __version__), stored, dense)
    return open_packed(path)


def _target(out: str | Path) -> Path:
    path = Path(out)
    if path.suffix != ".safetensors":
        raise AutoDPQError(f"{path}: a packed file ends in .safetensors")
    return path


def _check_sizes(model: CTRModel, hidden: Sequence[int], specs: Sequence[TableSpec]) -> None:
    """Refuses what could not be loaded again."""
    import torch

    if not specs:
        raise AutoDPQError("tables: none is given")
    other = next((spec for spec in specs if spec.dim != specs[0].dim), None)
    if other is not None:
        told = f"{specs[0].name!r} has rows of {specs[0].dim}, {other.name!r} of {other.dim} numbers"
        raise AutoDPQError(f"tables: {told}; all need as many")
    with torch.device("meta"):
        made = type(model)(len(specs), specs[0].dim, tuple(hidden), 0.0).state_dict()
    mine = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if mine != {name: tuple(value.shape) for name, value in made.items()}:
        raise AutoDPQError(
            f"hidden: the model has other weights than one of {len(specs)} fields, X = {specs[0].dim} and an MLP of "
            f"{'-'.join(map(str, hidden))}"
        )


def _texts(name: str, values: Sequence[Any]) -> list[str]:
    """Values as their canonical texts, the missing one being empty."""
    series = pl.Series(name, list(values), strict=False)
    texts = canonical_texts(as_text(series, f"tables: {name!r}").fill_null("")).to_list()
    if not texts:
        raise AutoDPQError(f"tables: {name!r} has no values")
    if len(set(texts)) < len(texts):
        twice = next(text for place, text in enumerate(texts) if text in texts[:place])
        raise AutoDPQError(f"tables: {name!r} has the value {twice!r} twice")
    return texts


def _floats(where: str, values: npt.ArrayLike, shape: tuple[int | None, ...]) -> npt.NDArray[np.float32]:
    array = np.ascontiguousarray(values, np.float32)
    fits = array.ndim == len(shape) and all(own in (None, size) for own, size in zip(shape, array.shape, strict=True))
    if not fits:
        needed = ", ".join("X" if size is None else str(size) for size in shape)
        raise AutoDPQError(f"{where}: an array of {list(array.shape)} given, [{needed}] is needed")
    if not np.isfinite(array).all():
        raise AutoDPQError(f"{where}: a number is not finite")
    return array


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
