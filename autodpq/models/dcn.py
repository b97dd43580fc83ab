"""Deep & Cross Network (Wang et al., ADKDD 2017) and its second version (Wang et al., WWW 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from autodpq.models.base import CTRModel
from autodpq.models.layers import MLP
from autodpq.models.sizes import N_CROSS_LAYERS


class DCN(CTRModel):
    """Three cross layers beside an MLP; version 1 crosses with a vector: x0 (x w) + b + x."""

    name: ClassVar[str] = "dcn"
    cross_width: ClassVar[int | None] = 1

    def __init__(self, n_fields: int, embedding_dim: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__(n_fields, embedding_dim, hidden, dropout)
        width = n_fields * embedding_dim
        self.cross = nn.ModuleList(
            nn.Linear(width, self.cross_width or width, bias=False) for _ in range(N_CROSS_LAYERS)
        )
        self.biases = nn.Parameter(torch.zeros(N_CROSS_LAYERS, width))
        self.mlp = MLP(width, hidden, dropout)
        self.output = nn.Linear(width + self.mlp.n_outputs, 1)

    def mix(self, layer: int, inputs: Tensor, state: Tensor, bias: Tensor) -> Tensor:
        """One cross layer's update, without the residual.

        Args:
            layer: Its number.
            inputs: x0, float [batch, width].
            state: x, float [batch, width].
            bias: b, float [width].

        Returns:
            float [batch, width].
        """
        crossed: Tensor = self.cross[layer](state)
        return inputs * crossed + bias

    def forward(self, embeddings: Tensor) -> Tensor:
        inputs = embeddings.flatten(1)
        state = inputs
        for layer, bias in enumerate(self.biases):
            state = self.mix(layer, inputs, state, bias) + state
        logits: Tensor = self.output(torch.cat([state, self.mlp(inputs)], dim=1))
        return logits.squeeze(1)


class DCNv2(DCN):
    """Version 2 crosses with a full matrix: x0 * (W x + b) + x."""

    name: ClassVar[str] = "dcnv2"
    cross_width: ClassVar[int | None] = None

    def mix(self, layer: int, inputs: Tensor, state: Tensor, bias: Tensor) -> Tensor:
        crossed: Tensor = self.cross[layer](state)
        return inputs * (crossed + bias)
