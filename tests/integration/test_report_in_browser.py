"""The report's page in a real browser: what a reader does, and what an injected name must not do."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import Browser, browser_of
from support.fake_studies import MOVIELENS, write_study
from support.patience import PATIENCE

from autodpq.plan import Field
from reports import headroom_table, load_study, statistics_table, study_page, table1, table2

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium (Debian: apt-get install chromium)")

EVIL = "<script>document.title='hacked'</script>"
FIELDS = (Field(EVIL, 900, 300), Field("\"onmouseover=\"document.title='hacked'", 500, 400), *MOVIELENS[:4])
STRATEGIES = (
    "fe",
    "fe-continued",
    "others",
    "random",
    "autodpq",
    'mine"><img src=x onerror="document.title=\'hacked\'">',
)
AUC = '#table1 table th[scope="col"]:nth-child(2)'


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "a 'study' & \"more\""
    folder.mkdir()
    study = load_study(write_study(folder, strategies=STRATEGIES, models=["deepfm", "pnn"], fields=FIELDS))
    tables = {"table1": table1(study), "table2": table2(study), "statistics": statistics_table(study)}
    path = folder / "index.html"
    path.write_text(study_page(study, {**tables, "headroom": headroom_table(study)}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory, page: Path) -> Iterator[Browser]:
    assert PROGRAM is not None
    with browser_of(PROGRAM, tmp_path_factory.mktemp("profile")) as browser:
        browser.open(page.as_uri())
        yield browser


@pytest.fixture
def browser(chromium: Browser, page: Path) -> Browser:
    chromium.call("Emulation.setDeviceMetricsOverride", width=1400, height=900, deviceScaleFactor=1, mobile=False)
    emulate(chromium, "light")
    chromium.value("localStorage.clear()")  # of the page that the test before left open
    chromium.open(page.as_uri())
    return chromium


def emulate(browser: Browser, scheme: str, media: str = "") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", media=media, features=features)
    browser.settle()


def column(browser: Browser, number: int, table: str = "#table1 table") -> list[str]:
    rows = f"[...document.querySelectorAll('{table} tbody:first-of-type tr:not(.pinned, .follows)')]"
    return list(browser.value(f"{rows}.map(row => row.cells[{number}].textContent)"))


def background(browser: Browser) -> str:
    return str(browser.value("getComputedStyle(document.body).backgroundColor"))


def means(cells: list[str]) -> list[float]:
    return [float(cell.split(" ")[0].replace(",", "")) for cell in cells]


def test_nothing_is_fetched_and_nothing_complains(browser: Browser, page: Path) -> None:
    browser.value("document.querySelectorAll('details').forEach(card => card.open = true)")
    for selector in (AUC, "#theme", "#bytes-0 .mark.mean"):
        browser.click(selector)
    assert [url for url in browser.requests() if not url.startswith("data:")] == [page.as_uri()]
    assert browser.complaints() == []


def test_a_complaint_would_be_noticed(browser: Browser) -> None:
    browser.value("document.body.insertAdjacentHTML('beforeend', '<img src=\"https://example.org/a.png\">')")
    browser.value("setTimeout(() => { throw new Error('made') })")
    browser.value("new Promise(done => setTimeout(() => done(0), 300))")
    said = str(browser.complaints())
    assert "Content Security Policy" in said and "made" in said


def test_a_click_sorts_by_the_mean(browser: Browser) -> None:
    before = column(browser, 1)
    assert len(before) == len(STRATEGIES) and means(before) != sorted(means(before))
    for direction, expected in (("ascending", sorted(means(before))), ("descending", sorted(means(before))[::-1])):
        browser.click(f"{AUC} button")
        assert browser.value(f"document.querySelector('{AUC}').getAttribute('aria-sort')") == direction
        assert means(column(browser, 1)) == expected
    browser.click(f"{AUC} button")
    assert browser.value(f"document.querySelector('{AUC}').getAttribute('aria-sort')") is None
    assert column(browser, 1) == before


def test_enter_and_space_sort_bytes(browser: Browser) -> None:
    head = '#table1 table th[scope="col"]:nth-child(5)'
    before = column(browser, 4)
    browser.value(f"document.querySelector('{head} button').focus()")
    browser.press("Enter", 13, "\r")
    assert browser.value(f"document.querySelector('{head}').getAttribute('aria-sort')") == "ascending"
    assert means(column(browser, 4)) == sorted(means(before))
    browser.press(" ", 32, " ")
    assert browser.value(f"document.querySelector('{head}').getAttribute('aria-sort')") == "descending"
    assert means(column(browser, 4)) == sorted(means(before), reverse=True)


def test_the_papers_rows_stay_with_theirs_and_dashes_come_last(browser: Browser) -> None:
    names = "[...document.querySelectorAll('#table2 tbody:first-of-type tr')].map(row => row.cells[1].textContent)"
    browser.value("document.querySelector('#table2 tbody tr').cells[2].textContent = '—'")
    assert browser.value(names) == ["Others", "paper", "Random", "paper", "AutoDPQ", "paper", "Improvement"]
    for expected in (["Random", "paper", "AutoDPQ", "paper"], ["AutoDPQ", "paper", "Random", "paper"]):
        browser.click('#table2 th[scope="col"]:nth-child(3) button')
        assert browser.value(names) == [*expected, "Others", "paper", "Improvement"]
    assert column(browser, 0, "#table2 table") == ["deepfm"] * 3, "each row says of which model it is"


def test_hover_focus_and_tap_show_values(browser: Browser) -> None:
    for chart in ("#bytes-0", "#figure3-0", "#frequency-0", "#reliability-0"):
        marks = f"{chart} .mark[aria-label]"
        assert browser.value(f"document.querySelectorAll('{marks}').length") >= len(STRATEGIES)
    browser.hover("#bytes-0 .mark.mean")
    assert browser.value("document.getElementById('tip').hidden") is False
    shown = browser.value("document.querySelector('.mark.on').getAttribute('aria-label')")
    said = browser.value("document.getElementById('tip').textContent")
    assert said == shown and "Test AUC 0.8" in said and "Bytes" in said and "Logloss" in said and "Parameters" in said
    browser.press("Escape", 27)
    assert browser.value("document.getElementById('tip').hidden") is True
    browser.value("document.querySelector('#bytes-0 .mark').focus()")
    first = browser.value("document.getElementById('tip').textContent")
    browser.press("ArrowRight", 39)
    second = browser.value("document.getElementById('tip').textContent")
    assert "seed 0" in first and "seed 1" in second
    browser.value("document.activeElement.blur()")
    x, y = browser.middle("#plans-0 .heat td[aria-label]")
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
    browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    browser.call("Emulation.setTouchEmulationEnabled", enabled=False)
    assert "bits stored per value" in browser.value("document.getElementById('tip').textContent")
    assert browser.value("document.getElementById('tip').hidden") is False


def test_the_theme_follows_the_system_and_the_button(browser: Browser, page: Path) -> None:
    light = background(browser)
    emulate(browser, "dark")
    dark = background(browser)
    assert light == "rgb(255, 255, 255)" and dark != light
    assert browser.value("document.getElementById('theme').textContent") == "Light theme"
    browser.click("#theme")
    assert background(browser) == light
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:  # the browser writes what a page remembers when it finds the time
        browser.open(page.as_uri())
        if background(browser) == light:
            break
    assert background(browser) == light, "the choice is kept"
    browser.click("#theme")
    assert background(browser) == dark


def test_print_is_black_on_white(browser: Browser) -> None:
    emulate(browser, "dark")
    browser.click("#theme")
    browser.click("#theme")
    emulate(browser, "dark", "print")
    assert background(browser) == "rgb(255, 255, 255)"
    assert browser.value("getComputedStyle(document.getElementById('theme')).display") == "none"
    assert browser.value("getComputedStyle(document.querySelector('#bytes-0 .s0')).color") == "rgb(0, 0, 0)"
    document = base64.b64decode(browser.call("Page.printToPDF")["data"])
    assert document.startswith(b"%PDF-") and len(document) > 20_000


@pytest.mark.parametrize(
    "width", [pytest.param(320, marks=pytest.mark.slow), 390, pytest.param(768, marks=pytest.mark.slow)]
)
def test_a_phone_does_not_scroll_sideways(browser: Browser, width: int) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=2, mobile=True)
    browser.value("document.querySelectorAll('details').forEach(card => card.open = true)")
    widths: list[Any] = browser.value("[document.documentElement.scrollWidth, innerWidth, document.body.scrollWidth]")
    assert widths == [width] * 3
    if width == 390:
        size = browser.value(
            "Math.min(...[...document.querySelectorAll('svg.chart text')].map(text => "
            "parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getBoundingClientRect().width / 440))"
        )
        assert size >= 9.5


def test_names_are_text_and_run_nothing(browser: Browser) -> None:
    assert browser.value("document.title") == "Study fake"
    names = "[...document.querySelectorAll('#plans-0 tbody th')].map(cell => cell.textContent)"
    assert browser.value(names)[:2] == [field.name for field in FIELDS[:2]]
    assert browser.value("document.querySelectorAll('script').length") == 1
    assert browser.value("document.querySelectorAll('img').length") == 0
    assert browser.value("document.querySelectorAll('[onmouseover], [onerror]').length") == 0
    assert STRATEGIES[-1] in browser.value("document.querySelector('#table1').textContent")
    browser.hover("#plans-0 .heat td[aria-label]")
    assert EVIL in browser.value("document.getElementById('tip').textContent")
    assert browser.value("document.title") == "Study fake"


def test_a_link_to_a_run_opens_its_card(browser: Browser, page: Path) -> None:
    card = browser.value("document.querySelector('.card').id")
    assert browser.value(f"document.getElementById('{card}').open") is False
    browser.value(f"location.hash = '{card}'")
    assert browser.value(f"new Promise(done => setTimeout(() => done(document.getElementById('{card}').open), 100))")
    browser.open(f"{page.as_uri()}?anew#{card}")
    assert browser.value(f"document.getElementById('{card}').open") is True
