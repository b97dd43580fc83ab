"""Optuna's samplers as strategies: random search, TPE and NSGA-II over one pair (K, D) per field.

Optuna is imported by the search itself: strategies are listed, and their options checked, without it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.search.strategy import Strategy, register
from autodpq.trial import Trial, best_trial

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study

    from autodpq.search.task import SearchTask


def pareto_front(history: Sequence[Trial]) -> list[Trial]:
    """The complete trials that no other beats in validation AUC without more bytes, by rising bytes and AUC.

    Of trials that are equal in both, the first is kept.
    """
    complete = [trial for trial in history if trial.valid_auc is not None]
    front: list[Trial] = []
    for trial in sorted(complete, key=lambda trial: (trial.ledger.bytes, -(trial.valid_auc or 0.0), trial.number)):
        if not front or (trial.valid_auc or 0.0) > (front[-1].valid_auc or 0.0):
            front.append(trial)
    return front


def knee(front: Sequence[Trial]) -> Trial:
    """The trial where more bytes cease to pay: the farthest from the line between the two ends of a Pareto front.

    Both axes are scaled to [0, 1] over the front. Only what lies on the side of fewer bytes and better AUC counts: a
    dent of the front is no knee. The best AUC is taken where nothing lies there, or the front has fewer than 3 trials.

    Args:
        front: As :func:`pareto_front` gives it, not empty.
    """
    if len(front) < 3:
        return front[-1]
    least, most = front[0], front[-1]
    bytes_span = most.ledger.bytes - least.ledger.bytes
    auc_span = (most.valid_auc or 0.0) - (least.valid_auc or 0.0)

    def distance(trial: Trial) -> float:
        """From the diagonal, up to a factor: scaled, the ends are (0, 0) and (1, 1)."""
        gained = ((trial.valid_auc or 0.0) - (least.valid_auc or 0.0)) / auc_span
        return gained - (trial.ledger.bytes - least.ledger.bytes) / bytes_span

    return max(front, key=lambda trial: (distance(trial), trial.valid_auc))


class OptunaStrategy(Strategy):
    """A search whose plans an Optuna sampler draws, batch by batch; trials of a batch run side by side.

    One study in memory lives as long as the search and is told of every trial. The task gives back the trials that an
    interrupted run had finished, so a resumed search builds the same study again by running from its start.

    Attributes:
        directions: What Optuna does with each of :meth:`values`.
    """

    default_trials: ClassVar[int] = 20
    directions: ClassVar[tuple[Literal["maximize", "minimize"], ...]] = ("maximize",)

    @abstractmethod
    def sampler(self, seed: int) -> BaseSampler:
        """The sampler of one trial."""

    @abstractmethod
    def next_batch(self, study: Study, left: int) -> int:
        """How many trials are asked for before the study is told of any of them.

        Args:
            study: Told of all earlier trials.
            left: Trials that the budget still allows; what is more is cut off.
        """

    def values(self, trial: Trial) -> list[float]:
        """What Optuna is told of a complete trial, one number per direction."""
        return [trial.valid_auc or 0.0]

    def choose(self, task: SearchTask) -> CompressionPlan:
        """The plan that is taken when all trials have ended."""
        return best_trial(task.history).plan

    def search(self, task: SearchTask) -> CompressionPlan:
        import optuna

        with task.phase("search"):
            study = optuna.create_study(sampler=self.sampler(0), directions=self.directions)
            texts = {name: [str(choice) for choice in candidates] for name, candidates in task.space.items()}
            number, end = 0, self.n_trials(task)
            while number < end:
                size = min(self.next_batch(study, end - number), end - number)
                if size < 1:
                    raise AutoDPQError(f"{self.name}: a batch has at least one trial, not {size}")
                asked = [self._ask(study, task, texts, number + position) for position in range(size)]
                trials = task.evaluate_many([plan for _, plan in asked])
                for (in_study, _), trial in zip(asked, trials, strict=True):
                    self._tell(study, in_study, trial)
                number += size
        return self.choose(task)

    def _ask(
        self, study: Study, task: SearchTask, texts: Mapping[str, list[str]], number: int
    ) -> tuple[optuna.Trial, CompressionPlan]:
        from optuna.distributions import CategoricalDistribution

        # A sampler per trial, so that random draws depend on (seed, number) alone; one that was built again with the
        # search's seed would repeat its first draws.
        study.sampler = self.sampler(int(task.rng(number).integers(2**31)))
        searched: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(row) for name, row in texts.items() if len(row) > 1
        }
        if task.budget.bytes is not None:
            plan = self.plan_within(study, task, number, searched)
            study.enqueue_trial({name: str(plan[name]) for name in searched})
        in_study = study.ask(searched)
        drawn = {name: texts[name].index(in_study.params[name]) for name in searched}
        return in_study, CompressionPlan({name: row[drawn.get(name, 0)] for name, row in task.space.items()})

    def plan_within(
        self, study: Study, task: SearchTask, number: int, searched: Mapping[str, BaseDistribution]
    ) -> CompressionPlan:
        """A plan within the budget of bytes: the one that the sampler draws, with cheaper candidates where it is above.

        Args:
            study: Knows the trials so far; what is drawn of it here is no trial.
            task: The task.
            number: Of the trial.
            searched: What is drawn.
        """
        import optuna

        asked = study.ask(dict(searched))
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
        choices = {str(choice): choice for row in task.space.values() for choice in row}
        drawn = {name: choices[asked.params[name]] for name in searched}
        plan = CompressionPlan({name: drawn.get(name, row[0]) for name, row in task.space.items()})
        return task.shrunk(plan, task.rng(number))

    def _tell(self, study: Study, in_study: optuna.Trial, trial: Trial) -> None:
        from optuna.trial import TrialState

        match trial.state:
            case "complete":
                study.tell(in_study, self.values(trial))
            case "pruned":
                study.tell(in_study, state=TrialState.PRUNED)
            case "failed":
                study.tell(in_study, state=TrialState.FAIL)


@register
class Random(OptunaStrategy):
    """A candidate of its own for every band, drawn uniformly; within a budget of bytes, evenly from all plans in it."""

    name: ClassVar[str] = "random"

    def plan_within(
        self, study: Study, task: SearchTask, number: int, searched: Mapping[str, BaseDistribution]
    ) -> CompressionPlan:
        return task.drawn_within(task.rng(number))

    def sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)

    def next_batch(self, study: Study, left: int) -> int:
        return left


@register
class TPE(OptunaStrategy):
    """The Tree-structured Parzen Estimator (Bergstra et al., 2011): pairs that were good are drawn more often.

    Until Optuna has seen 10 trials end, its draws are those of :class:`Random`.

    Args:
        batch_size: Trials that run side by side; those of a batch do not learn from one another, but keep apart.
    """

    name: ClassVar[str] = "tpe"

    def __init__(self, *, batch_size: PositiveInt = 1) -> None:
        self.batch_size = batch_size

    def sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import TPESampler

        # The constant liar takes running trials for bad ones, so that a batch does not hold one plan many times.
        return TPESampler(seed=seed, constant_liar=self.batch_size > 1)

    def next_batch(self, study: Study, left: int) -> int:
        return self.batch_size


@register
class NSGA2(OptunaStrategy):
    """NSGA-II (Deb et al., 2002): better validation AUC in fewer bytes, generation by generation.

    The first generation's draws are those of :class:`Random`. What is taken is the best validation AUC within a budget
    of bytes; without one, the :func:`knee` of the Pareto front.

    Args:
        population_size: Plans of a generation; they run side by side.
    """

    name: ClassVar[str] = "nsga2"
    directions: ClassVar[tuple[Literal["maximize", "minimize"], ...]] = ("maximize", "minimize")

    def __init__(self, *, population_size: Annotated[int, Field(ge=2)] = 5) -> None:
        self.population_size = population_size

    def sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(population_size=self.population_size, seed=seed)

    def next_batch(self, study: Study, left: int) -> int:
        from optuna.trial import TrialState

        # Optuna fills a generation with complete trials; what is asked for beyond that would still belong to it.
        complete = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        return self.population_size - complete % self.population_size

    def values(self, trial: Trial) -> list[float]:
        return [*super().values(trial), float(trial.ledger.bytes)]

    def choose(self, task: SearchTask) -> CompressionPlan:
        front = pareto_front(task.history) or [best_trial(task.history)]  # which raises
        return (knee(front) if task.budget.bytes is None else front[-1]).plan
