"""What stands where a torch model had an ``nn.Embedding`` or ``nn.EmbeddingBag``, while it is fine-tuned and after."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autodpq._version import __version__
from autodpq.choices import Arrays, Choice, Full
from autodpq.choices.base import layout_bytes
from autodpq.errors import AutoDPQError
from autodpq.packed.file import PackedFile
from autodpq.packed.manifest import Manifest
from autodpq.packed.module import PackedEmbedding, fitting_state, to_array
from autodpq.packed.spec import BandedSpec
from autodpq.packed.table import PackedTable
from autodpq.packed.trainable import TrainableTable

Replaceable = nn.Embedding | nn.EmbeddingBag


class DropIn(nn.Module):
    """What stands for a module of torch, with the attributes that models read of it.

    Args:
        module: The module that it takes the place of.
        table: Gives rows.
    """

    def __init__(self, module: Replaceable, table: TrainableTable | PackedEmbedding) -> None:
        super().__init__()
        self.num_embeddings = module.num_embeddings
        self.embedding_dim = module.embedding_dim
        self.padding_idx = module.padding_idx
        self.table = table
        self.train(module.training)

    @property
    def weight(self) -> Tensor:
        """The whole table as it is looked up, float32 [num_embeddings, embedding_dim], made at every call."""
        device = next(iter(self.table.state_dict().values())).device
        rows: Tensor = self.table(torch.arange(self.num_embeddings, device=device))
        return rows

    @property
    def rows_by_choice(self) -> tuple[tuple[int, Choice], ...]:
        """How many rows became what, band by band; those that are kept are of the last, ``full``."""
        spec = self.table.spec
        bands = spec.bands if isinstance(spec, BandedSpec) else ((spec.tail, spec.choice), (spec.head, Full()))
        return tuple((n_rows, choice) for n_rows, choice in bands if n_rows)

    def __repr__(self) -> str:
        """One line: its rows by choice, the bytes that they take, and those that they took."""
        spec = self.table.spec
        rows = ", ".join(f"{n_rows:,} {choice}" for n_rows, choice in self.rows_by_choice)
        own, name = layout_bytes(spec.layout), type(self).__name__
        before = 4 * self.num_embeddings * self.embedding_dim
        size = f"{self.num_embeddings}, {self.embedding_dim}"
        return f"{name}({size}; rows: {rows}; bytes: {own:,}, as {name.removeprefix('Compressed')} {before:,})"


class CompressedEmbedding(DropIn):
    """Called as the ``nn.Embedding`` that it stands for."""

    def forward(self, input: Tensor) -> Tensor:
        """Embeddings of ids, integer of any shape."""
        embeddings: Tensor = self.table(input)
        return embeddings


class CompressedEmbeddingBag(DropIn):
    """Called as the ``nn.EmbeddingBag`` that it stands for."""

    def __init__(self, module: nn.EmbeddingBag, table: TrainableTable | PackedEmbedding) -> None:
        super().__init__(module, table)
        self.mode = module.mode
        self.include_last_offset = module.include_last_offset

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """Sums, means or maxima of bags, as torch's own."""
        flat = input.reshape(-1)
        rows: Tensor = self.table(flat)
        places = torch.arange(flat.shape[0], device=flat.device)
        padding = None
        if self.padding_idx is not None:
            # One more row stands for the padding, which no bag counts.
            padding = flat.shape[0]
            places = places.masked_fill(flat == self.padding_idx, padding)
            rows = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])
        pooled: Tensor = nn.functional.embedding_bag(
            places.view(input.shape),
            rows,
            None if offsets is None else offsets.long(),
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=padding,
        )
        return pooled


def drop_in(module: Replaceable, table: TrainableTable | PackedEmbedding) -> DropIn:
    """What stands for a module, in the same mode."""
    if isinstance(module, nn.Embedding):
        return CompressedEmbedding(module, table)
    return CompressedEmbeddingBag(module, table)


def put_in_place(model: nn.Module, made: Mapping[int, nn.Module]) -> nn.Module:
    """Puts modules in the places of others, wherever those stand.

    Args:
        model: Changed in place.
        made: By the ``id`` of the module whose place it takes.

    Returns:
        The model, or what takes its place.
    """
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if id(child) in made:
                setattr(parent, name, made[id(child)])
    return made.get(id(model), model)


def pack_modules(model: nn.Module) -> tuple[Manifest, dict[str, Arrays], Arrays]:
    """The parts of a packed file: the compressed tables of a model by module, and the rest of its state.

    A table that several modules share goes by the name of the first.

    Raises:
        AutoDPQError: Nothing in it is compressed, some of its tables have bands and some have none, or its state holds
            what no packed file can.
    """
    tables: dict[str, PackedTable] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        if isinstance(module, DropIn) and isinstance(module.table, PackedEmbedding) and id(module.table) not in seen:
            seen.add(id(module.table))
            table = module.table.table()
            tables[name] = PackedTable(dataclasses.replace(table.spec, name=name), table.arrays)
    if not tables:
        raise AutoDPQError(f"{type(model).__name__}: nothing in it is compressed; see autodpq.compress")
    with_bands = {isinstance(table.spec, BandedSpec): name for name, table in tables.items()}
    if len(with_bands) > 1:
        names = f"{with_bands[True]!r} was compressed with bands, {with_bands[False]!r} without"
        raise AutoDPQError(f"{names}; one file holds either: compress both with the same 'bands'")
    dense: Arrays = {}
    for name, value in _state_beside(model).items():
        if not isinstance(value, Tensor) or value.dtype == torch.bfloat16 or value.is_complex():
            raise AutoDPQError(f"{name}: {getattr(value, 'dtype', type(value).__name__)} has no place in a packed file")
        dense[name] = to_array(value)
    specs = tuple(table.spec for table in tables.values())
    about = {
        "plan": {band.name: str(band.choice) for spec in specs for band in spec.tables},
        "class": type(model).__name__,
    }
    arrays = {name: table.arrays for name, table in tables.items()}
    return Manifest("modules", specs, None, None, __version__, about), arrays, dense


def restore(packed: PackedFile, model: nn.Module) -> nn.Module:
    """Puts the tables and weights of a packed file into a model that is not compressed; changes it in place.

    Raises:
        AutoDPQError: The model has no such modules or weights.
    """
    modules, made = dict(model.named_modules()), {}
    for table in packed.tables:
        spec = table.spec
        module = modules.get(spec.name)
        if not isinstance(module, Replaceable):
            raise AutoDPQError(f"{packed.path}: the model has no embedding {spec.name!r}; is it the model packed here?")
        if (module.num_embeddings, module.embedding_dim) != (spec.n_rows, spec.dim):
            raise AutoDPQError(
                f"{packed.path}: {spec.name!r} has {spec.n_rows} rows of {spec.dim} numbers, the model's "
                f"{module.num_embeddings} of {module.embedding_dim}; is it the one that was packed?"
            )
        own = PackedEmbedding(table).to(module.weight.device)
        for sharing in modules.values():
            if isinstance(sharing, Replaceable) and sharing.weight is module.weight:
                made[id(sharing)] = drop_in(sharing, own)
    model = put_in_place(model, made)
    model.load_state_dict(fitting_state(_state_beside(model), packed.dense, packed.path), strict=False)
    return model


def _state_beside(model: nn.Module) -> dict[str, Any]:
    """The state of a model without its compressed tables."""
    modules = model.named_modules(remove_duplicate=False)
    inside = tuple(f"{name}." for name, module in modules if isinstance(module, DropIn))
    return {name: value for name, value in model.state_dict().items() if not name.startswith(inside)}
