"""Trials in processes side by side on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from autodpq.plan import CompressionPlan
from autodpq.training.attempt import failure, train_one
from autodpq.training.fit import Epoch
from autodpq.trial import Outcome, Prune
from studies.workers.local import LocalExecutor
from studies.workers.machine import torch_settings
from studies.workers.messages import EpochEnded, SentOutcome, TrainerSpec, TrialEnded
from studies.workers.order import MAX_ATTEMPTS, PruningOrder, in_order


def _end_with_the_study() -> None:
    """Ends this process with the one that started it, which may have been killed: an epoch can take long."""
    study = multiprocessing.parent_process()
    assert study is not None, "a worker is started by a study"
    wait([study.sentinel])
    os._exit(1)


@torch_settings()
def _work(connection: Connection) -> None:
    """A worker's life: specifications and plans come in; epochs and outcomes go out, each epoch answered."""
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    trainer = pretrained = timeout = refusal = None

    def after_epoch(epoch: Epoch, valid_aucs: tuple[float, ...]) -> bool:
        connection.send((epoch, valid_aucs))
        return bool(connection.recv())

    try:
        while True:
            message = connection.recv()
            if isinstance(message, TrainerSpec):
                trainer = None
                try:
                    trainer, pretrained = message.build()
                    timeout = message.timeout
                except Exception as failed:
                    refusal = failure(failed)
            elif trainer is None:
                assert refusal is not None, "a specification comes before plans"
                connection.send(SentOutcome.pack(refusal))
            else:
                connection.send(SentOutcome.pack(train_one(trainer, message, pretrained, after_epoch, timeout)))
    except (EOFError, OSError):
        return  # the study ended


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that start here never see Ctrl-C, which a terminal sends to all: who started them ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which lets interrupts through again when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """One process and the line to it.

    Attributes:
        position: Of the plan that it trains; None while it is idle.
    """

    def __init__(self) -> None:
        # Forked children would inherit torch's threads in an unknown state.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        with _without_interrupts():
            self.process.start()
        theirs.close()
        self.position: int | None = None
        self._spec: TrainerSpec | None = None

    def tell(self, spec: TrainerSpec) -> None:
        """Says what to train with, unless it is known."""
        if self._spec is not spec:
            self.send(spec)
            self._spec = spec

    def send(self, message: object) -> None:
        """Sends a message; that the process is gone is seen where answers are read."""
        with suppress(OSError):
            self.connection.send(message)

    def stop(self) -> None:
        """Ends the process, whatever it is doing."""
        self.process.terminate()
        self.process.join()
        self.connection.close()


class WorkerPool:
    """Processes that train plans; they live as long as the study, so that each starts once.

    Args:
        jobs: How many; 0 where trials are not trained in processes.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        """Starts them: that takes seconds, in which the data are read."""
        self._workers = [_Worker() for _ in range(self.jobs)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers.clear()

    def executor(self, spec: TrainerSpec, here: LocalExecutor) -> ProcessExecutor:
        """An executor for one run; ``here`` trains a plan that comes alone."""
        return ProcessExecutor(self, spec, here)

    def ready(self, spec: TrainerSpec, wanted: int) -> list[_Worker]:
        """As many workers as there are jobs for, each knowing what to train with."""
        for worker in self._workers:
            if worker.position is not None:  # busy with what nobody waits for any more
                worker.stop()
        self._workers = [worker for worker in self._workers if worker.process.is_alive()]
        self._workers += [_Worker() for _ in range(min(self.jobs, wanted) - len(self._workers))]
        workers = self._workers[:wanted]
        for worker in workers:
            worker.tell(spec)
        return workers

    def renew(self, worker: _Worker, spec: TrainerSpec) -> _Worker:
        """A new worker in the place of one that died."""
        worker.stop()
        fresh = _Worker()
        self._workers[self._workers.index(worker)] = fresh
        fresh.tell(spec)
        return fresh


class ProcessExecutor:
    """Trains the plans of one run in the processes of a pool.

    Args:
        pool: The processes.
        spec: What they train with.
        here: Trains a plan that comes alone.
    """

    def __init__(self, pool: WorkerPool, spec: TrainerSpec, here: LocalExecutor) -> None:
        self.pool = pool
        self.spec = spec
        self.here = here

    def __call__(self, plans: Sequence[CompressionPlan], first: int, prune: Prune) -> Iterator[Outcome]:
        """Yields outcomes in the order of the plans."""
        if len(plans) < 2:
            yield from self.here(plans, first, prune)
            return
        workers = self.pool.ready(self.spec, len(plans))
        order = PruningOrder(prune, first, len(plans))

        def answer(position: int, ends: bool) -> None:
            for worker in workers:
                if worker.position == position:
                    worker.send(ends)

        events = self._events(plans, workers, order)
        yield from in_order(events, len(plans), order, answer, self.here.on_epoch, self.here.on_outcome)

    def _events(
        self, plans: Sequence[CompressionPlan], workers: list[_Worker], order: PruningOrder
    ) -> Iterator[EpochEnded | TrialEnded]:
        """Keeps the workers busy and tells what happens; a trial whose process is lost is begun again."""
        left = deque(range(len(plans)))
        attempts = [0] * len(plans)
        valid_aucs: list[tuple[float, ...]] = [()] * len(plans)
        while True:
            for worker in workers:
                if worker.position is None and left:
                    worker.position = left.popleft()
                    attempts[worker.position] += 1
                    worker.send(plans[worker.position])
            busy = {worker.connection: index for index, worker in enumerate(workers) if worker.position is not None}
            if not busy:
                return
            for connection in wait(list(busy)):
                index = busy[connection]  # type: ignore[index]
                worker = workers[index]
                position = worker.position
                assert position is not None
                try:
                    message: Any = worker.connection.recv()
                except (EOFError, OSError):
                    workers[index] = self.pool.renew(worker, self.spec)
                    order.forget(position)
                    if attempts[position] < MAX_ATTEMPTS:
                        left.appendleft(position)
                        continue
                    error = f"the process that trained it ended {attempts[position]} times"
                    # With the epochs that were asked about, for a resumed search asks about them again.
                    asked = valid_aucs[position][: order.answered(position)]
                    error = f"{error}, exit code {worker.process.exitcode}"
                    outcome = Outcome(None, None, 0.0, asked, None, error)
                else:
                    if not isinstance(message, SentOutcome):
                        epoch, so_far = message
                        valid_aucs[position] = max(valid_aucs[position], so_far, key=len)
                        yield EpochEnded(position, epoch, so_far)
                        continue
                    worker.position = None
                    outcome = message.unpack()
                yield TrialEnded(position, replace(outcome, attempts=attempts[position]))
