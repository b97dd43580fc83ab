"""Processes that need not import what takes seconds."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext
from types import SimpleNamespace


def forking() -> ForkServerContext:
    """Starts processes as ``spawn`` does, but from one of the session that has imported torch and runs no thread.

    What a process finds is the same but for its environment and its standard streams, which are those of that one.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["studies.workers.processes", "studies.watch.dashboard", "autodpq.models.deepfm"])
    return context


# Stands in for the module where the runner starts its workers.
FORKING = SimpleNamespace(get_context=lambda method: forking(), parent_process=multiprocessing.parent_process)
