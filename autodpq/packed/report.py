"""What compressing a torch model came to, table by table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy.typing as npt
import torch
from torch import Tensor, nn

from autodpq.choices.base import layout_bytes
from autodpq.errors import AutoDPQError
from autodpq.packed.compress import occurrences
from autodpq.packed.drop_in import DropIn
from autodpq.packed.module import PackedEmbedding

_CHUNK = 1 << 16  # rows that are compared at a time


@dataclass(frozen=True, slots=True)
class TableReport:
    """What one table became.

    Attributes:
        modules: The modules whose it is, by name.
        rows: How many rows it has.
        dim: How long they are.
        choices: Of each band its rows and its choice; of rows that are kept ``full``.
        bytes_before: What it took.
        bytes: What it takes.
        error: How far rows are from those of the model, root mean square, in units of these; each row counts as often
            as it is used where counts are given. After fine-tuning, that is in it, too.
    """

    modules: tuple[str, ...]
    rows: int
    dim: int
    choices: tuple[tuple[int, str], ...]
    bytes_before: int
    bytes: int
    error: float


@dataclass(frozen=True, slots=True)
class CompressionReport:
    """What all tables became; as text, a table of them.

    Attributes:
        tables: One by one, in the model's order.
    """

    tables: tuple[TableReport, ...]

    @property
    def bytes_before(self) -> int:
        """What they took together."""
        return sum(table.bytes_before for table in self.tables)

    @property
    def bytes(self) -> int:
        """What they take together."""
        return sum(table.bytes for table in self.tables)

    def __str__(self) -> str:
        lines = [("module", "rows", "bytes before", "bytes", "smaller", "error", "choices")]
        lines += [
            (
                ", ".join(table.modules),
                f"{table.rows:,}",
                *_sizes(table.bytes_before, table.bytes),
                f"{table.error:.3f}",
                ", ".join(f"{n_rows:,} {choice}" for n_rows, choice in table.choices),
            )
            for table in self.tables
        ]
        n_rows = sum(table.rows for table in self.tables)
        lines.append(("all", f"{n_rows:,}", *_sizes(self.bytes_before, self.bytes), "", ""))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        first, last = 0, len(widths) - 1
        return "\n".join(
            "  ".join(
                cell.ljust(width) if place in (first, last) else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


def _sizes(before: int, now: int) -> tuple[str, str, str]:
    return f"{before:,}", f"{now:,}", f"{before / now:.1f} x"


def compression_report(
    model: nn.Module, compressed: nn.Module, counts: Mapping[str, npt.ArrayLike] | None = None
) -> CompressionReport:
    """What :func:`autodpq.compress` or :func:`autodpq.shrink` made of a model.

    Args:
        model: The model that was given to it.
        compressed: What came out.
        counts: As they were given to it, so that a row's error counts as often as the row is used; None counts every
            row once.

    Raises:
        AutoDPQError: Nothing of ``compressed`` is compressed, or it is of another model.
    """
    found: dict[int, dict[str, DropIn]] = {}
    for name, module in compressed.named_modules():
        if isinstance(module, DropIn):
            found.setdefault(id(module.table), {})[name] = module
    if not found:
        raise AutoDPQError("compressed: no table of it is compressed; give what autodpq.compress gave back")
    before = dict(model.named_modules())
    return CompressionReport(tuple(_of_table(before, sharing, counts) for sharing in found.values()))


def _of_table(
    before: Mapping[str, nn.Module], sharing: Mapping[str, DropIn], counts: Mapping[str, npt.ArrayLike] | None
) -> TableReport:
    (name, module), *_ = sharing.items()
    weight = getattr(before.get(name), "weight", None)
    shape = module.num_embeddings, module.embedding_dim
    if not isinstance(weight, Tensor) or weight.shape != shape:
        raise AutoDPQError(f"module {name!r}: the model has no table of {shape[0]:,} rows of {shape[1]} there")
    table = module.table
    assert isinstance(table, PackedEmbedding), "what is fine-tuned is not given back"
    used = torch.ones(shape[0], dtype=torch.double) if counts is None else occurrences(sharing, counts)
    return TableReport(
        tuple(sharing),
        module.num_embeddings,
        module.embedding_dim,
        tuple((n_rows, str(choice)) for n_rows, choice in module.rows_by_choice),
        weight.element_size() * weight.nelement(),
        layout_bytes(table.spec.layout),
        _error(weight.detach(), table, used),
    )


@torch.no_grad()
def _error(weight: Tensor, table: PackedEmbedding, used: Tensor) -> float:
    difference = size = 0.0
    for ids in torch.split(torch.arange(len(weight), device=weight.device), _CHUNK):
        own, counts = weight[ids].double(), used.to(weight.device)[ids]
        difference += float(counts @ (table(ids).double() - own).square().sum(1))
        size += float(counts @ own.square().sum(1))
    return sqrt(difference / size) if size else 0.0
