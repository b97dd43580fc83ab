"""Where a study runs: device, versions, processor."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import torch.utils.deterministic
from joblib import cpu_count

from autodpq import __version__
from autodpq.errors import AutoDPQError

MIN_ROWS_SIDE_BY_SIDE, MAX_ROWS_SIDE_BY_SIDE = 100_000, 10_000_000
"""Rows of data whose trials are trained side by side though nobody says so."""


def choose_device(name: str) -> torch.device:
    """The device of ``auto``, ``cpu`` or ``cuda``.

    Raises:
        AutoDPQError: CUDA is asked for and not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise AutoDPQError("--device: cuda is not available here; use cpu or auto")
    return torch.device(name)


@contextmanager
def torch_settings() -> Iterator[None]:
    """One torch thread: models of this size gain nothing from a second, and digits then never depend on the cores.

    Denormals count as zero meanwhile: the weights of losing centroids underflow to them, and processors handle them a
    hundred times slower. Where there is a GPU, it adds in the same order every time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        with _deterministic() if torch.cuda.is_available() else nullcontext():
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


@contextmanager
def _deterministic() -> Iterator[None]:
    """Torch's deterministic mode; what a model of one's own calls that has none is told of, and goes on."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS promises nothing
    filling: Any = torch.utils.deterministic  # whose one attribute torch sets at run time, unknown to checkers
    mode, fills = torch.get_deterministic_debug_mode(), filling.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    filling.fill_uninitialized_memory = False  # it finds mistakes, at the cost of a kernel per tensor
    try:
        yield
    finally:
        filling.fill_uninitialized_memory = fills
        torch.set_deterministic_debug_mode(mode)


def jobs_for(n_rows: int) -> int:
    """How many trials are trained side by side where nobody says it.

    As many as there are physical cores, for these take no time from one another, and seconds are charged: two threads
    of a core would make searches of many trials look slower than they are. A process takes four seconds to start,
    as long as trials of few rows take, and holds rows of its own.

    Args:
        n_rows: Of the data.
    """
    return cpu_count(only_physical_cores=True) if MIN_ROWS_SIDE_BY_SIDE <= n_rows <= MAX_ROWS_SIDE_BY_SIDE else 1


def device_name(device: torch.device) -> str:
    """What to call a device in the records."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@cache
def machine_name() -> str:
    """Processor and number of cores."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text("utf-8", "replace").splitlines() if line.startswith("model name")]
        processor = lines[0].split(":", 1)[1].strip() if lines else processor
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}"


@cache
def versions() -> Mapping[str, str]:
    """Versions of what decides digits."""
    packages = ("torch", "numpy", "scipy", "optuna", "polars")
    found = {name: version(name) for name in packages}
    return MappingProxyType({"autodpq": __version__, "python": platform.python_version(), **found})
