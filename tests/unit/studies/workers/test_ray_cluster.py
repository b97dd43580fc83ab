"""What of the Ray executor needs no cluster, and mostly no Ray."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
from support.forked import forking
from support.patience import PATIENCE

from autodpq.choices import Full
from autodpq.errors import AutoDPQError
from autodpq.metrics import Metrics
from autodpq.plan import CompressionPlan
from autodpq.training.fit import Epoch
from autodpq.trial import Outcome, never
from studies.workers.messages import EpochEnded, SentOutcome, TrainerSpec, TrialEnded, TrialLost
from studies.workers.order import MAX_ATTEMPTS, PruningOrder, in_order
from studies.workers.ray_cluster import LOST_SECONDS, RayCluster, RayExecutor
from studies.workers.ray_tuning import Tuning
from studies.workers.ray_worker import Job, Mailbox, Message, Parcel, TrialBegun, TrialSent

PLANS = {position: (CompressionPlan({"user": Full()}), 0) for position in range(3)}
PARCEL = Parcel("spec", "train", "valid")
EPOCH = Epoch(1, 0.5, Metrics(0.5, 0.7), best=True, last=False)
SENT = SentOutcome.pack(Outcome(0.5, 0.7, 1.0, (0.5,), None))


def ignore(_: object) -> None:
    pass


def connect(address: str) -> str:
    with pytest.raises(AutoDPQError) as caught:
        RayCluster(address, 1, 0, ignore).__enter__()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _ray_is_loaded() -> bool:
    importlib.import_module("studies.workers.ray_cluster")
    return "ray" in sys.modules


def test_module_does_not_load_ray() -> None:
    with ProcessPoolExecutor(1, forking()) as elsewhere:
        assert not elsewhere.submit(_ray_is_loaded).result()


def test_missing_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert connect("auto") == "--executor ray needs Ray: pip install 'autodpq[ray]'"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "local", "auto"])
def test_address_where_nothing_answers_is_told_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    # Ray itself, which takes long, is not asked.
    monkeypatch.setattr("studies.workers.ray_connection.subprocess.run", lambda *_, **__: pytest.fail("Ray was asked"))
    there = "127.0.0.1:1" if address == "auto" else address
    assert connect(address).startswith(f"--ray-address: no Ray cluster answers at {there}; start one with `ray start")
    assert not ray.is_initialized()


@pytest.mark.slow
def test_address_of_something_else_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr("studies.workers.ray_connection.CHECK_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "no Ray cluster answers at" in connect(f"127.0.0.1:{other.getsockname()[1]}")


def test_ray_client_is_refused() -> None:
    pytest.importorskip("ray")
    assert "ray://somewhere:10001 is for Ray Client" in connect("ray://somewhere:10001")


def mail(story: Callable[[Mailbox], Awaitable[None]]) -> None:
    async def tell() -> None:
        mailbox = Mailbox()
        await mailbox.open(PLANS, PARCEL)
        await story(mailbox)

    asyncio.run(tell())


async def begun(mailbox: Mailbox, trial: str) -> Job:
    job = await mailbox.begin(trial)
    assert job is not None
    return job


def test_plans_are_given_out_in_order_and_lost_ones_first() -> None:
    async def story(mailbox: Mailbox) -> None:
        assert [(await begun(mailbox, trial)).position for trial in ("c", "a")] == [0, 1]
        await mailbox.trial_lost("c", "NodeDied")
        again = await begun(mailbox, "b")
        assert (again.position, again.attempt, again.parcel) == (0, 2, PARCEL)
        assert (await begun(mailbox, "c")).position == 2
        assert await mailbox.begin("d") is None
        kinds = [TrialBegun, TrialBegun, TrialLost, TrialBegun, TrialBegun]
        assert [type(message) for message in await mailbox.take(0)] == kinds
        assert await mailbox.take(0.01) == []

    mail(story)


def test_trial_waits_for_its_answer_and_its_lost_double_gets_none() -> None:
    async def story(mailbox: Mailbox) -> None:
        lost = await begun(mailbox, "a")
        waiting = asyncio.ensure_future(mailbox.epoch_ended("a", lost.ticket, EpochEnded(0, EPOCH, (0.5,))))
        await mailbox.take(0.01)
        await mailbox.trial_lost("a", "NodeDied")
        job = await begun(mailbox, "a")
        again = asyncio.ensure_future(mailbox.epoch_ended("a", job.ticket, EpochEnded(0, EPOCH, (0.5,))))
        await asyncio.sleep(0)
        await mailbox.answer(lost.ticket, True)
        assert not again.done() and waiting.cancelled()
        assert await mailbox.epoch_ended("a", lost.ticket, EpochEnded(0, EPOCH, (0.5,))), "nobody waits for it"
        await mailbox.answer(job.ticket, False)
        assert await again is False
        await mailbox.trial_ended("a", lost.ticket, SENT)
        await mailbox.trial_ended("a", job.ticket, SENT)
        assert [type(message) for message in await mailbox.take(0)].count(TrialSent) == 1

    mail(story)


def test_plan_that_is_lost_too_often_fails() -> None:
    async def story(mailbox: Mailbox) -> None:
        for _ in range(MAX_ATTEMPTS):
            await begun(mailbox, "a")
            await mailbox.trial_lost("a", "it died")
        last = (await mailbox.take(0))[-1]
        assert isinstance(last, TrialSent) and last.position == 0
        assert last.outcome.unpack().error == f"its process or node was lost {MAX_ATTEMPTS} times: it died"
        assert (await begun(mailbox, "a")).position == 1

    mail(story)


def test_what_was_before_is_forgotten() -> None:
    async def story(mailbox: Mailbox) -> None:
        old = await begun(mailbox, "a")
        waiting = asyncio.ensure_future(mailbox.epoch_ended("a", old.ticket, EpochEnded(0, EPOCH, (0.5,))))
        await asyncio.sleep(0)
        await mailbox.open({1: (PLANS[1][0], 2)}, PARCEL)
        await mailbox.trial_ended("a", old.ticket, SENT)
        await asyncio.sleep(0)
        assert waiting.cancelled() and await mailbox.take(0.01) == []
        job = await begun(mailbox, "a")
        assert (job.position, job.attempt) == (1, 3) and job.ticket != old.ticket

    mail(story)


class ScriptedCluster:
    """What a :class:`RayExecutor` sees of a cluster; each round of Tune tells what a script says, then fails."""

    def __init__(self, *rounds: list[Message]) -> None:
        self.rounds = list(rounds)
        self.asked: list[dict[int, int]] = []
        self.warnings: list[str] = []
        self.warn = self.warnings.append
        self.ended = False

    def parcel(self, _: object) -> Parcel:
        return PARCEL

    def tune(self, plans: Mapping[int, tuple[CompressionPlan, int]], _: Parcel) -> Any:
        self.asked.append({position: begun for position, (_, begun) in plans.items()})
        return SimpleNamespace(error="RuntimeError: short of memory")

    def messages(self, _: object) -> list[Message]:
        return self.rounds.pop(0)

    def end(self) -> None:
        self.ended = True

    def outcomes(self, plans: int) -> list[Outcome]:
        executor = RayExecutor(cast(RayCluster, self), cast(TrainerSpec, None), ignore, ignore)
        return list(executor([PLANS[0][0]] * plans, range(4, 4 + plans), never))


def test_tune_that_fails_is_started_again_with_what_is_left() -> None:
    begun: list[Message] = [TrialBegun(0, 0), TrialBegun(1, 1), TrialSent(1, SENT)]
    cluster = ScriptedCluster([*begun, TrialBegun(2, 2), TrialLost(2)], [TrialBegun(0, 3), TrialSent(0, SENT)], [])
    with pytest.raises(AutoDPQError, match=r"^--executor ray: trials do not start: RuntimeError: short of memory$"):
        cluster.outcomes(3)
    assert cluster.asked == [{0: 0, 1: 0, 2: 0}, {0: 1, 2: 1}, {2: 1}]
    assert cluster.warnings == ["trial 6: its process or node was lost; it begins again"] and cluster.ended


def test_plan_that_tune_fails_with_too_often_fails_alone() -> None:
    rounds: list[list[Message]] = [[TrialBegun(0, 0)]] * MAX_ATTEMPTS
    cluster = ScriptedCluster(*rounds, [TrialBegun(1, 9), TrialSent(1, SENT)])
    fatal, other = cluster.outcomes(2)
    assert (fatal.kind, fatal.attempts) == ("failed", MAX_ATTEMPTS)
    assert fatal.error == f"its process or node was lost {MAX_ATTEMPTS} times: RuntimeError: short of memory"
    assert (other.kind, other.attempts) == ("complete", 1)


def test_interrupted_search_ends_its_trials_and_those_after_it_are_as_ever() -> None:
    def interrupt(_: Epoch) -> None:
        raise KeyboardInterrupt

    cluster = ScriptedCluster([TrialBegun(0, 0), EpochEnded(0, EPOCH, (0.5,)), TrialSent(0, SENT)])
    executor = RayExecutor(cast(RayCluster, cluster), cast(TrainerSpec, None), interrupt, ignore)
    with pytest.raises(KeyboardInterrupt):
        list(executor([PLANS[0][0]], [4], never))
    assert cluster.ended
    cluster.rounds = [[TrialBegun(0, 1), TrialSent(0, SENT)]]
    (outcome,) = cluster.outcomes(1)
    assert (outcome.kind, outcome.attempts) == ("complete", 1) and cluster.asked == [{0: 0}, {0: 0}]


def test_trials_that_do_not_end_by_themselves_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[str] = []
    ended = threading.Event()

    def kill(actor: str) -> None:
        killed.append(actor)
        ended.set()

    def run(tuning: Tuning, *_: object) -> None:
        tuning._trials = [SimpleNamespace(temporary_state=SimpleNamespace(ray_actor=name)) for name in ("a", None)]
        started.set()
        ended.wait(PATIENCE)

    started = threading.Event()
    monkeypatch.setattr("studies.workers.ray_tuning.import_module", lambda _: SimpleNamespace(kill=kill))
    monkeypatch.setattr("studies.workers.ray_tuning.GRACE_SECONDS", 0.0)
    monkeypatch.setattr("studies.workers.ray_tuning.END_SECONDS", PATIENCE)
    monkeypatch.setattr(Tuning, "_run", run)
    tuning = Tuning(None, "mailbox", 2, {})
    assert started.wait(PATIENCE) and tuning.is_alive()
    tuning.end()
    assert killed == ["a"] and not tuning.is_alive() and tuning._ends


def test_no_plans_no_trials() -> None:
    assert ScriptedCluster().outcomes(0) == []


@pytest.fixture
def cluster() -> RayCluster:
    """One whose head does not answer."""
    cluster = RayCluster("auto", 1, 0, ignore)
    cluster._head, cluster._seen, cluster.mailbox = "127.0.0.1:1", time.monotonic(), MagicMock()
    cluster._ray = SimpleNamespace(get=lambda *_, **__: [], exceptions=SimpleNamespace(RayError=ZeroDivisionError))
    return cluster


def test_lost_cluster_is_told(cluster: RayCluster) -> None:
    assert cluster.ask("take", 0) == []
    cluster._seen -= LOST_SECONDS / 2
    assert cluster.ask("take", 0) == [], "it may come back"
    cluster._seen -= LOST_SECONDS
    with pytest.raises(AutoDPQError, match=r"^--ray-address: the Ray cluster at 127.0.0.1:1 is lost: its head"):
        cluster.ask("take", 0)
    cluster._ray.get = lambda *_, **__: 1 / 0
    with pytest.raises(AutoDPQError, match=r"is lost: ZeroDivisionError: division by zero$"):
        cluster.ask("take", 0)


def test_trials_that_do_not_begin_are_told_once(cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr("studies.workers.ray_cluster.IDLE_SECONDS", -1.0)
    cluster.warn = warnings.append
    alive = [True, True, False]
    assert list(cluster.messages(cast(Tuning, SimpleNamespace(is_alive=lambda: alive.pop(0))))) == []
    assert len(warnings) == 1 and "no trial has begun" in warnings[0]


def test_nobody_waits_for_a_lost_trial() -> None:
    answers: list[tuple[int, bool]] = []
    outcome = Outcome(0.5, 0.7, 1.0, (0.5,), None)
    order = PruningOrder(lambda number, _: number == 1, [0, 1])

    def events() -> Any:
        yield EpochEnded(1, EPOCH, (0.5,))
        assert answers == []
        yield TrialLost(0)
        assert answers == [(1, True)]
        yield EpochEnded(0, EPOCH, (0.5,))
        assert answers == [(1, True), (0, False)]
        yield TrialEnded(1, outcome)
        yield TrialEnded(0, outcome)

    given = in_order(events(), 2, order, lambda *answer: answers.append(answer), ignore, ignore)
    assert list(given) == [outcome, outcome]
