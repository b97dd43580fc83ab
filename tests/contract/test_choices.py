"""Every choice that comes with the project keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from autodpq.choices import CHOICES, DPQ
from autodpq.testing import ChoiceContract, examples_of


class _BuiltIn(ChoiceContract):
    @pytest.mark.slow  # a graph takes seconds to make; test_onnx.py makes one of all kinds
    def test_onnx_looks_up_the_same(self, tmp_path: Path) -> None:
        super().test_onnx_looks_up_the_same(tmp_path)


def _contract(name: str) -> type[ChoiceContract]:
    more = [DPQ(300, 8)] if name == "dpq" else []
    return type("Test", (_BuiltIn,), {"choices": [*examples_of(CHOICES[name], _BuiltIn.dim), *more]})


BUILT_IN = [name for name, kind in CHOICES.items() if kind.__module__.startswith("autodpq.")]
for _name in BUILT_IN:
    globals()[f"Test{_name.capitalize()}"] = _contract(_name)


def test_no_kind_is_left_out() -> None:
    assert {"full", "others", "dpq", "hashed", "int", "float16", "narrow"} <= set(BUILT_IN)
    for name in BUILT_IN:
        assert len(globals()[f"Test{name.capitalize()}"].choices) >= 1
