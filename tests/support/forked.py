"""Processes that need not import what takes seconds."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from types import SimpleNamespace
from typing import Any


def forking() -> ForkServerContext:
    """Starts processes as ``spawn`` does, but from one of the session that has imported torch and runs no thread.

    What a process finds is the same but for its environment and its standard streams, which are those of that one.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["studies.workers.processes", "studies.watch.dashboard", "studies.runner", "reports.write", "jinja2", "polars"]
    )
    return context


# Stands in for the module where the runner starts its workers.
FORKING = SimpleNamespace(get_context=lambda method: forking(), parent_process=multiprocessing.parent_process)


def _call(arguments: Sequence[str], env: Mapping[str, str], out: Connection, err: Connection) -> None:
    from support.little import no_pictures

    from studies.cli.main import main
    from studies.workers import processes as workers

    gc.freeze()  # what was imported is not searched for garbage again and again
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have what they start in the background ignore it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked where the first that was forked is a worker
    process._parent_process = None  # type: ignore[attr-defined]  # nobody's worker, as whoever asks is told
    # Its workers are of its group, as those that are spawned, and begin without importing torch: it runs no thread yet.
    workers.multiprocessing = SimpleNamespace(  # type: ignore[attr-defined]
        get_context=lambda method: multiprocessing.get_context("fork"), parent_process=multiprocessing.parent_process
    )
    for connection, stream in ((out, 1), (err, 2)):
        os.dup2(connection.fileno(), stream)
        connection.close()
    sys.stdout, sys.stderr = (open(stream, "w", encoding="utf-8", closefd=False) for stream in (1, 2))
    os.environ.update(env)
    sys.argv = ["autodpq-study", *arguments]
    with no_pictures():
        main()


class ForkedCall:
    """A call of the command line with pipes and a process group of its own, used as a :class:`subprocess.Popen` is.

    Its reports have no pictures.

    Args:
        arguments: Of the command line.
        env: Is added to the environment.

    Attributes:
        pid: Of the process.
    """

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        context = forking()
        (out, their_out), (err, their_err) = (context.Pipe(duplex=False) for _ in range(2))
        self._process = context.Process(target=_call, args=(arguments, env, their_out, their_err))
        self._process.start()
        their_out.close()
        their_err.close()
        self._said = {out: b"", err: b""}
        self._open: list[Any] = [out, err]
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code or minus the signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What it said, when it has ended and no process holds its pipes any more."""
        ends = time.monotonic() + timeout
        while self._open:
            ready = wait(self._open, max(0.0, ends - time.monotonic()))
            if not ready:
                raise subprocess.TimeoutExpired("autodpq-study", timeout)
            for pipe in ready:
                piece = os.read(pipe.fileno(), 1 << 16)
                self._said[pipe] += piece
                if not piece:
                    self._open.remove(pipe)
                    pipe.close()
        self._process.join()
        out, err = (said.decode() for said in self._said.values())
        return out, err
