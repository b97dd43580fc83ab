"""The loop around the strategies: timing, records, resuming, final training, test metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from torch import Tensor

import autodpq.search as _registers_autodpq  # noqa: F401
import baselines as _registers_baselines  # noqa: F401
from autodpq import __version__
from autodpq.data import EncodedDataset, load_dataset
from autodpq.errors import AutoDPQError
from autodpq.metrics import Metrics, evaluate_predictions
from autodpq.models import find_model
from autodpq.network import Network
from autodpq.plan import DPQ, CompressionPlan, parse_choice
from autodpq.recipes import find_recipe
from autodpq.strategy import Strategy, find_strategy
from autodpq.task import SearchTask
from autodpq.trainer import Trainer
from autodpq.training import DeviceRows, Epoch, evaluate, predict
from autodpq.trial import PHASES, Budget, Trial, best_trial, check_plan
from studies.config import RunConfig, StudyConfig, make_space, run_config
from studies.execution import LocalExecutor
from studies.files import read_json, write_json
from studies.headroom import headroom
from studies.machine import choose_device, device_name, machine_name, torch_settings, versions
from studies.prepared import Prepared, prepare
from studies.pretraining import SharedPretraining, pretrain
from studies.progress import Progress
from studies.records import RECORD_COLUMNS, RunFolder, write_records


def load_for(config: StudyConfig) -> EncodedDataset:
    """Loads the data set that a study asks for.

    Raises:
        AutoDPQError: It cannot be had.
    """
    return load_dataset(
        config.dataset,
        data_dir=config.data_dir,
        cache_dir=config.cache_dir,
        label=config.label,
        split_column=config.split_column,
        time_column=config.time_column,
    )


@torch_settings()
def run_study(config: StudyConfig, out: Path, progress: Progress) -> pd.DataFrame:
    """Runs what is missing of a study.

    Args:
        config: What is asked for, checked.
        out: The study's folder; made if it is missing.
        progress: Is told how far it is.

    Returns:
        The records: one row per finished run.

    Raises:
        AutoDPQError: The data cannot be used, or the folder holds another study.
    """
    # Optuna tells of every study that is made; a trial is one here.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    device = choose_device(config.device)
    dataset = load_for(config)
    strategies = [find_strategy(name)() for name in config.strategies]
    runs = [
        (run_config(config, dataset, model, strategy, seed), strategy)
        for model in config.models
        for seed in range(config.seeds)
        for strategy in strategies
    ]
    first = prepare_run(dataset, runs[0][0])
    _claim(out, config)
    finished = {run.run_id for run, _ in runs if (out / "runs" / run.run_id / "result.json").exists()}
    progress.start_study(dataset, first.fields, first.truth, [run for run, _ in runs], finished)
    shared: tuple[str, Prepared, Trainer, SharedPretraining] | None = None
    for run, strategy in runs:
        if run.run_id in finished:
            continue
        progress.start_run(run)
        if shared is None or shared[0] != run.pretrained_id:
            prepared = prepare_run(dataset, run)
            recipe, model = find_recipe(config.recipe), find_model(run.model)
            trainer = Trainer(prepared.fields, model, recipe, run.seed, device, prepared.train, prepared.valid)
            test = DeviceRows.load(prepared.test, device)
            pretraining = pretrain(out / "pretrained", run.pretrained_id, trainer, test, progress.epoch)
            shared = (run.pretrained_id, prepared, trainer, pretraining)
        record = _Run(out, config, run, strategy, *shared[1:], progress).execute()
        write_records(out)
        progress.end_run(run, record)
    return write_records(out)


def prepare_run(dataset: EncodedDataset, run: RunConfig) -> Prepared:
    """The rows and fields of a run."""
    data = run.data
    return prepare(
        dataset,
        threshold=data["threshold"],
        split_method=data["split"],
        split_seed=data["split_seed"],
        frequency_scope=data["frequency_scope"],
    )


def _claim(out: Path, config: StudyConfig) -> None:
    """Makes the folder a study of this recipe and these settings, or refuses one of others."""
    mine = {"study": out.resolve().name, "recipe": config.recipe, "init": config.init, "resplit": config.resplit}
    path = out / "study.json"
    if path.exists():
        theirs = read_json(path)
        for option, value in mine.items():
            if option != "study" and theirs.get(option) != value:
                raise AutoDPQError(
                    f"--out: {out} holds a study of {option} {theirs.get(option)!r}, not {value!r}; name another folder"
                )
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, mine)
    except OSError as error:
        raise AutoDPQError(f"--out: {out} cannot be written: {error.strerror}") from None


class _Run:
    """One run, from its search to its record."""

    def __init__(
        self,
        out: Path,
        config: StudyConfig,
        run: RunConfig,
        strategy: Strategy,
        prepared: Prepared,
        trainer: Trainer,
        pretraining: SharedPretraining,
        progress: Progress,
    ) -> None:
        self.out = out
        self.config = config
        self.run = run
        self.strategy = strategy
        self.prepared = prepared
        self.trainer = trainer
        self.pretraining = pretraining
        self.progress = progress
        path = out / "runs" / run.run_id
        path.mkdir(parents=True, exist_ok=True)
        asked = {**dataclasses.asdict(run), "jobs": config.jobs, "device": str(trainer.device), "threads": 1}
        write_json(path / "config.json", {**asked, "machine": machine_name(), "versions": versions()})
        self.folder = RunFolder(path, trainer, progress.point)

    def execute(self) -> dict[str, Any]:
        """Searches, trains the plan, evaluates it on test rows and records everything; gives the record's row."""
        task = self._task()
        plan = self.strategy.search(task)
        check_plan(plan, task.fields, task.space)
        network = self._final_network(task, plan)
        valid = evaluate(network, self.trainer.valid.flattened(network))
        result = self._result(task, plan, network, valid)
        self.folder.finish(result)
        record: dict[str, Any] = result["record"]
        return record

    def _task(self) -> SearchTask:
        choices = [choice for text in self.run.candidates if isinstance(choice := parse_choice(text), DPQ)]
        prepared, pretrained = self.prepared, self.pretraining.pretrained
        executor = LocalExecutor(
            self.trainer,
            prepared.train,
            prepared.valid,
            pretrained.state if self.config.init == "pretrained" else None,
            self.config.jobs,
            self.progress.epoch,
            self.progress.trial,
        )
        return SearchTask(
            self.trainer,
            prepared.train,
            prepared.valid,
            make_space(prepared.fields, choices),
            Budget(self.config.trials),
            pretrained,
            self.config.init,
            executor,
            self.folder,
        )

    def _final_network(self, task: SearchTask, plan: CompressionPlan) -> Network:
        """Trains the network of the plan, unless a trial or the strategy already has."""
        handed = task.handed_over
        if handed is not None and handed.trained:
            return handed.network
        if handed is None and task.history and best_trial(task.history).plan == plan:
            return self.folder.network_of(best_trial(task.history))
        with task.phase("retrain"):

            def report(epoch: Epoch, trained: Network) -> None:
                task.epochs["retrain"] += 1
                task.report(epoch.metrics.auc, trained)

            if handed is not None:
                self.trainer.fit(handed.network, on_epoch=report)
                return handed.network
            network, _ = self.trainer.train_plan(plan, self._start(task), report)
            return network

    def _start(self, task: SearchTask) -> Mapping[str, Tensor] | None:
        """Where plans are trained from; charged to the run."""
        return task.pretrained() if task.init == "pretrained" else None

    def _result(self, task: SearchTask, plan: CompressionPlan, network: Network, valid: Metrics) -> dict[str, Any]:
        test = DeviceRows.load(self.prepared.test, self.trainer.device)
        probabilities = predict(network, test.flattened(network))
        metrics = evaluate_predictions(probabilities, self.prepared.test.labels)
        ledger = task.trainer.ledger(plan)
        seconds = sum(task.seconds.values())
        row = (
            self.run.run_id,
            self.out.resolve().name,
            self.run.data["name"],
            self.run.model,
            self.run.strategy,
            self.run.seed,
            self.run.recipe["name"],
            metrics.auc,
            metrics.logloss,
            valid.auc,
            valid.logloss,
            ledger.parameters,
            ledger.bytes,
            seconds,
            *(task.seconds[phase] for phase in PHASES),
            sum(task.epochs.values()),
            len(task.history),
            sum(trial.state == "failed" for trial in task.history),
            plan.to_json(),
            device_name(self.trainer.device),
            machine_name(),
            __version__,
        )
        curve = self._curve(task, test)
        curve.append({"seconds": seconds, "phase": "retrain", "valid_auc": valid.auc, "test_auc": metrics.auc})
        return {
            "run": self.run.run_id,
            "record": dict(zip(RECORD_COLUMNS, row, strict=True)),
            "epochs": task.epochs,
            "curve": curve,
            "fe_seconds": self.pretraining.pretrained.seconds,
            "headroom": headroom(self.prepared.test, self.prepared.fields, probabilities),
            "fields": [
                {
                    "name": field.name,
                    "cardinality": field.cardinality,
                    "head": field.head,
                    "choice": str(plan[field.name]),
                    "parameters": share.parameters,
                    "bits": share.bits,
                }
                for field, share in zip(self.prepared.fields, ledger.fields, strict=True)
            ],
            "truth": self.prepared.truth,
        }

    def _curve(self, task: SearchTask, test: DeviceRows) -> list[dict[str, Any]]:
        """Points with test values; what reached them was kept until the search had ended."""
        curve = list(self.pretraining.curve) if task.epochs["pretrain"] else []
        for point in self.folder.points:
            if point.reached_by is None:
                continue
            trial = point.reached_by
            network = self.folder.network_of(trial) if isinstance(trial, Trial) else trial
            auc = evaluate(network, test.flattened(network)).auc
            values = {"seconds": point.seconds, "phase": point.phase, "valid_auc": point.valid_auc}
            curve.append({**values, "test_auc": auc})
        return curve
