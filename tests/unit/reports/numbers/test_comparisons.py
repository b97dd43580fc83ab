"""Comparisons of a study, in numbers and in words, and the predictions behind their intervals."""

from __future__ import annotations

import csv
import io
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from support.fake_studies import edit_records, predictions_of, write_study
from support.little import no_pictures

import reports
from reports import load_study, statistics_table, verdicts
from reports.names import within
from reports.numbers import comparisons
from reports.numbers.bootstrap import Interval
from reports.numbers.comparisons import compare_strategies
from reports.numbers.predictions import auc_intervals
from reports.numbers.tests import holm
from reports.results import RunResult
from reports.tables.budgets import budgets_table
from reports.tables.sentences import comparison_sentence, sentences_of
from studies.study import write_report


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of six runs with predictions."""
    folder = tmp_path_factory.mktemp("kept")
    return write_study(folder, strategies=["fe", "random", "autodpq"], seeds=[4, 9], models=["deepfm"], test_rows=300)


@pytest.fixture
def study(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "study"))


def set_cells(study: Path, column: str, values: dict[tuple[str, int], object]) -> None:
    def change(record: dict[str, Any]) -> None:
        record[column] = values.get((record["strategy"], record["seed"]), record.get(column))

    edit_records(study, change)


def test_comparisons_of_a_study(kept: Path) -> None:
    results = load_study(kept)
    (entry,) = compare_strategies(results)
    assert (entry.dataset, entry.model, entry.reference) == ("movielens1m", "deepfm", "autodpq")
    assert entry.strategies == ("fe", "random", "autodpq")
    assert [comparison.other for comparison in entry.comparisons] == ["fe", "random"]
    assert [against.strategy for against in entry.against_fe] == ["random", "autodpq"]
    values = results.records.pivot(index="seed", columns="strategy", values="test_auc")
    p_values = [stats.ttest_rel(values["autodpq"], values[other]).pvalue for other in ("fe", "random")]
    for comparison, p_value, corrected in zip(entry.comparisons, p_values, holm(p_values), strict=True):
        other = values[comparison.other]
        assert comparison.seeds == (4, 9) and comparison.compared == 2
        assert comparison.auc.paired.mean == pytest.approx((values["autodpq"] - other).mean())
        assert comparison.auc.paired.p_value == pytest.approx(p_value)
        assert comparison.auc.p_holm == pytest.approx(corrected)
        assert comparison.auc.p_two_sample == pytest.approx(stats.ttest_ind(values["autodpq"], other).pvalue)
        assert comparison.significant == (corrected < 0.05)
        byte_means = results.records.groupby("strategy")["bytes"].mean()
        assert comparison.bytes_ratio == pytest.approx(byte_means[comparison.other] / byte_means["autodpq"])
    expected = stats.ttest_1samp(values["random"] - values["fe"], -0.001, alternative="greater").pvalue
    assert entry.against_fe[0].test.p_value == pytest.approx(expected)


def test_intervals_are_of_the_first_common_seed(kept: Path) -> None:
    (entry,) = compare_strategies(load_study(kept))
    frames = {name: pd.read_parquet(predictions_of(kept, name, 4)) for name in ("fe", "random", "autodpq")}
    aucs = {name: roc_auc_score(frame["label"], frame["probability"]) for name, frame in frames.items()}
    for comparison in entry.comparisons:
        interval = comparison.bootstrap
        assert interval is not None and comparison.no_bootstrap == "" and comparison.bootstrap_seed == 4
        assert interval.difference == pytest.approx(aucs["autodpq"] - aucs[comparison.other], abs=1e-12)
        assert interval.low < interval.difference < interval.high
        assert (interval.rows, interval.resamples) == (300, 1000)


def test_each_seed_has_its_rows(study: Path) -> None:
    """FE lacks seed 4, so that it is compared on seed 9, whose rows are others."""
    predictions_of(study, "fe", 4).with_name("result.json").unlink()
    (entry,) = compare_strategies(load_study(study))
    assert [comparison.bootstrap_seed for comparison in entry.comparisons] == [9, 4]
    assert [comparison.seeds for comparison in entry.comparisons] == [(9,), (4, 9)]
    first = entry.comparisons[0]
    labels = pd.read_parquet(predictions_of(study, "fe", 9))["label"]
    ours, theirs = (pd.read_parquet(predictions_of(study, name, 9))["probability"] for name in ("autodpq", "fe"))
    assert first.bootstrap is not None
    assert first.bootstrap.difference == pytest.approx(roc_auc_score(labels, ours) - roc_auc_score(labels, theirs))
    assert "too few for a test" in comparison_sentence(first) and "the test rows of seed 9" in comparison_sentence(
        first
    )


def test_without_ours_the_best_on_validation_is_the_reference(tmp_path: Path) -> None:
    study = write_study(tmp_path, strategies=["fe", "others", "random"], seeds=[0, 1], models=["pnn"])
    # On test data Random is the best; on validation data Others is made to be.
    set_cells(study, "valid_auc", {("others", 0): 0.9, ("others", 1): 0.9})
    results = load_study(study)
    (entry,) = compare_strategies(results)
    assert entry.reference == "others" and [own.other for own in entry.comparisons] == ["fe", "random"]
    text = statistics_table(results).to_markdown()
    assert "AutoDPQ did not run; Others has the best mean validation AUC" in text
    set_cells(study, "valid_auc", {(name, seed): None for name in ("fe", "others", "random") for seed in (0, 1)})
    results = load_study(study)
    (entry,) = compare_strategies(results)
    assert entry.reference is None and entry.comparisons == () and len(entry.against_fe) == 2
    assert "no strategy has a validation AUC" in statistics_table(results).to_markdown()


def test_a_failed_or_unmeasured_reference_is_none(study: Path) -> None:
    set_cells(study, "test_auc", {("autodpq", 4): None, ("autodpq", 9): None})
    (entry,) = compare_strategies(load_study(study))
    assert entry.reference == "random" and entry.strategies == ("fe", "random")


def test_seeds_that_never_meet(tmp_path: Path) -> None:
    study = write_study(tmp_path, strategies=["fe", "autodpq"], seeds=[0, 1], models=["deepfm"], test_rows=50)
    for strategy, seed in (("fe", 1), ("autodpq", 0)):
        predictions_of(study, strategy, seed).with_name("result.json").unlink()
    assert verdicts(load_study(study)) == (
        "AutoDPQ against FE: no seed in common, so that nothing can be compared.",
        "AutoDPQ and FE have no seed in common: whether AutoDPQ is no more than 0.001 AUC worse than FE cannot be "
        "tested.",
    )
    assert "for there is no seed in common" in statistics_table(load_study(study)).to_markdown()


def test_one_strategy_has_nothing_to_say(tmp_path: Path) -> None:
    results = load_study(write_study(tmp_path, strategies=["fe"], seeds=[0], models=["deepfm"]))
    assert verdicts(results) == ()
    (grid,) = statistics_table(results).grids
    assert "Nothing to compare: fewer than two strategies have a test AUC." in grid.notes


def test_predictions_that_were_not_kept(study: Path) -> None:
    predictions_of(study, "random", 4).unlink()
    results = load_study(study)
    fe, random = compare_strategies(results)[0].comparisons
    assert fe.bootstrap is not None and random.bootstrap is None
    assert random.no_bootstrap == "the predictions of Random, seed 4, were not kept"
    note = "Random: no interval over test rows, for the predictions of Random, seed 4, were not kept."
    assert note in statistics_table(results).grids[2].notes
    predictions_of(study, "autodpq", 4).unlink()
    assert {own.no_bootstrap for own in compare_strategies(load_study(study))[0].comparisons} == {
        "the predictions of AutoDPQ, seed 4, were not kept"
    }


def test_comparisons_that_are_handed_on_are_not_computed_again(study: Path) -> None:
    results = load_study(study)
    known = compare_strategies(results)
    predictions_of(study, "autodpq", 4).unlink()
    assert verdicts(results, known) == sentences_of(known[0])
    assert statistics_table(results, known).grids[2] != statistics_table(results).grids[2]
    assert compare_strategies(results)[0].comparisons[0].bootstrap is None


def test_a_report_computes_each_interval_once(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(folder: Path, reference: RunResult, others: Sequence[RunResult]) -> list[Interval | str]:
        asked.append(reference.seed)
        return auc_intervals(folder, reference, others)

    monkeypatch.setattr(comparisons, "auc_intervals", counted)
    with no_pictures():
        written = write_report(study)
        assert written.verdicts() and written.statistics().grids
        assert asked == [4]
        reports.write_report(study)
    assert asked == [4, 4]


def test_rows_of_one_class(study: Path) -> None:
    for strategy in ("fe", "random", "autodpq"):
        path = predictions_of(study, strategy, 4)
        pd.read_parquet(path).assign(label=np.uint8(0)).to_parquet(path, index=False)
    entry = compare_strategies(load_study(study))[0].comparisons[0]
    assert entry.bootstrap is None and entry.no_bootstrap == "the test rows of seed 4 are of one class"


def test_sentences_name_dataset_and_model_where_there_are_several(tmp_path: Path) -> None:
    results = load_study(write_study(tmp_path, strategies=["fe", "autodpq"], seeds=[0, 1], models=["pnn", "dcn"]))
    sentences = verdicts(results)
    assert [sentence.split(":")[0] for sentence in sentences] == ["movielens1m, dcn"] * 2 + ["movielens1m, pnn"] * 2


def test_statistics_table(kept: Path) -> None:
    results = load_study(kept)
    table = statistics_table(results)
    assert [grid.title for grid in table.grids] == [
        "Statistics: movielens1m, deepfm",
        "AutoDPQ against each, AUC: movielens1m, deepfm",
        "AutoDPQ against each, Logloss, test rows and bytes: movielens1m, deepfm",
    ]
    assert all(len(row) == len(grid.header) for grid in table.grids for row in grid.rows)
    rows = {row["strategy"]: row for row in csv.DictReader(io.StringIO(table.to_csv()))}
    values = results.records[results.records["strategy"] == "random"]
    assert float(rows["random"]["auc_mean"]) == pytest.approx(values["test_auc"].mean())
    assert float(rows["random"]["auc_std"]) == pytest.approx(values["test_auc"].std())
    assert float(rows["random"]["logloss_std"]) == pytest.approx(values["test_logloss"].std())
    entry = compare_strategies(results)[0].comparisons[1]
    assert float(rows["random"]["auc_p_holm"]) == pytest.approx(entry.auc.p_holm)
    assert float(rows["random"]["logloss_difference"]) == pytest.approx(entry.logloss.paired.mean)
    assert entry.bootstrap is not None
    assert float(rows["random"]["bootstrap_low"]) == pytest.approx(entry.bootstrap.low)
    assert rows["autodpq"]["reference"] == rows["fe"]["fe_verdict"] == ""
    assert set(table.records[0]) <= set(table.columns) and "statistics_table" in dir(reports)


def test_statistics_fit_the_terminal(tmp_path: Path) -> None:
    folder = write_study(tmp_path, models=["deepfm"], seeds=range(12), test_rows=200)
    set_cells(folder, "test_auc", {("fe-continued", seed): 0.1 + 0.05 * (seed % 2) for seed in range(1, 12)})
    set_cells(folder, "test_auc", {("random", seed): 0.81 + 1e-7 * seed for seed in range(1, 12)})
    lines = statistics_table(load_study(folder)).to_text().splitlines()
    assert max(map(len, lines)) <= 100
    assert not any("…" in line for line in lines)
    assert any("<0.0001" in line for line in lines)


def test_the_page_begins_with_words(study: Path) -> None:
    from reports import write_report

    with no_pictures():
        written = {path.name for path in write_report(study)}
    assert {"statistics.md", "statistics.tex", "statistics.csv"} <= written
    text = (study / "report" / "README.md").read_text(encoding="utf-8")
    words, tables = text.index("## In words"), text.index("## Tables")
    for sentence in verdicts(load_study(study)):
        assert words < text.index(sentence.replace("[", r"\[").replace("]", r"\]").replace("<", r"\<")) < tables
    assert tables < text.index("### Statistics: movielens1m, deepfm")


def test_within_a_budget_the_best_on_validation_is_the_reference_though_ours_ran(tmp_path: Path) -> None:
    seeds, budget = (0, 1, 2), 50_000
    study = write_study(tmp_path, strategies=["fe", "random", "autodpq"], seeds=seeds, models=["pnn"])
    compressing = [(name, seed) for name in ("random", "autodpq") for seed in seeds]
    set_cells(study, "budget", dict.fromkeys(compressing, budget))
    set_cells(study, "valid_auc", {("random", seed): 0.9 for seed in seeds} | {("fe", 0): 0.95})
    apart = {("random", 0): 0.81, ("random", 1): 0.82, ("random", 2): 0.83}
    below = {("autodpq", seed): apart["random", seed] - 0.01 * (1 + seed / 50) for seed in seeds}
    set_cells(study, "test_auc", apart | below)
    results = load_study(study)
    (entry,) = compare_strategies(results)
    assert entry.reference == within("random", budget)  # FE takes more bytes
    assert [own.other for own in entry.comparisons] == ["fe", within("autodpq", budget)]
    assert entry.comparisons[1].significant
    table = budgets_table(results, [entry])
    text = table.to_markdown()
    assert "best mean validation AUC (Random) by the t-test paired by seed" in text
    rows = {row["strategy"]: row for row in table.records if row["budget"] == budget}
    assert rows["autodpq"]["reference"] == "random" and rows["random"]["reference"] == ""
    assert rows["autodpq"]["difference"] == pytest.approx(-0.0102)
    assert "Random within 50 kB has the best mean validation AUC" in statistics_table(results).to_markdown()
