"""Reads a study folder into typed results."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan, Field, parse_choice
from reports.results import CurvePoint, FieldResult, Headroom, RunResult, StudyResults, Truth

if TYPE_CHECKING:
    import pandas as pd

_Parsed = TypeVar("_Parsed")

_TEXT_COLUMNS = (
    "run", "study", "dataset", "model", "strategy", "recipe", "plan", "device", "machine", "version",
)  # fmt: skip
_NUMBER_COLUMNS = (
    "seed", "test_auc", "test_logloss", "valid_auc", "valid_logloss", "parameters", "bytes", "seconds",
    "seconds_pretrain", "seconds_search", "seconds_retrain", "epochs", "trials", "failed_trials",
)  # fmt: skip


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
    runs = tuple(
        _read_run(study / "runs" / run, run, dataset, model, strategy, int(seed))
        for run, dataset, model, strategy, seed in zip(
            *(records[column].tolist() for column in ("run", "dataset", "model", "strategy", "seed")), strict=True
        )
    )
    _check_comparable(records_path, records, runs)
    records = records.assign(fe_seconds=[run.fe_seconds for run in runs])
    records = records.assign(time_in_fe=records["seconds"] / records["fe_seconds"])
    return StudyResults(str(records["study"].iloc[0]), records, runs)


def _read_records(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        # As text first: an identifier such as 12345678e123 is no number, and a plug-in may be called "null".
        records = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [column for column in _TEXT_COLUMNS + _NUMBER_COLUMNS if column not in records.columns]
        if missing:
            raise ValueError(f"it lacks the column {missing[0]}")
        for column in _NUMBER_COLUMNS:
            records[column] = pd.to_numeric(records[column].replace("", "nan"), errors="raise").astype(float)
        if records["seed"].isna().any():
            raise ValueError("a row has no seed")
        records["seed"] = records["seed"].astype("int64")
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    return records


def _damaged(path: Path, error: Exception) -> AutoDPQError:
    reason = f"it has no entry {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
    return AutoDPQError(f"{path}: damaged ({reason}); remove it and run the study again")


def _read_json(path: Path, parse: Callable[[Any], _Parsed]) -> _Parsed:
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AutoDPQError) as error:
        raise _damaged(path, error) from None


def _read_run(folder: Path, run: str, dataset: str, model: str, strategy: str, seed: int) -> RunResult:
    if not re.fullmatch(r"[0-9a-f]{12}", run):
        raise _damaged(folder.parent.parent / "records.csv", ValueError(f"{run!r} is no run identifier"))
    fingerprint = _read_json(folder / "config.json", lambda config: str(config["data"]["fingerprint"]))

    def parse(result: Any) -> RunResult:
        if result["run"] != run:
            raise ValueError(f"it is of run {result['run']}")
        truth = result["truth"]
        return RunResult(
            run, dataset, model, strategy, seed, fingerprint,
            fe_seconds=float(result["fe_seconds"]),
            curve=tuple(
                CurvePoint(float(p["seconds"]), p["phase"], _number(p["valid_auc"]), _number(p["test_auc"]))
                for p in result["curve"]
            ),
            headroom=_parse_headroom(result["headroom"]),
            fields=tuple(_parse_field(entry) for entry in result["fields"]),
            truth=truth and Truth(float(truth["bayes_auc"]), CompressionPlan.from_json(truth["plan"])),
        )  # fmt: skip

    return _read_json(folder / "result.json", parse)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _parse_headroom(entry: Any) -> Headroom:
    rare, other, oracle = (_number(entry[key]) for key in ("auc_rare", "auc_other", "auc_oracle"))
    return Headroom(int(entry["samples"]), int(entry["rare_samples"]), rare, other, oracle)


def _parse_field(entry: Any) -> FieldResult:
    field = Field(entry["name"], int(entry["cardinality"]), int(entry["head"]))
    return FieldResult(field, parse_choice(entry["choice"]), int(entry["parameters"]), int(entry["bits"]))


def _check_comparable(path: Path, records: pd.DataFrame, runs: tuple[RunResult, ...]) -> None:
    fingerprints: dict[str, str] = {}
    recipes: dict[tuple[str, str], str] = {}
    seeds: dict[tuple[str, str, str, int], str] = {}
    for run, recipe in zip(runs, records["recipe"].tolist(), strict=True):
        fingerprint = fingerprints.setdefault(run.dataset, run.fingerprint)
        if fingerprint != run.fingerprint:
            raise AutoDPQError(
                f"{path}: dataset {run.dataset} has two fingerprints, {fingerprint} and {run.fingerprint} "
                f"(run {run.run}); runs on different data cannot stand in one table, use one study for each"
            )
        first_recipe = recipes.setdefault((run.dataset, run.model), recipe)
        if first_recipe != recipe:
            raise AutoDPQError(
                f"{path}: {run.dataset} with {run.model} has two recipes, {first_recipe} and {recipe}; strategies "
                "trained differently cannot stand in one table, use one study for each"
            )
        first_run = seeds.setdefault((run.dataset, run.model, run.strategy, run.seed), run.run)
        if first_run != run.run:
            raise AutoDPQError(
                f"{path}: {run.dataset}, {run.model}, {run.strategy}, seed {run.seed} was run twice with different "
                f"settings, as {first_run} and {run.run}; use one study for each"
            )
