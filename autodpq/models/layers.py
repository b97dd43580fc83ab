"""Layers that the models share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from autodpq.kernels.operations import BatchNorm, Dropout


class MLP(nn.Module):
    """Blocks of linear, BatchNorm, ReLU and dropout (the paper is silent on the block; DESIGN: how we read it).

    Args:
        n_inputs: Width of the input.
        hidden: Widths of the blocks.
        dropout: Dropout rate after every block.
    """

    def __init__(self, n_inputs: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_outputs in hidden:
            layers += [nn.Linear(n_inputs, n_outputs), BatchNorm(n_outputs), nn.ReLU(), Dropout(dropout, n_outputs)]
            n_inputs = n_outputs
        self.layers = nn.Sequential(*layers)
        self.n_outputs = n_inputs

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps float [batch, n_inputs] to float [batch, n_outputs]."""
        outputs: Tensor = self.layers(inputs)
        return outputs
