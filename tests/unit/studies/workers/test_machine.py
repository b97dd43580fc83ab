from __future__ import annotations

import os

import pytest
import torch
import torch.utils.deterministic

from studies.workers import machine
from studies.workers.machine import jobs_for, torch_settings


def state() -> tuple[int, int, bool]:
    return (
        torch.get_num_threads(),
        torch.get_deterministic_debug_mode(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


@pytest.mark.parametrize("mode", [0, 2])
def test_a_gpu_adds_in_the_same_order_while_a_study_runs(monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    torch.set_deterministic_debug_mode(mode)
    try:
        before = state()
        with pytest.raises(KeyError), torch_settings():
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.is_deterministic_algorithms_warn_only_enabled()
            # Nothing may be filled before it is written, and a person's own choice for cuBLAS stays.
            assert not torch.utils.deterministic.fill_uninitialized_memory
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
            raise KeyError
        assert state() == before and before[1] == mode
    finally:
        torch.set_deterministic_debug_mode(0)


def test_without_a_gpu_torchs_mode_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = state()
    with torch_settings():
        assert torch.get_num_threads() == 1
        assert not torch.are_deterministic_algorithms_enabled()
    assert state() == before and "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_trials_share_physical_cores_where_there_are_rows_enough_and_not_too_many(monkeypatch):
    def cores(only_physical_cores: bool = False) -> int:
        return 3 if only_physical_cores else 6

    monkeypatch.setattr(machine, "cpu_count", cores)
    assert [jobs_for(n_rows) for n_rows in (1, 99_999, 100_000, 10_000_000, 10_000_001)] == [1, 1, 3, 3, 1]
