"""Studies that are killed or interrupted at any moment, and go on with the same command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.forked import ForkedCall, forking
from support.patience import PATIENCE

from studies.workers.processes import _without_interrupts

PHASES = ("seconds_pretrain", "seconds_search", "seconds_retrain")
TIMES = ["seconds", *PHASES, "machine"]
TRIALS = 3

Process = subprocess.Popen | ForkedCall
Start = Callable[..., Process]


@pytest.fixture(scope="module")
def start(cache: Path, own_csv: Path) -> Iterator[Start]:
    """Starts a study in a process group of its own, as a terminal does; in the end none is left."""
    started: list[Process] = []
    # As where another module's study has started workers before: what they are forked from never sees Ctrl-C.
    forking()
    with _without_interrupts():
        forkserver.ensure_running()

    def begin(out: Path, *options: str, how: Sequence[str] = ()) -> Process:
        study = f"--strategies fe,random,autodpq --seeds 1 --trials {TRIALS} --K 4,8 --D 2 --threshold 8"
        arguments = [*f"run --dataset {own_csv} {study} --out {out}".split(), *options]
        process: Process
        if how:
            process = subprocess.Popen(
                [sys.executable, *how, *arguments],
                env={**os.environ, "AUTODPQ_CACHE": str(cache)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        else:
            process = ForkedCall(arguments, {"AUTODPQ_CACHE": str(cache)})
        started.append(process)
        return process

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, start: Start) -> Path:
    """A study that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "study"
    process = start(out)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out


def files_of(study: Path) -> set[str]:
    return {str(path.relative_to(study)) for path in study.rglob("*") if path.is_file()}


def progress_of(study: Path) -> int:
    """How far a study is: its files, and the lines that are added to them one by one."""
    # Not rglob, which fails where a folder that it is about to read is taken away in this moment.
    found = (Path(folder, name) for folder, folders, names in os.walk(study) for name in (*folders, *names))
    files = [path for path in found if not path.name.startswith(".")]
    lines = 0
    for path in files:
        with suppress(FileNotFoundError):  # what a run that is trained again left is taken away in this moment
            lines += lines_of(path).count(b"\n") if path.suffix == ".jsonl" else 0
    return len(files) + lines


def records_of(study: Path) -> pd.DataFrame:
    return pd.read_csv(study / "records.csv", dtype=str).set_index("run")


def assert_same(study: Path, other: Path) -> None:
    """The same files and no more of them, and the same records but for times."""
    pd.testing.assert_frame_equal(records_of(study).drop(columns=TIMES), records_of(other).drop(columns=TIMES))
    assert files_of(study) == files_of(other)


def lines_of(path: Path) -> bytes:
    """The whole lines of a file."""
    text = path.read_bytes()
    return text[: text.rfind(b"\n") + 1]


@dataclass
class Done:
    """What a study had done when its process ended.

    Attributes:
        files: Content and time of every file that must not be touched any more.
        lines: Trials of runs that were not finished, by file.
    """

    files: dict[Path, tuple[bytes, int]] = field(default_factory=dict)
    lines: dict[Path, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, study: Path) -> Done:
        done = cls()
        paths = []
        for run in study.glob("runs/*"):
            if (run / "result.json").exists():
                paths += [run / name for name in ("config.json", "result.json", "curve.jsonl", "trials.jsonl")]
                paths.append(study / "models" / f"{run.name}.safetensors")
            elif (run / "trials.jsonl").exists():
                done.lines[run / "trials.jsonl"] = lines_of(run / "trials.jsonl")
        for log in study.glob("pretrained/*.json"):
            paths += [log, log.with_suffix(".safetensors")]
        done.files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths if path.exists()}
        return done

    def check(self) -> None:
        """Nothing of it was done again."""
        for path, (content, written) in self.files.items():
            assert (path.read_bytes(), path.stat().st_mtime_ns) == (content, written), path
        for path, lines in self.lines.items():
            now = lines_of(path)
            assert now.startswith(lines), path
            numbers = [json.loads(line)["number"] for line in now.splitlines()]
            assert numbers == list(range(len(numbers))), path


@dataclass
class Lives:
    """The processes that one study took, one after another.

    Attributes:
        seconds: How long each lived.
        finished: In which of them each run was finished.
    """

    seconds: list[float] = field(default_factory=list)
    finished: dict[str, int] = field(default_factory=dict)

    def end(self, study: Path, seconds: float) -> None:
        """A process has ended."""
        for result in study.glob("runs/*/result.json"):
            self.finished.setdefault(result.parent.name, len(self.seconds))
        self.seconds.append(seconds)

    def check(self, study: Path, jobs: int) -> None:
        """No second is charged twice: not even a clock that ran all the time would have counted as many."""
        rows = records_of(study).astype({**dict.fromkeys(("seconds", *PHASES), float), "trials": int})
        logs = [json.loads(path.read_text())["seconds"] for path in study.glob("pretrained/*.json")]
        assert set(rows["seconds_pretrain"]) == set(logs) and len(logs) == 1
        np.testing.assert_allclose(rows["seconds"], rows[list(PHASES)].sum(axis=1))
        for run, row in rows.iterrows():
            path = study / "runs" / str(run) / "trials.jsonl"
            lines = path.read_text().splitlines() if path.exists() else []
            assert len(lines) == row["trials"]
            trained = sum(json.loads(line)["seconds"]["search"] for line in lines)
            assert row["seconds_search"] >= trained * (1 - 1e-9)
            # What is not of trials that an earlier process left was all done by the one that finished the run.
            beside = row["seconds_search"] + row["seconds_retrain"] - trained
            assert beside <= self.seconds[self.finished[str(run)]], row["strategy"]
        charged = logs[0] + rows["seconds_search"].sum() + rows["seconds_retrain"].sum()
        assert charged <= jobs * sum(self.seconds)


def ends_before(process: Process, study: Path, progress: float, wait: float) -> bool:
    """Whether a process ends by itself; else it is killed, and no process that it started may live on for long.

    Args:
        process: The process.
        study: What it writes.
        progress: How far the study is when the process is to be killed.
        wait: Seconds that it is given beyond, so that it may be doing anything when it is killed.
    """
    while process.poll() is None and progress_of(study) < progress:
        time.sleep(0.01)
    try:
        _, err = process.communicate(timeout=wait if process.poll() is None else PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate(timeout=PATIENCE)  # the pipes are closed when the last process that holds them ends
        return False
    assert process.returncode == 0, err
    return True


@pytest.mark.parametrize(
    ("jobs", "kills"),
    [
        (1, 1),
        pytest.param(1, 30, marks=pytest.mark.slow),
        pytest.param(2, 30, marks=pytest.mark.slow),
    ],
)
def test_study_that_is_killed_at_any_moment_goes_on_from_there(
    start: Start, whole: Path, tmp_path: Path, jobs: int, kills: int
) -> None:
    rng = np.random.default_rng([jobs, kills])
    # Few kills come early enough for something to be left; how far a study is says so on a fast and a slow machine.
    steps = progress_of(whole) * (1.0 if kills > 10 else 0.6) * (rng.permutation(kills) + rng.random(kills)) / kills
    studies, killed = 0, 0
    left = [*steps]
    while left or studies == 0:
        out, lives, ended = tmp_path / str(studies) / "study", Lives(), False
        studies += 1
        while not ended:
            done = Done.of(out)
            begin = time.monotonic()
            step, wait = (left.pop(0), 0.3 * rng.random()) if left else (np.inf, PATIENCE)
            ended = ends_before(start(out, "--jobs", str(jobs)), out, progress_of(out) + step, wait)
            lives.end(out, time.monotonic() - begin)
            killed += not ended
            done.check()
        assert_same(out, whole)
        lives.check(out, jobs)
    assert killed >= kills / 3, "most processes ended before they were killed"


KILLS_ITSELF = """
import os
import signal
import sys

import reports.write
from studies.cli.main import main

reports.write._FIGURES = ()  # as no_pictures does
study, number = sys.argv[1], int(sys.argv[2])
done = 0

def count(event, arguments):
    global done
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
    if (writes or changes) and str(arguments[0]).startswith(study):
        done += 1
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
sys.argv = ["autodpq-study", *sys.argv[3:]]
try:
    main()
finally:
    print("operations", done)
"""


@pytest.mark.slow
def test_study_that_is_killed_as_it_changes_a_file_goes_on_from_there(
    start: Start, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "whole" / "study"
    said, err = start(out, how=("-c", KILLS_ITSELF, str(out), "0")).communicate(timeout=PATIENCE)
    count = int(said.split()[-1])
    assert count > 100, err
    rng = np.random.default_rng(0)
    for number in map(int, (rng.permutation(30) + rng.random(30)) / 30 * count):
        out = tmp_path / str(number) / "study"
        process = start(out, how=("-c", KILLS_ITSELF, str(out), str(number + 1)))
        process.communicate(timeout=PATIENCE)
        assert process.returncode == -signal.SIGKILL
        done = Done.of(out)
        process = start(out)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        done.check()
        assert_same(out, whole)


def wait_for_trials(process: Process, study: Path) -> None:
    while not [path for path in study.glob("runs/*/trials.jsonl") if lines_of(path)]:
        assert process.poll() is None
        time.sleep(0.01)


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_in_a_search_ends_all_processes_and_keeps_the_trials(start: Start, tmp_path: Path, jobs: int) -> None:
    process = start(tmp_path / "study", "--strategies", "random", "--trials", "1000", "--jobs", str(jobs))
    wait_for_trials(process, tmp_path / "study")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)  # no process holds the pipes any more
    assert process.returncode == 130
    assert (
        err.startswith("Stopped. Finished runs and trials are kept; the same command goes on") and err.count("\n") == 1
    )
    (path,) = tmp_path.glob("study/runs/*/trials.jsonl")
    assert path.read_bytes() == lines_of(path)


SLOW = """
import multiprocessing
import time
from pathlib import Path

from autodpq.models import DeepFM

class Slow(DeepFM):
    name = "slow"

    def forward(self, embedded):
        if multiprocessing.parent_process() is not None:
            Path(__file__).with_name("training").touch()
            time.sleep(3600)
        return super().forward(embedded)
"""


@pytest.mark.parametrize(
    ("how", "code"),
    [(signal.SIGKILL, -signal.SIGKILL), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_processes_in_the_middle_of_an_epoch_end_with_the_study(
    start: Start, tmp_path: Path, how: signal.Signals, code: int
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    options = ("--strategies", "random", "--models", f"{tmp_path}/slow.py:Slow", "--jobs", "2")
    process = start(tmp_path / "study", *options)
    while not (tmp_path / "training").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(how)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == code
