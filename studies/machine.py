"""Where a study runs: device, versions, processor."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from autodpq import __version__
from autodpq.errors import AutoDPQError


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
    hundred times slower.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def device_name(device: torch.device) -> str:
    """What to call a device in the records."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@cache
def machine_name() -> str:
    """Processor and number of cores."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        processor = lines[0].split(":", 1)[1].strip() if lines else processor
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}"


def versions() -> dict[str, str]:
    """Versions of what decides digits."""
    packages = ("torch", "numpy", "scipy", "scikit-learn", "optuna", "polars")
    return {"autodpq": __version__, "python": platform.python_version(), **{name: version(name) for name in packages}}
