"""FinalMLP (Mao et al., AAAI 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from autodpq.models.base import CTRModel
from autodpq.models.layers import MLP
from autodpq.models.sizes import n_heads


class FinalMLP(CTRModel):
    """Two MLPs over differently gated embeddings, joined by a bilinear form per head.

    With e the concatenated embeddings, for the streams i = 1, 2 (feature selection):

        h_i = 2 sigmoid(g_i) * e,    o_i = MLP_i(h_i),

    and, with o_ij the part of o_i that is head j's (interaction aggregation):

        logit = b + w_1 o_1 + w_2 o_2 + sum over j of o_1j W_j o_2j.

    The formulas are those of the paper and of FuxiCTR (GitHub ``reczoo/FuxiCTR``, ``model_zoo/FinalMLP``). In detail:

    - Both streams have the widths ``hidden``, and the blocks that all models here have. FuxiCTR's have BatchNorm as an
      option, which is off by default and on, with dropout 0.4, in BARS' best setting for Frappe.
    - A gate's context may be some of the fields; none is named here. In FuxiCTR, g_i then comes from a learned vector
      by an MLP of one hidden layer, and is one vector for all samples. The vector and all biases start from zero,
      behind a ReLU, so that nothing but the MLP's last bias ever has a gradient. Here g_i is that bias, learned from
      zero: the same gates, step by step, without weights that never change.
    - Heads are two, as FuxiCTR's configuration ``FinalMLP_default`` has them, where they divide the width of o_i, else
      one (:func:`autodpq.models.sizes.n_heads`). W starts from FuxiCTR's distribution, Xavier's for a matrix of one
      column.
    - b is one number, as in the paper; FuxiCTR has one for each of w_1 and w_2, of which only the sum counts.
    """

    name: ClassVar[str] = "finalmlp"

    def __init__(self, n_fields: int, embedding_dim: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__(n_fields, embedding_dim, hidden, dropout)
        width = n_fields * embedding_dim
        self.gates = nn.Parameter(torch.zeros(2, width))
        self.streams = nn.ModuleList(MLP(width, hidden, dropout) for _ in range(2))
        n_outputs = hidden[-1] if hidden else width
        heads = n_heads(n_outputs)
        self.bilinear = nn.Parameter(torch.empty(heads, n_outputs // heads, n_outputs // heads))
        nn.init.xavier_normal_(self.bilinear.view(-1, 1))
        self.output = nn.Linear(2 * n_outputs, 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        inputs = embeddings.flatten(1)
        first, second = (
            stream(inputs * gate) for stream, gate in zip(self.streams, 2 * self.gates.sigmoid(), strict=True)
        )
        logits: Tensor = self.output(torch.cat([first, second], dim=1))
        pairs = (self._heads(first) @ self.bilinear * self._heads(second)).sum((0, 2))
        return logits.squeeze(1) + pairs

    def _heads(self, outputs: Tensor) -> Tensor:
        """Float [heads, batch, width / heads] of a stream's float [batch, width]."""
        return outputs.view(-1, *self.bilinear.shape[:2]).transpose(0, 1)
