"""A whole network: an embedding and a click-through model on top."""

from __future__ import annotations

from torch import Tensor, nn

from autodpq.embedding.base import Embedding
from autodpq.kernels.kernels import Kernels
from autodpq.kernels.operations import Dropout
from autodpq.models.base import CTRModel
from autodpq.training.step import compiled_backward, head_logits, head_loss


class Network(nn.Module):
    """Row numbers in, click logits out; computed by the embedding's kernels.

    Args:
        embedding: Embeds row numbers.
        model: Maps embeddings to logits.
        embedding_dropout: Rate of the element-wise dropout on the embeddings.
    """

    def __init__(self, embedding: Embedding, model: CTRModel, embedding_dropout: float) -> None:
        super().__init__()
        self.embedding = embedding
        self.dropout = Dropout(embedding_dropout, len(embedding.fields) * embedding.embedding_dim)
        self.model = model

    def forward(self, flat: Tensor, kernels: Kernels | None = None) -> Tensor:
        """Logits, float [batch], of row numbers [batch, columns] as ``embedding.flatten`` gives them.

        Args:
            flat: The row numbers.
            kernels: What embeddings are computed by; None for the embedding's own.
        """
        return head_logits(self.dropout, self.model, *self.embedded(flat, kernels or self.embedding.kernels))

    def backward(self, flat: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:
        """Adds the gradients of a batch's loss, as :func:`autodpq.training.step.head_loss` has it.

        Args:
            flat: Row numbers [batch, columns].
            labels: float [batch].
            weights: float [batch], of mean 1 over all rows; None where all samples count the same.
        """
        kernels = self.embedding.kernels
        embeddings, first_order = self.embedded(flat, kernels)
        if len(labels) == kernels.compiled_batch:
            compiled_backward(self.dropout, self.model, embeddings, first_order, labels, weights)
        else:
            loss = head_loss(self.dropout, self.model, embeddings, first_order, labels, weights)
            loss.backward()  # type: ignore[no-untyped-call]

    def embedded(self, flat: Tensor, kernels: Kernels) -> tuple[Tensor, Tensor | None]:
        """Embeddings, float [batch, fields, X], and sums of first-order weights, float [batch], or None."""
        embedding = self.embedding
        if embedding.bags is not None:
            entries = embedding.bags.entries(flat)
            merge = embedding.merge(entries.flat, kernels)
            means = entries.means(embedding(entries.flat, merge, kernels).flatten(1))
            if embedding.first_order is None:
                return means, None
            return means, entries.means(embedding.first_order_sum(entries.flat, merge)).sum(1)
        merge = embedding.merge(flat, kernels)
        embeddings = embedding(flat, merge, kernels)
        return embeddings, None if embedding.first_order is None else embedding.first_order_sum(flat, merge)

    def reseed(self, seed: int) -> None:
        """Starts all dropout masks anew, each module with a stream of its own."""
        for number, module in enumerate(module for module in self.modules() if isinstance(module, Dropout)):
            module.reseed(seed * 1009 + number)
