from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.forked import forking
from support.in_memory import Asked, Row, SameEpoch, end_of, one_after_another, rows, states_equal
from support.patience import PATIENCE
from torch import Tensor

from autodpq.choices import DPQ, Full, Others
from autodpq.metrics import Metrics
from autodpq.models import MODELS
from autodpq.plan import CompressionPlan
from autodpq.testing import CANDIDATES, FIELDS, RECIPE, make_samples
from autodpq.training.fit import Epoch
from autodpq.training.trainer import Trainer
from autodpq.trial import Outcome, Prune, never
from studies.workers.local import LocalExecutor
from studies.workers.messages import Ready, SentOutcome, TrainerSpec, to_arrays
from studies.workers.order import MAX_ATTEMPTS
from studies.workers.processes import STALL_SECONDS, WorkerPool

PLANS = [CompressionPlan({"user": a, "item": b, "device": Full()}) for a in CANDIDATES for b in CANDIDATES]
# D = 3 does not divide X = 4.
BAD = CompressionPlan({"user": DPQ(2, 3), "item": Others(), "device": Full()})


# What can happen, and to whom.
Event = tuple[str, "list[SimulatedProcess]"]
Choose = Callable[[list[Event]], Event]


def drawn(data: st.DataObject) -> Choose:
    return lambda events: data.draw(st.sampled_from(events))


class Simulated:
    """Processes and the lines to them, without processes: what happens next is chosen; stands in for multiprocessing,
    for threads and for the clock.

    Args:
        table: What the trials come to, by the number of their plan.
        kills: How many processes may be lost.
        choose: Chooses what happens next, of all that can.
        stops: How many processes may stand still from some moment on.
    """

    def __init__(self, table: Sequence[Row], kills: int, choose: Choose, stops: int = 0) -> None:
        self.table = table
        self.kills = kills
        self.stops = stops
        self.choose = choose
        self.killed = 0
        self.clock = 0.0
        # By trial: after how many epochs the process stood still that trained it.
        self.stuck: dict[int, int] = {}
        self.processes: list[SimulatedProcess] = []

    def get_context(self, method: str) -> Simulated:
        assert method == "spawn"
        return self

    def Pipe(self) -> tuple[SimulatedProcess, SimulatedProcess]:
        self.processes.append(SimulatedProcess(self))
        return self.processes[-1], self.processes[-1]

    def Process(self, *, target: Any, args: tuple[SimulatedProcess], daemon: bool) -> SimulatedProcess:
        assert daemon, "it would outlive a study that is killed"
        return args[0]

    def Thread(self, *, target: Any, args: tuple[object, ...], daemon: bool) -> SimulatedThread:
        assert daemon, "it would outlive a study that is killed"
        return SimulatedThread(target, args)

    def Timer(self, seconds: float, function: Any) -> SimulatedThread:
        return SimulatedThread(lambda: None, ())

    def monotonic(self) -> float:
        return self.clock

    def wait(self, connections: Sequence[SimulatedProcess], seconds: float | None) -> list[SimulatedProcess]:
        """Lets time pass until somebody has something to say."""
        while True:
            alive = [process for process in self.processes if process.alive and not process.stopped]
            training = [process for process in alive if process.state == "training"]
            living = [process for process in self.processes if process.alive] if self.kills else []
            stoppable = [process for process in alive if process.state in ("starting", "training")]
            ready = [process for process in connections if process.outbox or not process.alive]
            starting = [process for process in alive if process.state == "starting"]
            # A trial takes no time but where its process stands still.
            late = seconds is not None and not training and not starting and not ready
            assert training or starting or ready or late, "all wait for ever"
            heard = [[process] for process in ready] + ([ready] if len(ready) > 1 else [])
            what, processes = self.choose(
                [("goes on", [process]) for process in [*starting, *training]]
                + [("dies", [process]) for process in living]
                + [("stands still", [process]) for process in (stoppable if self.stops else [])]
                + [("is heard", some) for some in heard]
                + [("time passes", []) for _ in range(late)]
            )
            if what == "is heard":
                return processes
            if what == "time passes":
                assert seconds is not None
                self.clock += seconds
                return []
            (process,) = processes
            if what == "dies":
                process.alive, process.exitcode = False, -9
                self.kills -= 1
                self.killed += 1
            elif what == "stands still":
                process.stopped = True
                self.stops -= 1
                if process.state == "training":
                    self.stuck[process.number] = process.epoch
                else:
                    self.killed += 1
            else:
                process.go_on()


@dataclass(frozen=True)
class SimulatedThread:
    """Does its work at once."""

    target: Any
    args: tuple[object, ...]

    def start(self) -> None:
        self.target(*self.args)

    def join(self) -> None: ...
    def cancel(self) -> None: ...


class SimulatedProcess:
    """One process and both ends of its line."""

    def __init__(self, simulated: Simulated) -> None:
        self.simulated = simulated
        self.alive = True
        self.stopped = False
        self.exitcode: int | None = None
        self.state = "idle"
        self.spec: object = None
        self.number = -1
        self.epoch = 0
        self.outbox: deque[object] = deque()

    def start(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...
    def close(self) -> None: ...

    def kill(self) -> None:
        self.alive = False

    def is_alive(self) -> bool:
        return self.alive

    def recv(self) -> object:
        if self.outbox:
            return self.outbox.popleft()
        assert not self.alive, "the study would hang"
        raise EOFError

    def send(self, message: object) -> None:
        if not self.alive:
            raise BrokenPipeError
        if isinstance(message, bool):
            assert self.state == "waiting", "an answer came to one that does not wait"
            done = self.row.aucs[: self.epoch]
            if message or self.row.is_last(self.epoch):
                self.end(done, message)
            else:
                self.state = "training"
        elif isinstance(message, Spec):
            assert self.state == "idle"
            self.state, self.spec = "starting", message
        else:
            assert self.state == "ready" or (self.state == "idle" and self.spec is not None)
            assert isinstance(message, int)
            self.state, self.number, self.epoch = "training", message, 0

    @property
    def row(self) -> Row:
        return self.simulated.table[self.number]

    def go_on(self) -> None:
        if self.state == "starting":
            self.outbox.append(Ready())
            self.state = "ready"
            return
        if self.epoch == len(self.row.aucs):
            self.end(self.row.aucs, False)
            return
        self.epoch += 1
        done = self.row.aucs[: self.epoch]
        epoch = Epoch(self.epoch, 1.0, Metrics(done[-1], 0.5), True, self.row.is_last(self.epoch))
        self.outbox.append((epoch, done))
        self.state = "waiting"

    def end(self, done: Sequence[float], pruned: bool) -> None:
        self.outbox.append(SentOutcome(end_of(self.row, done, pruned), None))
        self.state = "idle"


@dataclass(frozen=True)
class Spec:
    """Stands in for what trials are trained with."""

    timeout: float | None = None


class Here:
    """Stands in for the executor of this process."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.told: list[Outcome] = []
        self.on_epoch = self.epochs.append
        self.on_outcome = self.told.append


def simulate(
    simulated: Simulated, jobs: int, here: Here, prune: Prune, first: int, timeout: float | None = None
) -> list[Outcome]:
    plans: Any = range(len(simulated.table))
    with pytest.MonkeyPatch.context() as patch:
        for module in ("multiprocessing", "threading", "time"):
            patch.setattr(f"studies.workers.processes.{module}", simulated)
        patch.setattr("studies.workers.processes.wait", simulated.wait)
        with WorkerPool(jobs) as pool:
            return list(pool.executor(Spec(timeout), here)(plans, range(first, first + len(plans)), prune))  # type: ignore[arg-type]


LOSSES = (st.lists(rows, min_size=2, max_size=6), st.integers(1, 3), st.integers(0, MAX_ATTEMPTS - 1), st.data())


@given(*LOSSES)
def test_whatever_is_lost_and_whoever_is_heard_first_it_comes_out_as_one_after_another(
    table: list[Row], jobs: int, kills: int, data: st.DataObject
) -> None:
    check_losses(table, jobs, kills, data)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(*LOSSES)
def test_whatever_is_lost_ten_thousand_times(table: list[Row], jobs: int, kills: int, data: st.DataObject) -> None:
    check_losses(table, jobs, kills, data)


def check_losses(table: list[Row], jobs: int, kills: int, data: st.DataObject) -> None:
    expected, pruner = one_after_another(table, 4)
    simulated, here, asked = Simulated(table, kills, drawn(data)), Here(), SameEpoch()
    outcomes = simulate(simulated, jobs, here, asked, 4)
    assert [replace(outcome, attempts=1) for outcome in outcomes] == expected
    assert asked.seen == pruner.seen
    assert sorted(map(id, here.told)) == sorted(map(id, outcomes)), "each outcome is told once"
    assert sum(outcome.attempts - 1 for outcome in outcomes) <= simulated.killed
    # All that there are jobs for start at once, each again when it is missed.
    assert 0 <= len(simulated.processes) - jobs <= simulated.killed
    assert not any(process.alive for process in simulated.processes)


def test_trial_that_is_lost_while_it_waits_gets_no_answer_before_it_asks_again() -> None:
    table = [Row((0.5, 0.5)), Row((0.7, 0.6, 0.6))]
    script = iter(
        [
            ("goes on", 0),
            ("is heard", 0),  # both are ready
            ("goes on", 1),
            ("is heard", 1),
            ("goes on", 1),  # and waits, for the first has not come there
            ("is heard", 1),
            ("dies", 1),
            ("is heard", 1),  # its trial is begun again, by the third process
            ("goes on", 0),
            ("is heard", 0),  # so that the second trial could be answered, which does not wait now
        ]
    )

    def choose(events: list[Event]) -> Event:
        what, number = next(script, (None, None))
        if what is None:
            return next(event for event in events if event[0] != "dies")
        return next(event for event in events if event == (what, [simulated.processes[number]]))

    simulated, asked = Simulated(table, 1, choose), Asked(lambda number, aucs: len(aucs) == 2)
    outcomes = simulate(simulated, 2, Here(), asked, 0)
    assert [(outcome.kind, outcome.valid_aucs) for outcome in outcomes] == [
        ("complete", (0.5, 0.5)),
        ("pruned", (0.7, 0.6)),
    ]
    assert asked == [(0, (0.5,)), (1, (0.7,)), (1, (0.7, 0.6))]
    assert [outcome.attempts for outcome in outcomes] == [1, 2] and len(simulated.processes) == 3


@given(st.lists(rows, min_size=2, max_size=4), st.integers(1, 3), st.integers(MAX_ATTEMPTS, 9), st.data())
def test_what_is_lost_too_often_fails_with_the_epochs_that_were_asked_about(
    table: list[Row], jobs: int, kills: int, data: st.DataObject
) -> None:
    simulated, here, asked = Simulated(table, kills, drawn(data)), Here(), Asked(SameEpoch())
    outcomes = simulate(simulated, jobs, here, asked, 0)
    for number, (outcome, row) in enumerate(zip(outcomes, table, strict=True)):
        assert outcome.attempts <= MAX_ATTEMPTS and outcome.valid_aucs == row.aucs[: len(outcome.valid_aucs)]
        if (outcome.error or "").startswith("the process"):
            assert outcome.error == f"the process that trained it ended {MAX_ATTEMPTS} times, exit code -9"
            assert outcome.attempts == MAX_ATTEMPTS
        else:
            assert outcome.kind == "pruned" or replace(outcome, attempts=1) == end_of(row, row.aucs, False)
        # A resumed search asks about them again, so that a pruner knows what it would have known.
        counted = [len(aucs) for other, aucs in asked if other == number]
        replayed = len(outcome.valid_aucs) - (outcome.kind == "complete")
        assert counted == list(range(1, len(counted) + 1))
        assert replayed == len(counted) or row.is_last(replayed)


@given(st.lists(rows, min_size=1, max_size=5), st.integers(1, 3), st.sampled_from([(1, 0), (2, 0), (1, 1)]), st.data())
def test_trial_whose_process_stands_still_fails_once_its_time_is_up_and_the_others_come_out_as_ever(
    table: list[Row], jobs: int, stops_and_kills: tuple[int, int], data: st.DataObject
) -> None:
    stops, kills = stops_and_kills  # so few that none fails for being lost
    simulated, here, asked = Simulated(table, kills, drawn(data), stops), Here(), SameEpoch()
    outcomes = simulate(simulated, jobs, here, asked, 4, timeout=7.0)
    # One that was lost after it had stood still, or that stood still twice, began again.
    late = {number: outcome for number, outcome in enumerate(outcomes) if "longer than" in (outcome.error or "")}
    assert late.keys() <= simulated.stuck.keys() and len(simulated.stuck) - len(late) <= kills - simulated.kills
    for outcome in late.values():
        assert outcome.error == "TrainingError: the trial took longer than its 7 s (--trial-timeout)"
        assert outcome.seconds >= 7.0 and outcome.kind == "failed" and outcome.traceback is None
    fails = [
        Row(outcomes[number].valid_aucs, fails=True) if number in late else row for number, row in enumerate(table)
    ]
    expected, pruner = one_after_another(fails, 4)
    assert [outcome.kind for outcome in outcomes] == [outcome.kind for outcome in expected]
    for number, outcome in enumerate(outcomes):
        if number in late:
            assert outcome.valid_aucs == table[number].aucs[: simulated.stuck[number]]
        else:
            assert replace(outcome, attempts=1) == expected[number]
    assert asked.seen == pruner.seen
    assert sorted(map(id, here.told)) == sorted(map(id, outcomes)), "each outcome is told once"
    assert not any(process.alive for process in simulated.processes)


def test_process_that_never_gets_ready_is_lost_and_its_trial_begun_again_until_it_fails() -> None:
    def never_ready(events: list[Event]) -> Event:
        return next((event for event in events if event[0] in ("stands still", "time passes")), events[0])

    for stops, expected in (
        (2, ("complete", None)),
        (3, ("failed", f"no process was ready to train it within {STALL_SECONDS:g} s, {MAX_ATTEMPTS} times")),
    ):
        simulated = Simulated([Row((0.5,))], 0, never_ready, stops)
        (outcome,) = simulate(simulated, 2, Here(), SameEpoch(), 0, timeout=7.0)
        assert (outcome.kind, outcome.error) == expected and outcome.attempts == MAX_ATTEMPTS
        assert simulated.clock >= stops * STALL_SECONDS and not simulated.stuck


@dataclass(frozen=True)
class Lab:
    """A trainer, where its plans start, and what other processes need of it."""

    trainer: Trainer
    start: dict[str, Tensor]
    spec: TrainerSpec

    def here(self) -> LocalExecutor:
        return LocalExecutor(self.trainer, self.start, lambda _: None, lambda _: None)


def make_lab(model: str = "deepfm", seed: int = 3) -> Lab:
    recipe = replace(RECIPE, max_epochs=3, patience=3)
    train, valid = make_samples(320, seed=1), make_samples(160, seed=2)
    trainer = Trainer(FIELDS, MODELS.find(model), recipe, seed, torch.device("cpu"), train, valid)
    start = trainer.build(trainer.full_plan()).state_dict()
    return Lab(trainer, start, TrainerSpec(FIELDS, model, recipe, seed, "cpu", train, valid, to_arrays(start)))


def run_here(lab: Lab, plans: Sequence[CompressionPlan], prune: Prune = never) -> list[Outcome]:
    return list(lab.here()(plans, range(5, 5 + len(plans)), prune))


def run_there(pool: WorkerPool, lab: Lab, plans: Sequence[CompressionPlan], prune: Prune = never) -> list[Outcome]:
    return list(pool.executor(lab.spec, lab.here())(plans, range(5, 5 + len(plans)), prune))


def assert_same_digits(there: Sequence[Outcome], here: Sequence[Outcome]) -> None:
    for one, two in zip(there, here, strict=True):
        assert states_equal(one.state, two.state)
        assert replace(one, state=None, seconds=0.0, attempts=1) == replace(two, state=None, seconds=0.0)
        assert one.seconds > 0 or one.kind == "failed"


def pids(pool: WorkerPool) -> list[int | None]:
    return [worker.process.pid for worker in pool._workers]


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    """Processes that are started as a study starts them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studies.workers.processes.multiprocessing", multiprocessing)
        with WorkerPool(2) as made:
            made.idle(2)
            patch.undo()
            yield made


@pytest.fixture
def forked() -> Iterator[WorkerPool]:
    """Processes that a test may end."""
    with WorkerPool(2) as made:
        yield made


@pytest.fixture(scope="module")
def lab() -> Lab:
    return make_lab()


class Pruner(SameEpoch):
    """Ends some trials for certain, and others by their values."""

    def __call__(self, number: int, valid_aucs: Sequence[float]) -> bool:
        return super().__call__(number, valid_aucs) or (number + len(valid_aucs)) % 3 == 0


@pytest.mark.parametrize("number", [2, 3, 6])
def test_processes_side_by_side_give_the_same_outcomes_to_the_digit(pool: WorkerPool, lab: Lab, number: int) -> None:
    plans = [*PLANS[:1], BAD, *PLANS[1 : number - 1]]
    here, there = run_here(lab, plans), run_there(pool, lab, plans)
    assert_same_digits(there, here)
    assert [outcome.kind for outcome in here] == ["complete", "failed", *["complete"] * (number - 2)]
    assert all(outcome.attempts == 1 for outcome in there)


@pytest.mark.parametrize("number", [2, 3, 6])
def test_pruning_gives_the_same_answers_side_by_side(pool: WorkerPool, lab: Lab, number: int) -> None:
    plans = [*PLANS[:1], BAD, *PLANS[1 : number - 1]]
    asked_here, asked_there = Pruner(), Pruner()
    here, there = run_here(lab, plans, asked_here), run_there(pool, lab, plans, asked_there)
    assert_same_digits(there, here)
    assert asked_here.seen == asked_there.seen and here[0].kind == "pruned"


def test_epochs_and_outcomes_are_told_and_outcomes_come_in_order(pool: WorkerPool, lab: Lab) -> None:
    epochs: list[Epoch] = []
    told: list[Outcome] = []
    here = LocalExecutor(lab.trainer, lab.start, epochs.append, told.append)
    outcomes = list(pool.executor(lab.spec, here)(PLANS[:4], range(4), never))
    assert sorted(map(id, told)) == sorted(map(id, outcomes))
    assert sorted(epoch.metrics.auc for epoch in epochs) == sorted(
        auc for outcome in outcomes for auc in outcome.valid_aucs
    )
    assert [outcome.valid_aucs for outcome in outcomes] == [outcome.valid_aucs for outcome in run_here(lab, PLANS[:4])]


def test_pool_goes_on_with_another_specification_in_the_same_processes(pool: WorkerPool, lab: Lab) -> None:
    other = make_lab("pnn", seed=8)
    first = run_there(pool, lab, PLANS[:3])
    before = pids(pool)
    assert_same_digits(run_there(pool, other, PLANS[:3]), run_here(other, PLANS[:3]))
    again = run_there(pool, lab, PLANS[:3])
    assert pids(pool) == before and len(before) == 2
    assert_same_digits(again, [replace(outcome, attempts=1) for outcome in first])
    assert replace(lab.spec, pretrained=None) != lab.spec
    scratch = Lab(lab.trainer, None, replace(lab.spec, pretrained=None))  # type: ignore[arg-type]
    assert_same_digits(run_there(pool, scratch, PLANS[:2]), run_here(scratch, PLANS[:2]))


def test_a_plan_that_comes_alone_is_trained_here(lab: Lab) -> None:
    with WorkerPool(0) as alone:
        assert run_there(alone, lab, []) == []
        assert_same_digits(run_there(alone, lab, PLANS[:1]), run_here(lab, PLANS[:1]))


def test_search_that_is_left_midway_does_not_disturb_the_next(forked: WorkerPool, lab: Lab) -> None:
    pool, expected = forked, run_here(lab, PLANS[:2])
    outcomes = pool.executor(lab.spec, lab.here())([BAD, PLANS[5]], [5, 6], never)
    assert next(outcomes).kind == "failed"
    outcomes.close()  # type: ignore[attr-defined]
    assert_same_digits(run_there(pool, lab, PLANS[:2]), expected)

    def breaks(number: int, valid_aucs: Sequence[float]) -> bool:
        raise ZeroDivisionError("made to fail")

    with pytest.raises(ZeroDivisionError, match="made to fail"):
        run_there(pool, lab, PLANS[:2], breaks)
    assert_same_digits(run_there(pool, lab, PLANS[:2]), expected)


def test_trainer_that_cannot_be_built_there_is_an_error_of_every_plan(
    pool: WorkerPool, lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = Lab(lab.trainer, lab.start, replace(lab.spec, model="depfm"))
    before = pids(pool)
    outcomes = run_there(pool, broken, PLANS[:2])
    message = "AutoDPQError: unknown model 'depfm'; did you mean 'deepfm'?"
    assert [(outcome.kind, outcome.error, outcome.attempts) for outcome in outcomes] == [("failed", message, 1)] * 2
    assert [outcome.traceback for outcome in outcomes] == [None] * 2, "the message says it all"
    assert pids(pool) == before and capfd.readouterr().err == ""
    assert_same_digits(run_there(pool, lab, PLANS[:2]), run_here(lab, PLANS[:2]))


@pytest.mark.parametrize(
    ("start", "function"),
    [({"tables": np.array("no weights")}, "build"), ({}, "train_one")],
    ids=["where trainers are built", "where plans are trained"],
)
def test_traceback_of_what_code_does_there_comes_here(
    pool: WorkerPool, lab: Lab, start: dict[str, Any], function: str
) -> None:
    broken = Lab(lab.trainer, lab.start, replace(lab.spec, pretrained=start))
    for outcome in run_there(pool, broken, PLANS[:2]):
        assert outcome.kind == "failed" and outcome.error is not None and outcome.traceback is not None
        assert f", in {function}\n" in outcome.traceback
        assert f"\n{outcome.error.partition(':')[0]}: " in outcome.traceback


FRAGILE = """
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from autodpq.models import DeepFM
from autodpq.plan import CompressionPlan

FOLDER = Path(__file__).parent


def plan_in_training():
    frame = sys._getframe()
    while frame is not None and not isinstance(frame.f_locals.get("plan"), CompressionPlan):
        frame = frame.f_back
    return frame.f_locals["plan"]


class Fragile(DeepFM):
    # Kills or stops its process at a call of a plan's training, as often as a file in its folder says; 0 is no signal
    # but a call that does not end.
    name = "fragile"
    calls = 0

    def forward(self, embeddings):
        self.calls += 1
        order = FOLDER / plan_in_training().key
        if multiprocessing.parent_process() is not None and order.exists():
            times, call, how = map(int, order.read_text().split())
            if times and self.calls == call:
                order.write_text(f"{times - 1} {call} {how}")
                os.kill(os.getpid(), how)
                while not how:
                    time.sleep(60)
        return super().forward(embeddings)
"""
# An epoch is five batches and an evaluation.
SECOND_EPOCH = 6 + 3


@dataclass(frozen=True)
class Lost:
    """What a run came to whose processes were killed, and what it would have come to."""

    plans: list[CompressionPlan]
    here: list[Outcome]
    there: list[Outcome]
    asked_here: SameEpoch
    asked_there: SameEpoch
    processes: int


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a model that does what files beside it say."""
    path = tmp_path_factory.mktemp("fragile") / "fragile.py"
    path.write_text(FRAGILE)
    return path


@pytest.fixture(scope="module")
def lost(fragile: Path) -> Iterator[Lost]:
    folder, lab = fragile.parent, make_lab(f"{fragile}:Fragile")
    plans, asked_here, asked_there = PLANS[:5], SameEpoch(), SameEpoch()
    (folder / plans[0].key).write_text(f"1 {SECOND_EPOCH} {signal.SIGKILL:d}")
    (folder / plans[3].key).write_text(f"99 2 {signal.SIGKILL:d}")
    with WorkerPool(2) as pool:
        there = run_there(pool, lab, plans, asked_there)
        processes = len(pool._workers)
        assert all(worker.process.is_alive() for worker in pool._workers)
    here = run_here(lab, [plan for plan in plans if plan != plans[3]], asked_here)
    yield Lost(plans, here, there, asked_here, asked_there, processes)
    MODELS.forget("fragile")


def test_trial_whose_process_is_killed_is_begun_again_and_gives_the_same_digits(lost: Lost) -> None:
    assert [outcome.attempts for outcome in lost.there] == [2, 1, 1, MAX_ATTEMPTS, 1]
    assert_same_digits([outcome for outcome in lost.there if outcome.attempts < MAX_ATTEMPTS], lost.here)
    # It died after it had been asked about, and others had gone on since.
    assert lost.asked_there.seen == lost.asked_here.seen and lost.asked_here.seen[1]
    assert lost.processes == 2


def test_trial_whose_process_always_dies_fails_in_one_line_and_the_others_go_on(lost: Lost) -> None:
    failed = lost.there[3]
    assert failed.error == f"the process that trained it ended {MAX_ATTEMPTS} times, exit code -9"
    assert (failed.kind, failed.valid_auc, failed.state, failed.valid_aucs) == ("failed", None, None, ())
    assert lost.there[4].kind != "failed"


class Clock:
    """The study's clock: it goes on by hours once both processes stand still that are meant to, and nobody else trains.

    Args:
        orders: The files that say what becomes of their trials.
    """

    def __init__(self, orders: Sequence[Path]) -> None:
        self.orders = orders
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def wait(self, connections: Any, seconds: float | None) -> list[Any]:
        assert seconds is not None, "every trial here has a limit"
        heard = wait(connections, 0.05)
        if not heard and not self.ahead and all(order.read_text().startswith("0 ") for order in self.orders):
            self.ahead = 4 * PATIENCE
        return heard


def test_trial_that_does_not_end_is_ended_from_outside_and_the_study_goes_on(
    fragile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(f"{fragile}:Fragile")
    lab = replace(lab, spec=replace(lab.spec, timeout=PATIENCE))
    plans, orders = PLANS[:3], [fragile.parent / plan.key for plan in PLANS[:2]]
    for order, (call, how) in zip(orders, ((SECOND_EPOCH, 0), (2, signal.SIGSTOP)), strict=True):
        order.write_text(f"1 {call} {how:d}")
    clock = Clock(orders)
    monkeypatch.setattr("studies.workers.processes.time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr("studies.workers.processes.wait", clock.wait)
    with WorkerPool(2) as pool:
        first = [worker.process for worker in pool._workers]
        endless, stopped, after = run_there(pool, lab, plans)
        assert not any(process.is_alive() for process in first)
    for outcome in (endless, stopped):
        assert outcome.error == f"TrainingError: the trial took longer than its {PATIENCE:g} s (--trial-timeout)"
        assert (outcome.kind, outcome.attempts, outcome.state) == ("failed", 1, None)
        assert outcome.seconds > PATIENCE
    (here,) = run_here(lab, plans[2:])
    assert_same_digits([after], [here])
    assert (len(endless.valid_aucs), len(stopped.valid_aucs), after.kind) == (1, 0, "complete")


def test_plan_that_comes_alone_is_trained_where_it_can_be_ended_if_it_has_a_limit(pool: WorkerPool, lab: Lab) -> None:
    def prune(number: int, valid_aucs: Sequence[float]) -> bool:
        assert number == 5 and valid_aucs
        return False

    limited = replace(lab, spec=replace(lab.spec, timeout=PATIENCE))
    nowhere = replace(limited, trainer=None)
    assert run_there(pool, nowhere, []) == []
    assert_same_digits(run_there(pool, nowhere, PLANS[:1], prune), run_here(lab, PLANS[:1]))


def test_ctrl_c_leaves_no_process_behind(lab: Lab) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    here = LocalExecutor(lab.trainer, lab.start, stop, stop)
    with pytest.raises(KeyboardInterrupt), WorkerPool(2) as stopped:
        try:
            list(stopped.executor(lab.spec, here)(PLANS[:4], range(4), never))
        finally:
            processes = [worker.process for worker in stopped._workers]
            assert len(processes) == 2 and all(process.is_alive() for process in processes)
    assert not any(process.is_alive() for process in processes)
    assert not set(processes) & set(multiprocessing.active_children())


def interrupted(answer: Connection, said: Path) -> None:
    """What comes of a plan whose worker got Ctrl-C as it started, and what was written to standard error."""
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    lab = make_lab()
    limited = replace(lab, spec=replace(lab.spec, timeout=PATIENCE))  # so that a plan alone is trained there, too
    with WorkerPool(1) as pool:
        (worker,) = pool.idle(1)
        assert worker.process.pid is not None
        os.kill(worker.process.pid, signal.SIGINT)
        outcomes = run_there(pool, limited, PLANS[:1])
    answer.send([(outcome.kind, outcome.attempts) for outcome in outcomes])


@pytest.mark.slow  # test_killed.py interrupts studies that have workers, too
def test_ctrl_c_of_a_terminal_goes_to_the_workers_as_well_and_does_not_reach_them(tmp_path: Path) -> None:
    # In a process in which nothing has been started before: what starts along with the first worker counts too.
    ours, theirs = forking().Pipe(duplex=False)
    process = forking().Process(target=interrupted, args=(theirs, tmp_path / "said"))
    process.start()
    theirs.close()
    assert ours.recv() == [("complete", 1)]
    process.join()
    assert (process.exitcode, (tmp_path / "said").read_text()) == (0, "")
