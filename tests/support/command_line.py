"""The command line, called as a person calls it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.little import no_pictures
from support.patience import PATIENCE


@dataclass(frozen=True)
class Called:
    """What a call came to."""

    code: int
    out: str
    err: str


Call = Callable[..., Called]


def call_here(*arguments: str | Path, cache: Path) -> Called:
    """Calls the command line in this process, for what a module's tests share; its reports have no pictures."""
    from studies.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with (
        no_pictures(),
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setenv("AUTODPQ_CACHE", str(cache))
        patch.delenv("AUTODPQ_DATA", raising=False)
        patch.setattr(sys, "argv", ["autodpq-study", *map(str, arguments)])
        main()
    return Called(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def call_cli(*arguments: str | Path, cache: Path, env: Mapping[str, str] | None = None) -> Called:
    """Calls the command line in another process; no folder of source files unless ``env`` says so."""
    inherited = {name: value for name, value in os.environ.items() if name != "AUTODPQ_DATA"}
    command = [sys.executable, "-m", "studies.cli.main", *map(str, arguments)]
    done = subprocess.run(
        command,
        env={**inherited, "AUTODPQ_CACHE": str(cache), **(env or {})},
        cwd=cache.parent,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return Called(done.returncode, done.stdout, done.stderr)
