"""The click-through models: each takes (batch, field, X) embeddings and gives logits.

They stand on torch, so that each is imported when it is first used: names are listed and checked without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from autodpq.plugins.registry import Registry, is_class_of

if TYPE_CHECKING:
    from autodpq.models.base import CTRModel

# A line per model: its class, whose name in lower case is the model's, and the module here that it is in.
_MODULES = {
    "DeepFM": "deepfm",
    "PNN": "pnn",
    "DCN": "dcn",
    "DCNv2": "dcn",
    "FinalMLP": "finalmlp",
    "GDCN": "gdcn",
}

__all__ = ["MODELS", "CTRModel", *_MODULES]


def _check(thing: object) -> str | None:
    from autodpq.models.base import CTRModel

    return is_class_of(CTRModel)(thing)


MODELS: Registry[type[CTRModel]] = Registry("model", "autodpq.models", _check)
for _name, _module in _MODULES.items():
    MODELS.add_late(_name.lower(), f"autodpq.models.{_module}:{_name}")


def __getattr__(name: str) -> Any:
    module = "base" if name == "CTRModel" else _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'autodpq.models' has no attribute {name!r}")
    return getattr(import_module(f"autodpq.models.{module}"), name)
