"""Every command and every Python block of the documentation runs, or says why it does not; the site builds."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from support.command_line import Call
from support.installed import forgetting
from support.little import no_pictures, short_trainings
from support.pages import ROOT, Block, blocks_of
from support.patience import PATIENCE

from autodpq import __version__
from studies.cli.main import app

DOCS = ROOT / "docs"
LANGUAGES = {"sh", "python", "toml"}
OUTPUT = {"", "text"}
FETCHING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}

PAGES = {
    str(path.relative_to(ROOT)): list(blocks_of(path)) for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
}
ALL = [block for blocks in PAGES.values() for block in blocks]
RUN = [  # the README's turn is in test_readme.py
    page
    for page, blocks in PAGES.items()
    if page != "README.md" and any(block.language in LANGUAGES and not block.reason for block in blocks)
]


# They start processes, as test_cli.py does, load data, as test_own_data.py does, export, as test_take_away.py does, and
# compare, as test_next_week.py does.
_PAGES = ("cluster", "own-data", "export", "next-week")
SLOW = dict.fromkeys((f"docs/how-to/{name}.md" for name in _PAGES), pytest.mark.slow)


def commands_of(block: Block) -> Iterator[list[str]]:
    """The calls of the program in a block of shell commands, as lists of arguments."""
    for line in block.text.replace("\\\n", " ").splitlines():
        found = re.search(r"(?:^|[ /])autodpq-study (.*)$", line)
        if found and not line.lstrip().startswith("#"):
            yield shlex.split(found[1], comments=True)


def asks_little(block: Block) -> bool:
    """Whether a block of shell commands is one command a line, of plain words."""
    return not set(block.text) & set("|&;<>$*?`~=")


def test_blocks_are_in_languages_that_are_run_or_shown() -> None:
    assert len(RUN) >= 8
    for block in ALL:
        assert block.language in LANGUAGES | OUTPUT, f"{block}: {block.language} is neither run nor output"
        assert not (block.reason and block.language in OUTPUT), f"{block}: output needs no marker"


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.language == "sh" for block in PAGES[page])])
def test_every_command_is_one_that_there_is(page: str) -> None:
    """Those that are not run, too: names of commands and of options are known to the program's own parser."""
    group: Any = typer.main.get_command(app)
    calls = [(block, call) for block in PAGES[page] if block.language == "sh" for call in commands_of(block)]
    for block, call in calls:
        command, arguments = group, list(call)
        while hasattr(command, "commands"):
            assert arguments and arguments[0] in command.commands, f"{block}: autodpq-study {shlex.join(call)}"
            command = command.commands[arguments.pop(0)]
        try:
            command.make_context("autodpq-study", arguments).close()
        except Exception as error:
            pytest.fail(f"{block}: autodpq-study {shlex.join(call)}: {error}")


def run_in_shell(block: Block, text: str, folder: Path) -> None:
    """Runs commands of a block as a person's shell does."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, f"{block}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def run_block(block: Block, folder: Path, names: dict[str, Any], call: Call | None) -> None:
    """Writes a block that is a file, and runs another; ``call`` calls the program where a block does nothing else."""
    if block.title:
        (folder / block.title).write_text(block.text)
        if block.language == "toml":
            tomllib.loads(block.text)
    elif block.language == "python":
        # As many empty lines as stand before it on the page, so that a traceback tells the page's line.
        exec(compile("\n" * (block.line - 1) + block.text, str(ROOT / block.page), "exec"), names)
    elif block.language == "sh" and call is not None and asks_little(block):
        for line in block.text.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(line, comments=True) or [""]
            if program == "autodpq-study":
                with forgetting():
                    called = call(*arguments)
                assert called.code == 0, f"{block}: {called}"
            else:
                run_in_shell(block, line, folder)
    elif block.language == "sh":
        run_in_shell(block, block.text, folder)
    else:
        pytest.fail(f"{block}: {block.language} without a title cannot be run")


@pytest.fixture
def page_folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, which is the current one, with the program on the path and no publisher's files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AUTODPQ_CACHE", str(cache))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.delenv("AUTODPQ_DATA", raising=False)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("shell", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["here", "shell"])
@pytest.mark.parametrize("page", [pytest.param(page, marks=SLOW.get(page, ())) for page in RUN])
def test_page_runs_from_its_beginning_to_its_end(page: str, shell: bool, page_folder: Path, call_here: Call) -> None:
    """Lines that do nothing but call the program are called in this process, with little to train; in a shell, as a
    person's, they start Python every time and train as long as they do.
    """
    call = None if shell else call_here
    names: dict[str, Any] = {"__name__": "page"}
    with ExitStack() as less:
        if not shell:
            less.enter_context(short_trainings())
            less.enter_context(no_pictures())
        for block in PAGES[page]:
            if block.language in LANGUAGES and not block.reason:
                run_block(block, page_folder, names, call)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, which takes ten seconds."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return out


@pytest.mark.slow
def test_the_site_has_every_page(site: Path) -> None:
    for path in DOCS.rglob("*.md"):
        relative = path.relative_to(DOCS).with_suffix(".html")
        built = site / (relative.with_name("index.html") if relative.stem == "README" else relative)
        assert built.stat().st_size > 5000, built


@pytest.mark.slow
def test_the_reference_has_every_command_and_every_option(site: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (site / "reference" / "command-line.html").read_text())
    waiting: list[tuple[str, Any]] = [("autodpq-study", typer.main.get_command(app))]
    seen = 0
    while waiting:
        path, command = waiting.pop()
        waiting += [(f"{path} {name}", one) for name, one in getattr(command, "commands", {}).items()]
        assert path in text
        for parameter in command.params:
            assert parameter.opts[-1] in text, f"{path} {parameter.opts}"
            seen += 1
    assert seen > 40


class Fetched(HTMLParser):
    """What a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.found += filter(None, [values.get(FETCHING.get(tag, ""))])
        assert "mermaid" not in (values.get("class") or ""), "its script would be fetched"


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    found: set[str] = set()
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text())
        found |= set(parser.found)
    assert len(pages) > 15 and any(name.endswith(".js") for name in found) and any(".css" in name for name in found)
    assert [name for name in found if re.match(r"(\w+:)?//", name)] == []
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(\w+:)?//", style.read_text()), style


def test_citation_is_of_this_version_and_of_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= citation.keys()
    assert citation["version"] == __version__
    paper = citation["preferred-citation"]
    assert paper["doi"] == "10.1145/3539618.3591953" and len(paper["authors"]) == 6
