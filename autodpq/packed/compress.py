"""Compresses the embedding tables of any torch model."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autodpq.choices import DPQ, Choice, Float16, Full, Int, Narrow, parse_candidates
from autodpq.choices.base import layout_bytes
from autodpq.errors import AutoDPQError, nearest
from autodpq.packed.drop_in import DropIn, Replaceable, TrainableTable, drop_in, put_in_place
from autodpq.packed.module import PackedEmbedding
from autodpq.packed.spec import TableSpec

_Value = TypeVar("_Value")


class BudgetTooSmall(AutoDPQError):
    """No choice is as small as a budget asks for."""


K_CANDIDATES = (4, 16, 32, 64, 128, 256)
"""Numbers of centroids that a budget chooses from; those of subspaces are the divisors of the dimension."""


def default_candidates(dim: int) -> tuple[Choice, ...]:
    """What a budget chooses from where nothing else is said, for rows of X numbers."""
    divisors = [number for number in range(1, dim + 1) if dim % number == 0]
    products = [DPQ(K, D) for K, D in product(K_CANDIDATES, divisors)]
    return (*products, Int(2), Int(4), Int(8), Float16(), *(Narrow(d) for d in divisors if d < dim))


_PRICED_ROWS = 16384  # a budget compares choices on at most so many rows of a table


@dataclass(frozen=True)
class _Table:
    """A module to compress.

    Attributes:
        name: Its name in the model.
        module: The module.
        counts: How often each row is used, float64 [rows].
        is_tail: Which rows are not kept as they are, bool [rows].
    """

    name: str
    module: Replaceable
    counts: Tensor
    is_tail: Tensor

    @property
    def rows(self) -> Tensor:
        """The trained rows, float32 [rows, X]."""
        return self.module.weight.detach()

    def n_bytes(self, choice: Choice) -> int:
        """What the table takes in a packed file."""
        n_rows, dim = self.rows.shape
        if choice == Full():
            return n_rows * dim * 4
        n_head = n_rows - int(self.is_tail.sum())
        ranked = not self.is_tail[:n_head].any()
        layout = TableSpec(self.name, n_rows, dim, n_head, choice, 0, bool(ranked)).layout()
        return layout_bytes(layout)


def compress(
    model: nn.Module,
    counts: Mapping[str, npt.ArrayLike],
    plan: Mapping[str, Choice] | None = None,
    *,
    budget: float | None = None,
    candidates: str | Sequence[Choice] | None = None,
    modules: str | Sequence[str] = "*",
    threshold: int | None = None,
    finetune: Callable[[nn.Module], object] | None = None,
    seed: int = 0,
) -> nn.Module:
    """Compresses embedding tables of a trained model.

    Each chosen ``nn.Embedding`` or ``nn.EmbeddingBag`` is replaced by a module of the same call and output shape.
    Centroids start from k-means on the trained rows, weighted by their counts. ``finetune`` then trains the whole model
    with rare rows as they will be looked up; after it, codes are fixed. :func:`autodpq.export` writes the result,
    :func:`autodpq.load` reads it.

    Args:
        model: A trained model; it stays as it is, a copy is compressed.
        counts: Per module, how often each row occurs in the training data, [rows]. Here and in ``plan``, names may be
            patterns such as ``"*.user"``.
        plan: Per module, what its rare rows become: ``DPQ(K, D)``, ``Int(4)``, ``Others()`` or any other choice; with
            ``Full()`` a module is left as it is.
        budget: Instead of a plan, the bytes that all chosen modules may take together, or below 1 their share of what
            they take now. Of all choices within it, those of least squared error are taken, every row's error counted
            as often as the row occurs.
        candidates: What the budget chooses from beside ``Full()``: choices, or a text as
            ``"dpq(16|64,2|4),int(4),others"``; None for product quantizers, integers, half precision and short rows.
        modules: Names or patterns of the modules to compress; the others stay as they are.
        threshold: Rows that occur at least so often are kept as they are; None keeps none but a padding row.
        finetune: Called with the model, to train it as it was trained before.
        seed: Seeds k-means.

    Returns:
        The compressed copy, in the mode that the model is in.

    Raises:
        AutoDPQError: Names the module and what does not fit.
    """
    if (plan is None) == (budget is None):
        raise AutoDPQError("give either a plan or a budget")
    if candidates is not None and plan is not None:
        raise AutoDPQError("candidates: a plan chooses itself; they go with a budget")
    known = parse_candidates(candidates) if isinstance(candidates, str) else candidates
    compressed = copy.deepcopy(model)
    tables = _tables(compressed, [modules] if isinstance(modules, str) else list(modules), counts, threshold)
    choices = _planned(tables, plan) if plan is not None else _within(tables, known, budget or 0, seed)
    chosen = [table for table in tables if choices[table.name] != Full()]
    trainable = {id(table.module): _trainable(table, choices[table.name], seed) for table in chosen}
    compressed = put_in_place(compressed, trainable)
    if finetune is not None:
        training = compressed.training
        finetune(compressed)
        compressed.train(training)
    for module in trainable.values():
        table = module.table
        assert isinstance(table, TrainableTable), "it is packed here"
        module.table = PackedEmbedding(table.packed()).to(table.weight.device)
    return compressed


def _tables(
    model: nn.Module, patterns: Sequence[str], counts: Mapping[str, npt.ArrayLike], threshold: int | None
) -> list[_Table]:
    """The modules that patterns name, checked."""
    all_modules = {name: module for name, module in model.named_modules() if isinstance(module, Replaceable)}
    found: dict[str, Replaceable] = {}
    for pattern in patterns:
        names = fnmatch.filter(all_modules, pattern)
        if not names:
            raise AutoDPQError(f"modules: no embedding is named {pattern!r}{nearest(pattern, all_modules)}")
        found |= {name: all_modules[name] for name in names}
    _check_known("counts", counts, found)
    tables = []
    for name, module in found.items():
        _check_module(name, module)
        occurrences = _counts(name, _by_name("counts", counts, name), module.num_embeddings)
        is_tail = torch.ones(module.num_embeddings, dtype=torch.bool)
        if threshold is not None:
            is_tail = occurrences < threshold
        if module.padding_idx is not None:
            is_tail[module.padding_idx] = False
        tables.append(_Table(name, module, occurrences, is_tail))
    owners = {id(module.weight): module for module in found.values()}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owner = owners.get(id(parameter), module)
            if owner is not module:
                raise AutoDPQError(f"module {name!r} shares the weight of an embedding; leave that out of 'modules'")
    return tables


def _check_module(name: str, module: Replaceable) -> None:
    own = type(module).forward in (nn.Embedding.forward, nn.EmbeddingBag.forward)
    if not own or "weight" not in module._parameters or module._forward_hooks or module._forward_pre_hooks:
        changes = f"{type(module).__name__} changes what it looks up, which cannot be kept"
        raise AutoDPQError(f"module {name!r}: {changes}; leave the module out of 'modules'")
    if module.weight.dtype != torch.float32:
        raise AutoDPQError(f"module {name!r}: its weight is {module.weight.dtype}; compress the model in float32")
    if not module.weight.isfinite().all():
        raise AutoDPQError(f"module {name!r}: its weight has entries that are no finite numbers; train the model anew")
    for option in ("max_norm", "scale_grad_by_freq"):
        if getattr(module, option):
            raise AutoDPQError(f"module {name!r}: {option} cannot be kept; leave the module out of 'modules'")


def _counts(name: str, values: npt.ArrayLike, n_rows: int) -> Tensor:
    counts = np.asarray(values)
    if counts.shape != (n_rows,) or counts.dtype.kind not in "iuf":
        given = f"{counts.dtype} {list(counts.shape)}"
        raise AutoDPQError(f"counts of {name!r}: {given} given, one number for each of {n_rows} rows is needed")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise AutoDPQError(f"counts of {name!r}: a count is negative or no number")
    return torch.from_numpy(counts.astype(np.float64))


def _by_name(option: str, values: Mapping[str, _Value], name: str) -> _Value:
    """The entry of a module: its own, else that of the only pattern that its name matches."""
    if name in values:
        return values[name]
    patterns = [pattern for pattern in values if fnmatch.fnmatchcase(name, pattern)]
    if not patterns:
        raise AutoDPQError(f"{option}: nothing is given for module {name!r}")
    if len(patterns) > 1:
        raise AutoDPQError(f"{option}: {patterns[0]!r} and {patterns[1]!r} both match module {name!r}; name it itself")
    return values[patterns[0]]


def _check_known(option: str, values: Iterable[str], modules: Iterable[str]) -> None:
    names = list(modules)
    for pattern in values:
        if pattern not in names and not fnmatch.filter(names, pattern):
            raise AutoDPQError(f"{option}: {pattern!r} is none of the modules to compress{nearest(pattern, names)}")


def _planned(tables: Sequence[_Table], plan: Mapping[str, Choice]) -> dict[str, Choice]:
    _check_known("plan", plan, [table.name for table in tables])
    choices: dict[str, Choice] = {}
    for table in tables:
        choice = _by_name("plan", plan, table.name)
        if not isinstance(choice, Choice):
            raise AutoDPQError(f"plan: {choice!r} given for {table.name!r}; DPQ(K, D), Full() or the like is needed")
        choice.check(table.rows.shape[1], f"plan: module {table.name!r}")
        choices[table.name] = choice if table.is_tail.any() else Full()
    return choices


def _within(
    tables: Sequence[_Table], candidates: Sequence[Choice] | None, budget: float, seed: int
) -> dict[str, Choice]:
    """The choices of least error that fit, found exactly: what costs as much as another and is no better is dropped."""
    if not np.isfinite(budget):
        raise AutoDPQError(f"budget: {budget} given, a number of bytes or a share below 1 is needed")
    full = sum(table.n_bytes(Full()) for table in tables)
    limit = int(budget * full if budget < 1 else budget)
    best: list[tuple[int, float, dict[str, Choice]]] = [(0, 0.0, {})]
    least = 0
    for table in tables:
        priced = _priced(table, candidates, seed)
        least += min(n_bytes for n_bytes, _, _ in priced)
        sums = [
            (before + n_bytes, error + more, {**chosen, table.name: choice})
            for (before, error, chosen), (n_bytes, more, choice) in product(best, priced)
        ]
        best = []
        for entry in sorted(sums, key=lambda entry: entry[:2]):
            if entry[0] <= limit and (not best or entry[1] < best[-1][1]):
                best.append(entry)
        if not best:
            break
    if not best:
        raise BudgetTooSmall(f"budget: {limit:,} bytes of {full:,} are too few; no choice is below {least:,}")
    return best[-1][2]


def _priced(table: _Table, candidates: Sequence[Choice] | None, seed: int) -> list[tuple[int, float, Choice]]:
    """Bytes and squared error of every choice for a table."""
    priced: list[tuple[int, float, Choice]] = [(table.n_bytes(Full()), 0.0, Full())]
    rows, weights = table.rows.cpu()[table.is_tail], table.counts[table.is_tail]
    if not len(rows):
        return priced
    if len(rows) > _PRICED_ROWS:
        generator = torch.Generator().manual_seed(seed)
        sample = torch.randperm(len(rows), generator=generator)[:_PRICED_ROWS]
        weights = weights[sample] * (len(rows) / _PRICED_ROWS)
        rows = rows[sample]
    for choice in default_candidates(rows.shape[1]) if candidates is None else candidates:
        choice.check(rows.shape[1], f"candidates: module {table.name!r}")
        n_bytes = table.n_bytes(choice)
        if n_bytes < priced[0][0]:
            tried = TrainableTable(nn.Parameter(rows), torch.ones(len(rows), dtype=torch.bool), choice, None).eval()
            tried.start(weights, seed, n_iterations=8)
            with torch.no_grad():
                made = tried(torch.arange(len(rows)))
            error = ((rows - made).square().sum(1).double() * weights).sum()
            priced.append((n_bytes, float(error), choice))
    return priced


def _trainable(table: _Table, choice: Choice, seed: int) -> DropIn:
    """The module that takes a table's place while it is fine-tuned."""
    is_tail, weight = table.is_tail.to(table.rows.device), table.module.weight
    assert isinstance(weight, nn.Parameter)
    trained = TrainableTable(weight, is_tail, choice, table.module.padding_idx)
    trained.start(table.counts.to(is_tail.device)[is_tail], seed)
    return drop_in(table.module, trained)
