"""Every plan of a small space, trained with several seeds as a study trains its trials."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from rich.console import Console

from autodpq.choices import Choice
from autodpq.data import dataset_spec
from autodpq.errors import AutoDPQError, TrainingError
from autodpq.files import remove_parts
from autodpq.models import MODELS
from autodpq.packed.network import round_compactly
from autodpq.plan import CompressionPlan, Field
from autodpq.records.files import append_line, drop_cut_line, read_json, read_lines, write_json
from autodpq.records.folder import entries
from autodpq.records.table import (
    FieldEntries,
    Maker,
    PlanTable,
    SeedEntries,
    TableFile,
    TableOf,
    TableRow,
    every_plan,
    write_table,
)
from autodpq.search.task import Executor
from autodpq.training.fit import DeviceRows, evaluate
from autodpq.training.trainer import Trainer
from autodpq.trial import Outcome, never
from studies.config import (
    RunConfig,
    check_config,
    make_space,
    make_strategies,
    run_config,
    study_candidates,
    study_recipe,
)
from studies.floors import measure_floors
from studies.folder.comparable import first_difference
from studies.folder.lock import alone_in
from studies.main_guard import check_main_guard
from studies.options import StudyConfig
from studies.prepared import LOADING, Prepared, load_rows, prepare_for
from studies.sharing import Context, Shared, Workers, share, sources
from studies.time_limit import TimeIsUp, time_limit
from studies.watch.progress import Progress
from studies.workers.local import LocalExecutor
from studies.workers.machine import choose_device, machine_name, torch_settings, versions
from studies.workers.processes import WorkerPool
from studies.workers.ray_cluster import RayCluster

TABLE = "table.parquet"
MOST_PLANS = 100_000
# The options that a table is asked for by, beside those of its data.
ASKED = (
    "models", "recipe", "threshold", "K", "D", "candidates", "space", "bands", "init", "split", "resplit",
    "frequency_scope", "optimizer",
)  # fmt: skip
_ELSEWHERE = ("data_dir", "cache_dir")  # where files lie on one machine is of no use on another
_SAID_SECONDS = 10.0

_ROW, _SEED, _OF = TypeAdapter(TableRow), TypeAdapter(SeedEntries), TypeAdapter(TableOf)
_MAKER = TypeAdapter(Maker)


@dataclasses.dataclass(frozen=True)
class Tabulated:
    """How far a table is.

    Attributes:
        path: Its file, which is there when nothing is missing.
        n_plans: Plans of the space.
        n_seeds: Seeds.
        n_trained: Trainings that are there.
    """

    path: Path
    n_plans: int
    n_seeds: int
    n_trained: int

    @property
    def n_missing(self) -> int:
        """Trainings that are missing."""
        return self.n_plans * self.n_seeds - self.n_trained


def tabulate(
    values: Mapping[str, Any], out: Path, licence: str, console: Console, say: Callable[[str], None]
) -> Tabulated:
    """Trains what is missing of a table, and writes it when nothing is.

    Args:
        values: Options of a study: of its data, its one model, its candidates, its seeds.
        out: The table's folder; the same call again goes on.
        licence: Under which the table may be used.
        console: Where warnings go.
        say: Is told how far it is.

    Raises:
        AutoDPQError: An option or the data cannot be used, or the folder holds another table.
    """
    config = check_config({**values, "strategies": ("random",)})
    if len(config.models) != 1:
        raise AutoDPQError("--models: a table is of one model")
    if not licence.strip():
        raise AutoDPQError("--licence: a name or a text is needed, as CC-BY-4.0")
    if config.resplit and config.frequency_scope == "train":
        raise AutoDPQError(
            "--resplit: with --frequency-scope train every seed would have other bands, and no plan one price"
        )
    progress = Progress(console, config.log_level)  # for warnings: its bar is that of runs
    with torch_settings(), _workers(config, progress) as workers:
        making = _Tabulation(config, out, licence, progress, workers, say)
        with alone_in(out):
            making.read()
            with suppress(TimeIsUp), time_limit(config.timeout):
                making.train()
            return making.finish()


def _workers(config: StudyConfig, progress: Progress) -> AbstractContextManager[Workers | None]:
    """What trains in other processes; None where all is trained in this one."""
    if config.executor == "ray":
        return RayCluster(config.ray_address, config.cpus_per_trial, config.gpus_per_trial, progress.warn)
    if config.processes == 1:
        return nullcontext()
    check_main_guard()
    return WorkerPool(config.processes)


class _Tabulation:
    """A table that is being made."""

    def __init__(
        self,
        config: StudyConfig,
        out: Path,
        licence: str,
        progress: Progress,
        workers: Workers | None,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.out, self.licence, self.say = config, out, licence, say
        self.workers = workers
        candidates = study_candidates(config, dataset_spec(config.dataset))
        self.context = Context(config, candidates, out, workers, None, progress)
        self.load = partial(load_rows, {option: getattr(config, option) for option in LOADING})
        dataset = self.load()
        (strategy,) = make_strategies(config)  # any one that compresses: a run is described by it
        self.model = MODELS.find(config.models[0])
        self.recipe = study_recipe(config, dataset)
        self.runs = [run_config(config, dataset, self.model.name, strategy, seed) for seed in range(config.seeds)]
        self.prepared = prepare_for(self.load, self.runs[0].data)
        self.fields = self._fields(self.prepared)
        compact = config.space == "wide"
        self.space = make_space(self.fields, candidates, self.recipe.embedding_dim, compact=compact)
        self.plans = {plan.to_json(): plan for plan in _plans(self.space)}
        self.rows: dict[tuple[str, int], TableRow] = {}
        self.seeds: dict[int, SeedEntries] = {}
        self.makers: list[Maker] = []
        self.of: TableOf | None = None
        self._told = time.monotonic()
        self._begun = 0
        self._begin = time.monotonic()

    @property
    def total(self) -> int:
        """Trainings of the whole table."""
        return len(self.plans) * len(self.runs)

    def _fields(self, prepared: Prepared) -> tuple[Field, ...]:
        wide = self.config.space == "wide"
        return prepared.source.banded(self.config.bands) if wide else prepared.fields

    def read(self) -> None:
        """Reads what is there, and makes the folder one of this table, unless it is.

        Raises:
            AutoDPQError: It is one of another, or of something else, or a file is damaged.
        """
        there = self.out / "table.json"
        remove_parts(self.out, (there.name, TABLE, "pretrained/*.json", "pretrained/*.safetensors"))
        self.of = read_json(there, _OF) if there.exists() else None
        for name in ("rows", "seeds", "makers"):
            drop_cut_line(self._lines(name))
        self.rows = {(row.plan, row.seed): row for row in read_lines(self._lines("rows"), _ROW)}
        self.seeds = {seed.seed: seed for seed in read_lines(self._lines("seeds"), _SEED)}
        self.makers = read_lines(self._lines("makers"), _MAKER)
        self._claim()

    def train(self) -> None:
        """Trains what is missing."""
        done = self._n_trained()
        before = f", {done:,} of them done before" if done else ""
        seeds = f"{len(self.runs)} seed{'s' if len(self.runs) > 1 else ''}"
        self.say(f"{len(self.plans):,} plans with {seeds}: {self.total:,} trainings{before}")
        for run in self.runs:
            left = [plan for text, plan in self.plans.items() if (text, run.seed) not in self.rows]
            if left or run.seed not in self.seeds:
                self._train_seed(run, left)

    def _claim(self) -> None:
        if self.of is not None:
            self._refuse_other(entries(self.of), self._of(compiled=None))
        elif self.rows or (self.out / "study.json").exists():
            what = "rows of a table, and no table.json that says of which" if self.rows else "a study"
            raise AutoDPQError(f"--out: {self.out} holds {what}; name another folder")
        here = Maker(machine=machine_name(), versions=dict(versions()))
        if here not in self.makers:
            if self.makers:
                self.context.progress.warn(
                    f"{self.out}: a part of the table was trained elsewhere ({self.makers[-1].machine}) or by other "
                    "versions: digits may differ, and the table says so"
                )
            append_line(self._lines("makers"), entries(here))
            self.makers.append(here)

    def _refuse_other(self, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        difference = first_difference(_comparable(there), _comparable(asked))
        if difference is None:
            options = {"model": "--models", "resplit": "--resplit", "device": "--device", "sources": "code of plug-ins"}
            found = next((name for name in options if there[name] != asked[name]), None)
            if found is None:
                return
            difference = options[found], str(there[found]), str(asked[found])
        option, theirs, mine = difference
        raise AutoDPQError(
            f"--out: {self.out} holds a table of {option} {theirs}, and this command's would be of {mine}; name "
            "another --out, or give the option as it was"
        )

    def _of(self, compiled: bool | None) -> dict[str, Any]:
        run = self.runs[0]
        known = {name: getattr(run, name) for name in ("data", "model", "recipe", "init", "candidates", "space")}
        of = {
            **known,
            "bands": run.bands,
            "resplit": self.config.resplit,
            "device": choose_device(self.config.device).type,
            "optimizer": self.recipe.optimizer,
            "compiled": compiled,
            "sources": sources(self.model, object, self.context.candidates),
        }
        return dict(json.loads(json.dumps(of)))  # as it is read back

    def _shared(self, run: RunConfig) -> Shared:
        """FE of a seed, trained once; whether steps are compiled is settled by the first seed."""
        if run.data != self.runs[0].data:
            self.prepared = prepare_for(self.load, run.data)
        known = self.of
        asked = self.config.compile
        if known is not None and asked == "auto":
            asked = "on" if known.compiled else "off"
        device = choose_device(self.config.device)
        floors = measure_floors(self.prepared)
        name = self.config.models[0]
        shared = share(self.context, run, name, self.prepared, floors, self.recipe, device, asked)
        if known is None:
            self.of = _OF.validate_json(json.dumps(self._of(compiled=shared.trainer.compiled)))
            write_json(self.out / "table.json", entries(self.of))
        elif known.compiled != shared.trainer.compiled:
            raise AutoDPQError(
                f"--compile: the trainings in {self.out} are {'' if known.compiled else 'not '}compiled; give the "
                "option as it was, or name another --out"
            )
        return shared

    def _train_seed(self, run: RunConfig, left: list[CompressionPlan]) -> None:
        shared = self._shared(run)
        trainer = shared.new_trainer(run)
        test = DeviceRows.load(self.prepared.test(), trainer.device)
        if run.seed not in self.seeds:
            full = _measured_full(run, shared, test)
            append_line(self._lines("seeds"), entries(full))
            self.seeds[run.seed] = full
        execute = self._executor(run, shared, trainer)
        for plan, outcome in zip(left, execute(left, range(len(left)), never), strict=True):
            if outcome.traceback is not None:
                self.context.progress.traceback(outcome.traceback)
            row = _measured(run.seed, plan, outcome, trainer, test)
            append_line(self._lines("rows"), entries(row))
            self.rows[row.plan, row.seed] = row
            self._tell(row)

    def _executor(self, run: RunConfig, shared: Shared, trainer: Trainer) -> Executor:
        """What a run of a study would train its trials with."""
        start = shared.pretraining.pretrained.state if self.config.init == "pretrained" else None
        here = LocalExecutor(trainer, start, lambda epoch: None, lambda outcome: None)
        return here if self.workers is None else self.workers.executor(shared.spec_for(run), here)

    def _tell(self, row: TableRow) -> None:
        self._begun += 1
        now = time.monotonic()
        if now - self._told < _SAID_SECONDS and self.config.log_level != "debug":
            return
        self._told, done = now, self._n_trained()
        left = (self.total - done) * (now - self._begin) / self._begun
        came_to = f"failed: {row.error}" if row.valid_auc is None else f"validation AUC {row.valid_auc:.4f}"
        self.say(f"[{done:,}/{self.total:,}] seed {row.seed}: {came_to}; about {left:.0f} s left")

    def _n_trained(self) -> int:
        return sum(seed < len(self.runs) and plan in self.plans for plan, seed in self.rows)

    def _lines(self, name: str) -> Path:
        return self.out / f"{name}.jsonl"

    def finish(self) -> Tabulated:
        """Writes the table where nothing is missing."""
        path = self.out / TABLE
        done = Tabulated(path, len(self.plans), len(self.runs), self._n_trained())
        if not done.n_missing:
            assert self.of is not None, "it was trained"
            asked = {name: getattr(self.config, name) for name in ASKED + LOADING if name not in _ELSEWHERE}
            asked["recipe"] = self.recipe.name  # which says all of it, also where it is a file's
            about = TableFile(
                of=self.of,
                asked=json.loads(json.dumps({name: value for name, value in asked.items() if value is not None})),
                fields=tuple(FieldEntries(**dataclasses.asdict(field)) for field in self.fields),
                searched={name: tuple(map(str, own)) for name, own in self.space.items()},
                seeds=tuple(self.seeds[run.seed] for run in self.runs),
                makers=tuple(self.makers),
                licence=self.licence,
            )
            rows = [self.rows[plan, run.seed] for plan in self.plans for run in self.runs]
            write_table(path, PlanTable(about, tuple(rows)))
        return done


def _comparable(of: Mapping[str, Any]) -> dict[str, Any]:
    """As a run's configuration has it; trials and calibration are no part of a table."""
    return {**of, "trials": None, "calibrate": False}


def _plans(space: Mapping[str, tuple[Choice, ...]]) -> Iterator[CompressionPlan]:
    n_plans = math.prod(map(len, space.values()))
    if n_plans > MOST_PLANS:
        raise AutoDPQError(
            f"--candidates: {n_plans:,} plans are more than a table holds ({MOST_PLANS:,}); give fewer candidates or "
            "bands"
        )
    if n_plans == 1:
        raise AutoDPQError("--candidates: there is one plan alone: no band has rows and two candidates")
    return every_plan(space)


def _measured_full(run: RunConfig, shared: Shared, test: DeviceRows) -> SeedEntries:
    trainer, pretrained = shared.trainer, shared.pretraining.pretrained
    network = trainer.build(trainer.full_plan())
    network.load_state_dict(pretrained.state)
    valid, tested = evaluate(network, trainer.valid), evaluate(network, test)
    ledger = trainer.ledger(trainer.full_plan())
    return SeedEntries(
        seed=run.seed,
        split_seed=run.data["split_seed"],
        valid_auc=valid.auc,
        valid_logloss=valid.logloss,
        test_auc=tested.auc,
        test_logloss=tested.logloss,
        parameters=ledger.parameters,
        bytes=ledger.bytes,
        epochs=pretrained.epochs,
        seconds=pretrained.seconds,
        floors=shared.floors,
    )


@torch.no_grad()
def _measured(seed: int, plan: CompressionPlan, outcome: Outcome, trainer: Trainer, test: DeviceRows) -> TableRow:
    """A row: what the trial came to, and what its network, as it is stored, says of the rows."""
    stored = tested = None
    if outcome.state is not None:
        network = trainer.build(plan)
        network.load_state_dict(outcome.state)
        if trainer.compact:
            round_compactly(network)
        try:
            stored, tested = evaluate(network, trainer.valid), evaluate(network, test)
        except TrainingError:  # of predictions that are not finite: there is a trial, and no model
            stored = tested = None
    ledger = trainer.ledger(plan)
    return TableRow(
        seed=seed,
        plan=plan.to_json(),
        valid_auc=outcome.valid_auc,
        valid_logloss=outcome.valid_logloss,
        valid_aucs=tuple(outcome.valid_aucs),
        stored_valid_auc=None if stored is None else stored.auc,
        stored_valid_logloss=None if stored is None else stored.logloss,
        test_auc=None if tested is None else tested.auc,
        test_logloss=None if tested is None else tested.logloss,
        parameters=ledger.parameters,
        bytes=ledger.bytes,
        epochs=len(outcome.valid_aucs),
        seconds=outcome.seconds,
        error=outcome.error,
    )
