"""A study: what is missing of it is run, one run after another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path

import optuna
import pandas as pd
import torch

from autodpq.choices import Full
from autodpq.data import dataset_spec
from autodpq.models import MODELS
from autodpq.plan import CompressionPlan, Field
from autodpq.records.folder import write_asked, write_study
from autodpq.records.result import Floors
from autodpq.records.schema import StudyFile
from autodpq.search.strategy import Strategy
from autodpq.training.recipes import Recipe
from autodpq.training.trainer import Trainer
from autodpq.trial import Budget, Space
from studies.budgets import budget_bytes, check_budgets
from studies.config import RunConfig, make_space, make_strategies, run_config, study_candidates, study_recipe
from studies.floors import measure_floors
from studies.folder.comparable import Compile, Folder
from studies.folder.lock import alone_in
from studies.folder.records import clear_up, write_records
from studies.given_weights import check_given
from studies.options import StudyConfig
from studies.prepared import LOADING, Prepared, load_rows, prepare_for
from studies.sharing import Context, Workers, is_compiled, share, sources
from studies.single_run import Run
from studies.watch.progress import Progress
from studies.watch.tensorboard import FOLDER, Scalars
from studies.workers.faster_device import faster_device
from studies.workers.machine import choose_device, jobs_for, machine_name, torch_settings, versions
from studies.workers.processes import WorkerPool
from studies.workers.ray_cluster import RayCluster

Further = Callable[[pd.DataFrame], int | None]
"""Is given the records so far, and gives a further budget of bytes to search within, or None for an end."""
_Asked = tuple[RunConfig, str, Strategy]  # a run, what its model is called or loaded from, and what searches


@torch_settings()
def run_study(config: StudyConfig, out: Path, progress: Progress, further: Further | None = None) -> pd.DataFrame:
    """Runs what is missing of a study.

    Args:
        config: What is asked for, checked.
        out: The study's folder; made if it is missing.
        progress: Is told how far it is.
        further: Asked for a further budget for the strategies after all that is asked for, and after each of its own.

    Returns:
        The records: one row per finished run.

    Raises:
        AutoDPQError: The data or a budget cannot be used, or the folder holds another study.
    """
    # Optuna tells of every study that is made; a trial is one here.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with WorkerPool() as pool:
        return _run_missing(config, out, progress, pool, further)


def _faster_device(
    config: StudyConfig,
    prepared: Prepared,
    fields: Sequence[Field],
    space: Space,
    recipe: Recipe,
    compiling: Mapping[str, Compile],
    progress: Progress,
) -> torch.device:
    """Of the CPU and the GPU the one that trains the study's first model faster."""
    model, compact = MODELS.find(config.models[0]), config.space == "wide"
    plan = CompressionPlan({name: candidates[len(candidates) // 2] for name, candidates in space.items()})

    def trainer_on(device: torch.device) -> Trainer:
        compiled = is_compiled(compiling[config.models[0]], config.space, len(prepared.train), device)
        rows = prepared.train, prepared.valid
        return Trainer(
            fields, model, recipe.with_penalty_of(prepared.additive), 0, device, *rows, additive=prepared.additive,
            compiled=compiled, compact=compact,
        )  # fmt: skip

    device, taken = faster_device(trainer_on, plan)
    progress.measured(device.type, taken)
    return device


def _run_missing(
    config: StudyConfig, out: Path, progress: Progress, pool: WorkerPool, further: Further | None
) -> pd.DataFrame:
    load = partial(load_rows, {option: getattr(config, option) for option in LOADING})
    dataset = load()
    jobs = config.jobs or (jobs_for(len(dataset)) if config.executor == "local" else 1)
    config = config.model_copy(update={"jobs": jobs})
    recipe = study_recipe(config, dataset)
    strategies = make_strategies(config)
    candidates = study_candidates(config, dataset_spec(config.dataset))
    bare = [Field(*named, 0) for named in zip(dataset.field_names, map(len, dataset.counts), strict=True)]
    budgets = {model: budget_bytes(config.budget or (), bare, MODELS.find(model), recipe) for model in config.models}
    folder, source = Folder(out), dataset.without_rows()

    def asked_for(budgets: Mapping[str, Sequence[int]], strategies: Sequence[Strategy]) -> list[_Asked]:
        asked = [
            (run_config(config, source, MODELS.find(model).name, strategy, seed, budget), model, strategy)
            for model in config.models
            for seed in range(config.seeds)
            for strategy in strategies
            for budget in (*(budgets[model] if strategy.compresses else ()),) or (None,)
        ]
        for run, model, strategy in asked:
            folder.check(dataclasses.asdict(run), config.resplit)
            code = sources(MODELS.find(model), type(strategy), candidates)
            folder.check_sources(run.run_id, run.strategy, run.model, code)
        return asked

    runs = asked_for(budgets, strategies)
    where = folder.device(config.device)
    device = choose_device(where)
    compiling = {model: folder.compile(MODELS.find(model).name, config.compile) for model in config.models}
    prepared = prepare_for(load, runs[0][0].data)
    compact = config.space == "wide"
    fields = prepared.source.banded(config.bands) if compact else prepared.fields
    space = make_space(fields, candidates, recipe.embedding_dim, compact=compact)
    if config.pretrained is not None:
        for model in config.models:
            check_given(Path(config.pretrained), MODELS.find(model), recipe, dataset.field_names)

    def check_sizes(budgets: Mapping[str, Sequence[int]]) -> None:
        for model, sizes in budgets.items():
            check_budgets(sizes, fields, space, MODELS.find(model), recipe, compact)

    check_sizes(budgets)

    def finished_runs() -> set[str]:
        return {run.run_id for run, _, _ in runs if (out / "runs" / run.run_id / "result.json").exists()}

    def trainings(asked: Sequence[_Asked]) -> dict[str, int]:
        return {run.run_id: _trainings(strategy, space, config.trials) for run, _, strategy in asked}

    def further_runs() -> Iterator[_Asked]:
        while further is not None and (n_bytes := further(write_records(out))) is not None:
            within = {model: [n_bytes] for model in config.models}
            check_sizes(within)
            added = asked_for(within, [strategy for strategy in strategies if strategy.compresses])
            runs.extend(added)
            _write_asked(out, runs)
            finished.update(finished_runs())
            progress.add_runs(trainings(added), finished)
            yield from added

    mirror = None
    if config.mirror is not None:
        from studies.watch.dashboard import Mirror

        mirror = Mirror(config.mirror, progress.warn)
    is_complete = further is None and len(finished_runs()) == len(runs)
    if where == "auto" and device.type == "cuda" and not is_complete:
        device = _faster_device(config, prepared, fields, space, recipe, compiling, progress)
    if config.executor == "local" and jobs > 1 and not is_complete:
        pool.start(jobs)
    here = nullcontext(pool if pool.jobs else None)
    needs_cluster = config.executor == "ray" and not is_complete
    with _cluster(config, progress) if needs_cluster else here as workers, alone_in(out):
        _claim(out, config, recipe)
        clear_up(out)
        _write_asked(out, runs)
        finished = finished_runs()
        context = Context(config, candidates, out, workers, mirror, progress)
        threshold = runs[0][0].data["threshold"]
        progress.start_study(dataset, fields, threshold, prepared.truth, trainings(runs), finished)
        if any(strategy.compresses for _, _, strategy in runs) and all(set(c) == {Full()} for c in space.values()):
            progress.warn(
                f"no value is rare at threshold {threshold}, so that strategies have nothing to search: they fail, or "
                "train FE anew; give another --threshold (data inspect suggests one), or --space wide"
            )
        del dataset  # with the labels of test rows
        for line in folder.elsewhere(machine_name(), versions()):
            progress.warn(line)
        if mirror is not None:
            progress.mirrored(mirror.address)
        if config.tensorboard:
            progress.scalars = Scalars(out / FOLDER)
            progress.watched(out / FOLDER)
        data, shared = runs[0][0].data, None
        floors: dict[int, Floors] = {}  # by the split's seed: all else of a study's splits is the same
        for run, model, strategy in chain(tuple(runs), further_runs()):
            if run.run_id in finished:
                context.copy_finished(run)
                continue
            if run.data != data:
                data, prepared = run.data, prepare_for(load, run.data)
            if data["split_seed"] not in floors:
                progress.start_floors()
                floors[data["split_seed"]] = measure_floors(prepared)
                progress.floors(floors[data["split_seed"]])
            progress.start_run(run)
            if shared is None or shared.name != run.pretrained_id:
                own = floors[data["split_seed"]]
                shared = share(context, run, model, prepared, own, recipe, device, compiling[model])
            single = Run(context, run, strategy, shared)
            record = single.execute()
            if not single.sound:
                data, shared = {}, None  # read again, whole
            write_records(out)
            progress.end_run(run, record)
    return write_records(out)


def _cluster(config: StudyConfig, progress: Progress) -> AbstractContextManager[Workers | None]:
    return RayCluster(config.ray_address, config.cpus_per_trial, config.gpus_per_trial, progress.warn)


def _trainings(strategy: Strategy, space: Space, trials: int | None) -> int:
    """About how many trainings a run takes, for the time left; one without trials has its own and the final one."""
    return strategy.expected_trials(space, Budget(trials)) or 2


def _write_asked(out: Path, runs: Sequence[_Asked]) -> None:
    write_asked(out / "asked.json", {run.run_id: run.name for run, _, _ in runs})


def _claim(out: Path, config: StudyConfig, recipe: Recipe) -> None:
    """Makes the folder a study of this recipe and these settings, unless it is one: it has been asked."""
    path = out / "study.json"
    if not path.exists() or not any(out.glob("runs/*/config.json")):
        mine = StudyFile(study=out.resolve().name, recipe=recipe.name, init=config.init, resplit=config.resplit)
        write_study(path, mine)
