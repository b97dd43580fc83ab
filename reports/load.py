"""Reads a study folder into typed results."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autodpq.choices import parse_choice
from autodpq.errors import AutoDPQError
from autodpq.ledger import field_ledger
from autodpq.packed.manifest import strict_json
from autodpq.plan import CompressionPlan, Field
from reports.results import (
    CurvePoint,
    Failure,
    FieldResult,
    FrequencyBucket,
    Headroom,
    RunResult,
    StudyResults,
    Truth,
)

if TYPE_CHECKING:
    import pandas as pd

_Parsed = TypeVar("_Parsed")

_TEXT_COLUMNS = (
    "run", "study", "dataset", "model", "strategy", "recipe", "plan", "device", "machine", "version",
)  # fmt: skip
_WHOLE_COLUMNS = ("seed", "parameters", "bytes", "epochs", "trials", "failed_trials")
_NUMBER_COLUMNS = (
    *_WHOLE_COLUMNS, "test_auc", "test_logloss", "valid_auc", "valid_logloss", "seconds", "seconds_pretrain",
    "seconds_search", "seconds_retrain",
)  # fmt: skip

# Within these, sums, squares and ratios of what a file says stay finite, and a name fits into a figure.
_MOST = 1e15
_TICK = 1e-9  # seconds; no clock tells less
_LONGEST = 1000  # letters


def load_study(path: str | Path) -> StudyResults:
    """Reads the records and results of a study folder.

    Raises:
        AutoDPQError: It is no study folder, has no finished run, holds a damaged file, or mixes what must not stand in
            one table (two fingerprints of a dataset, two recipes, a seed run twice).
    """
    study = Path(path)
    records_path = study / "records.csv"
    if not records_path.is_file():
        raise AutoDPQError(f"{study}: no study folder, or no run has finished yet: it has no records.csv")
    records = _read_records(records_path)
    if records.empty:
        raise AutoDPQError(f"{records_path}: no finished run yet; run the study first")
    records, failures = _without_failures(records)
    if records.empty:
        raise _refused(study, f"no run came to anything: {failures[0].strategy}: {failures[0].reason}")
    runs = tuple(
        _read_run(study / "runs" / run, run, dataset, model, strategy, int(seed))
        for run, dataset, model, strategy, seed in zip(
            *(records[column].tolist() for column in ("run", "dataset", "model", "strategy", "seed")), strict=True
        )
    )
    _check_comparable(records_path, records, runs)
    records = records.assign(fe_seconds=[run.fe_seconds for run in runs])
    records = records.assign(time_in_fe=records["seconds"] / records["fe_seconds"])
    return StudyResults(study, str(records["study"].iloc[0]), records, runs, failures)


def _read_records(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        # As text first: an identifier such as 12345678e123 is no number, and a plug-in may be called "null".
        records = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [column for column in _TEXT_COLUMNS + _NUMBER_COLUMNS if column not in records.columns]
        if missing:
            raise ValueError(f"it lacks the column {missing[0]}")
        if records.isna().any(axis=None):
            raise ValueError("a row is cut off")
        for column in ("dataset", "model", "strategy"):
            _check_column(records, column, records[column].str.len().between(1, _LONGEST))
        # As every name begins; a legend would leave another one out.
        _check_column(records, "strategy", records["strategy"].str.match("[A-Za-z0-9]"))
        _check_column(records, "run", records["run"].str.fullmatch("[0-9a-f]{12}") & ~records["run"].duplicated())
        for column in _NUMBER_COLUMNS:
            numbers = pd.to_numeric(records[column], errors="coerce").astype(float)
            possible = numbers.between(0, 1 if column.endswith("_auc") else _MOST)
            if column in _WHOLE_COLUMNS:
                possible &= numbers % 1 == 0
            if column != "seed":
                possible |= records[column] == ""
            _check_column(records, column, possible)
            records[column] = numbers
        records["seed"] = records["seed"].astype("int64")
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    return records


def _check_column(records: pd.DataFrame, column: str, possible: pd.Series[bool]) -> None:
    for row, value in records.loc[~possible, column].items():
        raise ValueError(f"row {int(str(row)) + 1} has the {column} {value!r}")


def _without_failures(records: pd.DataFrame) -> tuple[pd.DataFrame, tuple[Failure, ...]]:
    """The records of runs that have numbers, and the others."""
    if "error" not in records.columns:  # versions before 0.2 ended a study where a run came to nothing
        return records, ()
    failed = records["error"] != ""
    columns = (records.loc[failed, name].tolist() for name in ("dataset", "model", "strategy", "seed", "error"))
    failures = tuple(Failure(*row) for row in zip(*columns, strict=True))
    return records[~failed].reset_index(drop=True), failures


def _refused(path: Path, reason: str) -> AutoDPQError:
    """An error of one line, whatever the files say."""
    return AutoDPQError(f"{path}: {' '.join(reason.split())}")


def _damaged(path: Path, error: Exception) -> AutoDPQError:
    reason = f"it has no entry {error}" if isinstance(error, KeyError) else str(error)
    return _refused(path, f"damaged ({textwrap.shorten(reason, 300)}); remove it and run the study again")


def _read_json(path: Path, parse: Callable[[Any], _Parsed]) -> _Parsed:
    try:
        return parse(strict_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, AutoDPQError) as error:
        raise _damaged(path, error) from None


def _read_run(folder: Path, run: str, dataset: str, model: str, strategy: str, seed: int) -> RunResult:
    fingerprint = _read_json(folder / "config.json", lambda config: _text(config["data"]["fingerprint"]))

    def parse(result: Any) -> RunResult:
        if result["run"] != run:
            raise ValueError(f"it is of run {result['run']}")
        truth = result["truth"]
        return RunResult(
            run, dataset, model, strategy, seed, fingerprint,
            fe_seconds=_number(result["fe_seconds"], _TICK),
            curve=tuple(
                CurvePoint(_seconds(p["seconds"]), _text(p["phase"]), _auc(p["valid_auc"]), _auc(p["test_auc"]))
                for p in result["curve"]
            ),
            headroom=_parse_headroom(result["headroom"]),
            frequency=tuple(_parse_bucket(entry) for entry in result.get("frequency", ())),
            fields=tuple(_parse_field(entry) for entry in result["fields"]),
            truth=None if truth is None else Truth(_auc(truth["bayes_auc"]), CompressionPlan.from_json(truth["plan"])),
        )  # fmt: skip

    return _read_json(folder / "result.json", parse)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise ValueError(f"{value!r} given, a short text is needed")
    return value


def _number(value: Any, least: float = 0.0, most: float = _MOST) -> float:
    if type(value) not in (int, float) or not least <= value <= most:
        raise ValueError(f"{value!r} given, a number from {least:g} to {most:g} is needed")
    return float(value)


def _count(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} given, a whole number is needed")
    return int(_number(value))


def _seconds(value: Any) -> float:
    return 0.0 if value == 0 else _number(value, _TICK)


def _auc(value: Any) -> float:
    """An AUC; nan where there is none."""
    return math.nan if value is None else _number(value, most=1.0)


def _parse_headroom(entry: Any) -> Headroom:
    rare, other, oracle = (_auc(entry[key]) for key in ("auc_rare", "auc_other", "auc_oracle"))
    return Headroom(_count(entry["samples"]), _count(entry["rare_samples"]), rare, other, oracle)


def _parse_bucket(entry: Any) -> FrequencyBucket:
    least, most, samples = (_count(entry[key]) for key in ("least", "most", "samples"))
    if least > most:
        raise ValueError(f"frequencies from {least} to {most}")
    return FrequencyBucket(least, most, samples, _auc(entry["auc"]))


def _parse_field(entry: Any) -> FieldResult:
    field = Field(_text(entry["name"]), _count(entry["cardinality"]), _count(entry["head"]))
    if not field.head <= field.cardinality or not field.cardinality:
        raise ValueError(f"field {field.name!r} has {field.head} frequent values of {field.cardinality}")
    choice = parse_choice(_text(entry["choice"]))
    result = FieldResult(field, choice, _count(entry["parameters"]), _count(entry["bits"]))
    cost = field_ledger(field, CompressionPlan({field.name: choice}), result.embedding_dim)
    if result.embedding_dim < 1 or (result.parameters, result.bits) != (cost.parameters, cost.bits):
        raise ValueError(f"field {field.name!r} does not cost what {choice} does")
    return result


def _check_comparable(path: Path, records: pd.DataFrame, runs: tuple[RunResult, ...]) -> None:
    fingerprints: dict[str, str] = {}
    recipes: dict[tuple[str, str], str] = {}
    seeds: dict[tuple[str, str, str, int], str] = {}
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
        first_run = seeds.setdefault((run.dataset, run.model, run.strategy, run.seed), run.run)
        if first_run != run.run:
            raise _refused(
                path,
                f"{run.dataset}, {run.model}, {run.strategy}, seed {run.seed} was run twice with different "
                f"settings, as {first_run} and {run.run}; use one study for each",
            )
