"""The baseline strategies; importing the package registers them.

Those of Ray Tune are announced by entry points instead, as a plug-in's are: they need an extra.
"""

from __future__ import annotations

from baselines.fe import FullEmbedding, FullEmbeddingContinued, OthersOnly
from baselines.grid import Grid
from baselines.optuna_engine import NSGA2, TPE, Random
from baselines.sensitivity import Sensitivity

__all__ = ["NSGA2", "TPE", "FullEmbedding", "FullEmbeddingContinued", "Grid", "OthersOnly", "Random", "Sensitivity"]
