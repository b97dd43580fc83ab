"""The task of a search that is replayed: what it tries is looked up, and what trains is made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from autodpq.costs import Ledger
from autodpq.data import Samples
from autodpq.models import CTRModel
from autodpq.plan import CompressionPlan, Field
from autodpq.search.task import SearchTask
from autodpq.training.recipes import Recipe
from autodpq.training.trainer import Trainer
from autodpq.trial import Budget, Outcome, Phase, Pretrained, Prune, Trial, never
from studies.tables.asked import Asked

if TYPE_CHECKING:
    from torch import Tensor

    from autodpq.training.network import Network
    from studies.sharing import Shared


class TableTrainer(Trainer):
    """Prices plans; it becomes a whole trainer, with rows, as soon as something is asked of it that needs one.

    Args:
        fields: The fields.
        model: The model.
        recipe: How the table's plans were trained.
        seed: Of the search.
        compact: Whether plans are stored as the wide space has it.
        ledgers: Prices that are known, by plan; searches share them.
        whole: Makes the whole trainer.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        model: type[CTRModel],
        recipe: Recipe,
        seed: int,
        compact: bool,
        ledgers: dict[CompressionPlan, Ledger],
        whole: Callable[[], Trainer],
    ) -> None:
        self.fields, self.model, self.recipe = tuple(fields), model, recipe
        self.seed, self.compact = seed, compact
        self._ledgers, self._whole = ledgers, whole

    def __getattr__(self, name: str) -> Any:
        # Asked for what is not there: all that the constructor above does not set.
        if name.startswith("__"):
            raise AttributeError(name)
        for own, value in vars(self._whole()).items():
            setattr(self, own, value)
        return object.__getattribute__(self, name)

    def ledger(self, plan: CompressionPlan) -> Ledger:
        """What a plan costs."""
        if plan not in self._ledgers:
            self._ledgers[plan] = super().ledger(plan)
        return self._ledgers[plan]


class TableTask(SearchTask):
    """A task whose trials are looked up in a table, in simulated time.

    By its interface a strategy comes by what the table says of validation rows with one seed, and by nothing of test
    rows.

    Args:
        asked: What is asked for.
        outcomes: By plan what its training came to with the seed of the table that this search sees.
        pretrained: FE of that seed, without its weights.
        seed: Of the search.
        budget: What it may spend.
        ledgers: Prices that are known.
        shared: Makes what trains: rows and FE, for a search that asks for them.

    Attributes:
        trains: Whether something that trains was asked for.
        outside: What is not the strategy's own failure, and ends the replay even where the strategy has caught it: a
            plan that is not there, or rows that cannot be had. None if nothing.
    """

    def __init__(
        self,
        asked: Asked,
        outcomes: Mapping[CompressionPlan, Outcome],
        pretrained: Pretrained,
        seed: int,
        budget: Budget,
        ledgers: dict[CompressionPlan, Ledger],
        shared: Callable[[], tuple[Shared, Trainer]],
    ) -> None:
        self.outside: BaseException | None = None
        self.trains = False
        self._shared = shared
        self._made: tuple[Shared, Trainer] | None = None
        self._check = asked.table.check
        none = Samples(np.empty((0, 0), np.int32), np.empty(0, np.uint8))
        compact = asked.table.about.of.space == "wide"
        trainer = TableTrainer(
            asked.table.fields, asked.model, asked.recipe, seed, compact, ledgers, lambda: self._parts()[1]
        )
        init: Literal["pretrained", "scratch"] = (
            "pretrained" if asked.table.about.of.init == "pretrained" else "scratch"
        )
        executor = _looking_up(outcomes)
        super().__init__(trainer, none, none, asked.table.space, budget, pretrained, init, executor, _Forgetful())

    def _parts(self) -> tuple[Shared, Trainer]:
        self.trains = True
        if self._made is None:
            with self._watched():
                self._made = self._shared()
        return self._made

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.outside = self.outside or error
            raise

    @property
    def train(self) -> Samples:
        """Training rows, which are read now."""
        return self._parts()[0].prepared.train

    @property
    def valid(self) -> Samples:
        """Validation rows, which are read now."""
        return self._parts()[0].prepared.valid

    def pretrained(self) -> Mapping[str, Tensor]:
        """A copy of the FE network's weights, which is trained now unless it was before."""
        self.charge_pretraining()
        state = self._parts()[0].pretraining.pretrained.state
        return {name: value.clone() for name, value in state.items()}

    def check_there(self, plan: CompressionPlan) -> None:
        """Refuses a plan that is not in the table.

        Raises:
            AutoDPQError: Says which candidates there are.
        """
        with self._watched():
            self._check(plan)

    def evaluate_many(self, plans: Sequence[CompressionPlan], prune: Prune = never) -> list[Trial]:
        """Looks plans up; trials come in the order of the plans."""
        for plan in plans:
            self.check_there(plan)
        return super().evaluate_many(plans, prune)


def _looking_up(outcomes: Mapping[CompressionPlan, Outcome]) -> Callable[..., Iterator[Outcome]]:
    """An executor that trains nothing; pruning is asked as where trials are trained one after another."""

    def execute(plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
        for plan, number in zip(plans, numbers, strict=True):
            outcome, ended = outcomes[plan], None
            n_epochs = len(outcome.valid_aucs)
            asked_after = n_epochs if outcome.error is not None else n_epochs - 1
            if prune is not never:
                epochs = range(1, asked_after + 1)
                ended = next((epoch for epoch in epochs if prune(number, outcome.valid_aucs[:epoch])), None)
            if ended is not None:
                seconds = outcome.seconds * ended / n_epochs
                outcome = Outcome(None, None, seconds, outcome.valid_aucs[:ended], None)
            yield outcome

    return execute


class _Forgetful:
    """A journal of a search that is not gone on with."""

    def finished_trials(self) -> Sequence[Trial]:
        return ()

    def add_trial(self, trial: Trial, state: Mapping[str, Tensor] | None) -> None:
        pass

    def add_point(self, seconds: float, phase: Phase, valid_auc: float, reached_by: Network | Trial | None) -> None:
        pass
