"""What tests of studies share."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_study import Run, small_study


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a small study in the test's folder."""
    return small_study(tmp_path)
