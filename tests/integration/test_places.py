"""Studies whose folder is moved or copied, and studies side by side on one cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support.command_line import Call
from support.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_is_drawn")

TIMES = ["seconds", "seconds_pretrain", "seconds_search", "seconds_retrain", "machine"]


def arguments_of(own_csv: Path, strategies: str) -> list[str]:
    asked = f"run --dataset {own_csv} --seeds 1 --trials 2 --K 4,8 --D 2 --threshold 8 --strategies {strategies} --out"
    return asked.split()


def records_of(study: Path) -> pd.DataFrame:
    return pd.read_csv(study / "records.csv", dtype=str).drop(columns=TIMES)


def measured(study: Path) -> dict[Path, tuple[bytes, int]]:
    paths = [path for name in ("runs", "pretrained", "models") for path in (study / name).rglob("*") if path.is_file()]
    return {path.relative_to(study): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


@pytest.mark.slow
def test_study_that_was_moved_or_copied_goes_on_as_the_study_that_it_was(
    call_here: Call, own_csv: Path, tmp_path: Path
) -> None:
    begun, more = arguments_of(own_csv, "fe"), arguments_of(own_csv, "fe,others")
    assert call_here(*begun, tmp_path / "here" / "study").code == 0
    shutil.copytree(tmp_path / "here" / "study", tmp_path / "copy")
    (tmp_path / "here").rename(tmp_path / "there")
    moved, copied = tmp_path / "there" / "study", tmp_path / "copy"
    before = measured(copied)
    assert before == measured(moved)
    for study in (moved, copied):
        assert call_here(*more, study).code == 0
        after = measured(study)
        assert before.items() <= after.items(), "what was measured is measured again"
        assert call_here("report", study).code == 0
    # A copy is the study that it is a copy of, and its records stand in one table.
    assert set(records_of(copied)["study"]) == {"study"} and len(records_of(copied)) == 2
    pd.testing.assert_frame_equal(records_of(moved), records_of(copied))
    # What it was run from may be gone: a model is taken away from wherever the folder lies.
    for study in (moved, copied):
        out = tmp_path / f"{study.parent.name}.safetensors"
        assert call_here("export", study, "--out", out).code == 0 and out.is_file()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_two_studies_at_once_on_one_cache_have_the_digits_of_one_alone(
    own_csv: Path, tmp_path: Path, jobs: int
) -> None:
    command = [sys.executable, "-m", "studies.cli.main", *arguments_of(own_csv, "fe,random,autodpq")]

    def begin(out: Path, cache: Path) -> subprocess.Popen[str]:
        environment = {**os.environ, "AUTODPQ_CACHE": str(cache)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*command, str(out), "--jobs", str(jobs)], env=environment, text=True, **pipes)

    def ends(process: subprocess.Popen[str]) -> None:
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0 and err == "", err

    ends(begin(tmp_path / "alone" / "study", tmp_path / "own-cache"))
    together = [tmp_path / str(number) / "study" for number in range(3)]
    for process in [begin(out, tmp_path / "cache") for out in together]:  # an empty one, that all three fill
        ends(process)
    for out in together:
        pd.testing.assert_frame_equal(records_of(out), records_of(tmp_path / "alone" / "study"))
    assert not list((tmp_path / "cache").rglob(".partial-*"))
