"""The examples that search tables of plans by other libraries, as a person runs them; each needs its library."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.made_tables import made_table
from support.patience import PATIENCE

from autodpq.records.table import write_table

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[3] / "examples" / "plan-tables"


@pytest.mark.parametrize(
    ("library", "script", "amount", "told"),
    [
        ("optunahub", "optunahub_study.py", 10, ["trials are on its front", "TPE within 42 bytes", "Test regret: 0.0"]),
        ("syne_tune", "syne_tune_study.py", 3, ["RandomSearch: ", "ASHA: ", "best validation AUC 0.7"]),
        ("carps", "carps_study.py", 40, ["best validation AUC 0.70", "Validation regret: 0.00000"]),
    ],
)
def test_it_searches_a_table(library: str, script: str, amount: int, told: list[str], tmp_path: Path) -> None:
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    write_table(tmp_path / "table.parquet", made_table())
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), str(tmp_path / "table.parquet"), str(amount)],
        env={**os.environ, "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    for text in told:
        assert text in done.stdout
