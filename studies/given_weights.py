"""Weights of a packed file, which a study's FE starts from instead of nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from autodpq.data import EncodedDataset
from autodpq.errors import AutoDPQError
from autodpq.models import CTRModel
from autodpq.packed.file import PackedFile, open_packed
from autodpq.packed.load import make_model
from autodpq.packed.vocabulary.lookup import Vocabulary
from autodpq.packed.vocabulary.side_file import Values
from autodpq.packed.vocabulary.words import AT_LEAST, Numbers
from autodpq.training.recipes import Recipe
from autodpq.training.trainer import Trainer


@dataclass(frozen=True)
class GivenWeights:
    """What FE starts from.

    Attributes:
        state: The state of FE's network.
        n_known: How many of the data's values the file knows.
        n_values: How many values there are.
    """

    state: dict[str, Tensor]
    n_known: int
    n_values: int


def check_given(path: Path, model: type[CTRModel], recipe: Recipe, fields: Sequence[str]) -> None:
    """Refuses a file that a study cannot start from, before anything is trained.

    Args:
        path: The file, its vocabulary beside it.
        model: The study's model.
        recipe: How it is trained.
        fields: The fields of the data.

    Raises:
        AutoDPQError: The file is none of a network, or of another model, other sizes or other fields.
    """
    with _named():
        packed = open_packed(path)
        _check(packed, model, recipe, fields)
        Vocabulary.beside(path, packed.manifest)


def given_weights(path: Path, trainer: Trainer, source: EncodedDataset) -> GivenWeights:
    """FE's network with the rows and the model of a packed file that :func:`check_given` has passed.

    Rows go by value, not by id; a value that the file does not know starts from what stands there for values never
    seen. Tables may be compressed: rows are then what they are looked up as.

    Args:
        path: The file, its vocabulary beside it.
        trainer: Builds the network.
        source: The values of the data.

    Raises:
        AutoDPQError: The file is not as it was, or the data have no vocabulary.
    """
    with _named():
        return _given_weights(path, trainer, source)


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except AutoDPQError as error:
        raise AutoDPQError(f"--pretrained: {error}") from None


@torch.no_grad()
def _given_weights(path: Path, trainer: Trainer, source: EncodedDataset) -> GivenWeights:
    packed = open_packed(path)
    vocabulary, words = Vocabulary.beside(path, packed.manifest), source.vocabulary()
    network = trainer.build(trainer.full_plan())
    network.model.load_state_dict(make_model(packed, trainer.model).state_dict(), strict=False)
    embedding, first, n_known = network.embedding, 0, 0
    for field, table in zip(trainer.fields, packed.tables, strict=True):
        own = words.filter(pl.col("field") == field.name)
        ids = _ids(vocabulary.values(field.name), own, str(path))
        n_known += int((ids >= 0).sum())
        known = np.where(ids < 0, table.spec.fallback, ids)
        places = torch.from_numpy(first + own["id"].to_numpy().astype(np.int64))
        embedding.table[places] = torch.from_numpy(table.lookup(known)).to(embedding.table)
        if embedding.first_order is not None:
            embedding.first_order[places] = torch.from_numpy(table.first_order(known)).to(embedding.first_order)
        first += field.cardinality
    return GivenWeights({name: value.clone() for name, value in network.state_dict().items()}, n_known, first)


def _ids(values: Values, words: pl.DataFrame, where: str) -> npt.NDArray[np.int32]:
    """Ids of the data's values in the file, int32 [values]; -1 where it does not know one.

    Of bins the file is asked for the least number: bins that begin elsewhere start from the one that it lies in.
    """
    if isinstance(values, Numbers) and AT_LEAST in words.columns:
        return values.look_up(words[AT_LEAST], where)
    return values.look_up(words["value"], where)


def _check(packed: PackedFile, model: type[CTRModel], recipe: Recipe, fields: Sequence[str]) -> None:
    manifest, path = packed.manifest, packed.path
    if manifest.model is None:
        raise AutoDPQError(f"{path}: it holds tables of a torch model, and no network that a study could train")
    sizes = (
        ("model", manifest.model.name, model.name, "--models {}"),
        ("embedding_dim", manifest.tables[0].dim, recipe.embedding_dim, "embedding_dim={} in --recipe"),
        ("hidden", manifest.model.hidden, recipe.hidden, "hidden={} in --recipe"),
    )
    for name, there, here, give in sizes:
        if there != here:
            told, own = (str(size).replace(" ", "") for size in (there, here))
            raise AutoDPQError(f"{path}: its {name} is {told}, the study's is {own}; give {give.format(told)}")
    theirs, mine = [table.name for table in manifest.tables], list(fields)
    if theirs != mine:
        raise AutoDPQError(
            f"{path}: its fields are {', '.join(theirs)}, those of the data {', '.join(mine)}; choose them by --fields"
        )
