"""The baseline strategies; importing the package registers them."""

from __future__ import annotations

from baselines.fe import FullEmbedding, FullEmbeddingContinued, OthersOnly
from baselines.grid import Grid
from baselines.random import Random

__all__ = ["FullEmbedding", "FullEmbeddingContinued", "Grid", "OthersOnly", "Random"]
