"""Fields of several values a sample: the values of all bags are embedded, and each field has their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autodpq.plan import NO_ID


@dataclass(frozen=True, slots=True)
class Entries:
    """The values of a batch, one after another: those of the first field of all samples, then those of the next.

    Attributes:
        flat: Row numbers, integer [n, 1]: to an embedding, n samples of one field.
        slots: int64 [n], sample times fields plus field.
        sizes: float [batch, fields], how many values each sample has of each field.
    """

    flat: Tensor
    slots: Tensor
    sizes: Tensor

    def means(self, values: Tensor) -> Tensor:
        """Means over the values of each sample and field, added up in their order.

        Args:
            values: float [n, ...].

        Returns:
            float [batch, fields, ...].
        """
        shape = (self.sizes.numel(), *values.shape[1:])
        sums = values.new_zeros(shape).index_add(0, self.slots, values)
        means = sums / self.sizes.to(values.dtype).view(-1, *[1] * (values.dim() - 1))
        return means.view(*self.sizes.shape, *values.shape[1:])


class Bags(nn.Module):
    """Which columns of row numbers are of which field.

    Args:
        columns: How many each field has.
    """

    owners: Tensor

    def __init__(self, columns: Sequence[int]) -> None:
        super().__init__()
        self.n_fields = len(columns)
        owners = torch.repeat_interleave(torch.arange(len(columns)), torch.tensor(columns))
        self.register_buffer("owners", owners, persistent=False)

    def entries(self, flat: Tensor) -> Entries:
        """The values of a batch of row numbers, integer [batch, columns], ``NO_ID`` where there is none."""
        by_column = flat.t()
        columns, samples = (by_column != NO_ID).nonzero(as_tuple=True)
        slots = samples * self.n_fields + self.owners[columns]
        sizes = torch.bincount(slots, minlength=len(flat) * self.n_fields)
        return Entries(by_column[columns, samples][:, None], slots, sizes.view(len(flat), self.n_fields))
