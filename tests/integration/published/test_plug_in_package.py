"""The example plug-in, installed with pip beside the built wheel, as a stranger would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support.patience import PATIENCE

HERE = Path(__file__).parents[3]
EXAMPLE = HERE / "examples" / "plug-in"


def test_the_example_is_short() -> None:
    package, tests = EXAMPLE / "autodpq_hill_climb.py", EXAMPLE / "test_hill_climb.py"
    assert sum(len(path.read_text().splitlines()) for path in (package, EXAMPLE / "pyproject.toml")) < 40
    body = tests.read_text().split("class ")[1]
    assert len(body.splitlines()) == 2


@pytest.mark.slow
def test_the_example_installs_beside_the_wheel_and_has_a_row_of_its_own(tmp_path: Path, own_csv: Path) -> None:
    def call(*command: str | Path) -> str:
        done = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout

    call(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path / "wheels", HERE)
    call(sys.executable, "-m", "venv", tmp_path / "venv")
    (wheel,) = (tmp_path / "wheels").glob("autodpq-*.whl")
    programs = tmp_path / "venv" / "bin"
    call(programs / "pip", "install", "-q", wheel, EXAMPLE)
    lines = call(programs / "autodpq-study", "list", "strategies").splitlines()
    (line,) = [line for line in lines if line.startswith("hill-climb ")]
    assert "autodpq-hill-climb 0.1" in line and "changes=2" in line and "Changes the best plan" in line
    # Ray is an extra: what needs it says so, and nothing else is the worse for it.
    (asha,) = [line for line in lines if line.startswith("asha ")]
    assert "pip install 'autodpq[ray]'" in asha
    options = f"--dataset {own_csv} --seeds 1 --trials 3 --K 4,8 --D 2 --threshold 8 --cache-dir cache --out study"
    call(programs / "autodpq-study", "run", *options.split(), "--strategies", "random,hill-climb(changes=1)")
    records = pd.read_csv(tmp_path / "study" / "records.csv")
    assert sorted(records["strategy"]) == ["hill-climb(changes=1)", "random"]
    assert "hill-climb(changes=1)" in (tmp_path / "study" / "report" / "table1.md").read_text()
