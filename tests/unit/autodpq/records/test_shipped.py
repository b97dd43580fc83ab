from __future__ import annotations

from pathlib import Path

import pytest

from autodpq.errors import AutoDPQError
from autodpq.records.shipped import find_table, open_table, shipped_tables


@pytest.mark.parametrize("name", shipped_tables())
def test_tables_that_come_with_the_package_are_whole(name: str) -> None:
    table = open_table(name)
    assert table.about.n_plans * len(table.about.seeds) == len(table.rows) and len(table.worth) == table.about.n_plans
    assert len(table.searched) >= 2 and table.about.licence == "CC-BY-4.0"
    assert find_table(name).stat().st_size < 5_000_000


def test_a_table_is_a_file_or_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_table("synthetic").exists() and find_table("missing.parquet") == Path("missing.parquet")
    monkeypatch.chdir(tmp_path)
    Path("synthetic").touch()
    assert find_table("synthetic") == Path("synthetic"), "a file that is there goes first"
    with pytest.raises(AutoDPQError, match="no such table comes with the package; did you mean 'synthetic'"):
        find_table("syntetic")
