"""Ray Tune's random search and its ASHA as strategies. Trials run where all others do: no Ray cluster is started.

Ray is looked for at once, so that who lacks it is told before anything runs, and imported by the search itself: that
takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, PositiveInt

from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.search.strategy import AskTellStrategy
from autodpq.trial import Prune, Space, Trial

if TYPE_CHECKING:
    import numpy as np

    from autodpq.search.task import SearchTask

if find_spec("ray") is None:
    raise AutoDPQError("needs Ray Tune: pip install 'autodpq[ray]'")


class RandomRay(AskTellStrategy):
    """A pair (K, D) of its own for every field, drawn uniformly by Ray Tune's variant generator."""

    name: ClassVar[str] = "random-ray"
    uses_history: ClassVar[bool] = False

    def ask(self, number: int, space: Space, rng: np.random.Generator, history: Sequence[Trial]) -> CompressionPlan:
        import numpy as np
        from ray import tune
        from ray.tune.search.variant_generator import generate_variants

        spec = {name: tune.choice(list(row)) if len(row) > 1 else row[0] for name, row in space.items()}
        # A generator, never a bare seed: Ray begins anew at a seed for every field, which then all draw alike.
        random_state = np.random.RandomState(rng.integers(2**31))
        [(_, variant)] = generate_variants(spec, random_state=random_state)
        return CompressionPlan({name: variant[name] for name in space})

    def plan(self, task: SearchTask, number: int) -> CompressionPlan:
        """The plan of a trial; within a budget of bytes, drawn evenly from all plans in it."""
        return super().plan(task, number) if task.budget.bytes is None else task.drawn_within(task.rng(number))


@dataclass(frozen=True)
class _TuneTrial:
    """All that Ray's scheduler reads of a trial of Tune."""

    trial_id: str


class _Halving:
    """Asks Ray's ASHA scheduler about trials that Ray does not run; a :data:`autodpq.trial.Prune`.

    The scheduler compares a trial with those that came to the same rung before it. All of them came there at the same
    epoch, so that its answers are the same whatever runs side by side.

    Args:
        scheduler: Knows the rungs; reads ``epoch`` and ``valid_auc``.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._added: set[int] = set()

    def __call__(self, number: int, valid_aucs: Sequence[float]) -> bool:
        from ray.tune.schedulers import TrialScheduler

        trial = _TuneTrial(str(number))
        if number not in self._added:
            # Draws a bracket of one from NumPy's global generator: whatever its state, the same one.
            self._scheduler.on_trial_add(None, trial)
            self._added.add(number)
        result = {"epoch": len(valid_aucs), "valid_auc": max(valid_aucs)}
        decision: str = self._scheduler.on_trial_result(None, trial, result)
        return decision == TrialScheduler.STOP


class ASHA(RandomRay):
    """Asynchronous successive halving (Li et al., 2020): random plans, the worse of which end early.

    Plans are those of :class:`RandomRay`. At the rungs, epochs ``grace_period * reduction_factor ** k`` rounded up, a
    trial goes on if its best validation AUC so far is at least the quantile ``1 - 1 / reduction_factor`` of the trials
    that came there before it. A trial whose training ends at a rung's epoch by itself is not entered there.

    Args:
        reduction_factor: About one trial in so many goes on from a rung.
        grace_period: The first rung's epoch: no trial ends earlier.
    """

    name: ClassVar[str] = "asha"

    def __init__(self, *, reduction_factor: Annotated[float, Field(gt=1)] = 4.0, grace_period: PositiveInt = 1) -> None:
        self.reduction_factor = reduction_factor
        self.grace_period = grace_period

    def pruner(self, task: SearchTask) -> Prune:
        from ray.tune.schedulers import ASHAScheduler

        max_epochs = task.trainer.recipe.max_epochs
        if self.grace_period >= max_epochs:
            raise AutoDPQError(
                f"{self.name}: grace_period={self.grace_period} leaves nothing to end early: "
                f"the recipe trains for at most {max_epochs} epochs"
            )
        return _Halving(
            ASHAScheduler(
                time_attr="epoch",
                metric="valid_auc",
                mode="max",
                max_t=max_epochs,
                grace_period=self.grace_period,
                reduction_factor=self.reduction_factor,
            )
        )
