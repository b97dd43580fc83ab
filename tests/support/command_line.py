"""The command line, called as a person calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.patience import PATIENCE


@dataclass(frozen=True)
class Called:
    """What a call came to."""

    code: int
    out: str
    err: str


Call = Callable[..., Called]


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
