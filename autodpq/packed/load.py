"""A packed file as a torch module; nothing of the file is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn

from autodpq.errors import AutoDPQError
from autodpq.models import MODELS, CTRModel
from autodpq.packed.drop_in import restore
from autodpq.packed.file import PackedFile, open_packed
from autodpq.packed.manifest import Manifest
from autodpq.packed.module import PackedEmbedding, fitting_state
from autodpq.packed.scoring import probabilities
from autodpq.packed.vocabulary.lookup import Vocabulary, frame_of
from autodpq.plan import NO_ID, column_slices
from autodpq.training.fit import EVALUATION_BATCH

if TYPE_CHECKING:
    import pandas as pd


class PackedNetwork(nn.Module):
    """A study's compressed network.

    Args:
        packed: The file it is in.
        model: Its click-through model.

    Attributes:
        manifest: What the file says of itself.
        tables: One per field, in the order of the ids' columns.
        model: The click-through model.
    """

    def __init__(self, packed: PackedFile, model: CTRModel) -> None:
        super().__init__()
        self.manifest: Manifest = packed.manifest
        self.tables = nn.ModuleList(PackedEmbedding(table) for table in packed.tables)
        self.model = model
        self._path = packed.path
        self._has_first_order = all(spec.first_order for spec in packed.manifest.tables)

    def embed(self, ids: Tensor, columns: Sequence[int] | None = None) -> Tensor:
        """Embeddings of ids, as :meth:`forward` takes them; gives float [batch, fields, X]."""
        return torch.stack([_mean(table, own) for table, own in self._parted(ids, columns)], 1)

    def forward(self, ids: Tensor, columns: Sequence[int] | None = None) -> Tensor:
        """Logits of ids; gives float [batch].

        Args:
            ids: integer [batch, columns]; a field has one, or several of bags of values, in which -1 stands behind the
                values of a short one.
            columns: How many each field has; None for what the manifest says.
        """
        logits: Tensor = self.model(self.embed(ids, columns))
        if self._has_first_order:
            weights = [_mean(table.first_order_of, own) for table, own in self._parted(ids, columns)]
            logits = logits + torch.stack(weights, 1).sum(1)
        calibration = self.manifest.calibration
        return logits if calibration is None else calibration(logits.double()).float()

    def _parted(self, ids: Tensor, columns: Sequence[int] | None) -> list[tuple[PackedEmbedding, Tensor]]:
        """Each table with its columns of ids."""
        own = columns or self.manifest.columns
        if ids.shape[1] != sum(own):
            raise AutoDPQError(f"ids of shape {list(ids.shape)} given, [batch, {sum(own)}] is needed")
        return [(table, ids[:, slice_]) for table, slice_ in zip(self._embeddings(), column_slices(own), strict=True)]

    def _embeddings(self) -> list[PackedEmbedding]:
        return [table for table in self.tables if isinstance(table, PackedEmbedding)]

    @torch.inference_mode()
    def score(self, ids: npt.NDArray[np.integer], columns: Sequence[int] | None = None) -> npt.NDArray[np.float32]:
        """Logits of samples, some at a time; as :meth:`autodpq.serving.ServedModel.score`.

        Args:
            ids: integer [rows, columns].
            columns: How many each field has; None for what the manifest says.

        Returns:
            float32 [rows].
        """
        device = next(self.buffers()).device
        batches = torch.split(torch.from_numpy(ids), EVALUATION_BATCH)
        logits: npt.NDArray[np.float32] = (
            torch.cat([self(batch.to(device), columns) for batch in batches]).cpu().numpy()
        )
        return logits

    def predict(self, values: pl.DataFrame | pd.DataFrame | Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """Click probabilities of raw values; the last digits (about 1e-7) can depend on the rows that stand beside.

        Args:
            values: A column per field, others are left alone; a mapping has a sequence per field.

        Returns:
            float64 [rows].

        Raises:
            AutoDPQError: A field is missing, or the vocabulary is missing or altered.
        """
        ids, columns = self.vocabulary.encode_bags(frame_of(values, self.vocabulary.fields), "values")
        return probabilities(self.score(ids, columns))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What ids stand for, read when it is first asked for.

        Raises:
            AutoDPQError: There is none, or its file is not what it was.
        """
        return Vocabulary.beside(self._path, self.manifest)


def _mean(look_up: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
    """What is looked up of ids [batch, 1]; of bags, [batch, columns], the mean over those that are there."""
    if ids.shape[1] == 1:
        return look_up(ids[:, 0])
    known = ids != NO_ID
    known = torch.cat([torch.ones_like(known[:, :1]), known[:, 1:]], 1)  # no bag is empty
    values = look_up(torch.where(known, ids, 0))
    shape = (*known.shape, *[1] * (values.dim() - 2))
    values = torch.where(known.view(shape), values, 0.0)
    sizes = known.sum(1).to(values.dtype).view(-1, *shape[2:])
    if torch.compiler.is_compiling():
        return values.sum(1) / sizes
    # One after another, as they are added in training, so that not a bit differs.
    total = values[:, 0]
    for column in range(1, ids.shape[1]):
        total = total + values[:, column]
    return total / sizes


def load(path: str | Path, model: nn.Module | type[CTRModel] | None = None) -> nn.Module:
    """Reads a packed file.

    Args:
        path: The file.
        model: Of a study's network, the class of its click-through model, where it is not installed. Of a model that
            :func:`autodpq.compress` compressed, such a model, not compressed; it is changed in place.

    Returns:
        The module in evaluation mode, its weights frozen. Of a study: a :class:`PackedNetwork`, ids in, logits out, to
        the bit those of the trained network, calibrated where the file says so. Else the model given.

    Raises:
        AutoDPQError: The file cannot be used, or the model is not the one that was packed.
    """
    packed = open_packed(Path(path))
    if packed.manifest.kind == "modules":
        if not isinstance(model, nn.Module):
            raise AutoDPQError(f"{path}: it holds the weights of a model of yours; give the model, not compressed")
        restored: nn.Module = restore(packed, model)
        return restored.eval()
    if model is not None and not (isinstance(model, type) and issubclass(model, CTRModel)):
        raise AutoDPQError(f"{path}: it holds a study's network; as model, the class of its CTRModel is needed")
    network = PackedNetwork(packed, make_model(packed, model))
    return network.eval().requires_grad_(False)


def make_model(packed: PackedFile, given: type[CTRModel] | None) -> CTRModel:
    """The click-through model of a packed network, with its weights.

    Raises:
        AutoDPQError: The model is not installed, or is not the one that was packed.
    """
    spec, tables = packed.manifest.model, packed.manifest.tables
    assert spec is not None, "a network has one"
    if given is not None and given.name != spec.name:
        raise AutoDPQError(f"{packed.path}: its model is {spec.name!r}, {given.name!r} was given")
    if len({table.dim for table in tables}) > 1:
        raise AutoDPQError(f"{packed.path}: its tables have rows of different lengths, which no network has")
    kind = given or installed_model(packed.path, spec.name)
    if any(table.first_order != kind.first_order for table in tables):
        raise AutoDPQError(f"{packed.path}: its first-order weights do not fit the model {spec.name!r}")
    make = partial(kind, len(tables), tables[0].dim, spec.hidden, 0.0)
    with torch.device("meta"):  # no memory is taken for weights that the file only says it has
        expected = make().state_dict()
    state = fitting_state(expected, packed.dense, packed.path)
    model = make()
    model.load_state_dict(state, strict=False)
    return model


def installed_model(path: Path, name: str) -> type[CTRModel]:
    """The class of a packed network's model.

    Args:
        path: The file.
        name: What it calls the model.

    Raises:
        AutoDPQError: It is not installed, or is code by its path.
    """
    # A name with a colon would be code by its path, which no file may name.
    if ":" in name:
        raise AutoDPQError(f"{path}: its model {name!r} is code, which no file may name; give its class as model")
    try:
        return MODELS.find(name)
    except AutoDPQError as error:
        raise AutoDPQError(f"{path}: {error}; or give its class as model (--model FILE.py:Class)") from None
