"""Strategies replayed against a table of plans: hundreds of searches without a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import fsum
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console

from autodpq.costs import Ledger
from autodpq.data import dataset_spec
from autodpq.errors import AutoDPQError, one_line
from autodpq.plan import CompressionPlan
from autodpq.plugins.options import label
from autodpq.records.replay import REPLAY, BestWithin, FrontPlan, ReplayedRun, ReplayFile, write_replay
from autodpq.records.shipped import open_table
from autodpq.records.table import PlanTable
from autodpq.search.strategy import Strategy
from autodpq.training.fit import evaluate
from autodpq.training.trainer import Trainer
from autodpq.trial import Budget, Outcome, Pretrained, Trial, best_trial, check_bytes, check_plan
from reports.names import within
from studies.config import run_config, study_candidates, study_recipe
from studies.floors import measure_floors
from studies.folder.comparable import Compile
from studies.folder.lock import alone_in
from studies.isolation import ProcessSettings
from studies.prepared import LOADING, load_rows, prepare_for
from studies.sharing import Context, Shared, share
from studies.tables.asked import Asked, check_asked
from studies.tables.task import TableTask
from studies.tables.truth import Truth, pareto_front
from studies.watch.progress import Progress
from studies.workers.machine import choose_device, torch_settings


def search_table(
    table: str | Path, out: Path, given: Mapping[str, Any], console: Console, say: Callable[[str], None]
) -> None:
    """Lets strategies search a table, and writes what they came to.

    Args:
        table: The table: a file, or the name of one that comes with the package.
        out: The folder of the replay.
        given: The options of a study that are given; all others are the table's.
        console: Where warnings go.
        say: Is told a line for each strategy.

    Raises:
        AutoDPQError: The table is damaged, an option asks for something else than it is of, or a strategy asks for a
            plan that is not in it.
    """
    if (out / "study.json").exists():
        raise AutoDPQError(f"--out: {out} holds a study; name another folder for the replay")
    asked = check_asked(open_table(table), given)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with torch_settings(), alone_in(out):
        replaying = _Replay(asked, out, Progress(console, asked.config.log_level), say)
        write_replay(out / REPLAY, replaying.about(), replaying.run())


class _Replay:
    """Searches of one table."""

    def __init__(self, asked: Asked, out: Path, progress: Progress, say: Callable[[str], None]) -> None:
        self.asked, self.table, self.out, self.progress, self.say = asked, asked.table, out, progress, say
        self.truths = {budget: Truth(self.table, budget) for budget in asked.budgets}
        seeds = self.table.about.seeds
        self.pretrained = [Pretrained({}, seed.seconds, seed.epochs) for seed in seeds]
        self.outcomes = [_outcomes(self.table, seed.seed) for seed in seeds]
        self.texts = {plan: rows[0].plan for plan, rows in self.table.plans.items()}
        self.ledgers: dict[CompressionPlan, Ledger] = {}
        self.shared: dict[int, Shared] = {}
        self.settings = ProcessSettings()

    def run(self) -> list[ReplayedRun]:
        """All searches, by strategy, budget and seed."""
        runs: list[ReplayedRun] = []
        for strategy in self.asked.strategies:
            if not strategy.compresses:
                self.progress.warn(f"{strategy.name} compresses nothing: it is no plan of the table, which knows FE")
                continue
            for budget in self.asked.budgets:
                runs += self._searches(strategy, budget)
        if not runs:
            raise AutoDPQError("--strategies: none of them compresses anything: there is nothing to replay")
        return runs

    def _searches(self, strategy: Strategy, budget: int | None) -> list[ReplayedRun]:
        runs: list[ReplayedRun] = []
        for seed in range(self.asked.config.seeds):
            if runs and runs[0].trained and seed >= len(self.outcomes):
                break
            runs.append(self._search(strategy, budget, seed))
        told = f"{len(runs)} search{'es' if len(runs) > 1 else ''}"
        trained = ", trained for real: one for each of the table's seeds at most" if runs[0].trained else ""
        self.say(f"{within(label(strategy), budget)}: {told}{trained}")
        failed = [run for run in runs if run.error is not None]
        if failed:
            self.progress.warn(f"{strategy.name}: {len(failed)} of {len(runs)} searches failed: {failed[0].error}")
        return runs

    def _search(self, strategy: Strategy, budget: int | None, seed: int) -> ReplayedRun:
        table_seed = seed % len(self.outcomes)
        task = TableTask(
            self.asked, self.outcomes[table_seed], self.pretrained[table_seed], seed,
            Budget(self.asked.config.trials, budget), self.ledgers, partial(self._parts, strategy, table_seed),
        )  # fmt: skip
        plan, error = None, None
        try:
            plan = strategy.search(task)
            if isinstance(plan, CompressionPlan):
                task.check_there(plan)
            check_plan(plan, task.fields, task.space)
            check_bytes(task.trainer.ledger(plan), task.budget)
        except (Exception, SystemExit) as raised:
            plan, error = None, str(raised) if isinstance(raised, AutoDPQError) else one_line(raised)
        finally:
            self.settings.restore()
        if isinstance(task.outside, AutoDPQError):
            raise AutoDPQError(f"{strategy.name}: {task.outside}")
        if task.outside is not None:
            raise task.outside
        if task.trains and not self.shared[table_seed].is_sound():
            raise AutoDPQError(f"{strategy.name}: it changed rows or weights that all strategies share")
        return self._told(strategy, budget, seed, task, plan, error)

    def _told(
        self,
        strategy: Strategy,
        budget: int | None,
        seed: int,
        task: TableTask,
        plan: CompressionPlan | None,
        error: str | None,
    ) -> ReplayedRun:
        truth, table_seed = self.truths[budget], seed % len(self.outcomes)
        history = task.history
        incumbents = [_best(history[: number + 1]) for number in range(len(history))]
        charged = task.seconds["pretrain"]
        ends, now = [], charged
        for trial in history:
            now += trial.seconds["search"]
            ends.append(now)
        if task.trains:
            now = charged + task.seconds["search"]  # its own training, on this machine
        if plan is not None and plan not in [trial.plan for trial in history]:
            now += self.outcomes[table_seed][plan].seconds
            now += self.pretrained[table_seed].seconds if not charged and task.init == "pretrained" else 0.0
        return ReplayedRun(
            strategy=label(strategy),
            budget=budget,
            seed=seed,
            table_seed=table_seed,
            trained=task.trains,
            error=error,
            plan="" if plan is None else self.texts[plan],
            bytes=None if plan is None else self.table.plans[plan][0].bytes,
            rank=None if plan is None else truth.rank(plan),
            seconds=now,
            valid_regret=None if plan is None else truth.valid_regret(plan, table_seed),
            test_regret=None if plan is None else truth.test_regret(plan),
            plans=tuple(self.texts[trial.plan] for trial in history),
            states=tuple(trial.state for trial in history),
            valid_aucs=tuple(trial.valid_auc for trial in history),
            trial_seconds=tuple(ends),
            valid_regrets=tuple(truth.valid_regret(best, table_seed) for best in incumbents),
            test_regrets=tuple(truth.test_regret(best) for best in incumbents),
        )

    def _parts(self, strategy: Strategy, seed: int) -> tuple[Shared, Trainer]:
        """What a search trains with that trains for itself: as the run of a study has it, FE trained once a seed."""
        config = self.asked.study().model_copy(update={"device": self.asked.config.device})
        load = partial(load_rows, {option: getattr(config, option) for option in LOADING})
        dataset = load()
        run = run_config(config, dataset, self.asked.model.name, strategy, seed)
        there = self.table.about.of.data.fingerprint
        if dataset.fingerprint != there:
            raise AutoDPQError(
                f"it trains for itself, and the rows of {dataset.name} here are not those of the table: fingerprint "
                f"{dataset.fingerprint[:12]}, {there[:12]} there"
            )
        if seed not in self.shared:
            prepared = prepare_for(load, run.data)
            candidates = study_candidates(config, dataset_spec(config.dataset))
            context = Context(config, candidates, self.out, None, None, self.progress)
            compiling: Compile = "on" if self.table.about.of.compiled else "off"
            recipe, device = study_recipe(config, dataset), choose_device(config.device)
            floors = measure_floors(prepared)
            self.shared[seed] = share(context, run, config.models[0], prepared, floors, recipe, device, compiling)
            self._compare(self.shared[seed], seed)
        return self.shared[seed], self.shared[seed].new_trainer(run)

    def _compare(self, shared: Shared, seed: int) -> None:
        """Warns where FE, trained here, is not the table's to the digit."""
        network = shared.trainer.build(shared.trainer.full_plan())
        network.load_state_dict(shared.pretraining.pretrained.state)
        here, there = evaluate(network, shared.trainer.valid).auc, self.table.about.seeds[seed].valid_auc
        if here != there:
            self.progress.warn(
                f"FE of seed {seed} has a validation AUC of {here:.10f} here and of {there:.10f} in the table: another "
                "machine or version, so that what trains here may differ, too"
            )

    def about(self) -> ReplayFile:
        """What was replayed."""
        about = self.table.about
        return ReplayFile(
            table=self.table.name,
            dataset=about.of.data.name,
            model=about.of.model,
            recipe=about.of.recipe.name,
            licence=about.licence,
            seeds=len(about.seeds),
            best=tuple(
                BestWithin(
                    budget=budget,
                    plans=truth.n_plans,
                    plan=truth.best.to_json(),
                    test_auc=truth.best_auc,
                    bytes=self.table.plans[truth.best][0].bytes,
                    targets=truth.targets,
                )
                for budget, truth in self.truths.items()
            ),
            front=tuple(FrontPlan(bytes=size, test_auc=auc) for size, auc in pareto_front(self.table)),
            worst_test_auc=min(self.table.worth.values()),
            fe_test_auc=_mean([seed.test_auc for seed in about.seeds]),
            fe_bytes=about.seeds[0].bytes,
            fe_seconds=_mean([seed.seconds for seed in about.seeds]),
        )


def _outcomes(table: PlanTable, seed: int) -> dict[CompressionPlan, Outcome]:
    """What the trainings of a seed came to, as an executor would tell it."""
    found = {}
    for plan, rows in table.plans.items():
        row = rows[seed]
        found[plan] = Outcome(row.valid_auc, row.valid_logloss, row.seconds, row.valid_aucs, None, row.error)
    return found


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def _best(history: tuple[Trial, ...]) -> CompressionPlan | None:
    complete = any(trial.valid_auc is not None for trial in history)
    return best_trial(history).plan if complete else None
