"""Floors in tables and words: which are shown, and who is named as below them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from support.fake_studies import FLOORS, HIGH_FLOORS, write_study

from autodpq.records.result import Floor, Floors
from reports import StudyResults, load_study, table1, table2
from reports.results import Scored
from reports.tables.floors import floor_lines, floor_warnings

LOW = Floors(constant=Floor(auc=0.5, logloss=0.6), additive=Floor(auc=0.72, logloss=0.55))
OLD = Floors(constant=Floor(auc=0.5, logloss=0.6), additive=None)


def run(
    auc: float | None,
    logloss: float | None,
    floors: Floors | None = LOW,
    *,
    strategy: str = "autodpq",
    model: str = "pnn",
    dataset: str = "yelp",
    split: str = "random 0",
) -> Scored:
    return Scored(dataset, model, strategy, split, auc, logloss, floors)


def test_a_strategy_is_below_a_floor_by_its_mean_over_seeds() -> None:
    runs = [run(0.71, 0.5), run(0.726, 0.5), run(0.8, 0.7, strategy="fe"), run(0.8, 0.4, strategy="fe")]
    (line,) = floor_warnings(runs, ["fe", "autodpq"])
    assert line == ("Warning: on yelp, AUC below an additive model's 0.7200 (one weight per value): AutoDPQ 0.7180.")
    assert floor_warnings([*runs, run(0.9, 0.5)], ["fe", "autodpq"]) == []
    assert floor_warnings(runs, ["fe"]) == []


def test_both_floors_are_told_the_constant_first_and_with_the_model_where_several_ran() -> None:
    runs = [run(0.71, 0.61), run(0.7, 0.62, strategy="fe"), run(0.8, 0.4, model="dcn")]
    assert floor_warnings(runs, ["fe", "autodpq"]) == [
        "pnn: Warning: on yelp, logloss above 0.6000, so that a constant, the training rows' click rate, is worth "
        "more: FE 0.6200, AutoDPQ 0.6100.",
        "pnn: Warning: on yelp, AUC below an additive model's 0.7200 (one weight per value): FE 0.7000, "
        "AutoDPQ 0.7100.",
    ]


def test_what_earlier_versions_wrote_is_compared_with_what_they_knew() -> None:
    assert floor_lines([run(0.1, 0.5, None)]) == []
    assert floor_lines([run(0.1, 0.61, OLD), run(None, None, OLD)]) == [
        "Warning: on yelp, logloss above 0.6000, so that a constant, the training rows' click rate, is worth more: "
        "AutoDPQ 0.6100."
    ]


def test_floors_are_told_per_data_set_over_its_splits() -> None:
    other = Floors(constant=Floor(auc=0.5, logloss=0.62), additive=Floor(auc=0.74, logloss=0.55))
    runs = [run(0.8, 0.4), run(0.8, 0.4, strategy="fe"), run(0.8, 0.4, other, split="random 1")]
    assert floor_lines([*runs, run(0.8, 0.4, dataset="ciao")]) == [
        "Floors on yelp: Constant AUC 0.5000, logloss 0.6100 ± 0.0141; Additive AUC 0.7300 ± 0.0141, logloss 0.5500",
        "Floors on ciao: Constant AUC 0.5000, logloss 0.6000; Additive AUC 0.7200, logloss 0.5500",
    ]


def rows(study: StudyResults) -> dict[str, list[str]]:
    (grid,) = table1(study).grids
    return {row[0].text.strip(): [cell.text for cell in row[1:]] for row in grid.rows}


def test_floors_stand_above_the_strategies_and_win_nothing(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, floors={**HIGH_FLOORS, "additive": {"auc": 0.99, "logloss": 0.1}}))
    (grid,) = table1(study).grids
    assert [row[0].text for row in grid.rows][:3] == ["Constant", "Additive", "FE"] and 2 in grid.rules
    assert not any(cell.bold or cell.underline or cell.star for row in grid.rows[:2] for cell in row)
    assert "best AutoDPQ, best baseline FE-continued" in "\n".join(grid.notes)
    assert [row[1].text for row in table2(study).grids[0].rows][:3] == ["Constant", "Additive", "Others"]
    assert all(len(row) == len(grid.header) for row in grid.rows)
    for model in ("deepfm", "pnn", "dcn"):
        assert sum(note.startswith(f"{model}: Warning: on movielens1m, AUC below") for note in grid.notes) == 1


def test_floors_of_several_splits_are_a_mean_with_a_deviation_over_them(tmp_path: Path) -> None:
    for name, resplit, auc in (("one", False, "0.7927"), ("several", True, "0.7937 ± 0.0010")):
        (tmp_path / name).mkdir()
        study = load_study(write_study(tmp_path / name, floors=FLOORS, resplit=resplit, models=["deepfm"]))
        assert rows(study)["Additive"][:2] == [auc, "0.5395"] and rows(study)["Constant"][:2] == ["0.5000", "0.6817"]
        tidy = list(csv.DictReader(io.StringIO(table1(study).to_csv())))
        (own,) = [row for row in tidy if (row["strategy"], row["metric"]) == ("floor-additive", "auc")]
        assert own["seeds"] == ("3" if resplit else "1") and own["model"] == "deepfm"


def test_text_with_floors_fits_the_terminal(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, floors=HIGH_FLOORS, resplit=True))
    for table in (table1(study), table2(study)):
        assert max(map(len, table.to_text().splitlines())) <= 100
