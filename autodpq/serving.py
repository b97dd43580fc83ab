"""Serving a packed file with numpy alone: nothing here imports torch, and polars only where raw values are given.

>>> model = open_model("model.safetensors")  # doctest: +SKIP
>>> model.predict({"user": [7, 8], "city": ["Bonn", None]})  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autodpq.errors import AutoDPQError, look_up
from autodpq.packed.file import PackedFile, open_packed
from autodpq.packed.manifest import Manifest
from autodpq.packed.scoring import SCORERS, Floats, Function, Weights, probabilities
from autodpq.plan import NO_ID, column_slices

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from autodpq.packed.vocabulary.lookup import Vocabulary

_BATCH = 2048  # rows that are scored at a time: what lies between the layers stays in the cache of a core


def open_model(path: str | Path, *, remember: bool = False) -> ServedModel:
    """Opens a packed file to look up and score; its tables stay on disk until they are read.

    Args:
        path: The file.
        remember: Whether ``NAME.checked`` beside it says that every byte was checked, so that it is done once and not
            at every start: until the file has another size or was changed at another time.

    Raises:
        AutoDPQError: It is no such file, is cut off or altered, or its weights are not those of its model; or what is
            to be remembered cannot be written.
    """
    return ServedModel(open_packed(Path(path), remember=remember))


class ServedModel:
    """An opened packed file.

    Args:
        packed: The file.

    Raises:
        AutoDPQError: Its dense weights are not those of its model.
    """

    def __init__(self, packed: PackedFile) -> None:
        self._packed = packed
        self._tables = {table.spec.name: table for table in packed.tables}
        self._model: Function | None = None
        model = packed.manifest.model
        if model is None:
            return
        dims = {table.spec.dim for table in packed.tables}
        if len(dims) > 1:
            raise AutoDPQError(f"{packed.path}: its fields have embeddings of {sorted(dims)} numbers, not of one size")
        if model.name in SCORERS:
            weights = Weights(packed, model.hidden, len(packed.tables), dims.pop())
            self._model = SCORERS[model.name](weights)

    def __reduce__(self) -> tuple[Callable[[Path], ServedModel], tuple[Path]]:
        """Pickled by its path: who loads it opens the file, which is mapped and shared, and checks it."""
        return open_model, (self._packed.path.absolute(),)

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself."""
        return self._packed.manifest

    @property
    def field_names(self) -> tuple[str, ...]:
        """The tables; of a network, its fields in the order of the ids' columns."""
        return tuple(self._tables)

    @property
    def scores(self) -> bool:
        """Whether numpy can score: the model is one of this project's own."""
        return self._model is not None

    @property
    def resident_bytes(self) -> int:
        """Bytes that looking up and scoring read from, without the vocabulary."""
        dense = sum(array.nbytes for array in self._packed.dense.values())
        return dense + sum(table.resident_bytes for table in self._packed.tables)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What ids stand for, read when it is first asked for.

        Raises:
            AutoDPQError: There is none, or its file is not what it was.
        """
        self._check_network()
        from autodpq.packed.vocabulary.lookup import Vocabulary

        return Vocabulary.beside(self._packed.path, self.manifest)

    def lookup(self, name: str, ids: npt.ArrayLike) -> Floats:
        """Embeddings of one table's ids.

        Args:
            name: The table: a field, or a module.
            ids: integer, any shape.

        Returns:
            float32 [*shape of ids, X].

        Raises:
            AutoDPQError: There is no such table, or an id is outside it.
        """
        return look_up("table", name, self._tables).lookup(_integers(ids))

    def embed(self, ids: npt.ArrayLike, columns: Sequence[int] | None = None) -> Floats:
        """Embeddings of samples.

        Args:
            ids: integer [batch, columns], as :meth:`score` takes them.
            columns: How many each field has; None for what the manifest says.

        Returns:
            float32 [batch, fields, X].

        Raises:
            AutoDPQError: The file holds no network, or the ids are of another shape or outside their tables.
        """
        own = columns or self.manifest.columns
        return self._embed(self._samples(ids, own), own)

    def score(self, ids: npt.ArrayLike, columns: Sequence[int] | None = None) -> Floats:
        """Click logits of samples; the last digits of one (about 1e-7) can depend on the rows that stand beside it.

        Args:
            ids: integer [batch, columns]; a field has one, or several of bags of values, in which -1 stands behind the
                values of a short one.
            columns: How many each field has; None for what the manifest says.

        Returns:
            float32 [batch].

        Raises:
            AutoDPQError: Numpy cannot score the model, or the ids are of another shape or outside their tables.
        """
        own = columns or self.manifest.columns
        samples = self._samples(ids, own)
        if self._model is None:
            assert self.manifest.model is not None, "only networks have samples"
            raise AutoDPQError(
                f"{self._packed.path}: the model {self.manifest.model.name!r} is a plug-in, which numpy cannot score; "
                "load it with autodpq.load, or export it to ONNX"
            )
        logits = np.empty(len(samples), np.float32)
        for start in range(0, len(samples), _BATCH):
            batch = samples[start : start + _BATCH]
            part = self._model(self._embed(batch, own))
            weights = [
                _mean(table.first_order, batch[:, slice_])
                for slice_, table in zip(column_slices(own), self._packed.tables, strict=True)
                if table.spec.first_order
            ]
            logits[start : start + _BATCH] = part + sum(weights) if weights else part
        calibration = self.manifest.calibration
        return logits if calibration is None else calibration(logits.astype(np.float64)).astype(np.float32)

    def predict(self, values: pl.DataFrame | pd.DataFrame | Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """Click probabilities of raw values; the last digits (about 1e-7) can depend on the rows that stand beside.

        Warns, once for each, of a column most of whose values were never seen in training.

        Args:
            values: A column per field, others are left alone; a mapping has a sequence per field. A value
                counts whatever its type, as :meth:`autodpq.packed.vocabulary.lookup.Vocabulary.look_up` says.

        Returns:
            float64 [rows].

        Raises:
            AutoDPQError: Numpy cannot score the model, there is no vocabulary, or a column is missing or holds no
                single values.
        """
        from autodpq.packed.vocabulary.lookup import frame_of

        ids, columns = self.vocabulary.encode_bags(frame_of(values, self.field_names), "values")
        return probabilities(self.score(ids, columns))

    def _check_network(self) -> None:
        if self.manifest.model is None:
            raise AutoDPQError(
                f"{self._packed.path}: it holds tables of a torch model, whose other layers numpy cannot run; look its "
                "tables up by name, or export the model to ONNX"
            )

    def _samples(self, ids: npt.ArrayLike, columns: Sequence[int]) -> npt.NDArray[np.integer]:
        self._check_network()
        samples = _integers(ids)
        if samples.ndim != 2 or samples.shape[1] != sum(columns):
            raise AutoDPQError(f"ids of shape {list(samples.shape)} given, [batch, {sum(columns)}] is needed")
        return samples

    def _embed(self, samples: npt.NDArray[np.integer], columns: Sequence[int]) -> Floats:
        tables = self._packed.tables
        embeddings = np.empty((len(samples), len(tables), tables[0].spec.dim), np.float32)
        for place, (slice_, table) in enumerate(zip(column_slices(columns), tables, strict=True)):
            embeddings[:, place] = _mean(table.lookup, samples[:, slice_])
        return embeddings


def _mean(look_up: Callable[[npt.NDArray[np.integer]], Floats], ids: npt.NDArray[np.integer]) -> Floats:
    """What is looked up of ids [batch, 1]; of bags, [batch, columns], the mean over those that are there."""
    if ids.shape[1] == 1:
        return look_up(ids[:, 0])
    total = look_up(ids[:, 0]).copy()  # no bag is empty
    known = ids[:, 1:] != NO_ID
    for column in np.flatnonzero(known.any(0)).tolist():
        rows = np.flatnonzero(known[:, column])
        total[rows] += look_up(ids[rows, column + 1])
    sizes = (1 + known.sum(1)).astype(np.float32)
    mean: Floats = total / sizes.reshape(-1, *[1] * (total.ndim - 1))
    return mean


def _integers(ids: npt.ArrayLike) -> npt.NDArray[np.integer]:
    array = np.asarray(ids)
    if array.dtype.kind not in "iu":
        raise AutoDPQError(f"ids of type {array.dtype} given, integers are needed; 'predict' takes raw values")
    return array
