"""Trials on a small Ray cluster, whose nodes are processes on this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import call_cli
from support.patience import PATIENCE
from support.tables import Small

from autodpq.choices import Choice, Full, Others
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.records.table import read_table
from autodpq.search.task import SearchTask
from autodpq.testing import CANDIDATES, FIELDS, RECIPE, make_task
from autodpq.training.fit import Epoch
from autodpq.trial import Outcome, Prune, never
from studies.workers.local import LocalExecutor
from studies.workers.machine import torch_settings
from studies.workers.messages import TrainerSpec, to_arrays
from studies.workers.order import MAX_ATTEMPTS
from studies.workers.ray_cluster import RayCluster, RayExecutor

pytestmark = pytest.mark.slow  # a cluster takes half a minute to start; test_ray_cluster.py tests what needs none
ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

PLANS = [
    CompressionPlan({"user": user, "item": item, "device": Others()}) for user in CANDIDATES for item in CANDIDATES
]
SLOW = replace(RECIPE, max_epochs=3, patience=3, batch_size=4)

DYING = """
import os

from autodpq.models import DeepFM
from dying_parts import FATAL


class Dying(DeepFM):
    name = "dying"

    def forward(self, embeddings):
        if len(embeddings[:, 0].unique(dim=0)) <= FATAL:
            os._exit(1)
        return super().forward(embeddings)
"""


@pytest.fixture(scope="module", autouse=True)
def _a_busy_cluster_is_not_lost() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studies.workers.ray_cluster.LOST_SECONDS", PATIENCE)
        patch.setattr("studies.workers.ray_cluster.IDLE_SECONDS", PATIENCE)
        patch.setattr("studies.workers.ray_connection.CHECK_SECONDS", PATIENCE)
        patch.setattr("studies.workers.ray_connection.PROBE_SECONDS", PATIENCE)
        yield


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    # Nodes that are gone are noticed sooner than by Ray's own settings.
    quick = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": quick}
    address = Path(import_module("ray._private.utils").get_ray_address_file(None))
    before = address.read_text() if address.exists() else None
    nodes = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    yield nodes
    nodes.shutdown()
    if before is None:
        address.unlink(missing_ok=True)
    else:
        address.write_text(before)


@pytest.fixture(scope="module")
def warnings() -> list[str]:
    return []


@pytest.fixture(scope="module")
def cluster(nodes: Any, warnings: list[str]) -> Iterator[RayCluster]:
    with RayCluster(nodes.address, 1, 0, warnings.append) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def task() -> SearchTask:
    with torch_settings():
        return make_task()


def spec_of(task: SearchTask, **changed: Any) -> TrainerSpec:
    start = to_arrays(task.pretrained())
    return replace(TrainerSpec(FIELDS, "deepfm", RECIPE, task.seed, "cpu", task.train, task.valid, start), **changed)


def ignore(_: object) -> None:
    pass


@torch_settings()
def here(spec: TrainerSpec, plans: Sequence[CompressionPlan], prune: Prune = never) -> list[Outcome]:
    return list(LocalExecutor(*spec.build(), ignore, ignore)(plans, range(len(plans)), prune))


def there(
    cluster: RayCluster,
    spec: TrainerSpec,
    plans: Sequence[CompressionPlan],
    prune: Prune = never,
    on_epoch: Callable[[Epoch], None] = ignore,
) -> list[Outcome]:
    return list(RayExecutor(cluster, spec, on_epoch, ignore)(plans, range(len(plans)), prune))


def assert_same(one: Outcome, two: Outcome) -> None:
    strip: dict[str, Any] = {"seconds": 0.0, "state": None, "attempts": 1}
    assert replace(one, **strip) == replace(two, **strip)
    assert (one.state is None) == (two.state is None)
    if one.state is not None and two.state is not None:
        assert one.state.keys() == two.state.keys()
        assert all(torch.equal(value, two.state[name]) for name, value in one.state.items())


def test_node_without_the_package_is_named(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "autodpq").mkdir()
    (tmp_path / "autodpq" / "__init__.py").write_text("raise ImportError('not here')")
    monkeypatch.chdir(tmp_path)  # workers look where the study was started, too
    node = nodes.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(tmp_path)})
    try:
        with pytest.raises(AutoDPQError, match="cannot import autodpq: ImportError: not here; install") as caught:
            RayCluster(nodes.address, 1, 0, ignore).__enter__()
        assert "\n" not in str(caught.value) and not ray.is_initialized()
    finally:
        nodes.remove_node(node)


@pytest.mark.parametrize(("cpus", "gpus", "option"), [(64, 0, "--cpus-per-trial 64"), (1, 1, "--gpus-per-trial 1")])
def test_trial_that_fits_no_node_is_refused(nodes: Any, cpus: int, gpus: int, option: str) -> None:
    with pytest.raises(AutoDPQError, match=f"{option}: no node of the Ray cluster has so many"):
        RayCluster(nodes.address, cpus, gpus, ignore).__enter__()
    assert not ray.is_initialized()


def test_outcomes_and_pruning_are_those_of_one_process(cluster: RayCluster, task: SearchTask) -> None:
    asked: list[tuple[int, int]] = []

    def prune(number: int, valid_aucs: Sequence[float]) -> bool:
        asked.append((number, len(valid_aucs)))
        return number == 1

    spec = spec_of(task, recipe=replace(RECIPE, max_epochs=3, patience=3))
    epochs: list[int] = []
    outcomes = there(cluster, spec, PLANS[:3], prune, lambda epoch: epochs.append(epoch.number))
    asked_there, asked = asked, []
    for one, two in zip(here(spec, PLANS[:3], prune), outcomes, strict=True):
        assert_same(one, two)
        assert two.attempts == 1
    assert sorted(asked) == sorted(asked_there)
    assert [outcome.kind == "pruned" for outcome in outcomes] == [False, True, False]
    assert len(epochs) == sum(len(outcome.valid_aucs) for outcome in outcomes)


def test_rows_are_sent_once_for_all_seeds(cluster: RayCluster, task: SearchTask) -> None:
    spec = spec_of(task)
    one, again, two = cluster.parcel(spec), cluster.parcel(spec), cluster.parcel(replace(spec, seed=1))
    assert one is again
    assert (one.train, one.valid) == (two.train, two.valid) and one.spec != two.spec


def test_a_table_of_plans_is_the_same_on_a_cluster(nodes: Any, tmp_path: Path) -> None:
    Small(tmp_path).tabulate("here")
    on_ray = "--executor", "ray", "--ray-address", nodes.address
    given = "--dataset", tmp_path / "own.csv", "--split-column", "part", "--threshold", "10", "--seeds", "2"
    told = "--candidates", "full,others,dpq(4,2)", "--recipe", "paper(max_epochs=2)", "--licence", "CC0-1.0"
    done = call_cli("tabulate", *given, *told, *on_ray, "--out", tmp_path / "there", cache=tmp_path / "cache")
    assert done.code == 0, done.err
    one, other = (read_table(tmp_path / place / "table.parquet").rows for place in ("here", "there"))
    assert [row.model_copy(update={"seconds": 0.0}) for row in one] == [
        row.model_copy(update={"seconds": 0.0}) for row in other
    ]


def test_interrupted_search_ends_its_trials(cluster: RayCluster, task: SearchTask) -> None:
    def interrupt(_: Epoch) -> None:
        raise KeyboardInterrupt

    endless = spec_of(task, recipe=replace(RECIPE, max_epochs=10**6, patience=10**6))
    with pytest.raises(KeyboardInterrupt):
        there(cluster, endless, PLANS[:1], on_epoch=interrupt)
    (outcome,) = there(cluster, spec_of(task), PLANS[:1])
    assert_same(here(spec_of(task), PLANS[:1])[0], outcome)


def test_plan_whose_process_always_ends_fails_and_the_others_go_on(
    cluster: RayCluster, task: SearchTask, warnings: list[str], tmp_path: Path
) -> None:
    (tmp_path / "dying_parts.py").write_text(f"FATAL = {FIELDS[0].head + 1}")
    (tmp_path / "dying.py").write_text(DYING)
    spec = spec_of(task, model=f"{tmp_path / 'dying.py'}:Dying", pretrained=None)
    users: list[Choice] = [Others(), Full(), Full()]  # the first leaves so few rows that the model ends its process
    plans = [CompressionPlan({"user": user, "item": Others(), "device": Others()}) for user in users]
    warnings.clear()
    outcomes = there(cluster, spec, plans)
    fatal, *others = outcomes
    assert fatal.kind == "failed" and fatal.attempts == MAX_ATTEMPTS
    assert fatal.error is not None and "lost 3 times: ActorDiedError" in fatal.error and "\n" not in fatal.error
    assert [outcome.kind for outcome in others] == ["complete"] * 2
    assert warnings == ["trial 0: its process or node was lost; it begins again"] * (MAX_ATTEMPTS - 1)


def test_lost_node_s_trials_begin_again(
    nodes: Any, cluster: RayCluster, task: SearchTask, warnings: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []
    there_too = [nodes.add_node(num_cpus=1)]

    def lose(epoch: Epoch) -> None:
        seen.append(epoch.number)
        if seen.count(1) == 2 and there_too:  # a trial is under way on either node
            second = there_too.pop()
            raylet = second.all_processes["raylet"][0].process.pid
            workers = Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()
            nodes.remove_node(second, allow_graceful=False)
            for worker in workers:
                with suppress(ProcessLookupError):
                    os.kill(int(worker), signal.SIGKILL)

    def prune_last(number: int, valid_aucs: Sequence[float]) -> bool:
        return number == 3

    warnings.clear()
    spec = spec_of(task, recipe=SLOW)
    outcomes = there(cluster, spec, PLANS[:4], prune_last, on_epoch=lose)
    for one, two in zip(here(spec, PLANS[:4], prune_last), outcomes, strict=True):
        assert_same(one, two)
    assert [outcome.kind for outcome in outcomes] == ["complete", "complete", "complete", "pruned"]
    assert sorted(outcome.attempts for outcome in outcomes) == [1, 1, 1, 2]
    assert len(warnings) == 1 and "begins again" in warnings[0]
    assert capfd.readouterr() == ("", ""), "Ray does not write between the study's lines"
