"""What stands where a torch model had an ``nn.Embedding`` or ``nn.EmbeddingBag``, while it is fine-tuned and after."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autodpq._version import __version__
from autodpq.choices import Arrays, Choice, Made
from autodpq.embedding.groups import Group, group_of, mean_rows
from autodpq.embedding.options import QuantizerOptions
from autodpq.errors import AutoDPQError
from autodpq.packed.file import PackedFile
from autodpq.packed.manifest import Manifest
from autodpq.packed.module import PackedEmbedding, fitting_state, to_array
from autodpq.packed.spec import TableSpec
from autodpq.packed.table import PackedTable

Replaceable = nn.Embedding | nn.EmbeddingBag


OPTIONS = QuantizerOptions(scores="euclidean", gradient="centroid")
"""Rows of a table move to other centroids while it is fine-tuned."""


class TrainableTable(nn.Module):
    """A table while it is fine-tuned: rare rows are what their choice makes of them, on the fly.

    Args:
        weight: The trained rows, float32 [n, X]; the module's own parameter, so that whoever holds it trains it still.
        is_tail: Which rows are not kept, bool [n], on the weight's device.
        choice: What becomes of them.
        padding_idx: The row that gets no gradient.
    """

    is_tail: Tensor
    numbers: Tensor

    def __init__(self, weight: nn.Parameter, is_tail: Tensor, choice: Choice, padding_idx: int | None) -> None:
        super().__init__()
        self.weight = weight
        self.choice = choice
        self.padding_idx = padding_idx
        self.register_buffer("is_tail", is_tail, persistent=False)
        self.register_buffer("numbers", is_tail.cumsum(0) - 1, persistent=False)
        n_rows = int(is_tail.sum())
        self.modulus = choice.modulus(n_rows)
        self.shared: nn.Parameter | None = None
        self.group: Group | None = None
        if isinstance(choice, Made):
            with torch.random.fork_rng(devices=[]):  # what is drawn here is started anew
                self.group = group_of([[choice]], weight.shape[1], OPTIONS).to(weight.device)
        else:
            self.shared = nn.Parameter(weight.new_zeros(self.modulus, weight.shape[1]))

    @torch.no_grad()
    def start(self, weights: Tensor, seed: int, n_iterations: int = 25) -> None:
        """Starts what is trained beside the rows.

        Args:
            weights: float [rare rows], how often each is used.
            seed: Seeds k-means.
            n_iterations: Rounds of k-means.
        """
        rows = self.weight.detach()[self.is_tail]
        if self.group is not None:
            self.group.start(rows, 0, 0, seed, weights, n_iterations)
        elif self.shared is not None:
            self.shared.copy_(mean_rows(rows, self.modulus, weights))

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings of ids, integer of any shape; gives float32 [*ids.shape, X]."""
        flat = ids.reshape(-1).long()
        rows = nn.functional.embedding(flat, self.weight, self.padding_idx)
        places = self.is_tail[flat].nonzero().squeeze(1)
        if len(places):
            rows = rows.index_put((places,), self._made(flat[places]))
        return rows.view(*ids.shape, rows.shape[1])

    def _made(self, ids: Tensor) -> Tensor:
        if self.shared is not None:
            return nn.functional.embedding(self.numbers[ids] % self.modulus, self.shared)
        assert self.group is not None
        distinct, places = torch.unique(ids, return_inverse=True)
        made: Tensor = self.group(self.weight[distinct][None], self.numbers[distinct][None])
        return made[0, 0][places]

    @torch.no_grad()
    def packed(self) -> PackedTable:
        """The table as it is stored; as there is no vocabulary, id 0 stands for values never seen."""
        weight = self.weight.detach()
        head_ids = (~self.is_tail).nonzero().squeeze(1).cpu()
        ranked = bool((head_ids == torch.arange(len(head_ids))).all())
        spec = TableSpec("table", len(weight), weight.shape[1], len(head_ids), self.choice, 0, ranked)
        rows, arrays = weight[~self.is_tail], {}
        if isinstance(self.choice, Made) and self.group is not None:
            of_tail = weight[self.is_tail]
            arrays = self.choice.pack(to_array(of_tail), self.group.shared(of_tail, 0, 0))
        elif self.shared is not None:
            rows = torch.cat([rows, self.shared])
        if not ranked:
            arrays["head_ids"] = head_ids.int().numpy()
        return PackedTable(spec, {**arrays, "rows": to_array(rows)})


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

    Raises:
        AutoDPQError: Nothing in it is compressed, or its state holds what no packed file can.
    """
    tables: dict[str, PackedTable] = {}
    for name, module in model.named_modules():
        if isinstance(module, DropIn) and isinstance(module.table, PackedEmbedding):
            table = module.table.table()
            assert isinstance(table.spec, TableSpec), "modules have no bands"
            tables[name] = PackedTable(dataclasses.replace(table.spec, name=name), table.arrays)
    if not tables:
        raise AutoDPQError(f"{type(model).__name__}: nothing in it is compressed; see autodpq.compress")
    dense: Arrays = {}
    for name, value in _state_beside(model).items():
        if not isinstance(value, Tensor) or value.dtype == torch.bfloat16 or value.is_complex():
            raise AutoDPQError(f"{name}: {getattr(value, 'dtype', type(value).__name__)} has no place in a packed file")
        dense[name] = to_array(value)
    specs = tuple(table.spec for table in tables.values())
    about = {
        "plan": {name: str(table.spec.choice) for name, table in tables.items() if isinstance(table.spec, TableSpec)},
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
        made[id(module)] = drop_in(module, PackedEmbedding(table).to(module.weight.device))
    model = put_in_place(model, made)
    model.load_state_dict(fitting_state(_state_beside(model), packed.dense, packed.path), strict=False)
    return model


def _state_beside(model: nn.Module) -> dict[str, Any]:
    """The state of a model without its compressed tables."""
    modules = model.named_modules(remove_duplicate=False)
    inside = tuple(f"{name}." for name, module in modules if isinstance(module, DropIn))
    return {name: value for name, value in model.state_dict().items() if not name.startswith(inside)}
