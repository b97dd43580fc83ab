"""The click-through models: each takes (batch, field, X) embeddings and gives logits.

They stand on torch, so that each is imported when it is first used: names are listed and checked without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from autodpq.plugins.registry import Registry, is_class_of

if TYPE_CHECKING:
    from autodpq.models.base import CTRModel
    from autodpq.models.dcn import DCN, DCNv2
    from autodpq.models.deepfm import DeepFM
    from autodpq.models.pnn import PNN

_LATE = {
    "CTRModel": "autodpq.models.base",
    "DeepFM": "autodpq.models.deepfm",
    "PNN": "autodpq.models.pnn",
    **dict.fromkeys(("DCN", "DCNv2"), "autodpq.models.dcn"),
}

__all__ = ["DCN", "MODELS", "PNN", "CTRModel", "DCNv2", "DeepFM"]


def _check(thing: object) -> str | None:
    from autodpq.models.base import CTRModel

    return is_class_of(CTRModel)(thing)


MODELS: Registry[type[CTRModel]] = Registry("model", "autodpq.models", _check)
for _name in ("DeepFM", "PNN", "DCN", "DCNv2"):
    MODELS.add_late(_name.lower(), f"{_LATE[_name]}:{_name}")


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'autodpq.models' has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)
