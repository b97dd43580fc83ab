"""Writes the expected tables anew, after a change that was meant: run this file, with tests/ in PYTHONPATH."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from support.fake_studies import copy_study

from reports import write_report

GOLDEN = Path(__file__).parent / "golden"
WITH_FLOORS = ("table1", "table2", "statistics")


def main() -> None:
    """Copies the tables of fresh reports on the golden study."""
    for name, floors in (("expected", False), ("expected-floors", True)):
        with tempfile.TemporaryDirectory() as temporary:
            (GOLDEN / name).mkdir(exist_ok=True)
            for path in write_report(copy_study(GOLDEN / "study", Path(temporary) / "study", floors=floors)):
                # Figures and the page have tests of their own; of the study with floors, these are what differs.
                if path.suffix in (".md", ".tex", ".csv") and (not floors or path.stem in WITH_FLOORS):
                    shutil.copy(path, GOLDEN / name / path.name)


if __name__ == "__main__":
    main()
