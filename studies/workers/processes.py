"""Trials in processes side by side on this machine."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self, cast

from autodpq.plan import CompressionPlan
from autodpq.training.attempt import failure, too_long, train_one
from autodpq.training.fit import Epoch
from autodpq.trial import Outcome, Prune
from studies.workers.local import LocalExecutor
from studies.workers.machine import torch_settings
from studies.workers.messages import EpochEnded, Ready, SentOutcome, TrainerSpec, TrialEnded
from studies.workers.order import MAX_ATTEMPTS, PruningOrder, in_order

# A process that trains sees itself, between two steps, that its trial took too long, and says how it came. Where a step
# does not end, or the process stands still, it is ended from outside so much later.
GRACE_SECONDS = 10.0
# What is not a trial's time - importing torch, taking in the rows, compiling, sending what came out - may take so long
# where trials have a limit; then the process is taken for lost.
STALL_SECONDS = 600.0
# That is waited at once: the operating system counts no more than some weeks.
_MOST_SECONDS = 3600.0


def end_with_parent() -> None:
    """Ends this process with the one that started it, which may have been killed: an epoch can take long."""
    study = multiprocessing.parent_process()
    assert study is not None, "a process of ours started this one"
    wait([study.sentinel])
    os._exit(1)


@torch_settings()
def _work(connection: Connection) -> None:
    """A worker's life: specifications and plans come in; epochs and outcomes go out, each epoch answered."""
    threading.Thread(target=end_with_parent, daemon=True).start()
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
                connection.send(Ready())
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
        ready: Whether it has what it needs to train.
        ends_by: When it is ended if nothing was heard of it, by the monotonic clock; infinity where it has no limit.
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
        self.ready = False
        self.ends_by = math.inf
        self._seconds = 0.0
        self._begun = 0.0
        self._plan: CompressionPlan | None = None
        self._spec: TrainerSpec | None = None
        self._telling: threading.Thread | None = None

    def begin(self, position: int, plan: CompressionPlan, spec: TrainerSpec) -> None:
        """Has a plan trained, after saying what to train it with, unless that is known."""
        self.position, self._plan = position, plan
        if self._spec is spec:
            self.train()
            return
        self._spec, self.ready = spec, False
        self.ends_by = math.inf if spec.timeout is None else time.monotonic() + STALL_SECONDS
        # Rows are more than a line holds: whoever sends them waits until they are read, which may never be.
        self._telling = threading.Thread(target=self._send, args=(spec,), daemon=True)
        self._telling.start()

    def train(self) -> None:
        """The process is ready: it gets its plan."""
        self.ready, self._seconds = True, 0.0
        self._go_on(self._plan)

    def answer(self, ends: bool) -> None:
        """Says whether to end after an epoch."""
        self._go_on(ends)

    def trained(self) -> float:
        """Seconds that it has trained its plan."""
        return self._seconds + time.monotonic() - self._begun

    def receive(self) -> object:
        """What the process has to say; None where it is gone."""
        self._seconds = self.trained()
        self.ends_by = math.inf
        watch = threading.Timer(STALL_SECONDS, self.process.kill)  # it may stand still in the middle of a message
        if self._spec is not None and self._spec.timeout is not None:
            watch.start()
        try:
            return cast(object, self.connection.recv())
        except (EOFError, OSError):
            return None
        finally:
            watch.cancel()

    def stop(self) -> None:
        """Ends the process, whatever it is doing; one that stands still does not see a gentler signal.

        An idle one ends by itself, for what torch's compiler has left in the system would stay there.
        """
        if self.position is None:
            self.connection.close()
            self.process.join(GRACE_SECONDS)
        self.process.kill()
        self.process.join()
        if self._telling is not None:
            self._telling.join()
        self.connection.close()

    def _go_on(self, message: object) -> None:
        assert self._spec is not None, "it was told what to train with"
        self._begun = time.monotonic()
        if self._spec.timeout is not None:
            self.ends_by = self._begun + self._spec.timeout + GRACE_SECONDS
        self._send(message)

    def _send(self, message: object) -> None:
        """Sends a message; that the process is gone is seen where answers are read."""
        with suppress(OSError):
            self.connection.send(message)


class WorkerPool:
    """Processes that train plans; they live as long as the study, so that each starts once.

    Args:
        jobs: How many; 0 where trials are not trained in processes, or none are started yet.
    """

    def __init__(self, jobs: int = 0) -> None:
        self.jobs = jobs
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        self.start(self.jobs)
        return self

    def start(self, jobs: int) -> None:
        """Starts so many: that takes seconds, in which the study goes on."""
        self.jobs = jobs
        self._workers = [_Worker() for _ in range(jobs)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers.clear()

    def executor(self, spec: TrainerSpec, here: LocalExecutor) -> ProcessExecutor:
        """An executor for one run; ``here`` trains a plan that comes alone."""
        return ProcessExecutor(self, spec, here)

    def idle(self, wanted: int) -> list[_Worker]:
        """As many workers as there are jobs for, none of them busy."""
        for worker in self._workers:
            if worker.position is not None:  # busy with what nobody waits for any more
                worker.stop()
        self._workers = [worker for worker in self._workers if worker.process.is_alive()]
        self._workers += [_Worker() for _ in range(min(self.jobs, wanted) - len(self._workers))]
        return self._workers[:wanted]

    def renew(self, worker: _Worker) -> _Worker:
        """A new worker in the place of one that died or has to."""
        worker.stop()
        fresh = _Worker()
        self._workers[self._workers.index(worker)] = fresh
        return fresh


class ProcessExecutor:
    """Trains the plans of one run in the processes of a pool.

    Args:
        pool: The processes.
        spec: What they train with.
        here: Trains a plan that comes alone, where trials have no limit: none that is overstepped here can be ended.
    """

    def __init__(self, pool: WorkerPool, spec: TrainerSpec, here: LocalExecutor) -> None:
        self.pool = pool
        self.spec = spec
        self.here = here

    def __call__(self, plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
        """Yields outcomes in the order of the plans."""
        if not plans or (len(plans) == 1 and self.spec.timeout is None):
            yield from self.here(plans, numbers, prune)
            return
        workers = self.pool.idle(len(plans))
        order = PruningOrder(prune, numbers)

        def answer(position: int, ends: bool) -> None:
            for worker in workers:
                if worker.position == position:
                    worker.answer(ends)

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
                    next_one = left.popleft()
                    attempts[next_one] += 1
                    worker.begin(next_one, plans[next_one], self.spec)
            busy = [(index, worker) for index, worker in enumerate(workers) if worker.position is not None]
            if not busy:
                return
            heard = wait([worker.connection for _, worker in busy], _until([worker for _, worker in busy]))
            now = time.monotonic()
            for index, worker in busy:
                has_said = worker.connection in heard
                if not has_said and now < worker.ends_by:
                    continue
                position = worker.position
                assert position is not None
                message = worker.receive() if has_said else None
                if isinstance(message, Ready):
                    worker.train()
                    continue
                if isinstance(message, tuple):
                    epoch, so_far = message
                    valid_aucs[position] = max(valid_aucs[position], so_far, key=len)
                    yield EpochEnded(position, epoch, so_far)
                    continue
                if isinstance(message, SentOutcome):
                    worker.position = None
                    outcome = message.unpack()
                else:
                    workers[index] = self.pool.renew(worker)
                    order.forget(position)
                    # With the epochs that were asked about, for a resumed search asks about them again.
                    asked = valid_aucs[position][: order.answered(position)]
                    if worker.ready and not has_said:
                        assert self.spec.timeout is not None, "nothing else ends a process that is ready"
                        outcome = failure(too_long(self.spec.timeout), worker.trained(), asked)
                    elif attempts[position] < MAX_ATTEMPTS:
                        left.appendleft(position)
                        continue
                    else:
                        error = (
                            f"the process that trained it ended {attempts[position]} times, "
                            f"exit code {worker.process.exitcode}"
                            if has_said
                            else f"no process was ready to train it within {STALL_SECONDS:g} s, "
                            f"{attempts[position]} times"
                        )
                        outcome = Outcome(None, None, 0.0, asked, None, error)
                yield TrialEnded(position, replace(outcome, attempts=attempts[position]))


def _until(workers: Sequence[_Worker]) -> float | None:
    """Seconds until the first has to be ended; None where none will."""
    first = min(worker.ends_by for worker in workers)
    return None if first == math.inf else min(max(0.0, first - time.monotonic()), _MOST_SECONDS)
