"""Trials side by side, with the answers of one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from autodpq.training.fit import Epoch
from autodpq.trial import Outcome, Prune
from studies.workers.messages import EpochEnded, TrialEnded, TrialLost

# A trial whose process or machine is lost is begun again; one that is lost so often is to blame itself.
MAX_ATTEMPTS = 3

OnEpoch = Callable[[Epoch], None]
OnOutcome = Callable[[Outcome], None]


class PruningOrder:
    """Asks about trials that run side by side in an order that gives the answers of one after another.

    A trial is asked about at an epoch when all before it have been, or have ended. One that begins again after its
    process was lost gets the answers that it got.

    Args:
        prune: What is asked.
        numbers: The trials' numbers, rising.
    """

    def __init__(self, prune: Prune, numbers: Sequence[int]) -> None:
        self._prune = prune
        self._numbers = numbers
        self._answers: list[list[bool]] = [[] for _ in numbers]
        self._ended = [False] * len(numbers)
        self._waiting: dict[int, EpochEnded] = {}

    def epoch_ended(self, event: EpochEnded) -> list[tuple[int, bool]]:
        """A trial waits; gives the trials that wait no longer, and whether they end."""
        self._waiting[event.position] = event
        return self._answer()

    def trial_ended(self, position: int) -> list[tuple[int, bool]]:
        """A trial is over or lost; gives the trials that wait no longer, and whether they end."""
        self._ended[position] = True
        self._waiting.pop(position, None)
        return self._answer()

    def answered(self, position: int) -> int:
        """After how many epochs a trial got an answer."""
        return len(self._answers[position])

    def forget(self, position: int) -> None:
        """A trial waits no longer, for its process is gone; it will ask again."""
        self._waiting.pop(position, None)

    def _answer(self) -> list[tuple[int, bool]]:
        given = []
        for position, event in sorted(self._waiting.items()):
            number, answers = len(event.valid_aucs), self._answers[position]
            if number > len(answers):
                if not all(self._ended[other] or len(self._answers[other]) >= number for other in range(position)):
                    continue
                ends = not event.epoch.last and self._prune(self._numbers[position], event.valid_aucs)
                answers.append(ends)
            given.append((position, answers[number - 1]))
            del self._waiting[position]
        return given


def in_order(
    events: Iterable[EpochEnded | TrialEnded | TrialLost],
    trials: int,
    order: PruningOrder,
    answer: Callable[[int, bool], None],
    on_epoch: OnEpoch,
    on_outcome: OnOutcome,
) -> Iterator[Outcome]:
    """Turns what happens to trials side by side into outcomes in the order of their plans.

    Args:
        events: What happens; ends only when all trials have.
        trials: How many there are.
        order: Who is asked about pruning.
        answer: Told the position of a trial that waits, and whether it ends.
        on_epoch: Called after every epoch.
        on_outcome: Called after every trial.
    """
    outcomes: dict[int, Outcome] = {}
    given = 0
    for event in events:
        if isinstance(event, EpochEnded):
            on_epoch(event.epoch)
            answers = order.epoch_ended(event)
        else:
            if isinstance(event, TrialEnded):
                outcomes[event.position] = event.outcome
                on_outcome(event.outcome)
            answers = order.trial_ended(event.position)
        for position, ends in answers:
            answer(position, ends)
        while given in outcomes:
            yield outcomes.pop(given)
            given += 1
        if given == trials:
            return
