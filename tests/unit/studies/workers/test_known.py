from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch

from autodpq.choices import DPQ, Int
from autodpq.plan import CompressionPlan
from autodpq.trial import Outcome, Prune, never
from studies.workers import known
from studies.workers.known import KnownTrials

A, B, C = (CompressionPlan({"user": choice}) for choice in (DPQ(4, 2), Int(4), Int(8)))


class Trains:
    """An executor that says what it was asked for."""

    def __init__(self, *failing: CompressionPlan) -> None:
        self.failing = failing
        self.asked: list[tuple[CompressionPlan, int]] = []

    def __call__(self, plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
        for plan, number in zip(plans, numbers, strict=True):
            self.asked.append((plan, number))
            if plan in self.failing:
                yield Outcome(None, None, 1.0, (), None, "made to fail")
            else:
                yield Outcome(0.7, 0.5, float(len(self.asked)), (0.7,), {"weight": torch.rand(4)})


def test_a_second_run_trains_what_the_first_has_not_and_takes_over_the_rest() -> None:
    trains, told, trials = Trains(), list[Outcome](), KnownTrials()
    first = list(trials.executor(trains, told.append)([A, B], [0, 1], never))
    assert told == [], "the executor itself tells of what it trains"
    second = list(trials.executor(trains, told.append)([B, C, A], [0, 1, 2], never))
    assert trains.asked == [(A, 0), (B, 1), (C, 1)]
    assert second[0] is first[1] and second[2] is first[0] and second[1].seconds == 3.0
    assert told == [first[1], first[0]]


def test_what_failed_or_may_be_pruned_is_trained_again() -> None:
    trains, trials = Trains(A), KnownTrials()
    for _ in range(2):
        assert [outcome.kind for outcome in trials.executor(trains, lambda _: None)([A], [0], never)] == ["failed"]
    for _ in range(2):
        list(trials.executor(trains, lambda _: None)([B], [3], lambda number, aucs: False))
    assert trains.asked == [(A, 0), (A, 0), (B, 3), (B, 3)]


def test_weights_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MOST_BYTES", 16)
    trains, trials = Trains(), KnownTrials()
    for _ in range(2):
        list(trials.executor(trains, lambda _: None)([A, B], [0, 1], never))
    assert trains.asked == [(A, 0), (B, 1), (B, 1)]


def test_outcomes_come_one_by_one() -> None:
    trains, trials = Trains(), KnownTrials()
    outcomes = trials.executor(trains, lambda _: None)([A, B], [0, 1], never)
    next(outcomes)
    assert trains.asked == [(A, 0)], "the next plan was begun before the first was recorded"


def test_an_executor_that_gives_more_or_fewer_outcomes_than_plans_is_told_so() -> None:
    def more(plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
        yield from Trains()([*plans, C], [*numbers, 9], prune)

    def fewer(plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
        yield from Trains()(plans[1:], numbers[1:], prune)

    for wrong in (more, fewer):
        with pytest.raises(ValueError, match="argument 2 is"):
            list(KnownTrials().executor(wrong, lambda _: None)([A, B], [0, 1], never))
