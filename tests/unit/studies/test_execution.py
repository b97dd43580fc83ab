from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from autodpq.plan import DPQ, CompressionPlan, Others
from autodpq.task import SearchTask
from autodpq.testing import CANDIDATES, FIELDS, make_task
from autodpq.training import Epoch
from autodpq.trial import Outcome
from studies.execution import LocalExecutor, train_one
from studies.machine import choose_device, device_name, machine_name, versions

GOOD = [CompressionPlan({"user": a, "item": b, "device": Others()}) for a, b in zip(CANDIDATES, CANDIDATES[::-1])]  # noqa: B905
# D = 3 does not divide X = 4.
BAD = CompressionPlan({"user": DPQ(2, 3), "item": Others(), "device": Others()})


def execute(
    task: SearchTask, jobs: int, plans: Sequence[CompressionPlan], *, scratch: bool = False
) -> tuple[list[Outcome], list[Epoch], list[Outcome]]:
    epochs: list[Epoch] = []
    told: list[Outcome] = []
    start = None if scratch else task.pretrained()

    def on_epoch(epoch: Epoch, _: Any) -> None:
        epochs.append(epoch)

    executor = LocalExecutor(task.trainer, task.train, task.valid, start, jobs, on_epoch, told.append)
    return list(executor(plans)), epochs, told


def test_processes_side_by_side_give_the_same_outcomes_to_the_digit() -> None:
    task = make_task(seed=3)
    plans = [GOOD[0], BAD, GOOD[1]]
    (here, epochs, told), (there, _, told_there) = execute(task, 1, plans), execute(task, 2, plans)
    assert told == here and told_there == there
    assert [epoch.number for epoch in epochs] == [number for outcome in here for number in range(1, outcome.epochs + 1)]
    for one, two in zip(here, there, strict=True):
        assert (one.valid_auc, one.valid_logloss, one.epochs, one.error) == (
            two.valid_auc,
            two.valid_logloss,
            two.epochs,
            two.error,
        )
        assert (one.state is None) == (two.state is None)
        if one.state is not None and two.state is not None:
            assert one.state.keys() == two.state.keys()
            assert all(torch.equal(value, two.state[name]) for name, value in one.state.items())
    assert [outcome.error is None for outcome in here] == [True, False, True]


def test_exception_becomes_the_outcome_s_error() -> None:
    task = make_task()
    outcome = train_one(task.trainer, BAD, task.pretrained())
    assert (outcome.valid_auc, outcome.valid_logloss, outcome.state, outcome.epochs) == (None, None, None, 0)
    assert outcome.error is not None and outcome.error.startswith("AutoDPQError: ") and "D=3" in outcome.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_person_s_stop_is_no_failed_trial(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    task = make_task()

    def stopped(*_: Any) -> None:
        raise error

    monkeypatch.setattr(task.trainer, "train_plan", stopped)
    with pytest.raises(error):
        train_one(task.trainer, GOOD[0], None)


def test_predictions_that_are_not_finite_become_an_error() -> None:
    task = make_task()
    broken = {name: value * float("nan") if "model" in name else value for name, value in task.pretrained().items()}
    outcome = train_one(task.trainer, GOOD[0], broken)
    assert outcome.state is None and "NaN" in (outcome.error or "")


def test_plans_start_from_the_pretrained_table_or_from_nothing() -> None:
    task = make_task()
    (warm, _, _), (cold, _, _) = execute(task, 1, GOOD[:1]), execute(task, 1, GOOD[:1], scratch=True)
    assert warm[0].valid_auc != cold[0].valid_auc


def test_outcomes_come_one_by_one() -> None:
    task = make_task()
    told: list[Outcome] = []
    executor = LocalExecutor(task.trainer, task.train, task.valid, None, 1, lambda *_: None, told.append)
    outcomes = executor(GOOD[:2])
    next(outcomes)
    assert len(told) == 1, "the next plan was begun before the first was recorded"


def test_no_plans_no_outcomes() -> None:
    assert execute(make_task(), 2, []) == ([], [], [])


def test_seconds_are_charged_for_every_trained_plan() -> None:
    outcomes, epochs, _ = execute(make_task(), 1, GOOD[:1])
    assert outcomes[0].seconds >= epochs[-1].seconds > 0 and len(FIELDS) == 3


def test_cuda_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Exception, match="--device: cuda is not available here"):
        choose_device("cuda")
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_machine_is_described() -> None:
    assert device_name(torch.device("cpu")) == "cpu"
    assert "cores" in machine_name()
    assert {"autodpq", "python", "torch", "numpy"} <= set(versions())
