"""Tables: golden files, the rules for marks, and the width of the text."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from support.fake_studies import MOVIELENS, copy_study, write_study
from support.little import blank_pictures

from autodpq.choices import DPQ, Full
from reports import (
    audit_rows,
    audit_table,
    audit_text,
    calibration_table,
    headroom_table,
    load_study,
    statistics_table,
    table1,
    table2,
    write_report,
)
from reports.numbers.summary import format_measured
from reports.tables.render import Cell, Grid, Table, escape_latex, escape_markdown

GOLDEN = Path(__file__).parent / "golden"
PAIRS = [DPQ(K, D) for K in (8, 16, 32) for D in (2, 4, 8)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = tmp_path_factory.mktemp("golden")
    (study / "runs").symlink_to(GOLDEN / "study" / "runs")
    (study / "records.csv").symlink_to(GOLDEN / "study" / "records.csv")
    with blank_pictures():
        write_report(study)
    return study / "report"


@pytest.mark.parametrize("name", sorted(path.name for path in (GOLDEN / "expected").iterdir()))
def test_golden(written: Path, name: str) -> None:
    assert (written / name).read_bytes() == (GOLDEN / "expected" / name).read_bytes()


def test_golden_is_complete(written: Path) -> None:
    texts = {path.name for path in written.iterdir() if path.suffix in (".md", ".tex", ".csv")}
    assert texts == {path.name for path in (GOLDEN / "expected").iterdir()}
    assert len(texts) == 16


def test_golden_tables_of_a_study_that_knows_its_floors(tmp_path: Path) -> None:
    study = load_study(copy_study(GOLDEN / "study", tmp_path / "study", floors=True))
    tables = {"table1": table1(study), "table2": table2(study), "statistics": statistics_table(study)}
    for name, table in tables.items():
        for ending, text in (("md", table.to_markdown()), ("tex", table.to_latex()), ("csv", table.to_csv())):
            assert text == (GOLDEN / "expected-floors" / f"{name}.{ending}").read_text(encoding="utf-8"), name


def tidy(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.to_csv())))


def test_marks_in_tidy_rows() -> None:
    rows = [row for row in tidy(table1(load_study(GOLDEN / "study"))) if row["dataset"] == "movielens1m"]
    marks = {(row["metric"], row["strategy"]): (row["best"], row["best_baseline"], row["star"]) for row in rows}
    assert marks["auc", "autodpq"] == ("true", "false", "true")
    assert marks["auc", "random"] == ("false", "true", "false")
    assert marks["logloss", "autodpq"] == ("true", "false", "false")
    assert all(mark == ("false",) * 3 for (metric, _), mark in marks.items() if metric not in ("auc", "logloss"))


def test_paper_values_beside(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path))
    rows = {(row["model"], row["metric"], row["strategy"]): row["paper"] for row in tidy(table2(study))}
    assert rows["pnn", "space", "autodpq"] == "189k"
    assert rows["dcn", "auc", "others"] == "0.8105"
    text = table1(study).to_text()
    for printed in ("0.8079", "216k", "0.5141", "+0.43%", "+1.00%"):
        assert printed in text


def test_text_fits_the_terminal(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path))
    for table in (table1(study), table2(study), headroom_table(study), calibration_table(study)):
        lines = table.to_text().splitlines()
        assert max(map(len, lines)) <= 100
        assert not any("…" in line for line in lines)


def test_deviations_stand_below_where_a_table_is_too_wide() -> None:
    cells = [Cell("1,477,723 ± 213,826") for _ in range(4)]
    wide = Grid("Sizes", ("Strategy", *"abcd"), ((Cell("FE-continued"), *cells),))
    lines = Table((wide,), (), (), "").to_text().splitlines()
    assert lines[3].split() == ["FE-continued", "1,477,723±213,826", *["1,477,723±213,826"] * 3]
    wider = replace(wide, header=("Strategy", *"abcdef"), rows=((Cell("FE-continued"), *cells, *cells[:2]),))
    lines = Table((wider,), (), (), "").to_text().splitlines()
    assert lines[3].split() == ["FE-continued", *["1,477,723"] * 6] and lines[4].split() == ["±213,826"] * 6


def test_table1_takes_the_first_model_without_deepfm(tmp_path: Path) -> None:
    table = table1(load_study(write_study(tmp_path, models=["pnn", "dcn"], seeds=[0])))
    assert [grid.title for grid in table.grids] == ["Table 1: movielens1m, dcn"]


def test_no_comparison_without_ours(tmp_path: Path) -> None:
    table = table1(load_study(write_study(tmp_path, strategies=["fe", "grid"])))
    (grid,) = table.grids
    assert not any(cell.star or cell.underline for row in grid.rows for cell in row)
    assert not any(row[0].text == "Improvement" for row in grid.rows)
    assert any("AutoDPQ has no finished run" in note for note in grid.notes)


def test_one_seed_one_strategy(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, strategies=["fe"], seeds=[3], models=["deepfm"]))
    (grid,) = table1(study).grids
    assert "±" not in table1(study).to_text()
    assert not any(cell.bold for row in grid.rows for cell in row)
    assert table2(study).to_markdown() == "No finished run of Others, Random or AutoDPQ: no Table 2.\n"
    assert table2(study).to_latex().startswith("% ")
    assert tidy(table2(study)) == []


def test_missing_control_warns(tmp_path: Path) -> None:
    def warned(strategies: list[str], folder: str) -> bool:
        study = load_study(write_study(tmp_path / folder, strategies=strategies, seeds=[0], models=["deepfm"]))
        return "FE-continued is missing" in " ".join(table1(study).grids[0].notes)

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert warned(["fe", "autodpq"], "a")
    assert not warned(["fe", "fe-continued", "autodpq"], "b")


def test_table2_names_a_better_baseline_that_it_does_not_show(tmp_path: Path) -> None:
    notes = table2(load_study(write_study(tmp_path, models=["deepfm"]))).grids[0].notes
    assert any(note.startswith("best baseline of all, not shown here: FE-continued") for note in notes)


def test_headroom_tells_truth(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, truth=True, models=["deepfm"]))
    table = headroom_table(study)
    assert any("Bayes-optimal AUC is 0.8400" in note for note in table.grids[0].notes)
    row = tidy(table)[0]
    assert (row["samples"], row["rare_samples"], row["rare_share"]) == ("100021", "5043", "0.05041941192")
    assert row["bayes_auc"] == "0.84"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.81581, 0.00031, 4), "0.8158 ± 0.0003"),
        ((0.81581, float("nan"), 4), "0.8158"),
        ((216976.0, 0.0, 0), "216,976"),
        ((190420.4, 1204.2, 0), "190,420 ± 1,204"),
        ((151191120.0, 0.0, 0), "151.2M"),
        ((49123456.0, 123456.0, 0), "49.1M ± 0.1M"),
        ((31.0, 1.0, 1), "31.0 ± 1.0"),
        ((260.0, 8.2, 1), "260 ± 8"),
    ],
)
def test_format_measured(values: tuple[float, float, int], text: str) -> None:
    assert format_measured(*values) == text


def test_names_are_escaped() -> None:
    grid = Grid("50% of a_b", ("Strategy", "AUC"), ((Cell("my|plug_in & $x^2"), Cell("1", bold=True, star=True)),))
    table = Table((grid,), (), ())
    assert r"my\|plug\_in & $x^2 | **1**\* |" in table.to_markdown()
    assert r"my|plug\_in \& \$x\textasciicircum{}2 & \textbf{1}$^{*}$ \\" in table.to_latex()
    assert r"\caption{50\% of a\_b}" in table.to_latex()
    assert escape_latex("a\\b{c}~#") == r"a\textbackslash{}b\{c\}\textasciitilde{}\#"
    assert escape_markdown("a|b\nc*") == r"a\|b c\*"


def test_latex_rows_fit_their_columns(written: Path) -> None:
    for path in written.glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        tables = text.split(r"\begin{tabular}{")[1:]
        assert tables or text.startswith("% No calibration: the runs are of a version that did not measure it.")
        for table in tables:
            columns = table.split("}")[0]
            body = table.split(r"\end{tabular}")[0].splitlines()
            assert {line.count(" & ") + 1 for line in body if line.endswith(r"\\")} == {len(columns)}


def test_audit_agrees_with_the_paper() -> None:
    rows = {row.plan: row for row in audit_rows(MOVIELENS, PAIRS, 16)}
    assert len(rows) == 11
    assert rows["FE"].parameters == 216_976
    assert rows["Others"].parameters == 171_456
    assert rows["(8, 8)"].parameters == 194_816
    assert rows["(32, 2)"].parameters == 179_636
    assert rows["(32, 8)"].parameters == 196_736
    assert rows["FE"].embedding_bytes == 4 * 216_976
    assert rows["FE"].parameters_in_fe == rows["FE"].bytes_in_fe == 1
    assert rows["Others"].parameters_in_fe == pytest.approx(171_456 / 216_976)
    again = audit_rows(MOVIELENS, [DPQ(8, 8), Full(), DPQ(8, 8)], 16)
    assert again == [rows["FE"], rows["Others"], rows["(8, 8)"]], "each choice is there once"


def test_audit_table() -> None:
    table = audit_table("movielens1m", MOVIELENS, PAIRS, 16)
    text = audit_text("movielens1m", MOVIELENS, PAIRS, 16)
    assert text == table.to_text()
    assert "movielens1m: 8 fields, V = 13,561 rows, h = 10,711 frequent" in text
    assert max(map(len, text.splitlines())) <= 100
    beside = {row["plan"]: row["paper"] for row in tidy(table)}
    assert {plan: value for plan, value in beside.items() if value} == {
        "FE": "216k",
        "Others": "171k",
        "(8, 8)": "Grid 194k",
    }
    assert "Space, paper" not in audit_table("mine", MOVIELENS, [DPQ(8, 2)], 16).to_text()
