"""Reads a study folder into typed results."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from autodpq.choices import Unknown, read_choice
from autodpq.costs import band_ledgers
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan, Field
from autodpq.records.files import ANEW, damage_told
from autodpq.records.folder import check_exists, read_config, read_finished, read_records
from autodpq.records.result import RECORD_COLUMNS, FieldCost, Record
from reports.names import within
from reports.results import Failure, FieldResult, RunResult, StudyResults, Truth, with_floors

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = (
    "parameters", "bytes", "vocabulary_bytes", "budget", "epochs", "trials", "failed_trials",
    "test_auc", "test_logloss", "valid_auc", "valid_logloss",
    "test_click_rate", "test_mean_prediction", "test_ece", "test_normalized_entropy",
    "seconds", "seconds_pretrain", "seconds_search", "seconds_retrain",
)  # fmt: skip

_LONGEST = 1000  # letters: a name fits into a figure


def load_study(path: str | Path) -> StudyResults:
    """Reads the results of a study folder.

    Raises:
        AutoDPQError: It is no study folder, has no finished run, holds a damaged file, or mixes what must not stand in
            one table (two fingerprints of a dataset, two recipes, a seed run twice).
    """
    study = Path(path)
    check_exists(study)
    own = read_records(study)
    if not own:
        raise AutoDPQError(f"{study}: no study folder, or no run has finished yet: it has no runs/RUN/result.json")
    for result_path, record in own.items():
        with damage_told(result_path, ANEW):
            _check_record(result_path.parent.name, record)
    records = _as_frame(own.values())
    records, failures = _without_failures(records)
    if records.empty:
        raise _refused(study, f"no run came to anything: {failures[0].strategy}: {failures[0].reason}")
    runs = tuple(
        with_floors(
            [
                _read_run(study / "runs" / run, run, dataset, model, strategy, int(seed))
                for run, dataset, model, strategy, seed in zip(
                    *(records[column].tolist() for column in ("run", "dataset", "model", "strategy", "seed")),
                    strict=True,
                )
            ]
        )
    )
    _check_comparable(study, records, runs)
    records = records.assign(fe_seconds=[run.fe_seconds for run in runs])
    floors = [run.floors for run in runs]
    additive = [None if own is None else own.additive for own in floors]
    records = records.assign(
        constant_logloss=[math.nan if own is None else own.constant.logloss for own in floors],
        additive_auc=[math.nan if own is None else own.auc for own in additive],
        additive_logloss=[math.nan if own is None else own.logloss for own in additive],
    )
    records = records.assign(time_in_fe=records["seconds"] / records["fe_seconds"])
    return StudyResults(study, str(records["study"].iloc[0]), records, runs, failures)


def _check_record(folder: str, record: Record) -> None:
    """Refuses what cannot stand in a table or a figure."""
    if record.run != folder or not re.fullmatch("[0-9a-f]{12}", record.run):
        raise AutoDPQError(f"it is of run {record.run!r}")
    for column in ("dataset", "model", "strategy"):
        if not 1 <= len(getattr(record, column)) <= _LONGEST:
            raise AutoDPQError(f"it has the {column} {getattr(record, column)!r}")
    # As every name begins; a legend would leave another one out.
    if not re.match("[A-Za-z0-9]", record.strategy):
        raise AutoDPQError(f"it has the strategy {record.strategy!r}")


def _as_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Numbers as numbers, nan where nothing was measured; all else as the text that ``records.csv`` has."""
    import pandas as pd

    rows = [
        {name: "" if value is None and name not in _NUMBERS else value for name, value in record}
        | {"strategy": within(record.strategy, record.budget)}
        for record in records
    ]
    frame = pd.DataFrame(rows, columns=list(RECORD_COLUMNS))
    for column in frame.columns:
        if column in _NUMBERS:
            frame[column] = frame[column].astype(float)
        elif column != "seed":
            frame[column] = frame[column].astype(str)
    return frame


def _without_failures(records: pd.DataFrame) -> tuple[pd.DataFrame, tuple[Failure, ...]]:
    """The records of runs that have numbers, and the others."""
    failed = records["error"] != ""
    columns = (records.loc[failed, name].tolist() for name in ("dataset", "model", "strategy", "seed", "error"))
    failures = tuple(Failure(*row) for row in zip(*columns, strict=True))
    return records[~failed].reset_index(drop=True), failures


def _refused(path: Path, reason: str) -> AutoDPQError:
    """An error of one line, whatever the files say."""
    return AutoDPQError(f"{path}: {' '.join(reason.split())}")


def _read_run(folder: Path, run: str, dataset: str, model: str, strategy: str, seed: int) -> RunResult:
    config_path, result_path = folder / "config.json", folder / "result.json"
    config, result = read_config(config_path), read_finished(result_path)
    with damage_told(config_path, ANEW):
        fingerprint = _short(config.data.fingerprint)
    with damage_told(result_path, ANEW):
        if result.run != run:
            raise AutoDPQError(f"it is of run {result.run}")
        for bucket in result.frequency:
            if bucket.least > bucket.most:
                raise AutoDPQError(f"frequencies from {bucket.least} to {bucket.most}")
        truth = result.truth
        return RunResult(
            dataset, model, strategy, config.data.split_name, result.record.test_auc, result.record.test_logloss,
            result.known_floors, run, seed, fingerprint, result.fe_seconds, result.curve, result.headroom,
            result.frequency,
            reliability=result.reliability,
            calibration=result.calibration,
            fields=tuple(_field(entry, config.recipe.embedding_dim, result.compact) for entry in result.fields),
            truth=None if truth is None else Truth(truth.bayes_auc, CompressionPlan.from_json(truth.plan)),
            epochs=result.epochs,
            predictions=result.predictions,
        )  # fmt: skip


def _short(text: str) -> str:
    if len(text) > _LONGEST:
        raise AutoDPQError(f"{text!r} given, a short text is needed")
    return text


def _field(entry: FieldCost, embedding_dim: int, compact: bool) -> FieldResult:
    field = Field(_short(entry.name), entry.cardinality, entry.head)
    if field.head > field.cardinality:
        raise AutoDPQError(f"field {field.name!r} has {field.head} frequent values of {field.cardinality}")
    choice = read_choice(_short(entry.choice))
    if not isinstance(choice, Unknown):
        (cost,) = band_ledgers(field, CompressionPlan({field.name: choice}), embedding_dim, compact)
        if (entry.parameters, entry.bits) != (cost.parameters, cost.bits):
            raise AutoDPQError(f"field {field.name!r} does not cost what {choice} does")
    return FieldResult(field, choice, entry.parameters, entry.bits, embedding_dim)


def _check_comparable(path: Path, records: pd.DataFrame, runs: tuple[RunResult, ...]) -> None:
    fingerprints: dict[str, str] = {}
    recipes: dict[tuple[str, str], str] = {}
    seeds: dict[tuple[str, str, str, int], str] = {}
    calibrated: dict[tuple[str, str], bool] = {}
    for run, recipe in zip(runs, records["recipe"].tolist(), strict=True):
        fingerprint = fingerprints.setdefault(run.dataset, run.fingerprint)
        if fingerprint != run.fingerprint:
            raise _refused(
                path,
                f"dataset {run.dataset} has two fingerprints, {fingerprint} and {run.fingerprint} "
                f"(run {run.run}); runs on different data cannot stand in one table, use one study for each",
            )
        first_recipe = recipes.setdefault((run.dataset, run.model), recipe)
        if first_recipe != recipe:
            raise _refused(
                path,
                f"{run.dataset} with {run.model} has two recipes, {first_recipe} and {recipe}; strategies "
                "trained differently cannot stand in one table, use one study for each",
            )
        own = run.calibration is not None
        if calibrated.setdefault((run.dataset, run.model), own) != own:
            raise _refused(
                path,
                f"{run.dataset} with {run.model} has runs that are calibrated and others that are not (run {run.run}); "
                "they cannot stand in one table, use one study for each",
            )
        first_run = seeds.setdefault((run.dataset, run.model, run.strategy, run.seed), run.run)
        if first_run != run.run:
            raise _refused(
                path,
                f"{run.dataset}, {run.model}, {run.strategy}, seed {run.seed} was run twice with different "
                f"settings, as {first_run} and {run.run}; use one study for each",
            )
