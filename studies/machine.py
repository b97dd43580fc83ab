"""Where a study runs: device, versions, processor."""

from __future__ import annotations

import os
import platform
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


def set_up_torch() -> None:
    """One torch thread per process: models of this size gain nothing from a second, and digits then never depend on
    the number of cores."""
    torch.set_num_threads(1)
    # Weights of losing centroids underflow to denormals, which processors handle a hundred times slower than zero.
    torch.set_flush_denormal(True)


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
