"""A table, trained once for the tests that search it."""

from __future__ import annotations

import pytest
from support.tables import Small


@pytest.fixture(scope="package")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """The rows and their table."""
    made = Small(tmp_path_factory.mktemp("small"))
    assert not made.tabulate().n_missing
    return made


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.write._REGRETS", ())
