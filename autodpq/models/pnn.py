"""PNN with inner products (Qu et al., ICDM 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from autodpq.models.base import CTRModel
from autodpq.models.layers import MLP


class PNN(CTRModel):
    """An MLP over the concatenated embeddings and the inner products of all pairs of fields."""

    name: ClassVar[str] = "pnn"
    pairs: Tensor

    def __init__(self, n_fields: int, embedding_dim: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__(n_fields, embedding_dim, hidden, dropout)
        rows, columns = torch.triu_indices(n_fields, n_fields, offset=1)
        self.register_buffer("pairs", rows * n_fields + columns, persistent=False)
        self.mlp = MLP(n_fields * embedding_dim + len(self.pairs), hidden, dropout)
        self.output = nn.Linear(self.mlp.n_outputs, 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        products = torch.bmm(embeddings, embeddings.transpose(1, 2)).flatten(1).index_select(1, self.pairs)
        logits: Tensor = self.output(self.mlp(torch.cat([embeddings.flatten(1), products], dim=1)))
        return logits.squeeze(1)
