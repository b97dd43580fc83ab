"""Where trials are trained: here one after another, or elsewhere side by side with the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autodpq.data import Samples
from autodpq.errors import AutoDPQError
from autodpq.models import MODELS, CTRModel
from autodpq.plan import CompressionPlan, Field
from autodpq.recipes import Recipe
from autodpq.trainer import Trainer, pruned_by, train_one
from autodpq.training import Epoch
from autodpq.trial import Outcome, Prune

# A trial whose process or machine is lost is begun again; one that is lost so often is to blame itself.
MAX_ATTEMPTS = 3

OnEpoch = Callable[[Epoch], None]
OnOutcome = Callable[[Outcome], None]


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

    def __call__(self, plans: Sequence[CompressionPlan], first: int, prune: Prune) -> Iterator[Outcome]:
        """Yields outcomes in the order of the plans."""
        for number, plan in enumerate(plans, first):
            outcome = train_one(
                self.trainer, plan, self.pretrained, pruned_by(prune, number, self.on_epoch), self.timeout
            )
            self.on_outcome(outcome)
            yield outcome


@dataclass(frozen=True)
class TrainerSpec:
    """All that another process needs to build the same trainer, in arrays.

    Attributes:
        fields: The fields.
        model: The model's name, or what it was loaded from.
        recipe: How to train.
        seed: The seed.
        device: Where to train there.
        train: Training rows.
        valid: Validation rows.
        pretrained: Where plans start; None from nothing.
        compiled: Whether training steps are compiled.
        timeout: Seconds after which training a plan counts as failed; None for no limit.
    """

    fields: tuple[Field, ...]
    model: str
    recipe: Recipe
    seed: int
    device: str
    train: Samples
    valid: Samples
    pretrained: dict[str, npt.NDArray[Any]] | None
    compiled: bool = False
    timeout: float | None = None

    def build(self, model: type[CTRModel] | None = None) -> tuple[Trainer, dict[str, Tensor] | None]:
        """The trainer, and where its plans start; ``model`` is given where its name would not be known.

        Raises:
            AutoDPQError: Steps are to be compiled, and cannot be here: trials must not differ in the last digits.
        """
        device = torch.device(self.device)
        model = model or MODELS.find(self.model)
        rows = self.train, self.valid
        trainer = Trainer(self.fields, model, self.recipe, self.seed, device, *rows, compiled=self.compiled)
        if self.compiled and trainer.compilation is not None and trainer.compilation.failure is not None:
            raise AutoDPQError(f"--compile: {trainer.compilation.failure}; use --compile off")
        return trainer, None if self.pretrained is None else from_arrays(self.pretrained, device)


def to_arrays(state: Mapping[str, Tensor]) -> dict[str, npt.NDArray[Any]]:
    """Weights to send: tensors would go through shared memory, which containers are short of."""
    return {name: value.detach().cpu().numpy() for name, value in state.items()}


def from_arrays(state: Mapping[str, npt.NDArray[Any]], device: torch.device) -> dict[str, Tensor]:
    """Weights that were sent; copied, for what arrives may be read-only."""
    return {name: torch.from_numpy(np.array(value)).to(device) for name, value in state.items()}


@dataclass(frozen=True)
class SentOutcome:
    """An outcome on its way between processes, its weights as arrays."""

    outcome: Outcome
    arrays: dict[str, npt.NDArray[Any]] | None

    @classmethod
    def pack(cls, outcome: Outcome) -> SentOutcome:
        """Makes an outcome ready to send."""
        arrays = None if outcome.state is None else to_arrays(outcome.state)
        return cls(replace(outcome, state=None), arrays)

    def unpack(self) -> Outcome:
        """The outcome as it was, on the CPU."""
        state = None if self.arrays is None else from_arrays(self.arrays, torch.device("cpu"))
        return replace(self.outcome, state=state)


@dataclass(frozen=True)
class EpochEnded:
    """A trial waits for the word on whether to go on.

    Attributes:
        position: Of its plan.
        epoch: The epoch.
        valid_aucs: So far.
    """

    position: int
    epoch: Epoch
    valid_aucs: tuple[float, ...]


@dataclass(frozen=True)
class TrialEnded:
    """A trial is over.

    Attributes:
        position: Of its plan.
        outcome: What it came to.
    """

    position: int
    outcome: Outcome


@dataclass(frozen=True)
class TrialLost:
    """The process or machine that trained a trial is gone.

    It may begin again, but no trial waits for it any more: they could hold what it needs to begin.

    Attributes:
        position: Of its plan.
    """

    position: int


class PruningOrder:
    """Asks about trials that run side by side in an order that gives the answers of one after another.

    A trial is asked about at an epoch when all before it have been, or have ended. One that begins again after its
    process was lost gets the answers that it got.

    Args:
        prune: What is asked.
        first: The number of the first trial.
        trials: How many there are.
    """

    def __init__(self, prune: Prune, first: int, trials: int) -> None:
        self._prune = prune
        self._first = first
        self._answers: list[list[bool]] = [[] for _ in range(trials)]
        self._ended = [False] * trials
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
                ends = not event.epoch.last and self._prune(self._first + position, event.valid_aucs)
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
