"""Compresses the embedding tables of any torch model."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autodpq.choices import Choice, Full, parse_candidates
from autodpq.errors import AutoDPQError, nearest
from autodpq.packed.budget import Table, within
from autodpq.packed.drop_in import DropIn, Replaceable, drop_in, put_in_place
from autodpq.packed.module import PackedEmbedding
from autodpq.packed.trainable import TrainableTable
from autodpq.plan import Bands, band_cuts

_Value = TypeVar("_Value")


def compress(
    model: nn.Module,
    counts: Mapping[str, npt.ArrayLike],
    plan: Mapping[str, Choice] | None = None,
    *,
    budget: float | None = None,
    candidates: str | Sequence[Choice] | None = None,
    modules: str | Sequence[str] = "*",
    threshold: int | None = None,
    bands: Bands | None = None,
    finetune: Callable[[nn.Module], object] | None = None,
    seed: int = 0,
    say: Callable[[str], object] | None = None,
) -> nn.Module:
    """Compresses embedding tables of a trained model.

    Each chosen ``nn.Embedding`` or ``nn.EmbeddingBag`` is replaced by a module of the same call and output shape.
    Modules that share a weight share what it becomes. Centroids start from k-means on the trained rows, weighted by
    their counts. ``finetune`` then trains the whole model
    with rare rows as they will be looked up; after it, codes are fixed. :func:`autodpq.export` writes the result,
    :func:`autodpq.load` reads it.

    Args:
        model: A trained model; it stays as it is, a copy is compressed.
        counts: Per module, how often each row occurs in the training data, [rows]. Here and in ``plan``, names may be
            patterns such as ``"*.user"``.
        plan: Per module, what its rare rows become: ``DPQ(K, D)``, ``Int(4)``, ``Others()`` or any other choice; with
            ``Full()`` a module is left as it is. With ``bands``, ``MODULE`` stands for all of a module's and
            ``MODULE/1``, ``MODULE/2`` for single ones, most frequent first, which go before; the only band of a module
            has its name.
        budget: Instead of a plan, the bytes that all chosen modules may take together, or below 1 their share of what
            they take now. Of all choices within it, those of least squared error are taken, every row's error counted
            as often as the row occurs; with ``bands``, one for each band.
        candidates: What the budget chooses from beside ``Full()``: choices, or a text as
            ``"dpq(16|64,2|4),int(4),others"``; None for product quantizers, integers, half precision and short rows.
        modules: Names or patterns of the modules to compress; the others stay as they are.
        threshold: Rows that occur at least so often are kept as they are; None keeps none but a padding row.
        bands: Falling counts, as ``(1000, 200, 40, 10)``: the rows of each module that are not kept are parted into
            bands, each with a choice of its own, and a band ends with the last row that occurs at least so often.
            ``auto`` takes the most frequent 5, 15, 30 and 50 % of a module's rows, and one band where it has fewer
            than 64. What is stored is then compact: all floats in 16 bits, kept rows among them. None makes none.
        finetune: Called with the model, to train it as it was trained before.
        seed: Seeds k-means.
        say: Is told how far it is, a line for each table and each step, as ``print`` is.

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
    patterns = [modules] if isinstance(modules, str) else list(modules)
    tables = _tables(compressed, patterns, counts, threshold, bands)
    tell = say or silent
    if plan is None:
        tell(f"choosing for {sum(table.n_bands for table in tables)} bands of {len(tables)} tables")
    choices = _planned(tables, plan) if plan is not None else within(tables, known, budget or 0, seed)
    made: dict[int, DropIn] = {}
    trained: list[tuple[TrainableTable, list[DropIn]]] = []
    for number, (table, own) in enumerate(zip(tables, choices, strict=True), 1):
        became = " and ".join(dict.fromkeys(map(str, own))) if own else "left as it is"
        tell(f"[{number}/{len(tables)}] {', '.join(table.modules)}: {len(table.counts):,} rows, {became}")
        if own:
            trainable = table.trainable(own, seed)
            of_table = {id(module): drop_in(module, trainable) for module in table.modules.values()}
            trained.append((trainable, list(of_table.values())))
            made |= of_table
    compressed = put_in_place(compressed, made)
    if finetune is not None:
        training = compressed.training
        tell("fine-tuning")
        finetune(compressed)
        compressed.train(training)
    for trainable, drop_ins in trained:
        packed = PackedEmbedding(trainable.packed()).to(trainable.weight.device)
        for module in drop_ins:
            module.table = packed
    return compressed


def silent(line: str) -> None:
    """Tells nobody."""


def _tables(
    model: nn.Module,
    patterns: Sequence[str],
    counts: Mapping[str, npt.ArrayLike],
    threshold: int | None,
    bands: Bands | None,
) -> list[Table]:
    """The weights of the modules that patterns name, checked."""
    all_modules = {name: module for name, module in model.named_modules() if isinstance(module, Replaceable)}
    found: dict[str, Replaceable] = {}
    for pattern in patterns:
        names = fnmatch.filter(all_modules, pattern)
        if not names:
            raise AutoDPQError(f"modules: no embedding is named {pattern!r}{nearest(pattern, all_modules)}")
        found |= {name: all_modules[name] for name in names}
    _check_known("counts", counts, found)
    by_weight: dict[int, dict[str, Replaceable]] = {}
    for name, module in found.items():
        _check_module(name, module)
        by_weight.setdefault(id(module.weight), {})[name] = module
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            sharing = by_weight.get(id(parameter))
            if sharing is not None and all(module is not own for own in sharing.values()):
                do = "choose both" if isinstance(module, Replaceable) else "leave that out of 'modules'"
                raise AutoDPQError(f"module {name!r} shares the weight of an embedding; {do}")
    found_counts = [occurrences(sharing, counts) for sharing in by_weight.values()]
    kept = []
    for sharing, own in zip(by_weight.values(), found_counts, strict=True):
        is_kept = own >= threshold if threshold is not None else torch.zeros(len(own), dtype=torch.bool)
        padding_idx = next(iter(sharing.values())).padding_idx
        if padding_idx is not None:
            is_kept[padding_idx] = True
        kept.append(is_kept)
    numbers = [-1 * is_kept.long() for is_kept in kept] if bands is None else _band_numbers(found_counts, kept, bands)
    return [
        Table(sharing, own, of_table, bands is not None)
        for sharing, own, of_table in zip(by_weight.values(), found_counts, numbers, strict=True)
    ]


def occurrences(
    sharing: Mapping[str, Replaceable] | Mapping[str, DropIn], counts: Mapping[str, npt.ArrayLike]
) -> Tensor:
    """How often each row of a weight is used, float64 [rows], as all modules whose it is have it."""
    (first, module), *others = sharing.items()
    found = _counts(first, _by_name("counts", counts, first), module.num_embeddings)
    for name, other in others:
        own = _counts(name, _by_name("counts", counts, name), other.num_embeddings)
        if other.padding_idx != module.padding_idx or not torch.equal(own, found):
            raise AutoDPQError(
                f"modules {first!r} and {name!r} share a weight: both need the same padding_idx and the same counts, "
                "those of both together; or leave them out of 'modules'"
            )
    return found


def _band_numbers(counts: Sequence[Tensor], kept: Sequence[Tensor], bands: Bands) -> list[Tensor]:
    """Of each row of each table the band that it is of, int64 [rows]; -1 where it is kept."""
    if isinstance(bands, str) or not isinstance(bands, Sequence):
        fits = isinstance(bands, str) and bands == "auto"
    else:
        fits = bool(bands) and all(isinstance(count, Real) and count > 0 for count in bands)
    if not fits:
        raise AutoDPQError(f"bands: {bands!r} given, 'auto' or falling counts as (1000, 200, 40, 10) are needed")
    orders = [torch.argsort(own, descending=True, stable=True) for own in counts]
    orders = [order[~is_kept[order]] for order, is_kept in zip(orders, kept, strict=True)]
    falling = [own[order].numpy() for own, order in zip(counts, orders, strict=True)]
    numbers = [torch.full((len(own),), -1) for own in counts]
    for of_table, order, cuts in zip(numbers, orders, band_cuts(falling, bands, "row to compress"), strict=True):
        of_table[order] = torch.bucketize(torch.arange(len(order)), torch.tensor(cuts, dtype=torch.long), right=True)
    return numbers


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


def _by_name(option: str, values: Mapping[str, _Value], name: str, band: str | None = None) -> _Value:
    """The entry of a module or of a band of it: its own, else that of the only pattern that its name matches.

    What names the band, by itself or by a pattern that does not match the module, goes before what names the module.
    """
    for own in (name,) if band is None else dict.fromkeys((band, name)):
        if own in values:
            return values[own]
        patterns = [pattern for pattern in values if fnmatch.fnmatchcase(own, pattern)]
        if own != name:
            patterns = [pattern for pattern in patterns if not fnmatch.fnmatchcase(name, pattern)]
        if len(patterns) > 1:
            both = f"{patterns[0]!r} and {patterns[1]!r} both match module {own!r}"
            raise AutoDPQError(f"{option}: {both}; name it itself")
        if patterns:
            return values[patterns[0]]
    raise AutoDPQError(f"{option}: nothing is given for module {band or name!r}")


def _check_known(option: str, values: Iterable[str], modules: Iterable[str]) -> None:
    names = list(modules)
    for pattern in values:
        if pattern not in names and not fnmatch.filter(names, pattern):
            raise AutoDPQError(f"{option}: {pattern!r} is none of the modules to compress{nearest(pattern, names)}")


def _planned(tables: Sequence[Table], plan: Mapping[str, Choice]) -> list[tuple[Choice, ...]]:
    """The choices of a plan, for each table one per band; none where the table is left as it is."""
    names = {name: table.band_names(name) for table in tables for name in table.modules}
    _check_known("plan", plan, dict.fromkeys(own for name, of_bands in names.items() for own in (name, *of_bands)))
    planned = []
    for table in tables:
        dim, given = table.weight.shape[1], {}
        for name in table.modules:
            given[name] = tuple(_by_name("plan", plan, name, band) for band in names[name])
            for band, choice in zip(names[name], given[name], strict=True):
                if not isinstance(choice, Choice):
                    needed = "DPQ(K, D), Full() or the like is needed"
                    raise AutoDPQError(f"plan: {choice!r} given for {band!r}; {needed}")
                choice.check(dim, f"plan: module {band!r}")
            if given[name] != given[table.name]:
                raise AutoDPQError(f"plan: modules {table.name!r} and {name!r} share a weight; give both the same")
        choices = given[table.name]
        planned.append(() if table.is_kept or all(choice == Full() for choice in choices) else choices)
    return planned
