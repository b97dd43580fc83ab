"""The click-through models: each takes (batch, field, X) embeddings and gives logits."""

from __future__ import annotations

from autodpq.errors import AutoDPQError
from autodpq.models.base import CTRModel
from autodpq.models.dcn import DCN, DCNv2
from autodpq.models.deepfm import DeepFM
from autodpq.models.pnn import PNN
from autodpq.nearest import nearest

MODELS: dict[str, type[CTRModel]] = {model.name: model for model in (DeepFM, PNN, DCN, DCNv2)}


def find_model(name: str) -> type[CTRModel]:
    """The model of a name.

    Raises:
        AutoDPQError: There is none; names the nearest.
    """
    if name not in MODELS:
        raise AutoDPQError(f"unknown model {name!r}{nearest(name, MODELS)}")
    return MODELS[name]


__all__ = ["DCN", "MODELS", "PNN", "CTRModel", "DCNv2", "DeepFM", "find_model"]
