"""The click-through models: each takes (batch, field, X) embeddings and gives logits."""

from __future__ import annotations

from autodpq.models.base import CTRModel
from autodpq.models.dcn import DCN, DCNv2
from autodpq.models.deepfm import DeepFM
from autodpq.models.pnn import PNN
from autodpq.plugins import Registry, is_class_of

MODELS: Registry[type[CTRModel]] = Registry("model", "autodpq.models", is_class_of(CTRModel))
for _model in (DeepFM, PNN, DCN, DCNv2):
    MODELS.add(_model)

__all__ = ["DCN", "MODELS", "PNN", "CTRModel", "DCNv2", "DeepFM"]
