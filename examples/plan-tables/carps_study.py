"""Runs an optimizer of CARP-S on a table of plans: pip install carps."""

from __future__ import annotations

import sys

from carps.objective_functions.objective_function import ObjectiveFunction
from carps.optimizers.random_search import RandomSearchOptimizer
from carps.utils.task import (
    FidelitySpace,
    InputSpace,
    OptimizationResources,
    OutputSpace,
    Task,
    TaskMetadata,
    get_search_space_info,
)
from carps.utils.trials import StatusType, TrialInfo, TrialValue
from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace

import autodpq


class PlanObjective(ObjectiveFunction):
    """One minus validation AUC of a plan, after as many epochs as the budget of a trial says; bytes as a second cost.

    Args:
        table: A table of plans: a file, or the name of one that comes with autodpq.
        seed: Whose trainings are seen where a trial has none of its own.
        with_bytes: Whether bytes are an objective, too.
        loggers: CARP-S' loggers.
    """

    def __init__(self, table: str = "synthetic", seed: int = 0, with_bytes: bool = False, loggers=None) -> None:
        super().__init__(loggers)
        self.table = autodpq.open_table(table)
        self.seed, self.with_bytes = seed, with_bytes
        self.n_epochs = max(row.epochs for row in self.table.rows)
        self._space = ConfigurationSpace(name=self.table.about.of.data.name, seed=seed)
        self._space.add([CategoricalHyperparameter(name, texts) for name, texts in self.table.searched.items()])

    @property
    def configspace(self) -> ConfigurationSpace:
        """One categorical hyperparameter for each band of values that has several candidates."""
        return self._space

    @property
    def f_min(self) -> float | None:
        """The least cost that the seed knows; None of two objectives."""
        aucs = [row.valid_auc for row in self.table.rows if row.seed == self.seed and row.valid_auc is not None]
        return None if self.with_bytes else 1 - max(aucs)

    def _evaluate(self, trial_info: TrialInfo) -> TrialValue:
        seed = self.seed if trial_info.seed is None else trial_info.seed
        row = self.table.rows_of(dict(trial_info.config))[seed]
        if row.valid_auc is None:
            return TrialValue([1.0, row.bytes] if self.with_bytes else 1.0, status=StatusType.CRASHED)
        epochs = row.epochs if trial_info.budget is None else min(int(trial_info.budget), row.epochs)
        cost = 1 - max(row.valid_aucs[:epochs])
        seconds = row.seconds * epochs / row.epochs
        return TrialValue([cost, row.bytes] if self.with_bytes else cost, virtual_time=seconds)


def task(table: str, trials: int) -> Task:
    """The table as a task of CARP-S."""
    objective = PlanObjective(table)
    about = TaskMetadata(
        domain="ML",
        objective_function_approximation="tabular",
        has_virtual_time=True,
        deterministic=True,
        **get_search_space_info(objective.configspace),
    )
    epochs = FidelitySpace(
        is_multifidelity=True, fidelity_type="epochs", min_fidelity=1, max_fidelity=objective.n_epochs
    )
    return Task(
        name=f"autodpq/{table}",
        objective_function=objective,
        input_space=InputSpace(objective.configspace, epochs),
        output_space=OutputSpace(1, ("1-valid_auc",)),
        optimization_resources=OptimizationResources(n_trials=trials),
        metadata=about,
    )


def main(table: str = "synthetic", trials: int = 50) -> None:
    """Random search of CARP-S."""
    asked = task(table, trials)
    info, value = RandomSearchOptimizer(asked).run()
    plan = {name: str(choice) for name, choice in info.config.items()}
    print(f"Random search: best validation AUC {1 - value.cost:.4f} of {trials} trials, {plan}")
    print(f"Validation regret: {value.cost - asked.objective_function.f_min:.5f}")


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
