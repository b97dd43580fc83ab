"""What the README shows runs as it stands there; that its commands exist is tested with the documentation."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.pages import ROOT, Block, blocks_of

from autodpq.plugins.options import label
from autodpq.search.strategy import STRATEGIES
from autodpq.testing import make_task
from studies.config import check_config, make_strategies

BLOCKS = list(blocks_of(ROOT / "README.md"))


def block(language: str, holding: str) -> Block:
    """The README's only block of a language that holds some text."""
    (found,) = [block for block in BLOCKS if block.language == language and holding in block.text]
    return found


def test_the_strategy_searches() -> None:
    known = set(STRATEGIES)
    text = block("python", "@register").text
    assert len(text.splitlines()) < 20
    exec(compile(text, "README.md", "exec"), {"__name__": "readme"})
    (name,) = set(STRATEGIES) - known
    task = make_task()
    plan = STRATEGIES[name]().search(task)
    assert plan in [trial.plan for trial in task.history]
    assert len({trial.plan for trial in task.history}) == len(task.history) == 3


def test_the_strategy_is_found_in_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = block("python", "@register")
    (tmp_path / shown.title).write_text(shown.text)
    monkeypatch.chdir(tmp_path)
    (named,) = re.findall(r"--strategies (\S*mine\.py\S*)", block("sh", "mine.py:").text)
    config = check_config({"strategies": tuple(named.split(","))})
    assert [label(strategy) for strategy in make_strategies(config)] == ["random", "in-turn"]


@pytest.mark.slow  # it installs the project and runs the whole first study, some ten minutes
def test_the_readme_runs_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    """In a copy of the repository, as a person would: the first block installs, and the rest is run by that."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
    present = b"\0".join(name for name in names.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists())
    subprocess.run(["xargs", "-0", "cp", "--parents", "-t", tmp_path], cwd=ROOT, input=present, check=True)
    inherited = {name: value for name, value in os.environ.items() if name != "AUTODPQ_DATA"}
    path = f"{tmp_path / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**inherited, "PATH": path, "AUTODPQ_CACHE": str(tmp_path / "cache")}
    ran = 0
    for shown in BLOCKS:
        if shown.title:
            (tmp_path / shown.title).write_text(shown.text)
        elif shown.language in ("sh", "python") and not shown.reason:
            program = ["bash", "-euo", "pipefail", "-c"] if shown.language == "sh" else ["python", "-c"]
            done = subprocess.run(
                [*program, shown.text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800
            )
            assert done.returncode == 0, f"{shown}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            ran += 1
    assert ran >= 6
    assert (tmp_path / "autodpq-study" / "report" / "index.html").stat().st_size > 10_000
    scores: Any = pd.read_parquet(tmp_path / "scores.parquet")["probability"].to_numpy()
    assert np.isfinite(scores).all() and 0 < scores.min() < scores.max() < 1
