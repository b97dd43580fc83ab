"""Trials that another run of the study has trained: the same plan comes to the same digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autodpq.plan import CompressionPlan
from autodpq.search.task import Executor
from autodpq.trial import Outcome, Prune, never
from studies.workers.order import OnOutcome

MOST_BYTES = 1 << 28
"""Of weights that are kept; plans beyond it are trained again where they are asked for again."""


class KnownTrials:
    """What plans came to in runs that start from one network: Grid asks for the same ones within every budget.

    A run that takes over what another one has trained is charged what that training took.
    """

    def __init__(self) -> None:
        self._outcomes: dict[CompressionPlan, Outcome] = {}
        self._bytes = 0

    def executor(self, executor: Executor, on_outcome: OnOutcome) -> Executor:
        """Trains the plans that no run has trained; trials that may be pruned are trained always.

        The plans of a call differ: a task asks for each once.

        Args:
            executor: Trains.
            on_outcome: Called after every trial that is taken over.
        """

        def train(plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
            if prune is not never:
                yield from executor(plans, numbers, prune)
                return
            fresh = {plan: number for plan, number in zip(plans, numbers, strict=True) if plan not in self._outcomes}
            outcomes = zip(fresh, executor([*fresh], [*fresh.values()], prune), strict=True)
            for plan in plans:
                if plan in fresh:
                    _, outcome = next(outcomes)
                    self._keep(plan, outcome)
                else:
                    outcome = self._outcomes[plan]
                    on_outcome(outcome)
                yield outcome
            next(outcomes, None)  # it says so where there are more of them

        return train

    def _keep(self, plan: CompressionPlan, outcome: Outcome) -> None:
        if outcome.kind != "complete" or outcome.state is None:
            return
        size = sum(tensor.nbytes for tensor in outcome.state.values())
        if self._bytes + size <= MOST_BYTES:
            self._outcomes[plan] = outcome
            self._bytes += size
