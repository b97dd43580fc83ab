from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.in_memory import Asked, Row, SameEpoch, rows

from autodpq.choices import DPQ, Full, Others
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.search.task import Executor, SearchTask, never
from autodpq.testing import CANDIDATES, MemoryJournal, ToyExecutor, make_task
from autodpq.trial import Budget, Outcome, Pretrained, Prune, Rises, Trial, best_trial

PLANS = [CompressionPlan({"user": a, "item": b, "device": Full()}) for a in CANDIDATES for b in CANDIDATES]


class TableExecutor:
    """An executor that reads off a table what a trial comes to, one after another.

    Args:
        rows: By trial number.
        stops_at: The trial at which the run is interrupted as by Ctrl-C.
        extra: How many outcomes more it yields than it was asked for.

    Attributes:
        given: The plans of each call.
    """

    def __init__(self, rows: Sequence[Row], *, stops_at: int | None = None, extra: int = 0) -> None:
        self.rows = rows
        self.stops_at = stops_at
        self.extra = extra
        self.given: list[list[CompressionPlan]] = []

    def __call__(self, plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
        self.given.append(list(plans))
        more = range(numbers[0], numbers[0] + len(plans) + self.extra) if self.extra else numbers
        for number in more:
            if number == self.stops_at:
                raise KeyboardInterrupt
            yield outcome_of(self.rows[number], number, prune)


def outcome_of(row: Row, number: int, prune: Prune) -> Outcome:
    for epoch in range(1, len(row.aucs) + row.fails):
        if prune(number, row.aucs[:epoch]):
            return Outcome(None, None, 0.5, row.aucs[:epoch], None)
    if row.fails:
        return Outcome(None, None, 0.5, row.aucs, None, "RuntimeError: made to fail", attempts=2)
    return Outcome(max(row.aucs), 0.4, 0.5, row.aucs, {"weight": torch.ones(1)})


def make_pruner() -> Asked:
    """Ends what is worse than half of the values that it was told before at the same epoch."""
    return Asked(SameEpoch())


def task_of(executor: Executor, journal: MemoryJournal | None = None, trials: int | None = None) -> SearchTask:
    return make_task(trials=trials, journal=journal, executor=executor, init="scratch")


ROWS = [
    Row((0.6, 0.7)),
    Row((0.5, 0.9)),
    Row((0.65, 0.6, 0.75)),
    Row((), fails=True),
    Row((0.64, 0.61), fails=True),
    Row((0.7,)),
]


def test_pruned_trials_are_recorded_with_their_epochs() -> None:
    journal, pruner = MemoryJournal(), make_pruner()
    task = task_of(TableExecutor(ROWS), journal)
    trials = task.evaluate_many(PLANS[:6], pruner)
    assert [trial.state for trial in trials] == ["complete", "pruned", "complete", "failed", "failed", "complete"]
    assert tuple(trials) == task.history == tuple(journal.trials)
    pruned = trials[1]
    assert (pruned.valid_auc, pruned.valid_logloss, pruned.error) == (None, None, None)
    assert (pruned.valid_aucs, pruned.epochs, pruned.attempts) == ((0.5,), 1, 1)
    assert (pruned.number, pruned.plan, dict(pruned.seconds)) == (1, PLANS[1], {"search": 0.5})
    assert pruned.ledger == task.trainer.ledger(PLANS[1])
    failed = trials[4]
    assert (failed.valid_auc, failed.valid_aucs, failed.epochs, failed.attempts) == (None, (0.64, 0.61), 2, 2)
    assert failed.error == "RuntimeError: made to fail"
    whole = trials[2]
    assert (whole.valid_auc, whole.valid_logloss, whole.valid_aucs, whole.epochs) == (0.75, 0.4, ROWS[2].aucs, 3)
    # Only what is complete is a point of the curve or the best; all of it is charged.
    assert [auc for _, _, auc in journal.points] == [0.7, 0.75, 0.7]
    assert best_trial(task.history) is trials[2]
    assert task.epochs["search"] == 2 + 1 + 3 + 0 + 2 + 1 and task.seconds["search"] == 6 * 0.5


def test_a_plan_is_trained_once() -> None:
    journal = MemoryJournal()
    executor = TableExecutor([Row((0.6, 0.7)), Row((), fails=True), *[Row((0.0,))] * 2, Row((0.5, 0.8))])
    task = task_of(executor, journal)
    task.evaluate_many([PLANS[0], PLANS[1], PLANS[0]])
    task.evaluate_many([PLANS[1], PLANS[2], PLANS[2], PLANS[0]])
    assert executor.given == [[PLANS[0], PLANS[1]], [PLANS[2]]]
    assert [trial.valid_auc for trial in task.history] == [0.7, None, 0.7, None, 0.8, 0.8, 0.7]
    assert [trial.number for trial in journal.trials] == list(range(7))
    assert [trial.epochs for trial in task.history] == [2, 0, 0, 0, 1 + 1, 0, 0]
    again = task.history[2]
    assert (again.valid_logloss, again.valid_aucs, again.attempts, again.error) == (0.4, (0.6, 0.7), 0, None)
    assert task.history[3].state == "failed" and task.history[3].error == task.history[1].error
    assert task.seconds["search"] == 3 * 0.5 and task.epochs["search"] == 4


def test_a_plan_that_may_be_pruned_is_trained_again() -> None:
    executor = TableExecutor(ROWS)
    task_of(executor).evaluate_many([PLANS[0], PLANS[0]], make_pruner())
    assert executor.given == [[PLANS[0], PLANS[0]]]


def test_pruner_is_asked_after_every_epoch_but_the_last() -> None:
    pruner = make_pruner()
    task_of(TableExecutor(ROWS)).evaluate_many(PLANS[:6], pruner)
    numbers = [(number, len(aucs)) for number, aucs in pruner]
    assert numbers == [(0, 1), (1, 1), (2, 1), (2, 2), (4, 1), (4, 2)]
    assert all(aucs == ROWS[number].aucs[: len(aucs)] for number, aucs in pruner)


def test_nothing_is_pruned_unless_it_is_asked_for() -> None:
    task = task_of(TableExecutor(ROWS))
    assert task.evaluate(PLANS[0]).state == "complete"
    trials = task.evaluate_many(PLANS[1:3])
    assert [trial.valid_aucs for trial in trials] == [ROWS[1].aucs, ROWS[2].aucs]
    assert [trial.number for trial in task.history] == [0, 1, 2] and not never(0, (0.0,))


def test_weights_are_recorded_where_a_trial_is_the_best_so_far() -> None:
    class Keeping(MemoryJournal):
        kept: list[int]

        def add_trial(self, trial: Trial, state: Any) -> None:
            super().add_trial(trial, state)
            if state is not None:
                self.kept.append(trial.number)

    journal = Keeping()
    journal.kept = []
    task_of(TableExecutor(ROWS), journal).evaluate_many(PLANS[:6], make_pruner())
    assert journal.kept == [0, 2]


def test_a_trial_is_recorded_before_the_next_is_begun() -> None:
    journal = MemoryJournal()
    with pytest.raises(KeyboardInterrupt):
        task_of(TableExecutor(ROWS, stops_at=3), journal).evaluate_many(PLANS[:6], make_pruner())
    assert [trial.number for trial in journal.trials] == [0, 1, 2]


@pytest.mark.parametrize(("extra", "word"), [(1, "longer"), (-1, "shorter"), (-3, "shorter")])
def test_executor_that_yields_too_few_or_too_many_fails_loudly(extra: int, word: str) -> None:
    with pytest.raises(ValueError, match=f"is {word} than argument"):
        task_of(TableExecutor(ROWS, extra=extra)).evaluate_many(PLANS[:3])


def test_what_others_have_found_of_the_loss_is_charged_as_if_it_were_found_anew() -> None:
    alone = make_task()
    own = alone.rises()
    assert {name: len(row) for name, row in own.items()} == {"user": 3, "item": 3, "device": 1}
    assert alone.seconds["search"] > 0 and alone.epochs["pretrain"]
    pretrained, executor = Pretrained(alone.pretrained(), 2.0, 1), ToyExecutor()
    given = alone.trainer, alone.train, alone.valid, alone.space, Budget(None), pretrained, "pretrained", executor
    told = SearchTask(*given, MemoryJournal(), lambda: Rises(own, 700.0))
    with told.phase("search"):
        assert told.rises() == own
    assert told.seconds["pretrain"] == 2.0 and told.seconds["search"] >= 700.0


@pytest.mark.parametrize("batches", [[4], [3, 1], [1, 1, 1, 1], [2, 2]])
def test_budget_is_kept_over_all_batches(batches: list[int]) -> None:
    executor, pruner = TableExecutor(ROWS), make_pruner()
    task = task_of(executor, trials=3)
    with pytest.raises(AutoDPQError, match="trials: 4 asked for, the budget is 3"):
        for size in batches:
            task.evaluate_many(PLANS[:size], pruner)
    # What is refused is neither begun in part nor asked about.
    assert sum(map(len, executor.given)) == len(task.history) == sum(batches[:-1])
    assert {number for number, _ in pruner} <= set(range(sum(batches[:-1])))


def test_plans_are_checked_before_any_is_trained() -> None:
    executor = TableExecutor(ROWS)
    wrong = CompressionPlan({"user": DPQ(64, 4), "item": Others(), "device": Full()})
    with pytest.raises(AutoDPQError, match=r"field 'user': dpq\(64,4\) is not among its candidates"):
        task_of(executor).evaluate_many([PLANS[0], wrong])
    assert executor.given == []


def test_no_plans_are_no_trials() -> None:
    task = task_of(TableExecutor(ROWS), trials=0)
    assert task.evaluate_many([]) == [] and task.history == ()


def test_resumed_search_begins_anew_from_where_its_plans_differ() -> None:
    journal = MemoryJournal()
    task_of(TableExecutor(ROWS), journal).evaluate_many(PLANS[:3])
    again = MemoryJournal()
    again.trials = list(journal.trials)
    executor = TableExecutor(ROWS)
    task = task_of(executor, again)
    task.evaluate_many([PLANS[0], PLANS[5], PLANS[2]])
    assert executor.given == [[PLANS[5], PLANS[2]]]
    assert [trial.plan for trial in task.history] == [PLANS[0], PLANS[5], PLANS[2]]


def searched(task: SearchTask, batches: Sequence[int], pruner: Asked) -> None:
    """Batch by batch, the plans of a batch as the trials before came out."""
    for size in batches:
        done = len(task.history)
        shift = sum(trial.epochs for trial in task.history)
        task.evaluate_many([PLANS[(number + shift) % len(PLANS)] for number in range(done, done + size)], pruner)


@given(st.lists(rows, min_size=1, max_size=8), st.data())
def test_resumed_pruner_knows_what_the_uninterrupted_one_would(table: list[Row], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(table)))) | {len(table)})
    batches = [end - begin for begin, end in pairwise([0, *cuts])]
    pruner = make_pruner()
    whole = task_of(TableExecutor(table))
    searched(whole, batches, pruner)
    journal = MemoryJournal()
    for stop in data.draw(st.lists(st.integers(0, len(table) - 1), max_size=2).map(sorted)):
        with pytest.raises(KeyboardInterrupt):
            searched(task_of(TableExecutor(table, stops_at=stop), journal), batches, make_pruner())
        assert [trial.number for trial in journal.trials] == list(range(stop))
    resumed, left = make_pruner(), TableExecutor(table)
    done = len(journal.trials)
    task = task_of(left, journal)
    searched(task, batches, resumed)
    assert task.history == whole.history == tuple(journal.trials)
    assert resumed == pruner and resumed.prune.seen == pruner.prune.seen
    assert sum(map(len, left.given)) == len(table) - done, "a finished trial was trained again"
    assert task.seconds == whole.seconds and task.epochs == whole.epochs


def test_search_without_a_pruner_asks_about_nothing_when_it_goes_on() -> None:
    journal = MemoryJournal()
    task_of(TableExecutor(ROWS), journal).evaluate_many(PLANS[:3])
    # Trials of a version that did not record their epochs can still be gone on from.
    journal.trials = [Trial(**{**vars(trial), "valid_aucs": ()}) for trial in journal.trials]
    task = task_of(TableExecutor(ROWS), journal)
    assert [trial.valid_auc for trial in task.evaluate_many(PLANS[:4])] == [0.7, 0.9, 0.75, None]


def test_trials_that_are_trained_are_pruned_as_well() -> None:
    told: list[tuple[int, int]] = []

    def second_ends(number: int, valid_aucs: Sequence[float]) -> bool:
        told.append((number, len(valid_aucs)))
        return number == 1

    task = make_task(executor=ToyExecutor(fails_at=2))
    first, second, third = task.evaluate_many(PLANS[:3], second_ends)
    assert (first.state, second.state, third.state) == ("complete", "pruned", "failed")
    assert second.epochs == 1 and second.valid_auc is None and len(second.valid_aucs) == 1
    assert 0 < second.seconds["search"]
    assert told == [*((0, epoch) for epoch in range(1, first.epochs)), (1, 1)]
    assert len(first.valid_aucs) == first.epochs and max(first.valid_aucs) == first.valid_auc
