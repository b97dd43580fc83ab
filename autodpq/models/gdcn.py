"""Gated Deep & Cross Network (Wang et al., CIKM 2023), its cross layers beside an MLP: the paper's GDCN-P."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from autodpq.models.dcn import DCNv2
from autodpq.models.sizes import N_CROSS_LAYERS


class GDCN(DCNv2):
    """DCNv2 whose cross layers are gated, number by number: x0 * (W x + b) * sigmoid(V x) + x.

    Formula, three layers, V without a bias, and b drawn from 0 to 1 are as in the authors' code (GitHub
    ``anonctr/GDCN``, ``models/GDCN.py``, class ``GDCNP``) and in FuxiCTR (``model_zoo/GDCN``), which agree. Fields have
    one X, as everywhere here; the paper's field-wise dimensions are not taken.
    """

    name: ClassVar[str] = "gdcn"

    def __init__(self, n_fields: int, embedding_dim: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__(n_fields, embedding_dim, hidden, dropout)
        width = n_fields * embedding_dim
        self.gates = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(N_CROSS_LAYERS))
        nn.init.uniform_(self.biases)

    def mix(self, layer: int, inputs: Tensor, state: Tensor, bias: Tensor) -> Tensor:
        gates: Tensor = self.gates[layer](state).sigmoid()
        return super().mix(layer, inputs, state, bias) * gates
