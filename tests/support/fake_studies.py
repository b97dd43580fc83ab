"""Writes study folders as the runner does, with invented numbers."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from autodpq.choices import DPQ, Full, Others
from autodpq.costs import Dense, ledger
from autodpq.metrics import Bin, auc, calibration_error
from autodpq.plan import CompressionPlan, Field, uniform_plan
from autodpq.records.folder import entries
from autodpq.records.result import FinishedResult, Record
from autodpq.records.schema import ConfigFile

MOVIELENS = (
    Field("user", 6040, 4737),
    Field("movie", 3706, 2673),
    Field("gender", 2, 2),
    Field("age", 7, 7),
    Field("occupation", 21, 21),
    Field("zip", 3402, 2897),
    Field("genres", 301, 295),
    Field("year", 82, 79),
)
STRATEGIES = ("fe", "fe-continued", "others", "grid", "random", "autodpq")
_AUC = {"fe": 0.8158, "fe-continued": 0.8171, "others": 0.8150, "grid": 0.8162, "random": 0.8163, "autodpq": 0.8175}
_TIMES_FE = {"fe": 1.0, "fe-continued": 2.1, "others": 1.9, "grid": 17.2, "random": 60.5, "autodpq": 2.6}
_TRIALS = {"grid": 9, "random": 30}
FLOORS = {"constant": {"auc": 0.5, "logloss": 0.6817}, "additive": {"auc": 0.7927, "logloss": 0.5395}}
NEAR_FLOORS = {"constant": {"auc": 0.5, "logloss": 0.6817}, "additive": {"auc": 0.8165, "logloss": 0.5125}}
HIGH_FLOORS = {"constant": {"auc": 0.5, "logloss": 0.5133}, "additive": {"auc": 0.8168, "logloss": 0.5121}}


def write_study(
    folder: Path,
    *,
    strategies: Sequence[str] = STRATEGIES,
    seeds: Sequence[int] = (0, 1, 2),
    models: Sequence[str] = ("deepfm", "pnn", "dcn"),
    dataset: str = "movielens1m",
    fields: Sequence[Field] = MOVIELENS,
    truth: bool = False,
    test_rows: int | None = None,
    floors: Mapping[str, Any] | None = None,
    resplit: bool = False,
) -> Path:
    """Writes a study with one run per model, strategy and seed; returns its folder.

    With ``test_rows``, runs have so many test samples and keep their predictions; with ``resplit``, seeds have splits
    of their own, on which the additive model's AUC is larger by 0.001 per seed.
    """
    rows = []
    for model_index, model in enumerate(models):
        for strategy in strategies:
            for seed in seeds:
                generator = np.random.default_rng([model_index, seed, *strategy.encode()])
                result = _result(generator, dataset, model, strategy, seed, fields, model_index)
                if truth:
                    result["truth"] = {"bayes_auc": 0.84, "plan": uniform_plan(fields, DPQ(16, 4)).to_json()}
                if test_rows is not None:
                    result["headroom"] |= {"samples": test_rows, "rare_samples": test_rows // 20}
                    labels, probabilities = make_predictions(generator, test_rows, seed)
                    result["record"]["test_auc"] = auc(probabilities, labels)
                    write_predictions(folder, result["run"], labels, probabilities)
                if floors is not None:
                    result["floors"] = dict(floors)
                if floors is not None and resplit:
                    own = floors["additive"]
                    result["floors"]["additive"] = {**own, "auc": round(own["auc"] + 0.001 * seed, 6)}
                write_run(folder, result, fingerprint="5f2c" * 4, split_seed=2023 + seed * resplit)
                rows.append(result["record"])
    write_records(folder, rows)
    return folder


def copy_study(study: Path, folder: Path, *, floors: bool) -> Path:
    """Copies a study that knows no floors, as earlier versions left it, or with floors added to its results."""
    shutil.copytree(study, folder)
    for path in folder.glob("runs/*/result.json") if floors else ():
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["record"]["test_auc"] is not None:
            path.write_text(json.dumps({**result, "floors": NEAR_FLOORS}), encoding="utf-8")
    return folder


def write_run(folder: Path, result: Mapping[str, Any], fingerprint: str, split_seed: int = 2023) -> None:
    """Writes one run's result and configuration, without seals, as earlier versions did: tests alter them."""
    run = folder / "runs" / result["run"]
    run.mkdir(parents=True, exist_ok=True)
    record = result["record"]
    asked = {name: record[name] for name in ("model", "strategy", "seed")}
    data = {"name": record["dataset"], "fingerprint": fingerprint, "split_seed": split_seed}
    finished = FinishedResult.model_validate_json(json.dumps(result))
    config = ConfigFile.model_validate(make_config(data=data, **asked))
    for name, content in (("result", finished), ("config", config)):
        (run / f"{name}.json").write_text(json.dumps(entries(content), indent=1) + "\n", encoding="utf-8")


def make_config(data: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """What a run's ``config.json`` holds; what is not given is invented."""
    split = {"threshold": 20, "split": "random", "split_seed": 2023, "frequency_scope": "all"}
    asked = {"data": {"fingerprint": "f" * 16, **split, **data}}
    asked |= {"model": "pnn", "strategy": "fe", "options": {}, "seed": 0}
    recipe = {"recipe": {"name": "strong", "embedding_dim": 16}, "init": "pretrained"}
    space = {"candidates": ("dpq(8,2)", "dpq(16,4)"), "trials": None, "jobs": 1}
    place = {"device": "cpu", "threads": 1, "machine": "x86_64, 8 cores", "versions": {"python": "3.12"}}
    return {**asked, **recipe, **space, **place, **values}


def make_record(**values: Any) -> dict[str, Any]:
    """A run's record; what is not given is invented."""
    kinds = {name: field.annotation for name, field in Record.model_fields.items()}
    row = {name: f"some {name}" if kind in (str, str | None) else 2 / 3 for name, kind in kinds.items()}
    whole = {"seed": 0, "parameters": 194816, "bytes": 700000, "epochs": 7, "compiled": False, "calibrated": False}
    whole |= {"vocabulary_bytes": 31000, "space": "paper", "budget": None}
    counts = dict.fromkeys(("trials", "failed_trials", "pruned_trials", "restarted_trials"), 0)
    return {**row, **whole, **counts, "error": None, **values}


def make_bins(least: float, seed: int = 0, factor: float = 1.0) -> tuple[Bin, ...]:
    """Twenty bins of 100,021 test samples, from a least prediction to 0.9, or ``factor`` times all of that."""
    predicted = [factor * (least + (0.9 - least) * number / 19) for number in range(20)]
    return tuple(
        Bin(5002 if number == 0 else 5001, value, min(value * (1.02 + 0.01 * seed), 1.0))
        for number, value in enumerate(predicted)
    )


def make_predictions(
    generator: np.random.Generator, rows: int, seed: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """The test labels of a seed, and what one of its networks may say of them; in three decimals, so that some tie."""
    shared = np.random.default_rng([seed, rows])
    labels = (shared.random(rows) < 0.4).astype(np.uint8)
    scores = labels + 1.1 * shared.standard_normal(rows) + 0.2 * generator.standard_normal(rows)
    return labels, (1 / (1 + np.exp(0.5 - scores))).round(3)


def write_predictions(
    folder: Path, run: str, labels: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float64]
) -> None:
    """Writes one run's predictions."""
    frame = pd.DataFrame({"label": labels, "probability": probabilities})
    path = folder / "runs" / run / "predictions.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False, compression="zstd")


def predictions_of(study: Path, strategy: str, seed: int) -> Path:
    """The file of a run's predictions."""
    records = pd.read_csv(study / "records.csv", dtype=str)
    (run,) = records.loc[(records["strategy"] == strategy) & (records["seed"] == str(seed)), "run"]
    return study / "runs" / run / "predictions.parquet"


def edit_records(study: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the records of a study's runs, in their ``result.json``, in place."""
    for path in study.glob("runs/*/result.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        change(result["record"])
        path.write_text(json.dumps(result), encoding="utf-8")


def write_records(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes records.csv."""
    with (folder / "records.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def choose_plan(generator: np.random.Generator, strategy: str, fields: Sequence[Field]) -> CompressionPlan:
    """A plan such as the strategy might choose."""
    if strategy in ("fe", "fe-continued"):
        return uniform_plan(fields, Full())
    if strategy == "others":
        return uniform_plan(fields, Others())
    if strategy == "grid":
        return uniform_plan(fields, DPQ(8, 8))
    K, D = generator.choice([8, 16, 32], len(fields)), generator.choice([2, 4, 8], len(fields))
    return CompressionPlan(
        {f.name: DPQ(int(k), int(d)) if f.tail else Full() for f, k, d in zip(fields, K, D, strict=True)}
    )


def _result(
    generator: np.random.Generator,
    dataset: str,
    model: str,
    strategy: str,
    seed: int,
    fields: Sequence[Field],
    model_index: int,
) -> dict[str, Any]:
    run = hashlib.sha256(f"{dataset} {model} {strategy} {seed}".encode()).hexdigest()[:12]
    fe_seconds = 61.0 + 2 * seed + 7 * model_index
    plan = choose_plan(generator, strategy, fields)
    cost = ledger(fields, plan, 16, first_order=model == "deepfm", dense=Dense(2500))
    auc = round(_AUC.get(strategy, 0.816) - 0.0006 * model_index + 0.0003 * float(generator.standard_normal()), 6)
    ratio = _TIMES_FE.get(strategy, 5.0)
    seconds = round(fe_seconds * ratio * (1 + 0.03 * float(generator.random())), 2)
    curve = _curve(generator, strategy, auc, fe_seconds, seconds)
    epochs = {"fe": 13, "fe-continued": 30, "others": 26, "autodpq": 31}.get(strategy, int(13 * ratio))
    trials = _TRIALS.get(strategy, 1)
    bins = make_bins(0.3 - 0.01 * min(len(strategy), 20), seed)
    record = {
        "run": run,
        "study": "fake",
        "dataset": dataset,
        "model": model,
        "strategy": strategy,
        "seed": seed,
        "recipe": "strong",
        "test_auc": auc,
        "test_logloss": round(0.5132 - 1.1 * (auc - 0.8158) + 0.0001 * float(generator.standard_normal()), 6),
        "test_click_rate": sum(own.samples * own.click_rate for own in bins) / 100021,
        "test_mean_prediction": sum(own.samples * own.mean_prediction for own in bins) / 100021,
        "test_ece": calibration_error(bins),
        "test_normalized_entropy": round(0.75 + 0.001 * seed, 6),
        "valid_auc": round(auc + 0.0004, 6),
        "valid_logloss": 0.5129,
        "parameters": cost.parameters,
        "bytes": cost.bytes + 1180,
        "vocabulary_bytes": 31_000,
        "seconds": seconds,
        "seconds_pretrain": fe_seconds,
        "seconds_search": round(max(0.0, seconds - 2 * fe_seconds), 2),
        "seconds_retrain": round(max(0.0, min(fe_seconds, seconds - fe_seconds)), 2),
        "epochs": epochs + seed,
        "trials": trials,
        "failed_trials": 1 if strategy == "random" and seed == 1 else 0,
        "plan": plan.to_json(),
        "device": "cpu",
        "machine": "x86_64, 8 cores",
        "version": "0.1.0",
    }
    share = [
        {
            "name": field.name,
            "cardinality": field.cardinality,
            "head": field.head,
            "choice": str(plan[field.name]),
            "parameters": own.parameters,
            "bits": own.bits,
        }
        for field, own in zip(fields, cost.bands, strict=True)
    ]
    headroom = {
        "samples": 100021,
        "rare_samples": 5043,
        "auc_rare": round(auc - 0.072 + 0.001 * float(generator.standard_normal()), 6),
        "auc_other": round(auc + 0.0041, 6),
        "auc_oracle": round(auc + 0.0139, 6),
    }
    return {
        "run": run,
        "record": record,
        "curve": curve,
        "fe_seconds": fe_seconds,
        "headroom": headroom,
        "frequency": [
            {"least": least, "most": most, "samples": samples, "auc": round(auc + shift, 6)}
            for least, most, samples, shift in (
                (1, 2, 104, -0.1),
                (3, 9, 611, -0.08),
                (10, 29, 2011, -0.07),
                (30, 99, 9204, -0.03),
                (100, 299, 30912, 0.001),
                (300, 999, 41055, 0.004),
                (1000, 2999, 16124, 0.01),
            )
        ],
        "reliability": [asdict(own) for own in bins],
        "fields": share,
        "truth": None,
    }


def _curve(
    generator: np.random.Generator, strategy: str, auc: float, fe_seconds: float, seconds: float
) -> list[dict[str, Any]]:
    """FE's epochs up to its AUC, then steps up to the run's."""
    points = []
    fe_auc = min(auc, 0.8158 - 0.0003 + 0.0002 * float(generator.random()))
    for epoch in range(1, 11):
        test = fe_auc - 0.045 * math.exp(-0.55 * epoch)
        points.append((fe_seconds * epoch / 13, "pretrain", test))
    points[-1] = (*points[-1][:2], fe_auc)
    if strategy != "fe":
        count = 4 if strategy in ("grid", "random") else 6
        for step in range(1, count + 1):
            part = (step / count) ** 2 if strategy in ("grid", "random") else step / count
            phase = "search" if step < count else "retrain"
            time = fe_seconds + (0.95 * seconds - fe_seconds) * part
            points.append((time, phase, fe_auc + (auc - fe_auc) * step / count))
    return [
        {"seconds": round(s, 3), "phase": phase, "valid_auc": round(t + 0.0004, 6), "test_auc": round(t, 6)}
        for s, phase, t in points
    ]
