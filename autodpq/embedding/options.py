"""How codes are chosen (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from autodpq.errors import AutoDPQError

Scores = Literal["inner", "euclidean"]
Gradient = Literal["softmax", "centroid"]


@dataclass(frozen=True, slots=True)
class QuantizerOptions:
    """How codes are chosen. The defaults are the paper's.

    Attributes:
        temperature: tau_KD of the softmax over centroids; the smaller, the harder.
        scores: ``inner`` (inner products) or ``euclidean`` (minus the squared distance).
        gradient: What training sees of a code: ``softmax``, the centroids weighted by a softmax of their scores
            (DPQ-SX of Chen et al., ICML 2020); or ``centroid``, forward the best centroid, backward to that centroid
            and, straight through, to the row (DPQ-VQ), so that rows move to other codes.
        compact: Whether floats of what is stored have 16 bits; rows are then on one scale as they are, so that none is
            normalised, and each is quantized once a batch.
    """

    temperature: float = 1e-4
    scores: Scores = "inner"
    gradient: Gradient = "softmax"
    compact: bool = False

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise AutoDPQError(f"temperature: {self.temperature} given, a number above 0 is needed")
        for name, known in (("scores", get_args(Scores)), ("gradient", get_args(Gradient))):
            if getattr(self, name) not in known:
                raise AutoDPQError(f"{name}: {getattr(self, name)!r} given, {' or '.join(known)} is needed")
