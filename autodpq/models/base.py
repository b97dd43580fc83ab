"""What a click-through model is to this project."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn


class CTRModel(nn.Module, ABC):
    """Maps a batch of field embeddings to click logits; it never sees an id, a table or a plan.

    Subclasses take the same four constructor arguments and set ``name``; one that sets ``first_order`` gets the sum of
    its samples' first-order weights added to its logit.

    Args:
        n_fields: Number of fields.
        embedding_dim: X.
        hidden: Widths of the MLP's blocks.
        dropout: Dropout rate of the MLP's blocks.
    """

    name: ClassVar[str]
    first_order: ClassVar[bool] = False

    def __init__(self, n_fields: int, embedding_dim: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, embeddings: Tensor) -> Tensor:
        """Maps float [batch, fields, X] to logits, float [batch]."""
