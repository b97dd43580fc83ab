"""The search itself: Optuna draws trials, trainings of FE that end early where they are no better than others."""

from __future__ import annotations

import json
import math
import multiprocessing
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from filelock import FileLock
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.pruners import BasePruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from autodpq.data import dataset_spec
from autodpq.data.splits import resolve_method
from autodpq.errors import AutoDPQError, TrainingError
from autodpq.files import write_whole, writing
from autodpq.models import MODELS
from autodpq.plugins.options import options_of
from autodpq.search.strategy import STRATEGIES
from autodpq.training.fit import Epoch
from autodpq.training.network import Network
from autodpq.training.recipes import RECIPES, Recipe, changed_recipe
from autodpq.training.trainer import Trainer
from studies.config import asked_recipe, run_config
from studies.folder.lock import alone_in
from studies.options import StudyConfig
from studies.prepared import LOADING, Prepared, load_rows, prepare_for
from studies.tuning.folds import folds_of
from studies.tuning.ranges import ranges_of
from studies.workers.machine import choose_device, torch_settings
from studies.workers.processes import end_with_parent

SEED = 0
"""Of networks and draws."""

_NAME = "tuning"
_STALE = "stale"  # what a trial is whose process ended before it did

# After these epochs a trial ends early unless it is among the best of all that came so far, by this share of them.
# Optuna's median pruner asks those alone that were trained to their end: few, all fast starters, beside which what
# starts slowly and ends higher has no chance; its successive halving lets the best one alone pass at first.
_RUNGS = {2: 1 / 3, 4: 1 / 2, 8: 1 / 2}
_FIRST_TRIALS = 4
_RANDOM_TRIALS = 8  # before the sampler learns from what it sees
_ENOUGH_TRIALS = 8  # to say what mattered
_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class Tuning:
    """What is asked for.

    Attributes:
        config: The data, the model, the recipe to start from, and the machine.
        out: The folder.
        settings: Names of the settings to tune.
        n_trials: How many trials the folder is to hold.
        timeout: Seconds after which no trial is begun any more; None for no limit.
    """

    config: StudyConfig
    out: Path
    settings: tuple[str, ...]
    n_trials: int
    timeout: float | None = None


@dataclass(frozen=True)
class TunedTrial:
    """A training of FE.

    Attributes:
        state: ``complete``, ``pruned`` (it ended early) or ``failed``.
        by_epoch: What the recipe stops by, after each epoch of the study's own split.
        valid_auc: Of the best epoch, the mean over splits; None unless complete.
        valid_logloss: Of that epoch, likewise; None unless complete.
        seconds: What it took.
        settings: The settings that were tuned.
    """

    state: str
    by_epoch: tuple[float, ...]
    valid_auc: float | None
    valid_logloss: float | None
    seconds: float
    settings: dict[str, Any]


@dataclass(frozen=True)
class Tuned:
    """What came out.

    Attributes:
        recipe: The best recipe.
        best: Its trial.
        trials: All trials, in the order in which they were begun.
        importance: How much each setting has to say about being among the best quarter, of 1 in all, greatest first;
            empty where there are too few trials to say.
        dataset: The data set's name.
        model: The model's name.
        folds: How many splits a complete trial was trained on.
    """

    recipe: Recipe
    best: TunedTrial
    trials: tuple[TunedTrial, ...]
    importance: dict[str, float]
    dataset: str
    model: str
    folds: int


@torch_settings()
def tune(tuning: Tuning, say: Callable[[str], None]) -> Tuned:
    """Tunes a recipe; what a folder holds of it already is gone on with.

    Args:
        tuning: What is asked for.
        say: Is told a line for each trial.

    Raises:
        AutoDPQError: The data cannot be used, or the folder holds another tuning, or no trial came to anything.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    worker = _Worker(tuning, say)
    with alone_in(tuning.out), writing(tuning.out):
        _claim(tuning.out / "tuning.json", worker.identity)
        _give_up_lost_trials(worker.study())
        ends = None if tuning.timeout is None else time.time() + tuning.timeout
        others = [
            multiprocessing.get_context("spawn").Process(target=_help, args=(tuning, ends), daemon=True)
            for _ in range(tuning.config.processes - 1)
        ]
        for process in others:
            process.start()
        try:
            worker.run(ends)
            for process in others:
                process.join()
        finally:
            for process in others:
                process.terminate()
        lost = sum(process.exitcode != 0 for process in others)
        if lost:
            say(f"{lost} of {len(others)} further processes ended early; the same command does what they left")
    return worker.tuned()


def _help(tuning: Tuning, ends: float | None) -> None:
    """The life of a further process."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with torch_settings():
        _Worker(tuning, partial(print, flush=True)).run(ends)


def _claim(path: Path, identity: dict[str, Any]) -> None:
    """Makes the folder one of this tuning, unless it is.

    Raises:
        AutoDPQError: It is one of another; names what differs.
    """
    if path.exists():
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            there = {}
        for part, value in json.loads(json.dumps(identity)).items():
            if there.get(part) != value:
                raise AutoDPQError(f"--out: {path.parent} holds the tuning of another {part}; name another folder")
    else:
        write_whole(path, json.dumps(identity, indent=1))


def _give_up_lost_trials(study: optuna.Study) -> None:
    """Trials that were begun and not ended, for their process was, are begun anew, by the same settings."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study._storage.set_trial_user_attr(trial._trial_id, _STALE, True)
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)


class _Rungs(BasePruner):
    """Successive halving, asynchronous, as in ASHA (Li et al., MLSys 2020), by epochs."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        epoch = trial.last_step
        if epoch not in _RUNGS:
            return False
        value = trial.intermediate_values[epoch]
        reached = [other.intermediate_values.get(epoch) for other in _sound(study.get_trials(deepcopy=False))]
        values = [other for other in reached if other is not None]
        sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
        better = sum(sign * other > sign * value for other in values)
        return len(values) >= _FIRST_TRIALS and better >= math.ceil(len(values) * _RUNGS[epoch])


class _Worker:
    """One process: begins trials until there are enough."""

    def __init__(self, tuning: Tuning, say: Callable[[str], None]) -> None:
        self.tuning, self.say = tuning, say
        config = tuning.config
        load = partial(load_rows, {option: getattr(config, option) for option in LOADING})
        dataset = load()
        self.base = asked_recipe(config, dataset_spec(config.dataset))
        self.ranges = ranges_of(tuning.settings)
        self.model = MODELS.find(config.models[0])
        run = run_config(config, dataset, self.model.name, STRATEGIES.find("fe")(), SEED)
        self.folds = folds_of(prepare_for(load, run.data), resolve_method(dataset, run.data["split"]))
        self.identity: dict[str, Any] = {
            "data": run.data,
            "model": run.model,
            "recipe": run.recipe,
            "settings": [*self.ranges],
        }
        if len(self.folds) > 1:
            self.identity["folds"] = len(self.folds)
        self.device = choose_device(config.device)

    def study(self) -> optuna.Study:
        """The trials in the folder, of this process's view."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = JournalStorage(JournalFileBackend(str(self.tuning.out / "trials.log")))
            direction = StudyDirection.MAXIMIZE if self.base.stop_by == "auc" else StudyDirection.MINIMIZE
            study = optuna.create_study(
                storage=storage, study_name=_NAME, direction=direction, pruner=_Rungs(), load_if_exists=True
            )
            if not study.get_trials(deepcopy=False):
                study.enqueue_trial(self._as_drawn(self.base))
                for recipe in RECIPES.values():
                    settings = self._as_drawn(recipe)
                    if len(settings) == len(self.ranges):
                        study.enqueue_trial(settings, skip_if_exists=True)
        return study

    def run(self, ends: float | None) -> None:
        """Trains trials until there are enough, or until a time."""
        study = self.study()
        while ends is None or time.time() < ends:
            trial = self._next(study)
            if trial is None:
                return
            self._train(study, trial)

    def _next(self, study: optuna.Study) -> optuna.Trial | None:
        """Begins a trial; None where there are enough."""
        with FileLock(self.tuning.out / ".next"):
            known = _sound(study.get_trials(deepcopy=False))
            begun = [trial for trial in known if trial.state != TrialState.WAITING]
            if len(begun) >= self.tuning.n_trials:
                return None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                # A sampler per trial, so that draws depend on the number of the trial and on what came before alone.
                study.sampler = TPESampler(
                    seed=len(begun), n_startup_trials=_RANDOM_TRIALS, constant_liar=self.tuning.config.processes > 1
                )
            return study.ask({setting: span.distribution() for setting, span in self.ranges.items()})

    def _train(self, study: optuna.Study, trial: optuna.Trial) -> None:
        begin = time.perf_counter()
        recipe = self.recipe_of(trial.params)
        number = len(_sound(study.get_trials(deepcopy=False)[: trial.number + 1]))
        told = f"[{number}/{self.tuning.n_trials}]"
        aucs: list[float] = []

        def on_epoch(epoch: Epoch, network: Network) -> None:
            value = getattr(epoch.metrics, recipe.stop_by)
            aucs.append(epoch.metrics.auc)
            trial.report(value, epoch.number)
            if not epoch.last and trial.should_prune():
                raise optuna.TrialPruned

        state, value, ended = TrialState.COMPLETE, None, ""
        try:
            best = [self._trainer(recipe, self.folds[0]).pretrain(on_epoch)[1].best.metrics]
            best += [self._trainer(recipe, fold).pretrain()[1].best.metrics for fold in self.folds[1:]]
            for metric in ("auc", "logloss"):
                trial.set_user_attr(f"valid_{metric}", fmean(getattr(metrics, metric) for metrics in best))
            value = trial.user_attrs[f"valid_{recipe.stop_by}"]
        except optuna.TrialPruned:
            state, ended = TrialState.PRUNED, ", ended early"
        except TrainingError as error:
            state, ended = TrialState.FAIL, f", failed: {error}"
        seconds = time.perf_counter() - begin
        trial.set_user_attr("seconds", seconds)
        study.tell(trial, value, state)
        auc = trial.user_attrs.get("valid_auc", max(aucs, default=None))
        reached = "" if auc is None else f"validation AUC {auc:.4f} "
        self.say(f"{told} {reached}in {len(aucs)} epochs, {seconds:.0f} s{ended}: {_said(self._values(trial.params))}")

    def _trainer(self, recipe: Recipe, prepared: Prepared) -> Trainer:
        additive = None
        if recipe.output_start == "additive":
            additive = prepared.additive
            recipe = recipe.with_penalty_of(additive)
        recipe = replace(recipe, optimizer=recipe.optimizer_for(prepared.fields))
        rows = prepared.train, prepared.valid
        return Trainer(prepared.fields, self.model, recipe, SEED, self.device, *rows, additive=additive)

    def _values(self, params: dict[str, Any]) -> dict[str, Any]:
        return {setting: span.value(params[setting]) for setting, span in self.ranges.items()}

    def recipe_of(self, params: dict[str, Any]) -> Recipe:
        """The recipe of what was drawn."""
        return changed_recipe(self.base, self._values(params))

    def _as_drawn(self, recipe: Recipe) -> dict[str, Any]:
        """A recipe's own settings, as far as they can be drawn: the first trial."""
        options = options_of(recipe)
        options["table_learning_rate"] = options["table_learning_rate"] or options["learning_rate"]
        drawn = {setting: span.drawn(options[setting]) for setting, span in self.ranges.items()}
        return {setting: value for setting, value in drawn.items() if value is not None}

    def tuned(self) -> Tuned:
        """What came out.

        Raises:
            AutoDPQError: No trial came to anything.
        """
        study = self.study()
        ended = [trial for trial in _sound(study.get_trials(deepcopy=False)) if trial.state in _STATES]
        if not any(trial.state == TrialState.COMPLETE for trial in ended):
            raise AutoDPQError(f"{self.tuning.out}: no trial came to anything; give it more time or other settings")
        recipe = changed_recipe(self.base, self._values(study.best_trial.params))
        return Tuned(
            recipe,
            self._told(study.best_trial),
            tuple(map(self._told, ended)),
            _importance(ended, study.direction),
            self.identity["data"]["name"],
            self.model.name,
            len(self.folds),
        )

    def _told(self, trial: FrozenTrial) -> TunedTrial:
        known = trial.user_attrs
        by_epoch = tuple(trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values))
        return TunedTrial(
            _STATES[trial.state],
            by_epoch,
            known.get("valid_auc"),
            known.get("valid_logloss"),
            known["seconds"],
            self._values(trial.params),
        )


def _importance(trials: Sequence[FrozenTrial], direction: StudyDirection) -> dict[str, float]:
    """By PED-ANOVA (Watanabe et al., IJCAI 2023), of all trials by the best that each reached before it ended."""
    pick = max if direction == StudyDirection.MAXIMIZE else min
    reached = optuna.create_study(direction=direction)
    for trial in trials:
        if trial.intermediate_values:
            value = pick(trial.intermediate_values.values())
            reached.add_trial(create_trial(params=trial.params, distributions=trial.distributions, value=value))
    if len(reached.trials) < _ENOUGH_TRIALS:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that all trials have alike
        found = get_param_importances(reached, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))
    return dict(found)


def _sound(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Those that were not lost with their process."""
    return [trial for trial in trials if not trial.user_attrs.get(_STALE)]


def _said(values: dict[str, Any]) -> str:
    return ", ".join(f"{setting} {value}" for setting, value in values.items())
