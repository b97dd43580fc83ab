"""Studies whose disk is full, read-only, gone or damaged: one line says which file, and nothing else is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support.command_line import Call, Called, call_here
from support.disk_space import no_file_above
from support.installed import installing
from support.mounts import can_mount
from support.patience import PATIENCE

from studies.watch.progress import Progress

pytestmark = pytest.mark.usefixtures("nothing_is_drawn")

TIMES = ["seconds", "seconds_pretrain", "seconds_search", "seconds_retrain", "machine"]


@pytest.fixture(scope="module")
def arguments(own_csv: Path) -> list[str]:
    text = f"run --dataset {own_csv} --seeds 1 --trials 2 --K 4,8 --D 2 --threshold 8 --recipe paper"
    return [*text.split(), "--strategies", "fe,random", "--out"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, arguments: list[str], cache: Path) -> Path:
    out = tmp_path_factory.mktemp("whole") / "study"
    done = call_here(*arguments, out, cache=cache)
    assert done.code == 0, done.err
    return out


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of the study that a test may damage."""
    shutil.copytree(whole, tmp_path / "study")
    return tmp_path / "study"


def assert_one_line(done: Called, *parts: str) -> None:
    assert done.code == 2, done
    assert done.err.startswith("Error: ") and done.err.count("\n") == 1 and done.err.endswith("\n"), done.err
    for part in parts:
        assert part in done.err, done.err


def records_of(study: Path) -> pd.DataFrame:
    return pd.read_csv(study / "records.csv", dtype=str).drop(columns=TIMES)


ROOM = "cannot be written (File too large); make room there and try again"


def test_study_without_room_says_so_and_goes_on_once_there_is(
    call: Call, whole: Path, arguments: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "study"
    sizes = {path: path.stat().st_size for path in whole.rglob("*") if path.is_file() and path.stat().st_size}
    # The largest tells of times, so that the next run's may be a few bytes smaller; it is reached at every other size.
    largest = max(sizes, key=lambda path: sizes[path])
    assert largest.name == "index.html"
    # One of each kind in each folder: what is written alike fails alike.
    by_size = sorted(sizes.keys() - {largest}, key=lambda path: sizes[path])
    kinds = {(path.relative_to(whole).parts[:-1][:1], path.suffix): sizes[path] for path in by_size}
    assert len(kinds) >= 10
    for size in sorted({size - 1 for size in kinds.values()}):
        with no_file_above(size):
            done = call(*arguments, out)
        assert_one_line(done, f"Error: {out}/", ROOM)
        assert not list(out.rglob("*.part"))
    assert call(*arguments, out).code == 0
    pd.testing.assert_frame_equal(records_of(out), records_of(whole))


def test_results_of_before_can_be_read_without_room(call: Call, arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "study"
    assert call(*arguments, out, "--strategies", "fe").code == 0
    with no_file_above(1000):
        assert_one_line(call(*arguments, out), f"Error: {out}/runs/", f"/config.json: {ROOM}")
        assert call("status", out).out.splitlines()[0].startswith("done     shop deepfm seed 0 fe: test AUC")
        assert_one_line(call("report", out), f"Error: {out}/report/", ROOM)
    assert call("report", out).code == 0


IN_A_NAMESPACE = """
import contextlib, io, json, os, shutil, subprocess, sys
from pathlib import Path
from unittest.mock import patch
import reports.write
from studies.cli.main import main

reports.write._FIGURES = ()  # as no_pictures does
out, kept, named, *arguments = sys.argv[1:]
ballast, left = Path(out, ".ballast"), named.split(",")

def fill_up(event, given):
    # The disk is full from when the first file of a kind that is left is opened to be written.
    if event != "open" or not isinstance(given[2], int) or not given[2] & (os.O_WRONLY | os.O_RDWR):
        return
    path = str(given[0])
    kind = next((kind for kind in left if path.startswith(out) and kind in Path(path).name), None)
    if kind is None or ballast.exists():
        return
    left.remove(kind)
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(os.sysconf("SC_PAGE_SIZE"))):
            pass

def mount(*options):
    subprocess.run(["mount", *options, out], check=True)

def call(*given):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as err:
        with patch.object(sys, "argv", ["autodpq-study", *given]), contextlib.suppress(SystemExit):
            main()
    report = {"command": given[0], "err": err.getvalue(), "results": len(list(Path(out).glob("runs/*/result.json")))}
    print(json.dumps(report), flush=True)
    return not err.getvalue()

mount("-t", "tmpfs", "-o", "size=8m", "none")
sys.addaudithook(fill_up)
while not call(*arguments, out):
    if list(Path(out).glob("runs/*/config.json")):
        call("status", out)
    ballast.unlink()
mount("-o", "remount,ro")
call("status", out)
call("report", out)
call(*arguments, out)
shutil.copytree(out, kept)
"""
# One of each way in which the runner, Polars and torch write: whole files, lines that are added, weights.
KINDS = (".safetensors", "vocabulary.parquet", "predictions.parquet", "result.json", "records.csv", "trials.jsonl")


@pytest.mark.slow  # where there is no room, above, is told the same way
@pytest.mark.skipif(not can_mount(), reason="no disk can be mounted here")
def test_disk_that_is_full_and_then_read_only(cache: Path, whole: Path, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    command = ["unshare", "-rm", sys.executable, "-c", IN_A_NAMESPACE, tmp_path / "study", tmp_path / "kept" / "study"]
    environment = {**os.environ, "AUTODPQ_CACHE": str(cache)}
    done = subprocess.run(
        [*command, ",".join(KINDS), *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    called = [json.loads(line) for line in done.stdout.splitlines()]
    *full, status, report, run = called
    named = []
    for one in full[:-1]:
        if one["command"] == "status":
            assert one["err"] == "", one
        else:
            assert_one_line(Called(2, "", one["err"]), "(No space left on device); make room there and try again")
            named.append(one["err"].split(": ")[-2].rpartition("/")[2])
    assert len(named) == len(KINDS) and all(any(kind in name for name in named) for kind in KINDS), named
    assert full[-1]["err"] == status["err"] == ""
    for one in (report, run):
        assert_one_line(Called(2, "", one["err"]), f"{tmp_path}/study", "Read-only file system")
    pd.testing.assert_frame_equal(records_of(tmp_path / "kept" / "study"), records_of(whole))


def test_out_where_nobody_may_write(call: Call, arguments: list[str]) -> None:
    assert_one_line(call(*arguments, "/proc/study"), "--out: /proc/study cannot be written: ")


VANISHING = """
import shutil

from autodpq.choices import Others
from autodpq.plan import uniform_plan
from autodpq.search.strategy import Strategy

class Vanishing(Strategy):
    name = "vanishing"

    def __init__(self, *, then: str):
        self.then = then

    def search(self, task):
        shutil.rmtree("study")
        plan = uniform_plan(task.fields, Others())
        with task.phase("search"):
            if self.then == "trial":
                task.evaluate(plan)
            if self.then == "result":
                task.hand_over(task.trainer.build(plan), trained=True)
        return plan
"""


@pytest.mark.parametrize(
    ("then", "named"),
    [("trial", "/incumbents"), ("point", "/curve.jsonl"), ("result", "/predictions.parquet"), ("run", "study/runs/")],
)
def test_folder_that_vanishes_while_a_study_runs(
    call: Call, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, named: str
) -> None:
    with installing(tmp_path, monkeypatch):
        (tmp_path / "vanishing.py").write_text(VANISHING)
        strategies = f"fe,vanishing.py:Vanishing(then={then})"
        if then == "run":
            strategies = "fe,others"
            monkeypatch.setattr(Progress, "end_run", lambda *_: shutil.rmtree("study"))
        done = call(*arguments, "study", "--strategies", strategies)
    assert_one_line(done, named, ": cannot be written (No such file or directory); its folder is gone: put it back")
    assert not (tmp_path / "study").exists()


def run_of(study: Path, strategy: str) -> str:
    records = pd.read_csv(study / "records.csv", dtype=str).set_index("strategy")
    return str(records.loc[strategy, "run"])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def cut_first_line(path: Path) -> None:
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first[:20] + b"\n", *others]))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        pytest.param("trials.jsonl", cut_first_line, "trials.jsonl, line 1: not valid JSON", marks=pytest.mark.slow),
        ("trials.jsonl", lambda path: path.write_text("{}\n"), "trials.jsonl, line 1: damaged (KeyError: 'plan')"),
        pytest.param(
            "trials.jsonl",
            lambda path: path.write_bytes(b"\xff\n"),
            "trials.jsonl, line 1: not valid JSON",
            marks=pytest.mark.slow,
        ),
        ("result.json", cut, "result.json: not valid JSON"),
        pytest.param(
            "result.json",
            lambda path: path.write_text("{}"),
            "result.json: damaged (KeyError: 'record')",
            marks=pytest.mark.slow,
        ),
        pytest.param("config.json", cut, "config.json: not valid JSON", marks=pytest.mark.slow),
        pytest.param(
            "config.json",
            lambda path: path.write_text("[]"),
            "config.json: damaged (it holds no JSON object)",
            marks=pytest.mark.slow,
        ),
        pytest.param("../../study.json", cut, "study.json: not valid JSON", marks=pytest.mark.slow),
        pytest.param("../../pretrained/*.json", cut, ".json: not valid JSON", marks=pytest.mark.slow),
        ("../../pretrained/*.json", lambda path: path.write_text("{}"), ".json: damaged (KeyError: 'seconds')"),
        ("../../pretrained/*.safetensors", cut, ".safetensors: not readable as weights"),
    ],
)
def test_damaged_record_is_named_and_what_to_do_about_it_helps(
    call: Call, copy: Path, whole: Path, arguments: list[str], name: str, damage: Callable[[Path], None], message: str
) -> None:
    run = copy / "runs" / run_of(copy, "random")
    if name != "result.json":
        (run / "result.json").unlink()
    (path,) = (run / name).parent.resolve().glob(Path(name).name)
    damage(path)
    done = call(*arguments, copy)
    assert_one_line(done, f"Error: {path.parent}/", message)
    if name in ("result.json", "config.json"):
        assert_one_line(call("status", copy), f"Error: {path.parent}/", message)
    if "delete the folder it lies in" in done.err:
        shutil.rmtree(path.parent)
    elif "delete that line and those after it" in done.err:
        path.write_bytes(b"")
    else:
        assert "delete it to" in done.err
        path.unlink()
    assert call(*arguments, copy).code == 0
    again, before = records_of(copy), records_of(whole)
    pd.testing.assert_frame_equal(again, before)


def test_damaged_model_is_named(call: Call, copy: Path, tmp_path: Path) -> None:
    run = run_of(copy, "random")
    cut(copy / "models" / f"{run}.safetensors")
    done = call("export", copy / "runs" / run, "--out", tmp_path / "mine.safetensors")
    assert_one_line(done, f"Error: {copy}/models/{run}.safetensors: ", "cut off")
