"""Trials in memory, for tests of the runner's parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from autodpq.search.task import SearchTask
from autodpq.trial import Outcome, Prune
from studies.workers.messages import TrainerSpec, to_arrays


def spec_of(task: SearchTask, model: str | None = None) -> TrainerSpec:
    """What another process needs to train as the task's trainer does."""
    trainer = task.trainer
    return TrainerSpec(
        trainer.fields,
        model or trainer.model.name,
        trainer.recipe,
        trainer.seed,
        str(trainer.device),
        task.train,
        task.valid,
        to_arrays(task.pretrained()),
    )


def states_equal(one: Mapping[str, Tensor] | None, other: Mapping[str, Tensor] | None) -> bool:
    """Whether weights are the same to the bit, or both are none."""
    if one is None or other is None:
        return one is other
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


class Asked(list[tuple[int, tuple[float, ...]]]):
    """A pruner that keeps what it is asked.

    Args:
        prune: Answers.
    """

    def __init__(self, prune: Prune) -> None:
        super().__init__()
        self.prune = prune

    def __call__(self, number: int, valid_aucs: Sequence[float]) -> bool:
        self.append((number, tuple(valid_aucs)))
        return self.prune(number, valid_aucs)


@dataclass(frozen=True)
class Row:
    """What a trial would come to if nobody ended it.

    Attributes:
        aucs: Validation AUC after each epoch.
        fails: Whether it fails in the epoch after these.
    """

    aucs: tuple[float, ...]
    fails: bool = False

    def is_last(self, epoch: int) -> bool:
        """Whether training ends with an epoch."""
        return epoch == len(self.aucs) and not self.fails


def end_of(row: Row, done: Sequence[float], pruned: bool) -> Outcome:
    """The outcome of a trial after the epochs that are done."""
    if pruned:
        return Outcome(None, None, 0.0, tuple(done), None)
    if row.fails:
        return Outcome(None, None, 0.0, tuple(done), None, "RuntimeError: made to fail")
    return Outcome(max(row.aucs), 0.5, 0.0, tuple(done), None)


class SameEpoch:
    """A pruner that looks at values of the same epoch alone, in the order that it was told of them."""

    def __init__(self) -> None:
        self.seen: dict[int, list[float]] = {}

    def __call__(self, number: int, valid_aucs: Sequence[float]) -> bool:
        rung = self.seen.setdefault(len(valid_aucs), [])
        rung.append(valid_aucs[-1])
        return valid_aucs[-1] < sorted(rung)[len(rung) // 2]


def one_after_another(table: Sequence[Row], first: int) -> tuple[list[Outcome], SameEpoch]:
    """What trials come to without anything side by side, and what the pruner was told."""
    pruner = SameEpoch()
    outcomes = []
    for number, row in enumerate(table, first):
        done, ends = 0, False
        while done < len(row.aucs) and not ends:
            done += 1
            ends = not row.is_last(done) and pruner(number, row.aucs[:done])
        outcomes.append(end_of(row, row.aucs[:done], ends))
    return outcomes, pruner


# Few values, so that many are equal.
_aucs = st.integers(0, 9).map(lambda number: 0.5 + number / 20)
rows = st.one_of(
    st.lists(_aucs, min_size=1, max_size=4).map(lambda values: Row(tuple(values))),
    st.lists(_aucs, max_size=3).map(lambda values: Row(tuple(values), fails=True)),
)
