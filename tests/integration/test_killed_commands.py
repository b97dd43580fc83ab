"""Commands beside ``run`` that are killed as they write, or have no place to write to: nothing half, nothing wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import Call, Called
from support.disk_space import no_file_above
from support.little import no_pictures
from support.mounts import can_mount
from support.patience import PATIENCE

import studies
from studies.folder.models import export_run

COMMANDS = {
    "export": ["export", "HOME/study", "--out", "HOME/out/model.safetensors"],
    "report": ["report", "HOME/study"],
    "predict": ["predict", "HOME/model.safetensors", "--input", "HOME/shop.csv", "--out", "HOME/out/clicks.csv"],
    "inspect": ["data", "inspect", "HOME/shop.csv"],
}

KILLS = 20

# One process imports what the commands need, and has forks of it run them: each is killed at its n-th change of a file.
KILLED = """
import contextlib, json, os, shutil, signal, sys
from pathlib import Path

import autodpq.packed.export, autodpq.serving, reports.write, studies.cli.inspection, studies.folder.models
import studies.exported.predict, studies.study
from studies.cli.main import main

work, arguments, kills = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])


def call(home, number=0):
    # Gives the exit code, or minus the signal; how often files were changed; and what was said.
    changes = 0

    def count(event, given):
        nonlocal changes
        writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
        writes = writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
        if writes and str(given[0]).startswith(str(home)):
            changes += 1
            if changes == number:
                os.kill(os.getpid(), signal.SIGKILL)

    said = work / "said"
    child = os.fork()
    if not child:
        os.environ["AUTODPQ_CACHE"] = str(home / "cache")
        sys.argv = ["autodpq-study", *(text.replace("HOME", str(home)) for text in arguments)]
        with said.open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            sys.addaudithook(count)
            code = 1
            try:
                main()
            except SystemExit as ended:
                code = ended.code
            number = 0
            sys.stdout.flush()
            (work / "changes").write_text(str(changes))
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), said.read_text().replace(str(home), "HOME")


def files(home):
    # Parts that a kill left are hidden; digests are remembered by their files' places and times.
    names = [path.relative_to(home) for path in home.rglob("*") if path.is_file()]
    whole = [name for name in names if not any(part.startswith(".") or part == "digests" for part in name.parts)]
    return {str(name): (home / name).read_bytes().replace(str(home).encode(), b"HOME") for name in whole}


before = files(work / "home")
shutil.copytree(work / "home", work / "whole")
code, told = call(work / "whole")
assert code == 0, told
after, changes = files(work / "whole"), int((work / "changes").read_text())
numbers = sorted({1 + round(n * (changes - 1) / max(1, kills - 1)) for n in range(kills)})
for number in numbers:
    home = work / f"killed-{number}"
    shutil.copytree(work / "home", home)
    code, _ = call(home, number)
    assert code == -signal.SIGKILL, code
    for name, content in files(home).items():
        assert content in (before.get(name), after.get(name)), f"{name} is half written: change {number} of {changes}"
    code, again = call(home)
    assert (code, again) == (0, told), again
    found = files(home)
    assert found == after, sorted(name for name in found.keys() | after if found.get(name) != after.get(name))
    shutil.rmtree(home)
print(json.dumps({"changes": changes, "kills": len(numbers)}))
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, own_csv: Path, cache: Path) -> Path:
    """A folder with a study, a model of it and the data; and, in ``out``, what earlier commands have written there."""
    home = tmp_path_factory.mktemp("commands") / "home"
    (home / "out").mkdir(parents=True)
    shutil.copy(own_csv, home / "shop.csv")
    with pytest.MonkeyPatch.context() as patch, no_pictures():
        patch.setenv("AUTODPQ_CACHE", str(cache))
        asked = {"seeds": 1, "K": (4,), "D": (2,), "threshold": 8, "strategies": ("fe", "others")}
        done = studies.run(dataset=home / "shop.csv", out=home / "study", show_progress=False, **asked)
    runs = done.records.set_index("strategy")["run"]
    for strategy, path in (("fe", home / "out" / "model.safetensors"), ("others", home / "model.safetensors")):
        run = home / "study" / "runs" / runs[strategy]
        export_run(run, path, head_dtype="float32", hashed_vocabulary=False, onnx=None, data_dir=None, cache_dir=None)
    (home / "out" / "clicks.csv").write_text("probability\n0.5\n")
    (home / "study" / "report" / "table1.md").write_text("an older report\n")
    return home


@pytest.mark.slow  # studies are killed in test_killed.py
@pytest.mark.parametrize("command", COMMANDS)
def test_command_that_is_killed_leaves_what_was_there_or_all_of_it_and_works_again(
    study: Path, tmp_path: Path, command: str
) -> None:
    shutil.copytree(study, tmp_path / "home")
    call = [sys.executable, "-c", KILLED, str(tmp_path), json.dumps(COMMANDS[command]), str(KILLS)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    came_to = json.loads(done.stdout.splitlines()[-1])
    assert came_to["kills"] == min(KILLS, came_to["changes"]) >= 3


def assert_one_line(done: Called, *parts: str) -> None:
    assert done.code == 2 and done.err.startswith("Error: ") and done.err.count("\n") == 1, done
    for part in parts:
        assert part in done.err, done.err


@pytest.mark.parametrize("command", ["export", "predict", "inspect"])
def test_command_without_room_says_so_in_one_line_and_changes_nothing(
    call: Call, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    home = tmp_path / "home"
    shutil.copytree(study, home)
    monkeypatch.setenv("AUTODPQ_CACHE", str(home / "cache"))
    arguments = [text.replace("HOME", str(home)) for text in COMMANDS[command]]

    def files() -> dict[Path, bytes]:
        names = [path.relative_to(home) for path in home.rglob("*") if path.is_file()]
        return {name: (home / name).read_bytes() for name in names if name.parts[:2] != ("cache", "digests")}

    before = files()
    with no_file_above(1000):
        done = call(*arguments)
    assert_one_line(done, str(home), "cannot be written", "File too large", "make room")
    assert files() == before
    assert call(*arguments).code == 0


READ_ONLY = """
import contextlib, io, json, os, subprocess, sys
from unittest.mock import patch
from studies.cli.main import main

home, commands = sys.argv[1], json.loads(sys.argv[2])
os.environ["AUTODPQ_CACHE"] = f"{home}/cache"
subprocess.run(["mount", "--bind", home, home], check=True)
subprocess.run(["mount", "-o", "remount,ro,bind", home], check=True)
for name, arguments in commands.items():
    code, out, err = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        with patch.object(sys, "argv", ["autodpq-study", *(text.replace("HOME", home) for text in arguments)]):
            try:
                main()
            except SystemExit as ended:
                code = ended.code
    print(json.dumps([name, code, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.mark.slow  # where there is no room, above, is told the same way
@pytest.mark.skipif(not can_mount(), reason="no disk can be mounted here")
def test_commands_on_a_disk_that_is_read_only(study: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(study, home)
    call = ["unshare", "-rm", sys.executable, "-c", READ_ONLY, str(home), json.dumps(COMMANDS)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    called = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, *_ in called] == list(COMMANDS)
    for name, *said in called:
        assert_one_line(Called(*said), "Read-only file system", str(home)), name
