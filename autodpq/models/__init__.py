"""The click-through models: each takes (batch, field, X) embeddings and gives logits."""

from __future__ import annotations

from autodpq.models.base import CTRModel
from autodpq.models.dcn import DCN, DCNv2
from autodpq.models.deepfm import DeepFM
from autodpq.models.pnn import PNN
from autodpq.nearest import look_up

MODELS: dict[str, type[CTRModel]] = {model.name: model for model in (DeepFM, PNN, DCN, DCNv2)}


def find_model(name: str) -> type[CTRModel]:
    """The model of a name.

    Raises:
        AutoDPQError: There is none; names the nearest.
    """
    return look_up("model", name, MODELS)


__all__ = ["DCN", "MODELS", "PNN", "CTRModel", "DCNv2", "DeepFM", "find_model"]
