"""Tables of plans by the command line: made, killed and gone on with, searched, and refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import Called, call_here
from support.patience import PATIENCE
from support.tables import Small

import studies
from autodpq.errors import AutoDPQError
from autodpq.records.table import read_table

pytestmark = pytest.mark.slow

OPTIONS = (
    "--split-column part --candidates full,others,dpq(4,2) --recipe paper(max_epochs=2) --seeds 2 --licence CC0-1.0"
).split()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some hundred rows."""
    return Small(tmp_path_factory.mktemp("tables")).folder


@pytest.fixture(scope="module")
def table(home: Path) -> Path:
    """A table that nothing stopped."""
    made = tabulate(home, "whole")
    assert made.code == 0, made.err
    return home / "whole" / "table.parquet"


def tabulate(home: Path, out: str, *more: str) -> Called:
    given = "--dataset", home / "own.csv", "--out", home / out, *OPTIONS, *more
    return call_here("tabulate", *given, cache=home / "cache")


@pytest.fixture
def begun(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process at work on a table, some of whose trainings are done."""
    command = [sys.executable, "-m", "studies.cli.main", "tabulate", "--dataset", str(home / "own.csv")]
    command += ["--cache-dir", str(home / "cache"), "--out", str(home / "killed"), *OPTIONS]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    rows, ends = home / "killed" / "rows.jsonl", time.monotonic() + PATIENCE
    while not (rows.exists() and rows.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None and time.monotonic() < ends
        time.sleep(0.005)
    yield process
    process.kill()
    process.communicate()


def test_killed_it_goes_on_and_two_do_not_mix(home: Path, table: Path, begun: subprocess.Popen[str]) -> None:
    second = tabulate(home, "killed")
    assert (second.code, second.out) == (2, "")
    assert "another process is at work" in second.err and second.err.count("\n") == 1
    begun.kill()
    begun.communicate()
    assert not (home / "killed" / "table.parquet").exists()
    done = tabulate(home, "killed")
    assert done.code == 0 and "of them done before" in done.out
    rows = [
        [row.model_copy(update={"seconds": 0.0}) for row in read_table(path).rows]
        for path in (home / "killed" / "table.parquet", table)
    ]
    assert rows[0] == rows[1]


def test_strategies_search_it_and_the_report_is_made_anew(home: Path, table: Path) -> None:
    arguments = "run", "--replay", table, "--strategies", "random,tpe,others", "--seeds", "6", "--trials", "4"
    first = call_here(*arguments, "--out", home / "replay", cache=home / "cache")
    assert first.code == 0, first.err
    for name in ("Random", "TPE", "Others", "The plan of Others is the", "Regret of the best trial after 4"):
        assert name in first.out
    report = (home / "replay" / "report" / "README.md").read_text()
    assert "regret-valid-trials.png" in report and (home / "replay" / "report" / "regret-test-seconds.svg").exists()
    shutil.rmtree(home / "replay" / "report")
    again = call_here("report", home / "replay", cache=home / "cache")
    assert again.code == 0 and first.out.endswith(again.out)
    assert (home / "replay" / "report" / "README.md").read_text() == report
    same = call_here(*arguments, "--out", home / "replay-2", cache=home / "cache")
    assert same.out.replace("replay-2", "replay") == first.out, "the same command gives the same digits"
    content = (home / "replay" / "replay.parquet").read_bytes()
    assert (home / "replay-2" / "replay.parquet").read_bytes() == content


def test_what_is_wrong_is_one_line(home: Path, table: Path) -> None:
    cut = home / "cut.parquet"
    cut.write_bytes(table.read_bytes()[:-100])
    for arguments, said in (
        (["--replay", cut], f"{cut}: damaged ("),
        (["--replay", home / "none.parquet"], "none.parquet: cannot be read (No such file or directory)"),
        (["--replay", home / "own.csv"], "own.csv: damaged ("),
        (["--replay", table, "--recipe", "strong"], "and strong is asked for"),
        (["--replay", table, "--jobs", "2"], "--jobs: not together with --replay"),
        (["--replay", table, "--strategies", "randm"], "did you mean 'random'"),
        (["--replay", table, "--budget", "1B"], "--budget: 1 bytes are too few"),
    ):
        called = call_here("run", *arguments, "--out", home / "refused", cache=home / "cache")
        assert (called.code, called.out) == (2, ""), said
        assert called.err.startswith("Error: ") and said in called.err and called.err.count("\n") == 1
    assert not (home / "refused" / "replay.parquet").exists()


def test_a_second_table_does_not_go_into_the_folder_of_the_first(home: Path, table: Path) -> None:
    called = tabulate(home, "whole", "--threshold", "5")
    assert called.code == 2 and "--threshold 10, and this command's would be of 5" in called.err


def test_python_does_the_same(home: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    replay = studies.replay(table, strategies=["random", "others"], seeds=3, trials=3, show_progress=False)
    assert replay.folder == Path("autodpq-replay") and replay.report.exists() and not replay.failed
    assert list(replay.runs["strategy"]) == ["random"] * 3 + ["others"] * 3
    assert replay.runs["rank"].between(1, 9).all()
    assert replay.figure("valid", by="seconds").get_axes()[0].get_ylabel() == "Validation regret, AUC"
    with pytest.raises(AutoDPQError, match="budget: 10 given; autodpq-replay has none"):
        replay.figure(budget=10)
    with pytest.raises(AutoDPQError, match="unknown option 'strategy'"):
        studies.replay(table, strategy="random", show_progress=False)
