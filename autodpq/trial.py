"""What a search is made of: phases, candidates, budgets, trials and their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from autodpq.choices import Choice, Full, Others
from autodpq.costs import Ledger
from autodpq.errors import AutoDPQError, TrainingError
from autodpq.plan import CompressionPlan, Field, bands_of

if TYPE_CHECKING:
    from torch import Tensor

Phase = Literal["pretrain", "search", "retrain"]
PHASES: tuple[Phase, ...] = ("pretrain", "search", "retrain")
Space = Mapping[str, Sequence[Choice]]

# Whether a trial ends now: asked after each of its epochs but the last, with its number and its validation AUCs so far.
# Whatever runs side by side, trials of lower numbers have been asked about at that epoch, or have ended, before: what
# looks at values of the same epoch alone gives the same answers on one process and on many. Only a trial that is lost
# with a node of a cluster is not waited for.
Prune = Callable[[int, Sequence[float]], bool]


def never(number: int, valid_aucs: Sequence[float]) -> bool:
    """Prunes no trial."""
    return False


@dataclass(frozen=True)
class Trial:
    """One plan, trained and evaluated on validation data.

    Attributes:
        number: From 0, in the order of asking.
        plan: The plan.
        state: ``complete``, ``pruned`` or ``failed``.
        valid_auc: Validation AUC of the best epoch; None unless complete.
        valid_logloss: Validation logloss of that epoch; None unless complete.
        ledger: What the plan costs.
        seconds: Seconds per phase.
        epochs: Epochs trained; none where the plan had been trained before.
        error: Why the trial failed; None unless it did.
        valid_aucs: Validation AUC after each epoch.
        attempts: How often it was begun: more than once where the process or machine that trained it was lost, never
            where an earlier trial had the same plan.
        traceback: Where code failed; None unless it did.
    """

    number: int
    plan: CompressionPlan
    state: Literal["complete", "pruned", "failed"]
    valid_auc: float | None
    valid_logloss: float | None
    ledger: Ledger
    seconds: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 0
    error: str | None = None
    valid_aucs: tuple[float, ...] = ()
    attempts: int = 1
    traceback: str | None = None


def best_trial(history: Sequence[Trial]) -> Trial:
    """The complete trial of the best validation AUC; the first of equals.

    Raises:
        TrainingError: No trial is complete.
    """
    complete = [(trial.valid_auc, -trial.number, trial) for trial in history if trial.valid_auc is not None]
    if not complete:
        reason = next((trial.error for trial in history if trial.error), "none was run")
        raise TrainingError(f"no trial is complete: {reason}")
    return max(complete)[2]


@dataclass(frozen=True)
class Budget:
    """What a search may spend.

    Attributes:
        trials: At most so many trials; None leaves it to the strategy.
        bytes: At most so many bytes of the plan that it gives back, and of every plan that it tries; None for any.
    """

    trials: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Pretrained:
    """The FE network, trained once per data set, model, recipe and seed.

    Attributes:
        state: Its weights.
        seconds: What training it took.
        epochs: Epochs trained.
    """

    state: Mapping[str, Tensor]
    seconds: float
    epochs: int


@dataclass(frozen=True)
class Rises:
    """How much the loss of the training rows rises under each candidate of each band, to second order.

    Attributes:
        losses: By band the rise of the sum of cross entropies, in the order of the space.
        seconds: What finding them took.
    """

    losses: Mapping[str, tuple[float, ...]]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What training one plan came to.

    Attributes:
        valid_auc: Of the best epoch; None unless it was trained to its end.
        valid_logloss: Of that epoch; None unless it was trained to its end.
        seconds: Of training.
        valid_aucs: Validation AUC after each epoch.
        state: The network's weights; None unless it was trained to its end.
        error: Why it failed; None unless it did.
        attempts: How often it was begun; never where the plan had been trained before.
        traceback: Where code failed; None unless it did.
    """

    valid_auc: float | None
    valid_logloss: float | None
    seconds: float
    valid_aucs: tuple[float, ...]
    state: Mapping[str, Tensor] | None
    error: str | None = None
    attempts: int = 1
    traceback: str | None = None

    @property
    def kind(self) -> Literal["complete", "pruned", "failed"]:
        """What the trial's state is."""
        if self.error is not None:
            return "failed"
        return "pruned" if self.valid_auc is None else "complete"


def check_plan(plan: CompressionPlan, fields: Sequence[Field], space: Space) -> None:
    """Refuses what is no plan for these fields and candidates; ``Full`` and ``Others`` always fit.

    Raises:
        AutoDPQError: Names the band and the value.
    """
    if not isinstance(plan, CompressionPlan):
        raise AutoDPQError(f"{plan!r} given, a CompressionPlan is needed")
    names = [band.name for band in bands_of(fields)]
    for name in plan:
        if name not in names:
            raise AutoDPQError(f"field {name!r}: the plan has a choice for it, the data has no such field")
    for name in names:
        if name not in plan:
            raise AutoDPQError(f"field {name!r}: the plan has no choice for it")
        if not isinstance(plan[name], Full | Others) and plan[name] not in space[name]:
            raise AutoDPQError(f"field {name!r}: {plan[name]} is not among its candidates")


def check_bytes(ledger: Ledger, budget: Budget) -> None:
    """Refuses a plan above the budget.

    Raises:
        AutoDPQError: Says by how much.
    """
    if budget.bytes is not None and ledger.bytes > budget.bytes:
        raise AutoDPQError(f"a plan of {ledger.bytes:,} bytes: the budget is {budget.bytes:,}")
