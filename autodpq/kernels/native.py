"""This package's C++, compiled when it is first needed, for the processor at hand."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from autodpq.errors import AutoDPQError

FOLDER = Path(__file__).parent
# Loops are told to be vectorised; nothing else is computed in another order than it is written.
FLAGS = "-x c++ -std=c++17 -O3 -march=native -fopenmp-simd -fno-math-errno -fno-trapping-math -fPIC -shared".split()


def compiler() -> str | None:
    """The path of the C++ compiler; None where there is none."""
    names = filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++"))
    return next(filter(None, map(shutil.which, names)), None)


def is_known(tensor: Tensor) -> bool:
    """Whether compiled code knows a tensor's numbers; it does not those of a network that was turned to double."""
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and tensor.is_contiguous()


@cache
def library(name: str) -> ctypes.CDLL:
    """``NAME.cpp`` compiled; once per process.

    Raises:
        AutoDPQError: There is no compiler, or it fails.
    """
    program = compiler()
    if program is None:
        raise AutoDPQError("--compile: there is no C++ compiler (g++ or clang++); choose --compile off")
    source = FOLDER / f"{name}.cpp"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.so"
        command = [program, *FLAGS, str(source), "-o", str(file)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode:
            reason = " ".join(done.stderr.split())[:300]
            raise AutoDPQError(f"--compile: {program} does not compile {source}: {reason}; choose --compile off")
        return ctypes.CDLL(str(file))
