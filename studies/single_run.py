"""One run, from its search to its record."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from autodpq import __version__
from autodpq.calibration import Calibration
from autodpq.errors import AutoDPQError, TrainingError, one_line
from autodpq.files import writing
from autodpq.metrics import Metrics, calibration_error, evaluate_predictions, reliability
from autodpq.packed.manifest import ModelSpec
from autodpq.packed.network import round_compactly
from autodpq.plan import Band, CompressionPlan, Field, bands_of
from autodpq.records.folder import entries, read_study, write_config
from autodpq.records.result import (
    RECORD_COLUMNS,
    FieldCost,
    FieldSize,
    FinishedResult,
    FittedCalibration,
    FrequencyBucket,
    Headroom,
    Record,
    ReliabilityBin,
    Result,
    Truth,
)
from autodpq.records.schema import ConfigFile, CurvePoint, TrialLine
from autodpq.search.strategy import Strategy
from autodpq.search.task import Executor, SearchTask
from autodpq.training.fit import DeviceRows, Epoch, calibrate, evaluate, predict
from autodpq.training.network import Network
from autodpq.trial import PHASES, Budget, Trial, best_trial, check_bytes, check_plan
from studies.config import RunConfig, make_space
from studies.folder.models import keep_model
from studies.folder.records import RunFolder
from studies.headroom import auc_by_frequency, headroom
from studies.isolation import Outside, ProcessSettings, check_epochs, check_network
from studies.prepared import LOADING
from studies.sharing import Context, Shared, TrialCopies, sources
from studies.watch.progress import Progress
from studies.workers.local import LocalExecutor
from studies.workers.machine import device_name, machine_name, versions


def _tell(progress: Progress, copies: TrialCopies | None, line: TrialLine) -> None:
    """Tells of a line of ``trials.jsonl``."""
    progress.trial_line(line)
    if copies is not None:
        copies(line)


class FailedSearch(Exception):
    """A strategy came to nothing; its run is recorded as failed, and the others go on.

    Args:
        reason: Why.
    """

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Run:
    """One run, from its search to its record."""

    def __init__(self, context: Context, run: RunConfig, strategy: Strategy, shared: Shared) -> None:
        self.context = context
        self.out = context.out
        self.config = context.config
        self.run = run
        self.strategy = strategy
        self.shared = shared
        self.prepared = shared.prepared
        self.trainer = shared.new_trainer(run)
        dim, compact = self.trainer.recipe.embedding_dim, run.compact
        self.space = make_space(self.trainer.fields, context.candidates, dim, compact=compact)
        self.budget = Budget(self.config.trials, run.budget)
        self.settings = ProcessSettings()
        self.outside = Outside()
        self.sound = True
        self.pretraining = shared.pretraining
        self.workers = context.workers
        self.progress = context.progress
        path = context.folder(run)
        with writing(path):
            path.parent.mkdir(exist_ok=True)  # in the study's folder, which is not made anew where it has gone
            path.mkdir(exist_ok=True)
        execution = {
            name: getattr(self.config, name) for name in ("executor", "jobs", "cpus_per_trial", "gpus_per_trial")
        }
        asked = {**dataclasses.asdict(run), **execution, "device": str(self.trainer.device), "threads": 1}
        asked |= {"optimizer": self.trainer.optimizer, "compiled": self.trainer.compiled}
        asked["sources"] = sources(self.trainer.model, type(strategy), context.candidates)
        asked["loading"] = {name: getattr(self.config, name) for name in LOADING}
        asked |= {"machine": machine_name(), "versions": dict(versions())}
        write_config(path / "config.json", ConfigFile.model_validate(asked))
        searched = [band.name for band in bands_of(self.trainer.fields) if band.n_rows]
        self.copies = context.copies(run, searched)
        if self.copies is not None and strategy.default_trials:
            self.copies.begin()  # a name that is taken shows before hours of work
        # It holds no rows, for a strategy can come by it through its task.
        on_line = partial(_tell, self.progress, self.copies)
        self.folder = RunFolder(path, self.trainer, self.progress.point, on_line)

    def execute(self) -> dict[str, Any]:
        """Searches, trains the plan, evaluates it on test rows and records everything; gives the record's row.

        A run whose training comes to nothing is recorded with the reason and without numbers, and the study goes on.
        """
        task = self._task()
        result: Result | FinishedResult
        try:
            plan = self._search(task)
            network = self._final_network(task, plan)
            if self.trainer.compact:
                round_compactly(network)
            calibration, note = self._calibrated(network)
            valid = evaluate(network, self.trainer.valid, calibration)
        except FailedSearch as failed:
            result = self._failure(task, failed.reason)
        except TrainingError as error:
            result = self._failure(task, error)
        else:
            result = self._result(task, plan, network, calibration, valid)
            if calibration is not None:
                fitted = FittedCalibration(**dataclasses.asdict(calibration), note=note)
                result = result.model_copy(update={"calibration": fitted})
            beside = self._keep(network, calibration, entries(result.record))
            if beside is not None:
                record = result.record.model_copy(update={"vocabulary_bytes": beside})
                result = result.model_copy(update={"record": record})
        self.folder.finish(result)
        if self.copies is not None:
            self.copies()
        return entries(result.record)

    def _search(self, task: SearchTask) -> CompressionPlan:
        """The plan that the strategy gives back; whatever it did, what comes after it finds all as it was before.

        Raises:
            FailedSearch: It failed, gave back no plan of the space, or has changed what all strategies share.
        """
        try:
            plan = self.strategy.search(task)
            check_plan(plan, self.trainer.fields, self.space)
            check_bytes(self.trainer.ledger(plan), self.budget)
            check_network(task.handed_over, plan, self.trainer)
            check_epochs(task.epochs)
        except (Exception, SystemExit) as error:
            failed: BaseException | None = error
        else:
            failed = None
        finally:
            self.outside.end_fork()
            self.settings.restore()
            self.sound = self.shared.is_sound()
        if self.outside.error is not None:
            raise self.outside.error
        if not self.sound:
            raise FailedSearch(AutoDPQError("it changed rows or weights that all strategies share; clone them first"))
        if failed is not None:
            raise FailedSearch(failed)
        return plan

    def _calibrated(self, network: Network) -> tuple[Calibration | None, str | None]:
        """What is done to the final network's logits, where the study asks for it, and what is to be said of it."""
        if not self.run.calibrate:
            return None, None
        calibration, note = calibrate(network, self.trainer.valid)
        if note is not None:
            self.progress.warn(f"{self.run.name}: calibration: {note}")
        return calibration, note

    def _keep(self, network: Network, calibration: Calibration | None, record: Mapping[str, Any]) -> int | None:
        """Keeps the final network as it is taken away; gives the bytes of its vocabulary."""
        about = {
            **{name: record[name] for name in ("run", "study", "strategy", "seed", "recipe", "plan")},
            "metrics": {name: record[name] for name in ("test_auc", "test_logloss", "valid_auc", "valid_logloss")},
            "ledger": {name: record[name] for name in ("parameters", "bytes")},
            "data": self.run.data,
        }
        recipe = self.trainer.recipe
        model = ModelSpec(self.trainer.model.name, recipe.hidden)
        return keep_model(self.out, self.run.run_id, network, calibration, model, self.prepared.source, about)

    def _task(self) -> SearchTask:
        prepared, pretrained = self.prepared, self.pretraining.pretrained
        return SearchTask(
            self.shared.new_trainer(self.run),
            prepared.train,
            prepared.valid,
            self.space,
            self.budget,
            pretrained,
            self.config.init,
            self.outside.executor(self._executor(), self.settings),
            self.outside.journal(self.folder),
            partial(self.shared.rises, self.trainer, self.space),
        )

    def _executor(self) -> Executor:
        start = self.pretraining.pretrained.state if self.config.init == "pretrained" else None
        limit = self.config.trial_timeout
        here = LocalExecutor(self.trainer, start, self.progress.epoch, self.progress.trial, limit)
        trains = here if self.workers is None else self.workers.executor(self.shared.spec_for(self.run), here)
        return self.shared.known(self.run).executor(trains, self.progress.trial)

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
        """Where plans are trained from, charged to the run; no copy, which would lie beside the table in training."""
        if task.init != "pretrained":
            return None
        task.charge_pretraining()
        return self.pretraining.pretrained.state

    def _result(
        self, task: SearchTask, plan: CompressionPlan, network: Network, calibration: Calibration | None, valid: Metrics
    ) -> FinishedResult:
        rows = self.prepared.test()
        test = DeviceRows.load(rows, self.trainer.device)
        probabilities = predict(network, test, calibration)
        metrics = evaluate_predictions(probabilities, rows.labels, rows.weights)
        kept = self.folder.keep_predictions(rows, probabilities)
        bins = reliability(probabilities, rows.labels, rows.weights)
        ledger = self.trainer.ledger(plan)
        record = self._record(
            task,
            test_auc=metrics.auc,
            test_logloss=metrics.logloss,
            test_click_rate=rows.click_rate,
            test_mean_prediction=rows.mean_of(probabilities),
            test_ece=calibration_error(bins),
            test_normalized_entropy=metrics.logloss / self.shared.floors.constant.logloss,
            valid_auc=valid.auc,
            valid_logloss=valid.logloss,
            parameters=ledger.parameters,
            bytes=ledger.bytes,
            plan=plan.to_json(),
        )
        curve = self._curve(task, test)
        aucs = {"valid_auc": valid.auc, "test_auc": metrics.auc}
        curve.append(CurvePoint(seconds=record.seconds, phase="retrain", **aucs))
        return FinishedResult(
            run=self.run.run_id,
            record=record,
            epochs=dict(task.epochs),
            curve=tuple(curve),
            fe_seconds=self.pretraining.pretrained.seconds,
            floors=self.shared.floors,
            headroom=Headroom(**headroom(rows, self.prepared.fields, probabilities)),
            frequency=tuple(
                FrequencyBucket(**bucket)
                for bucket in auc_by_frequency(
                    rows, self.prepared.source.counts, probabilities, self.prepared.source.columns
                )
            ),
            reliability=tuple(ReliabilityBin.of(own) for own in bins),
            fields=tuple(
                FieldCost(
                    name=band.name,
                    cardinality=band.stop if band.start == field.head else band.n_rows,
                    head=field.head if band.start == field.head else 0,
                    choice=str(plan[band.name]),
                    parameters=share.parameters,
                    bits=share.bits,
                )
                for (field, band), share in zip(self._bands(), ledger.bands, strict=True)
            ),
            compact=self.trainer.compact,
            truth=None if self.prepared.truth is None else Truth.model_validate(self.prepared.truth),
            predictions=kept,
        )

    def _bands(self) -> list[tuple[Field, Band]]:
        return [(field, band) for field in self.trainer.fields for band in field.bands]

    def _failure(self, task: SearchTask, reason: BaseException) -> Result:
        """The result of a run that came to nothing; an error of code brings its traceback."""
        fields = tuple(
            FieldSize(name=field.name, cardinality=field.cardinality, head=field.head) for field in self.trainer.fields
        )
        task.epochs = {phase: task.epochs.get(phase, 0) for phase in PHASES}
        ours = isinstance(reason, AutoDPQError)
        trace = None if ours else "".join(traceback.format_exception(reason))
        record = self._record(task, plan="", error=str(reason) if ours else one_line(reason))
        result = Result(run=self.run.run_id, record=record, epochs=dict(task.epochs), fields=fields)
        if trace is not None:
            self.progress.traceback(trace)
            result = result.model_copy(update={"traceback": trace})
        return result

    def _record(self, task: SearchTask, **measured: Any) -> Record:
        """The record's row; what was not measured is None."""
        known = {
            "run": self.run.run_id,
            "study": read_study(self.out / "study.json").study,  # whatever its folder is called by now
            "dataset": self.run.data["name"],
            "model": self.run.model,
            "strategy": self.run.strategy,
            "space": self.run.space,
            "budget": self.run.budget,
            "seed": self.run.seed,
            "recipe": self.run.recipe["name"],
            "seconds": sum(task.seconds.values()),
            **{f"seconds_{phase}": task.seconds[phase] for phase in PHASES},
            "epochs": sum(task.epochs.values()),
            "trials": len(task.history),
            "failed_trials": sum(trial.state == "failed" for trial in task.history),
            "pruned_trials": sum(trial.state == "pruned" for trial in task.history),
            "restarted_trials": sum(trial.attempts > 1 for trial in task.history),
            "optimizer": self.trainer.optimizer,
            "compiled": self.trainer.compiled,
            "calibrated": self.run.calibrate,
            "device": device_name(self.trainer.device),
            "machine": machine_name(),
            "version": __version__,
            "error": None,
            **measured,
        }
        return Record.model_validate({column: known.get(column) for column in RECORD_COLUMNS})

    def _curve(self, task: SearchTask, test: DeviceRows) -> list[CurvePoint]:
        """Points with test values; what reached them was kept until the search had ended."""
        curve = list(self.pretraining.curve) if task.epochs["pretrain"] else []
        for point in self.folder.points:
            if point.reached_by is None:
                continue
            trial = point.reached_by
            network = self.folder.network_of(trial) if isinstance(trial, Trial) else trial
            auc = evaluate(network, test).auc
            aucs = {"valid_auc": point.valid_auc, "test_auc": auc}
            curve.append(CurvePoint(seconds=point.seconds, phase=point.phase, **aucs))
        return curve
