"""DeepFM (Guo et al., IJCAI 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from autodpq.kernels.operations import factorization_machine
from autodpq.models.base import CTRModel
from autodpq.models.layers import MLP


class DeepFM(CTRModel):
    """First-order weights, pairwise inner products and an MLP over the concatenated embeddings, summed."""

    name: ClassVar[str] = "deepfm"
    first_order: ClassVar[bool] = True

    def __init__(self, n_fields: int, embedding_dim: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__(n_fields, embedding_dim, hidden, dropout)
        self.mlp = MLP(n_fields * embedding_dim, hidden, dropout)
        self.output = nn.Linear(self.mlp.n_outputs, 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        deep: Tensor = self.output(self.mlp(embeddings.flatten(1))).squeeze(1)
        return deep + factorization_machine(embeddings)
