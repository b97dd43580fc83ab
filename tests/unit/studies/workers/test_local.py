from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.in_memory import Asked, Row, SameEpoch, end_of, one_after_another, rows, spec_of, states_equal

from autodpq.choices import DPQ, Others
from autodpq.errors import AutoDPQError
from autodpq.metrics import Metrics
from autodpq.models import DeepFM
from autodpq.plan import CompressionPlan
from autodpq.search.task import SearchTask
from autodpq.testing import CANDIDATES, make_task
from autodpq.training.attempt import train_one
from autodpq.training.fit import Epoch
from autodpq.trial import Outcome, Prune, never
from studies.workers.local import LocalExecutor
from studies.workers.machine import choose_device, device_name, machine_name, versions
from studies.workers.messages import EpochEnded, SentOutcome, TrainerSpec, TrialEnded, TrialLost, from_arrays, to_arrays
from studies.workers.order import PruningOrder, in_order

GOOD = [CompressionPlan({"user": a, "item": b, "device": Others()}) for a, b in zip(CANDIDATES, CANDIDATES[::-1])]  # noqa: B905
# D = 3 does not divide X = 4.
BAD = CompressionPlan({"user": DPQ(2, 3), "item": Others(), "device": Others()})


def execute(
    task: SearchTask, plans: Sequence[CompressionPlan], prune: Prune = never, *, scratch: bool = False, first: int = 0
) -> tuple[list[Outcome], list[Epoch], list[Outcome]]:
    epochs: list[Epoch] = []
    told: list[Outcome] = []
    start = None if scratch else task.pretrained()
    executor = LocalExecutor(task.trainer, start, epochs.append, told.append)
    return list(executor(plans, range(first, first + len(plans)), prune)), epochs, told


def test_outcomes_and_epochs_are_told_in_the_order_of_the_plans() -> None:
    outcomes, epochs, told = execute(make_task(seed=3), [GOOD[0], BAD, GOOD[1]])
    assert told == outcomes and [outcome.kind for outcome in outcomes] == ["complete", "failed", "complete"]
    numbers = [number for outcome in outcomes for number in range(1, len(outcome.valid_aucs) + 1)]
    assert [epoch.number for epoch in epochs] == numbers
    assert [epoch.metrics.auc for epoch in epochs] == [auc for outcome in outcomes for auc in outcome.valid_aucs]
    assert outcomes[1].error is not None and outcomes[1].error.startswith("AutoDPQError: ")
    assert "D=3" in outcomes[1].error and outcomes[1].valid_aucs == ()
    assert [outcome.traceback for outcome in outcomes] == [None] * 3, "the message says it all"


def test_plans_are_numbered_from_the_first_when_pruning_is_asked_about() -> None:
    asked: list[tuple[int, tuple[float, ...]]] = []

    def second_ends(number: int, valid_aucs: Sequence[float]) -> bool:
        asked.append((number, tuple(valid_aucs)))
        return number == 8

    task = make_task(seed=3)
    whole, _, _ = execute(task, GOOD[:3])
    outcomes, epochs, told = execute(task, GOOD[:3], second_ends, first=7)
    assert [outcome.kind for outcome in outcomes] == ["complete", "pruned", "complete"] and told == outcomes
    expected = [(7 + n, whole[n].valid_aucs[:e]) for n in range(3) for e in range(1, len(whole[n].valid_aucs))]
    assert asked == [(number, aucs) for number, aucs in expected if number != 8 or len(aucs) == 1]
    assert outcomes[1].valid_aucs == whole[1].valid_aucs[:1] and outcomes[1].state is None
    for one, two in ((outcomes[0], whole[0]), (outcomes[2], whole[2])):
        assert (one.valid_auc, one.valid_aucs) == (two.valid_auc, two.valid_aucs)
        assert states_equal(one.state, two.state)
    assert len(epochs) == sum(len(outcome.valid_aucs) for outcome in outcomes)


def test_error_of_a_pruner_is_raised() -> None:
    def breaks(number: int, valid_aucs: Sequence[float]) -> bool:
        raise RuntimeError("made to fail")

    with pytest.raises(RuntimeError, match="made to fail"):
        execute(make_task(), GOOD[:2], breaks)


def test_plans_start_from_the_pretrained_table_or_from_nothing() -> None:
    task = make_task()
    (warm, _, _), (cold, _, _) = execute(task, GOOD[:1]), execute(task, GOOD[:1], scratch=True)
    assert warm[0].valid_auc != cold[0].valid_auc


def test_outcomes_come_one_by_one() -> None:
    task = make_task()
    told: list[Outcome] = []
    outcomes = LocalExecutor(task.trainer, None, lambda _: None, told.append)(GOOD[:2], [0, 1], never)
    next(outcomes)
    assert len(told) == 1, "the next plan was begun before the first was recorded"


def test_no_plans_no_outcomes() -> None:
    assert execute(make_task(), []) == ([], [], [])


def test_seconds_are_charged_for_every_trained_plan() -> None:
    outcomes, epochs, _ = execute(make_task(), GOOD[:1])
    assert outcomes[0].seconds >= epochs[-1].seconds > 0


def test_trainer_that_was_sent_trains_to_the_same_digits() -> None:
    task = make_task(seed=2)
    spec: TrainerSpec = pickle.loads(pickle.dumps(spec_of(task)))
    trainer, start = spec.build()
    assert trainer.fields == task.fields and trainer.model is DeepFM and trainer.device == torch.device("cpu")
    assert states_equal(start, task.pretrained())
    here, there = (
        train_one(one, GOOD[0], begin, lambda *_: False)
        for one, begin in ((task.trainer, task.pretrained()), (trainer, start))
    )
    assert (here.valid_auc, here.valid_aucs) == (there.valid_auc, there.valid_aucs)
    assert states_equal(here.state, there.state)
    assert replace(spec, pretrained=None).build()[1] is None


def test_trainer_that_was_sent_is_of_the_model_that_its_reference_names(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from autodpq.models import DeepFM\nclass Mine(DeepFM):\n    name = 'mine-there'\n"
    )
    from autodpq.models import MODELS

    spec = replace(spec_of(make_task()), model=f"{tmp_path / 'mine.py'}:Mine")
    try:
        assert spec.build()[0].model.name == "mine-there"
    finally:
        MODELS.forget("mine-there")
    assert replace(spec, model="nowhere").build(DeepFM)[0].model is DeepFM
    with pytest.raises(AutoDPQError, match="unknown model 'depfm'; did you mean 'deepfm'"):
        replace(spec, model="depfm").build()


def test_weights_that_were_sent_are_the_same_and_one_s_own() -> None:
    state = {"a": torch.rand(3, 2, requires_grad=True), "count": torch.tensor(3), "flag": torch.tensor([True, False])}
    arrays = to_arrays(state)
    assert all(type(value) is np.ndarray for value in arrays.values())
    for value in arrays.values():
        value.flags.writeable = False  # as they come out of Ray's object store
    back = from_arrays(arrays, torch.device("cpu"))
    assert states_equal(back, state) and back["count"].dtype == torch.int64 and back["flag"].dtype == torch.bool
    back["a"][0, 0] = 7.0
    assert states_equal(from_arrays(arrays, torch.device("cpu")), state)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(0.7, 0.5, 1.5, (0.6, 0.7), {"weight": torch.rand(4)}, attempts=2),
        Outcome(None, None, 1.5, (0.6,), None),
        Outcome(None, None, 0.5, (), None, "RuntimeError: made to fail", traceback="Traceback ..."),
    ],
    ids=["complete", "pruned", "failed"],
)
def test_outcome_that_was_sent_is_the_same(outcome: Outcome) -> None:
    sent: SentOutcome = pickle.loads(pickle.dumps(SentOutcome.pack(outcome)))
    assert sent.outcome.state is None, "tensors would go through shared memory"
    back = sent.unpack()
    assert replace(back, state=None) == replace(outcome, state=None) and back.kind == outcome.kind
    assert states_equal(back.state, outcome.state)


def event(position: int, aucs: Sequence[float], last: bool = False) -> EpochEnded:
    return EpochEnded(position, Epoch(len(aucs), 1.0, Metrics(aucs[-1], 0.5), True, last), tuple(aucs))


def test_a_trial_waits_until_all_before_it_have_been_asked_about() -> None:
    asked = Asked(lambda number, _: number == 11)
    order = PruningOrder(asked, [10, 11, 12])
    assert order.epoch_ended(event(2, [0.7])) == [] and order.epoch_ended(event(1, [0.6])) == []
    assert asked == []
    assert order.epoch_ended(event(0, [0.5])) == [(0, False), (1, True), (2, False)]
    assert asked == [(10, (0.5,)), (11, (0.6,)), (12, (0.7,))]
    assert order.epoch_ended(event(2, [0.7, 0.8])) == []
    # The first ends by itself; the second does as it was told.
    assert order.trial_ended(0) == []
    assert order.trial_ended(1) == [(2, False)]
    assert asked[3:] == [(12, (0.7, 0.8))]


def test_the_last_epoch_is_not_asked_about_and_keeps_the_others_waiting_no_longer() -> None:
    asked = Asked(lambda *_: True)
    order = PruningOrder(asked, [0, 1])
    assert order.epoch_ended(event(1, [0.6])) == []
    assert order.epoch_ended(event(0, [0.5], last=True)) == [(0, False), (1, True)]
    assert asked == [(1, (0.6,))]


def test_a_trial_that_begins_again_gets_the_answers_that_it_got() -> None:
    asked = Asked(lambda _, aucs: len(aucs) == 3)
    order = PruningOrder(asked, [0, 1])
    for _ in range(2):
        for epoch in (1, 2):
            assert order.epoch_ended(event(0, [0.5] * epoch)) == [(0, False)]
    assert order.epoch_ended(event(1, [0.6])) == [(1, False)]
    assert order.epoch_ended(event(0, [0.5] * 3)) == [(0, True)]
    for epoch, ends in ((1, False), (2, False), (3, True)):
        assert order.epoch_ended(event(0, [0.5] * epoch)) == [(0, ends)]
    assert asked == [(0, (0.5,)), (0, (0.5, 0.5)), (1, (0.6,)), (0, (0.5, 0.5, 0.5))]


def test_nobody_waits_for_a_trial_that_is_lost() -> None:
    asked = Asked(lambda *_: False)
    order = PruningOrder(asked, [0, 1, 2])
    order.epoch_ended(event(2, [0.7]))
    order.epoch_ended(event(1, [0.6]))
    assert order.trial_ended(1) == [], "the first is waited for still"
    assert order.trial_ended(0) == [(2, False)]
    # What begins again is asked about when it comes there.
    assert order.epoch_ended(event(0, [0.5])) == [(0, False)] and order.epoch_ended(event(1, [0.6])) == [(1, False)]
    assert asked == [(2, (0.7,)), (0, (0.5,)), (1, (0.6,))]


@dataclass
class Running:
    """A trial of a scheduler: the epoch that it is at, and whether it waits there."""

    epoch: int = 0
    waiting: bool = False


class Scheduler:
    """Trials in so many slots, of which any may go on next, or be lost and begin again.

    Args:
        table: What the trials come to.
        slots: How many run side by side.
        losses: How many may be lost.
        told: Whether it tells of what is lost. Then what is lost begins again when there is room, else at once.
        data: Draws what happens next.
    """

    def __init__(self, table: Sequence[Row], slots: int, losses: int, told: bool, data: st.DataObject) -> None:
        self.table = table
        self.slots = slots
        self.losses = losses
        self.told = told
        self.data = data
        self.left = deque(range(len(table)))
        self.running: dict[int, Running] = {}
        self.attempts = [0] * len(table)
        self.pruned: set[int] = set()
        self.lost_any = False

    def answer(self, position: int, ends: bool) -> None:
        trial = self.running.get(position)
        if trial is None or not trial.waiting:
            assert self.lost_any, "an answer came to a trial that does not wait"
            return
        trial.waiting = False
        if ends:
            self.pruned.add(position)

    def events(self) -> Iterator[EpochEnded | TrialEnded | TrialLost]:
        while self.left or self.running:
            while self.left and len(self.running) < self.slots:
                position = self.left.popleft()
                self.running[position] = Running()
                self.attempts[position] += 1
            free = [position for position, trial in self.running.items() if not trial.waiting]
            assert free, "all wait for ever"
            can_be_lost = sorted(self.running) if self.losses else []
            position, lost = self.data.draw(
                st.sampled_from([*((p, False) for p in free), *((p, True) for p in can_be_lost)])
            )
            if not lost:
                yield self.step(position, self.running[position], self.table[position])
                continue
            del self.running[position]
            self.pruned.discard(position)
            self.losses -= 1
            self.lost_any = True
            if self.told:
                self.left.append(position)
                self.slots = max(1, self.slots - self.data.draw(st.booleans()))  # a machine that does not come back
                yield TrialLost(position)
            else:
                self.left.appendleft(position)

    def step(self, position: int, trial: Running, row: Row) -> EpochEnded | TrialEnded:
        done = row.aucs[: trial.epoch]
        if position in self.pruned or trial.epoch == len(row.aucs):
            del self.running[position]
            outcome = end_of(row, done, position in self.pruned)
            return TrialEnded(position, replace(outcome, attempts=self.attempts[position]))
        trial.epoch += 1
        trial.waiting = True
        return event(position, row.aucs[: trial.epoch], last=row.is_last(trial.epoch))


def side_by_side(
    table: Sequence[Row], first: int, scheduler: Scheduler, prune: Prune, on_epoch: Callable[[Epoch], None]
) -> tuple[list[Outcome], list[Outcome]]:
    told: list[Outcome] = []
    order = PruningOrder(prune, range(first, first + len(table)))
    outcomes = in_order(scheduler.events(), len(table), order, scheduler.answer, on_epoch, told.append)
    return list(outcomes), told


ORDERS = (st.lists(rows, min_size=1, max_size=7), st.integers(1, 4), st.integers(0, 3), st.integers(0, 5), st.data())


@given(*ORDERS)
def test_side_by_side_comes_out_as_one_after_another(
    table: list[Row], slots: int, losses: int, first: int, data: st.DataObject
) -> None:
    check_order(table, slots, losses, first, data)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(*ORDERS)
def test_side_by_side_ten_thousand_times(
    table: list[Row], slots: int, losses: int, first: int, data: st.DataObject
) -> None:
    check_order(table, slots, losses, first, data)


def check_order(table: list[Row], slots: int, losses: int, first: int, data: st.DataObject) -> None:
    expected, pruner = one_after_another(table, first)
    scheduler, asked, epochs = Scheduler(table, slots, losses, False, data), SameEpoch(), []
    outcomes, told = side_by_side(table, first, scheduler, asked, epochs.append)
    assert [replace(outcome, attempts=1) for outcome in outcomes] == expected
    assert [outcome.attempts for outcome in outcomes] == scheduler.attempts
    # Epoch by epoch, the pruner was asked in the order of the trials: about what, and what it then knew.
    assert asked.seen == pruner.seen
    assert sorted(map(id, told)) == sorted(map(id, outcomes)), "each outcome is told once"
    assert len(epochs) >= sum(len(outcome.valid_aucs) for outcome in outcomes)


@given(st.lists(rows, min_size=1, max_size=7), st.integers(1, 4), st.integers(0, 4), st.data())
def test_nobody_waits_for_ever_for_what_is_lost_and_outcomes_come_in_order(
    table: list[Row], slots: int, losses: int, data: st.DataObject
) -> None:
    asked = Asked(SameEpoch())
    scheduler = Scheduler(table, slots, losses, True, data)
    outcomes, told = side_by_side(table, 0, scheduler, asked, lambda _: None)
    assert len(outcomes) == len(told) == len(table)
    for outcome, row in zip(outcomes, table, strict=True):
        assert outcome.valid_aucs == row.aucs[: len(outcome.valid_aucs)]
        assert outcome.kind == "pruned" or outcome == replace(end_of(row, row.aucs, False), attempts=outcome.attempts)
    assert [outcome.attempts for outcome in outcomes] == scheduler.attempts
    # About no epoch twice, whatever began again.
    assert len({(number, len(aucs)) for number, aucs in asked}) == len(asked)
    if not scheduler.lost_any:
        assert [replace(outcome, attempts=1) for outcome in outcomes] == one_after_another(table, 0)[0]


def test_outcomes_are_given_as_soon_as_all_before_them_are_there() -> None:
    table = [Row((0.5,)), Row((0.6,)), Row((0.7,))]
    happened: list[int] = []

    def events() -> Iterator[TrialEnded]:
        for position in (1, 0, 2):
            happened.append(position)
            yield TrialEnded(position, end_of(table[position], table[position].aucs, False))

    order = PruningOrder(never, [0, 1, 2])
    outcomes = in_order(events(), 3, order, lambda *_: None, lambda _: None, lambda _: None)
    assert next(outcomes).valid_auc == 0.5 and happened == [1, 0]
    assert next(outcomes).valid_auc == 0.6 and happened == [1, 0]
    assert next(outcomes).valid_auc == 0.7 and list(outcomes) == []


def test_cuda_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Exception, match="--device: cuda is not available here"):
        choose_device("cuda")
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_machine_is_described() -> None:
    assert device_name(torch.device("cpu")) == "cpu"
    assert "cores" in machine_name()
    assert {"autodpq", "python", "torch", "numpy"} <= set(versions())
