"""Everything above the embeddings: dropout, the click-through model, the loss."""

from __future__ import annotations

from torch import Tensor, nn

from autodpq.operations import Dropout


def head_logits(dropout: Dropout, model: nn.Module, embeddings: Tensor, first_order: Tensor | None) -> Tensor:
    """Logits, float [batch].

    Args:
        dropout: The embeddings' dropout.
        model: Maps embeddings to logits.
        embeddings: float [batch, fields, X].
        first_order: float [batch], sums of first-order weights, if the model has any.
    """
    logits: Tensor = model(dropout(embeddings))
    return logits if first_order is None else logits + first_order


def head_loss(
    dropout: Dropout, model: nn.Module, embeddings: Tensor, first_order: Tensor | None, labels: Tensor
) -> Tensor:
    """Mean cross entropy of :func:`head_logits`; ``labels`` are float [batch]."""
    logits = head_logits(dropout, model, embeddings, first_order)
    return nn.functional.binary_cross_entropy_with_logits(logits, labels)
