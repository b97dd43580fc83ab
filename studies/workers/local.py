"""Trials trained in this process, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from autodpq.plan import CompressionPlan
from autodpq.training.attempt import pruned_by, train_one
from autodpq.training.trainer import Trainer
from autodpq.trial import Outcome, Prune
from studies.workers.order import OnEpoch, OnOutcome


class LocalExecutor:
    """Trains plans in this process, one after another.

    Args:
        trainer: Trains.
        pretrained: Where plans start; None from nothing.
        on_epoch: Called after every epoch.
        on_outcome: Called after every plan.
        timeout: Seconds after which training a plan counts as failed; None for no limit.
    """

    def __init__(
        self,
        trainer: Trainer,
        pretrained: Mapping[str, Tensor] | None,
        on_epoch: OnEpoch,
        on_outcome: OnOutcome,
        timeout: float | None = None,
    ) -> None:
        self.trainer = trainer
        self.pretrained = pretrained
        self.timeout = timeout
        self.on_epoch = on_epoch
        self.on_outcome = on_outcome

    def __call__(self, plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
        """Yields outcomes in the order of the plans."""
        for number, plan in zip(numbers, plans, strict=True):
            outcome = train_one(
                self.trainer, plan, self.pretrained, pruned_by(prune, number, self.on_epoch), self.timeout
            )
            self.on_outcome(outcome)
            yield outcome
