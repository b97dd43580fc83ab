"""The report as one page: all of the study is in it, nothing else is needed, and no name does anything."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.fake_studies import HIGH_FLOORS, MOVIELENS, edit_records, write_study
from support.html_page import Page, page_of, tables_of
from support.little import no_pictures

from autodpq.plan import Field
from reports import StudyResults, load_study, study_page, verdicts, write_report
from reports.names import display_name
from reports.page.palette import PHASES

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def study(folder: Path) -> StudyResults:
    return load_study(folder)


@pytest.fixture(scope="module")
def html(study: StudyResults) -> str:
    return study_page(study, tables_of(study))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_table_says_what_its_other_forms_say(study: StudyResults, page: Page) -> None:
    for name, table in tables_of(study).items():
        (article,) = page.all("article", id=name)
        shown = page.all("table", article)
        assert len(shown) == len(table.grids) >= 1
        for node, grid in zip(shown, table.grids, strict=True):
            rows = page.table(node)
            assert rows[0] == list(grid.header)
            width = grid.text_columns - 1
            for cells, row in zip(rows[1:], grid.rows, strict=True):
                assert cells[width:] == [cell.text.strip() + "*" * cell.star for cell in row[width:]]
                assert all(cells[:width])
            text = page.text(article)
            assert all(note in text for note in (grid.title, *grid.notes))
        assert {node["attributes"]["href"] for node in page.all("a", article)} == {
            f"{name}.csv", f"{name}.md", f"{name}.tex"
        }  # fmt: skip


def test_parts_come_in_order(page: Page, study: StudyResults) -> None:
    assert [page.text(node) for node in page.all("h2")] == ["What to take", "Verdict", "Tables", "Figures", "Runs"]
    order = [node["attributes"]["id"] for node in page.all("article", class_="table")]
    assert order == ["table1", "statistics", "table2", "calibration", "headroom"]
    for number_, _ in enumerate(study.pairs()):
        kinds = ("bytes", "figure3", "frequency", "reliability", "plans")
        assert [len(page.all("figure", id=f"{kind}-{number_}")) for kind in kinds] == [1] * 5
    ids = [node["attributes"]["id"] for node in page.all() if "id" in node["attributes"]]
    assert len(ids) == len(set(ids))


def test_the_best_compressed_model_of_each_pair_comes_first_with_its_command(page: Page, study: StudyResults) -> None:
    (take,) = page.all("section", id="take")
    commands = [page.text(node) for node in page.all("code", take)]
    said = [text for node in page.all("li", take) if "best validation AUC" in (text := page.text(node))]
    assert len(said) == len(commands) == len(study.pairs()) == len(page.all("figure", take))
    for (dataset, model), line, command in zip(study.pairs(), said, commands, strict=True):
        records = study.records_of(dataset, model)
        best = records.loc[records["run"] == command.split("/runs/")[1].split()[0]].iloc[0]
        compressed = records[~records["strategy"].isin(["fe", "fe-continued"])]
        assert best["valid_auc"] == compressed["valid_auc"].max()
        assert line.startswith("Of the compressed models, ") and f"test AUC {best['test_auc']:.4f} at " in line


def test_verdicts_are_there_in_words(page: Page, study: StudyResults) -> None:
    (verdict,) = page.all("section", id="verdict")
    said = [page.text(node) for node in page.all("li", verdict)]
    assert [sentence.split(": ", 1)[1] for sentence in verdicts(study)] == said
    assert [page.text(node) for node in page.all("h3", verdict)] == [", ".join(pair) for pair in study.pairs()]


def test_every_run_is_a_point_and_a_card(page: Page, study: StudyResults) -> None:
    records = study.records
    (figure,) = page.all("figure", id="bytes-1")
    tips = [node["attributes"]["aria-label"] for node in page.all("", figure) if "aria-label" in node["attributes"]]
    own = records[records["model"] == study.pairs()[1][1]]
    for strategy, seed, auc, logloss, size in zip(
        *(own[name].tolist() for name in ("strategy", "seed", "test_auc", "test_logloss", "bytes")), strict=True
    ):
        first = f"{display_name(strategy)}, seed {seed}\nTest AUC {auc:.4f}\nLogloss {logloss:.4f}\nBytes {size:,.0f}"
        assert sum(tip.startswith(first) for tip in tips) == 1
    cards = page.all("details", class_="card")
    assert {node["attributes"]["id"] for node in cards} == {f"run-{run.run}" for run in study.runs}
    for run in study.runs:
        (card,) = page.all("details", id=f"run-{run.run}")
        text = page.text(card)
        assert f"autodpq-study export {study.folder}/runs/{run.run} --out model.safetensors" in text
        assert re.search(r"Bytes of the vocabulary beside it, not counted\s*31,000", text), text
        assert run.fingerprint in text and f"{display_name(run.strategy)}, seed {run.seed}" in text
        (plan,) = page.all("table", card)
        assert [row[0] for row in page.table(plan)[1:]] == [entry.field.name for entry in run.fields]


def test_nothing_is_fetched(html: str, page: Page) -> None:
    for node in page.all():
        for name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            value = node["attributes"].get(name)
            assert value is None or re.fullmatch(r"#[\w-]+|data:,|[\w-]+\.(csv|md|tex)", value), (node["tag"], value)
    assert not re.search(r"https?:|url\((?!#)|@import|//\w+\.\w", html)
    (policy,) = page.all("meta", http_equiv="Content-Security-Policy") or [
        node for node in page.all("meta") if node["attributes"].get("http-equiv") == "Content-Security-Policy"
    ]
    content = policy["attributes"]["content"]
    assert content.startswith("default-src 'none'; ") and "unsafe" not in content and content.count("sha256-") == 2
    assert not [node for node in page.all() if "style" in node["attributes"]]
    assert not [name for node in page.all() for name in node["attributes"] if name.startswith("on")]
    assert page.all("html")[0]["attributes"]["lang"] == "en"
    assert [node["attributes"].get("name") for node in page.all("meta")].count("viewport") == 1


def test_the_same_study_gives_the_same_page(folder: Path, html: str, tmp_path: Path) -> None:
    assert page_of(folder) == html
    with no_pictures():
        path = next(path for path in write_report(folder) if path.name == "index.html")
    assert path.read_text(encoding="utf-8") == html


def test_names_are_text(tmp_path: Path) -> None:
    odd = tmp_path / 'it\'s "a" <b>study'
    odd.mkdir()
    fields = (Field(EVIL, 900, 300), Field("\"'&amp; onclick=alert(1)", 500, 400), *MOVIELENS[2:4])
    strategies = ["fe", "autodpq", 'x"><img src=x onerror=alert(1)>']
    write_study(odd, strategies=strategies, seeds=[0], models=[EVIL], fields=fields, dataset="</style><i>clicks</i>")
    for path in odd.glob("runs/*/config.json"):
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, EVIL: EVIL, "machine": "<i>box</i>", "versions": {"</dd>": "<b>1</b>"}}))
    text = page_of(odd)
    page = Page(text)
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert not page.all("img") and not page.all("b")
    ours = {*(f"h{step}" for step in range(7)), *(f"key {phase}" for phase in PHASES)}
    assert {node["attributes"].get("class") for node in page.all("i")} <= ours
    (plans,) = page.all("figure", id="plans-0")
    assert [row[0] for row in page.table(page.all("table", plans)[0])[1:]] == [field.name for field in fields[:2]]
    card = page.text(page.all("details", class_="card")[0])
    assert "<i>box</i>" in card and EVIL in card and "</dd>" in card
    assert f"export '{str(odd).replace(chr(39), chr(39) + chr(34) + chr(39) + chr(34) + chr(39))}/runs/" in card
    assert display_name(strategies[2]) in page.text(page.all("ul", class_="legend")[0])


def test_failed_runs_and_warnings_come_first(tmp_path: Path) -> None:
    folder = write_study(tmp_path, strategies=["fe", "random", "autodpq"], models=["deepfm"])

    def fail(record: dict[str, Any]) -> None:
        if (record["strategy"], record["seed"]) == ("random", 1):
            record |= dict.fromkeys(("test_auc", "test_logloss", "bytes"))
            record["error"] = "every trial failed: <b>too large</b>"

    edit_records(folder, fail)
    page = Page(page_of(folder))
    (warning,) = page.all("section", class_="warning")
    said = page.text(warning)
    assert (
        "1 run failed" in said and "Random, seed 1, movielens1m, deepfm: every trial failed: <b>too large</b>" in said
    )
    assert "Warning: FE-continued is missing." in said
    assert "8 finished, 1 failed" in page.text(page.all("header")[0])
    assert len(page.all("details", class_="card")) == 8


def test_one_run_of_one_strategy(tmp_path: Path) -> None:
    folder = write_study(tmp_path, strategies=["fe"], seeds=[0], models=["dcn"])
    page = Page(page_of(folder))
    assert "one strategy ran" in page.text(page.all("section", id="verdict")[0])
    assert "One point per run." in page.text(page.all("figure", id="bytes-0")[0])
    assert not page.all("section", class_="warning")


def test_floors_and_who_is_below_them_are_on_the_first_screen(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, floors=HIGH_FLOORS, models=["deepfm"], seeds=[0]))
    own = Page(study_page(study, tables_of(study)))
    (header,) = own.all("header")
    assert "Constant AUC 0.5000, logloss 0.5133; Additive AUC 0.8168, logloss 0.5121" in own.text(header)
    (warning,) = own.all("section", class_="warning")
    assert "Warning: on movielens1m, AUC below an additive model's 0.8168 (one weight per value): FE" in own.text(
        warning
    )
    assert "Additive 0.8168" in [own.text(node) for node in own.all("li")]


def test_a_study_without_floors_tells_of_none(page: Page) -> None:
    (header,) = page.all("header")
    assert "Floors" not in page.text(header) and "Additive" not in page.text(header)
