"""What runs on a Ray cluster: trials on its nodes, and a mailbox between them and the study."""

from __future__ import annotations

import asyncio
import itertools
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from typing import Any

from torch import Tensor

from autodpq.plan import CompressionPlan
from autodpq.training.attempt import failure, train_one
from autodpq.training.fit import Epoch
from autodpq.training.trainer import Trainer
from autodpq.trial import Outcome
from studies.workers.machine import torch_settings
from studies.workers.messages import EpochEnded, SentOutcome, TrialLost
from studies.workers.order import MAX_ATTEMPTS


@dataclass(frozen=True)
class Parcel:
    """What the trials of a run have in common, as references: Ray brings each to a node once.

    Attributes:
        spec: A trainer's specification without its rows, and the model where workers cannot import it.
        train: Training rows.
        valid: Validation rows.
    """

    spec: Any
    train: Any
    valid: Any


@dataclass(frozen=True)
class Job:
    """What a trial does.

    Attributes:
        position: Of its plan.
        plan: The plan.
        parcel: What to train it with.
        attempt: How often the plan has been begun, with this time.
        ticket: No other job's; tells a process that was lost from the one in its place.
    """

    position: int
    plan: CompressionPlan
    parcel: Parcel
    attempt: int
    ticket: int


@dataclass(frozen=True)
class TrialBegun:
    """A trial is begun, for the first time or again.

    Attributes:
        position: Of its plan.
        ticket: Its job's.
    """

    position: int
    ticket: int


@dataclass(frozen=True)
class TrialSent:
    """A trial is over.

    Attributes:
        position: Of its plan.
        outcome: What it came to.
    """

    position: int
    outcome: SentOutcome


Message = TrialBegun | EpochEnded | TrialLost | TrialSent


class Mailbox:
    """An actor beside the study: trials leave messages and wait for answers, the study takes and answers them.

    It gives out the first plan that is left to whatever trial of Tune's begins. Tune itself, where it uses a process
    again, starts trials in any order, and puts those that it begins again last: a trial that waits for one that waits
    for the first one's resources would wait for ever.
    """

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._parcel: Parcel | None = None
        self._left: dict[int, tuple[CompressionPlan, int]] = {}
        self._jobs: dict[str, Job] = {}
        self._answers: dict[int, asyncio.Future[bool]] = {}
        self._tickets = itertools.count()

    async def open(self, plans: Mapping[int, tuple[CompressionPlan, int]], parcel: Parcel) -> None:
        """The study wants plans trained, given by position and with how often they have been begun."""
        for answer in self._answers.values():
            answer.cancel()
        self._messages, self._answers, self._jobs = asyncio.Queue(), {}, {}
        self._left, self._parcel = dict(plans), parcel

    async def take(self, seconds: float) -> list[Message]:
        """The study takes what has come in, or comes in within so many seconds."""
        messages = []
        with suppress(TimeoutError):
            messages.append(await asyncio.wait_for(self._messages.get(), seconds))
        while not self._messages.empty():
            messages.append(self._messages.get_nowait())
        return messages

    async def answer(self, ticket: int, ends: bool) -> None:
        """The study answers a trial that waits."""
        answer = self._answers.pop(ticket, None)
        if answer is not None:
            answer.set_result(ends)

    async def begin(self, trial: str) -> Job | None:
        """A trial of Tune's begins, perhaps again; None where nothing is left to do."""
        if not self._left or self._parcel is None:
            return None
        position = min(self._left)
        plan, begun = self._left.pop(position)
        job = self._jobs[trial] = Job(position, plan, self._parcel, begun + 1, next(self._tickets))
        self._messages.put_nowait(TrialBegun(job.position, job.ticket))
        return job

    async def epoch_ended(self, trial: str, ticket: int, event: EpochEnded) -> bool:
        """A trial waits for the word on whether to end."""
        if not self._knows(trial, ticket):
            return True
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._answers[ticket] = answer
        self._messages.put_nowait(event)
        return await answer

    async def trial_ended(self, trial: str, ticket: int, outcome: SentOutcome) -> None:
        """A trial is over."""
        if self._knows(trial, ticket):
            self._messages.put_nowait(TrialSent(self._jobs.pop(trial).position, outcome))

    async def trial_lost(self, trial: str, error: str) -> None:
        """Tune has seen a trial's process or node go; its plan is left again, unless it is to blame."""
        job = self._jobs.pop(trial, None)
        if job is None:
            return
        answer = self._answers.pop(job.ticket, None)
        if answer is not None:
            answer.cancel()
        if job.attempt < MAX_ATTEMPTS:
            self._left[job.position] = (job.plan, job.attempt)
            self._messages.put_nowait(TrialLost(job.position))
        else:
            outcome = Outcome(None, None, 0.0, (), None, lost_for_good(error))
            self._messages.put_nowait(TrialSent(job.position, SentOutcome.pack(outcome)))

    def _knows(self, trial: str, ticket: int) -> bool:
        return trial in self._jobs and self._jobs[trial].ticket == ticket


def lost_for_good(error: str) -> str:
    """What to say of a plan that was begun as often as it may be."""
    return f"its process or node was lost {MAX_ATTEMPTS} times: {error}"


@lru_cache(maxsize=1)
def _build(parcel: Parcel) -> tuple[Trainer, dict[str, Tensor] | None, float | None]:
    """What a process trains its trials with; a process knows one parcel only."""
    import_module("torch._dynamo")  # a second that the first optimizer would take out of a trial's time
    get = import_module("ray").get
    spec, model = get(parcel.spec)
    spec = replace(spec, train=get(parcel.train), valid=get(parcel.valid))
    with warnings.catch_warnings():
        # Rows lie in memory that all processes of a node share and none may write; none does.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        trainer, pretrained = spec.build(model)
    return trainer, pretrained, spec.timeout


@torch_settings()
def train_trial(config: dict[str, Any]) -> None:
    """One trial, as Tune runs it on a node.

    Args:
        config: ``mailbox`` is the name of the study's mailbox.
    """
    ray, tune = import_module("ray"), import_module("ray.tune")
    mailbox = ray.get_actor(config["mailbox"])
    trial = tune.get_context().get_trial_id()
    job: Job | None = ray.get(mailbox.begin.remote(trial))
    if job is None:
        return  # it was over when its process was lost

    def after_epoch(epoch: Epoch, valid_aucs: tuple[float, ...]) -> bool:
        tune.report({"plan": job.position, "epoch": epoch.number, "valid_auc": epoch.metrics.auc})
        event = EpochEnded(job.position, epoch, valid_aucs)
        return bool(ray.get(mailbox.epoch_ended.remote(trial, job.ticket, event)))

    try:
        trainer, pretrained, timeout = _build(job.parcel)
    except Exception as error:
        outcome = failure(error)
    else:
        outcome = train_one(trainer, job.plan, pretrained, after_epoch, timeout)
    ray.get(mailbox.trial_ended.remote(trial, job.ticket, SentOutcome.pack(outcome)))
