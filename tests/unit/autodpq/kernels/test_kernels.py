from __future__ import annotations

import dataclasses

import pytest
import torch

from autodpq.kernels.adam import update_rows
from autodpq.kernels.kernels import TENSORS, Kernels
from autodpq.kernels.operations import Merge
from autodpq.kernels.rows import CompiledMerge, compiled_update_rows


def test_tensor_operations_with_dense_gradients_are_the_default() -> None:
    assert Kernels() == TENSORS == Kernels(0, False)
    assert TENSORS.merging is None and TENSORS.update is update_rows


@pytest.mark.parametrize(
    ("kernels", "merging", "update"),
    [
        (Kernels(), None, update_rows),
        (Kernels(lazy=True), Merge, update_rows),
        (Kernels(64), None, compiled_update_rows),
        (Kernels(64, lazy=True), CompiledMerge, compiled_update_rows),
    ],
)
def test_rows_are_merged_and_updated_by_one_kind_of_code(kernels: Kernels, merging: object, update: object) -> None:
    assert kernels.merging is merging and kernels.update is update
    if kernels.merging is not None:
        merged = kernels.merging.of(torch.tensor([[5, 2], [2, 9]], dtype=torch.int32))
        assert merged.rows.tolist() == [2, 5, 9] and merged.places.flatten().tolist() == [1, 0, 0, 2]


def test_they_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TENSORS.lazy = True  # type: ignore[misc]
    assert len({TENSORS, Kernels(), Kernels(lazy=True)}) == 2
