"""Writes the expected tables anew, after a change that was meant: run this file."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from reports import write_report

GOLDEN = Path(__file__).parent / "golden"


def main() -> None:
    """Copies the tables of a fresh report on the golden study."""
    with tempfile.TemporaryDirectory() as temporary:
        study = Path(shutil.copytree(GOLDEN / "study", Path(temporary) / "study"))
        (GOLDEN / "expected").mkdir(exist_ok=True)
        for path in write_report(study):
            if path.suffix in (".md", ".tex", ".csv"):  # figures and the page have tests of their own
                shutil.copy(path, GOLDEN / "expected" / path.name)


if __name__ == "__main__":
    main()
