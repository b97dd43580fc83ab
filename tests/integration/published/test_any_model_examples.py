"""The examples that compress models of other libraries, as a person runs them; they need those and MovieLens-1M."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.patience import PATIENCE

EXAMPLES = Path(__file__).parents[3] / "examples" / "any-model"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "script"), [("torchfm", "torchfm_deepfm.py"), ("deepctr_torch", "deepctr_deepfm.py")]
)
def test_a_tenth_of_the_bytes_costs_little_auc(library: str, script: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    data_dir = os.environ.get("AUTODPQ_DATA")
    assert data_dir, "set AUTODPQ_DATA to the folder that holds ml-1m.zip"
    command = [sys.executable, EXAMPLES / script, "--data-dir", data_dir, "--out", tmp_path / "model.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stderr
    before, after = map(float, re.findall(r"test AUC (\S+) before, (\S+) after", done.stdout)[0])
    assert before > 0.8 and after > before - 0.002
    old, new = (
        int(size.replace(",", "")) for size in re.findall(r"([\d,]+) bytes before, ([\d,]+) after", done.stdout)[0]
    )
    # All tables of 13,561 rows: 16 numbers and a first-order weight each. The percentage printed is rounded.
    assert old == 13561 * 17 * 4 and new * 10 <= old
