"""A whole network: an embedding and a click-through model on top."""

from __future__ import annotations

from torch import Tensor, nn

from autodpq.embedding import Embedding
from autodpq.models.base import CTRModel
from autodpq.operations import Dropout


class Network(nn.Module):
    """Row numbers in, click logits out.

    Args:
        embedding: Embeds row numbers.
        model: Maps embeddings to logits.
        embedding_dropout: Rate of the element-wise dropout on the embeddings.
    """

    def __init__(self, embedding: Embedding, model: CTRModel, embedding_dropout: float) -> None:
        super().__init__()
        self.embedding = embedding
        self.dropout = Dropout(embedding_dropout)
        self.model = model

    def forward(self, flat: Tensor) -> Tensor:
        """Logits, float [batch], of row numbers [batch, fields] as ``embedding.flatten`` gives them."""
        logits: Tensor = self.model(self.dropout(self.embedding(flat)))
        if self.embedding.first_order is not None:
            logits = logits + self.embedding.first_order_sum(flat)
        return logits

    def reseed(self, seed: int) -> None:
        """Starts all dropout masks anew, each module with a stream of its own."""
        for number, module in enumerate(module for module in self.modules() if isinstance(module, Dropout)):
            module.reseed(seed * 1009 + number)
