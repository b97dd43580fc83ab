"""What calls of the command line need; where many are made, they are made within this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.command_line import Call, Called
from support.little import no_pictures


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of the session's own, the same for all its processes."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"


@pytest.fixture
def call_here(cache: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls the entry point in this process: the same code, without the seconds that imports take."""
    from studies.cli.main import main

    monkeypatch.setenv("AUTODPQ_CACHE", str(cache))
    monkeypatch.delenv("AUTODPQ_DATA", raising=False)

    def call(*arguments: str | Path) -> Called:
        monkeypatch.setattr(sys, "argv", ["autodpq-study", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        code = ended.value.code
        return Called(code if isinstance(code, int) else int(code is not None), out, err)

    return call


@pytest.fixture
def call(cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls the entry point in this process; what it prints goes to no file, whose size would be limited too."""
    from studies.cli.main import main

    monkeypatch.setenv("AUTODPQ_CACHE", str(cache))

    def here(*arguments: str | Path) -> Called:
        monkeypatch.setattr(sys, "argv", ["autodpq-study", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Called(int(ended.value.code or 0), *capsys.readouterr())

    return here


@pytest.fixture
def nothing_is_drawn() -> Iterator[None]:
    """Reports that the test's own process writes have no pictures."""
    with no_pictures():
        yield


@pytest.fixture(scope="session")
def own_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 rows of four fields, three of them with rare values; what is clicked depends on all of them."""
    rng = np.random.Generator(np.random.PCG64(11))
    n_rows = 3000
    user, item = (rng.zipf(1.4, n_rows) % 400 for _ in range(2))
    city, device = rng.zipf(1.8, n_rows) % 50, rng.integers(3, size=n_rows)
    logits = 1.5 * np.sin(user) + np.cos(2.0 * item) + 0.5 * np.sin(3.0 * city) + 0.3 * device - 0.3
    click = (rng.random(n_rows) < 1 / (1 + np.exp(-logits))).astype(int)
    path = tmp_path_factory.mktemp("own") / "shop.csv"
    frame = pd.DataFrame({"click": click, "user": user, "item": item, "city": city, "device": device})
    frame.to_csv(path, index=False)
    return path
