"""Trials on an existing Ray cluster, through Ray Tune."""

from __future__ import annotations

import math
import sys
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from autodpq.data import Samples
from autodpq.errors import AutoDPQError
from autodpq.models import MODELS, CTRModel
from autodpq.plan import CompressionPlan
from autodpq.trial import Outcome, Prune
from studies.workers.local import LocalExecutor
from studies.workers.messages import EpochEnded, TrainerSpec, TrialEnded, TrialLost
from studies.workers.order import MAX_ATTEMPTS, OnEpoch, OnOutcome, PruningOrder, in_order
from studies.workers.ray_connection import answers, check_packages, connected, one_line, suitable_nodes
from studies.workers.ray_tuning import Tuning
from studies.workers.ray_worker import Mailbox, Message, Parcel, TrialBegun, TrialSent, lost_for_good

# How often the study looks up, for Ctrl-C and for whether the cluster is still there.
POLL_SECONDS = 0.5
# A cluster whose head answers no more for so long is lost; Ray itself would end this process after 60.
LOST_SECONDS = 20.0
# Until a person is told that trials wait for others' work to end.
IDLE_SECONDS = 60.0

_NO_ROWS = Samples(np.empty((0, 0), np.int32), np.empty(0, np.uint8))


class RayCluster:
    """The connection to a cluster; it lives as long as the study.

    Args:
        address: ``host:port``, or ``auto`` for the cluster that this machine is part of.
        cpus_per_trial: Cores that a trial takes.
        gpus_per_trial: GPUs that a trial takes.
        warn: Told what a person should know.
    """

    def __init__(self, address: str, cpus_per_trial: float, gpus_per_trial: float, warn: Callable[[str], None]) -> None:
        self.address = address
        self.resources = {"cpu": cpus_per_trial, "gpu": gpus_per_trial}
        self.warn = warn
        self._closing = ExitStack()
        self._rows: dict[int, tuple[weakref.ref[Samples], Any]] = {}
        self._sent: tuple[TrainerSpec, Parcel] | None = None
        self._tuning: Tuning | None = None

    def __enter__(self) -> Self:
        """Connects.

        Raises:
            AutoDPQError: No cluster answers, or it cannot run trials.
        """
        with ExitStack() as closing:
            self._head = closing.enter_context(connected(self.address))
            self._seen = time.monotonic()
            closing.callback(self.end)
            nodes = suitable_nodes(self.resources["cpu"], self.resources["gpu"])
            self._ray: Any = import_module("ray")
            here = self._ray.get_runtime_context().get_node_id()
            nodes += [node for node in self._ray.nodes() if node["NodeID"] == here and node not in nodes]
            pinned = import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy(here, soft=False)
            self._mailbox_name = f"autodpq-{uuid.uuid4().hex}"
            options = {"name": self._mailbox_name, "num_cpus": 0, "max_concurrency": 100_000}
            self.mailbox = self._ray.remote(Mailbox).options(scheduling_strategy=pinned, **options).remote()
            check_packages(nodes, self.warn)
            self._closing = closing.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def executor(self, spec: TrainerSpec, here: LocalExecutor) -> RayExecutor:
        """An executor for one run; of ``here``, who is told of epochs and outcomes."""
        return RayExecutor(self, spec, here.on_epoch, here.on_outcome)

    def tune(self, plans: Mapping[int, tuple[CompressionPlan, int]], parcel: Parcel) -> Tuning:
        """Starts training plans, given by position and with how often they have been begun."""
        self.end()
        self.ask("open", plans, parcel)
        self._tuning = Tuning(self.mailbox, self._mailbox_name, len(plans), self.resources)
        return self._tuning

    def end(self) -> None:
        """Nobody waits for trials any more."""
        if self._tuning is not None:
            self._tuning.end()
            self._tuning = None

    def parcel(self, spec: TrainerSpec) -> Parcel:
        """What trials train with, brought to the cluster unless it is there."""
        if self._sent is None or self._sent[0] is not spec:
            rest = replace(spec, train=_NO_ROWS, valid=_NO_ROWS)
            with _sendable(spec.model) as model:
                sent = self._ray.put((rest, model))
            self._sent = spec, Parcel(sent, self._share(spec.train), self._share(spec.valid))
        return self._sent[1]

    def _share(self, rows: Samples) -> Any:
        """Brings rows to the cluster, once however many runs use them, and for as long as any may."""
        key = id(rows)
        if key not in self._rows:
            self._rows[key] = weakref.ref(rows, lambda _: self._rows.pop(key, None)), self._ray.put(rows.in_memory())
        return self._rows[key][1]

    def ask(self, method: str, *arguments: Any) -> Any:
        """Calls the mailbox.

        Raises:
            AutoDPQError: The cluster is lost.
        """
        try:
            answer = self._ray.get(getattr(self.mailbox, method).remote(*arguments), timeout=LOST_SECONDS)
        except self._ray.exceptions.RayError as error:
            raise AutoDPQError(f"--ray-address: the Ray cluster at {self._head} is lost: {one_line(error)}") from None
        if time.monotonic() - self._seen > LOST_SECONDS / 4:
            if answers(self._head):
                self._seen = time.monotonic()
            elif time.monotonic() - self._seen > LOST_SECONDS:
                raise AutoDPQError(f"--ray-address: the Ray cluster at {self._head} is lost: its head answers no more")
        return answer

    def messages(self, tuning: Tuning) -> Iterator[Message]:
        """What trials tell until they have ended."""
        running, warns_at = True, time.monotonic() + IDLE_SECONDS
        while running:
            running = tuning.is_alive()  # first: once it has ended, all that trials tell is there
            messages: list[Message] = self.ask("take", POLL_SECONDS)
            if messages:
                warns_at = math.inf
            elif time.monotonic() > warns_at:
                warns_at = math.inf
                self.warn(f"no trial has begun for {IDLE_SECONDS:g} s: the cluster has no node free for one")
            yield from messages


@contextmanager
def _sendable(reference: str) -> Iterator[type[CTRModel] | None]:
    """A model that was loaded from a file, for workers have no such module; it is sent with what lies beside it."""
    where, _, _ = reference.rpartition(":")
    if not where.endswith(".py"):
        yield None
        return
    model, cloudpickle = MODELS.find(reference), import_module("ray.cloudpickle")
    folder = Path(where).expanduser().resolve().parent
    files = [(module, getattr(module, "__file__", None)) for module in list(sys.modules.values())]
    modules = [module for module, file in files if file is not None and Path(file).resolve().parent == folder]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield model
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


class RayExecutor:
    """Trains the plans of one run on a cluster.

    Args:
        cluster: The cluster.
        spec: What trials train with.
        on_epoch: Called after every epoch.
        on_outcome: Called after every plan.
    """

    def __init__(self, cluster: RayCluster, spec: TrainerSpec, on_epoch: OnEpoch, on_outcome: OnOutcome) -> None:
        self.cluster = cluster
        self.spec = spec
        self.on_epoch = on_epoch
        self.on_outcome = on_outcome

    def __call__(self, plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
        """Yields outcomes in the order of the plans."""
        if not plans:
            return
        tickets: dict[int, int] = {}

        def answer(position: int, ends: bool) -> None:
            self.cluster.mailbox.answer.remote(tickets[position], ends)

        order = PruningOrder(prune, numbers)
        events = self._events(plans, numbers, tickets)
        try:
            yield from in_order(events, len(plans), order, answer, self.on_epoch, self.on_outcome)
        finally:
            self.cluster.end()

    def _events(
        self, plans: Sequence[CompressionPlan], numbers: Sequence[int], tickets: dict[int, int]
    ) -> Iterator[EpochEnded | TrialEnded | TrialLost]:
        """What happens until all trials are over; ``tickets`` tells whom an answer is for."""
        left, attempts = set(range(len(plans))), [0] * len(plans)
        parcel = self.cluster.parcel(self.spec)
        while left:
            before = sum(attempts)
            tuning = self.cluster.tune({position: (plans[position], attempts[position]) for position in left}, parcel)
            for message in self.cluster.messages(tuning):
                position = message.position
                if isinstance(message, TrialBegun):
                    attempts[position] += 1
                    tickets[position] = message.ticket
                elif isinstance(message, TrialSent):
                    left.remove(position)
                    yield TrialEnded(position, replace(message.outcome.unpack(), attempts=attempts[position]))
                else:
                    if isinstance(message, TrialLost):
                        self.cluster.warn(f"trial {numbers[position]}: its process or node was lost; it begins again")
                    yield message
                if not left:
                    return
            # Tune gives up or leaves trials out where memory is short or a node goes at a bad moment.
            if sum(attempts) == before:
                raise AutoDPQError(f"--executor ray: trials do not start: {tuning.error or 'Tune ended'}")
            for position in sorted(left):
                if attempts[position] >= MAX_ATTEMPTS:
                    left.remove(position)
                    outcome = Outcome(None, None, 0.0, (), None, lost_for_good(tuning.error), attempts[position])
                    yield TrialEnded(position, outcome)
                elif attempts[position]:
                    yield TrialLost(position)
