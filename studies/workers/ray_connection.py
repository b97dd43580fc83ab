"""The way to a Ray cluster, and whether its nodes can run trials."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import torch

from autodpq import __version__
from autodpq.errors import AutoDPQError

CONNECT_SECONDS = 5.0
CHECK_SECONDS = 20.0
# A node's first process and its imports take a few.
PROBE_SECONDS = 120.0

_SETTINGS = {
    # Files that nobody reads, and errors that outcomes tell.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Seconds that a trial may go on once nobody waits for it.
    "TUNE_FORCE_TRIAL_CLEANUP_S": "1",
}

Node = Mapping[str, Any]


def one_line(error: BaseException) -> str:
    """What Ray's errors say in paragraphs and tracebacks."""
    cause = getattr(error, "cause", None)
    error = cause if isinstance(cause, BaseException) else error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def answers(address: str) -> bool:
    """Whether something listens at ``host:port``."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


@contextmanager
def connected(address: str) -> Iterator[str]:
    """Connects this process to a cluster for the time of a study; gives the address of the cluster's head.

    Raises:
        AutoDPQError: No cluster answers, or this process cannot join it.
    """
    with _quiet():
        ray = _import()
        address = (os.environ.get("RAY_ADDRESS") or address) if address == "auto" else address
        _check_address(address)
        with _printing_nothing():
            _init(ray, address)
            try:
                yield ray.get_runtime_context().gcs_address
            finally:
                ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """What Ray and Tune print is kept from the terminal, and what they change in this process is put back."""
    before = {name: os.environ.get(name) for name in _SETTINGS}
    logger, on_sigterm = logging.getLogger("ray"), signal.getsignal(signal.SIGTERM)
    level = logger.level
    os.environ.update(_SETTINGS)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray\b")
            yield
    finally:
        logger.setLevel(level)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm or signal.SIG_DFL)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _printing_nothing() -> Iterator[None]:
    """Ray prints what befalls workers and nodes whatever it is told; the study tells of the trials that are lost."""
    worker: Any = import_module("ray._private.worker")
    before = getattr(worker, "_worker_logs_enabled", True)
    worker._worker_logs_enabled = False
    try:
        yield
    finally:
        worker._worker_logs_enabled = before


def _import() -> Any:
    try:
        import_module("ray.tune")
        ray = import_module("ray")
    except ImportError:
        raise AutoDPQError("--executor ray needs Ray: pip install 'autodpq[ray]'") from None
    with suppress(ImportError):
        # A thread of Tune's that outlives a lost cluster would start one of its own here.
        automatic: Any = import_module("ray._private.auto_init_hook")
        automatic.enable_auto_connect = False
    return ray


def _check_address(address: str) -> None:
    """Looks whether there is a cluster: where none is, Ray waits for minutes and then ends the process."""
    if address.startswith("ray://"):
        raise AutoDPQError(f"--ray-address: {address} is for Ray Client, which Tune does not work over; say host:port")
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check", "--address"]
    try:
        if address != "auto" and not answers(address):
            raise ConnectionError
        subprocess.run([*command, address], capture_output=True, timeout=CHECK_SECONDS, check=True)
    except (ConnectionError, subprocess.SubprocessError):
        start = "start one with `ray start --head`, or give the address of one that runs"
        raise AutoDPQError(f"--ray-address: no Ray cluster answers at {address}; {start}") from None


def _init(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())
        raise AutoDPQError(f"--ray-address: this process cannot join the cluster at {address}: {reason}") from None


def suitable_nodes(cpus: float, gpus: float) -> list[Node]:
    """The nodes that have what a trial takes; Tune would wait for one for ever.

    Raises:
        AutoDPQError: There is none.
    """
    nodes: list[Node] = [node for node in import_module("ray").nodes() if node["Alive"]]
    suitable = [node for node in nodes if _has(node, "CPU") >= cpus and _has(node, "GPU") >= gpus]
    if suitable:
        return suitable
    for option, resource, wanted in (("--cpus-per-trial", "CPU", cpus), ("--gpus-per-trial", "GPU", gpus)):
        most = max((_has(node, resource) for node in nodes), default=0)
        if most < wanted:
            raise AutoDPQError(f"{option} {wanted:g}: no node of the Ray cluster has so many; the most is {most:g}")
    raise AutoDPQError(f"--gpus-per-trial {gpus:g}: no node of the Ray cluster has {cpus:g} CPUs besides")


def _has(node: Node, resource: str) -> float:
    return float(node["Resources"].get(resource, 0))


def check_packages(nodes: Sequence[Node], warn: Callable[[str], None]) -> None:
    """Looks whether nodes have this version of the package, and warns of another torch.

    Raises:
        AutoDPQError: Names a node that has not.
    """

    # Nested, so that it is sent as it is: a node without the package could not import it.
    def look() -> tuple[str, str, str]:
        try:
            import torch

            import autodpq
            import studies.workers.ray_worker  # noqa: F401
        except BaseException as error:
            return "", "", f"{type(error).__name__}: {error}"
        return autodpq.__version__, torch.__version__, ""

    ray, strategies = import_module("ray"), import_module("ray.util.scheduling_strategies")
    probe = ray.remote(num_cpus=0, max_retries=0)(look)
    seen = {}
    for node in nodes:
        there = strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        seen[probe.options(scheduling_strategy=there).remote()] = (
            f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})"
        )
    ray.wait(list(seen), num_returns=len(seen), timeout=PROBE_SECONDS)
    for reference, name in seen.items():
        try:
            version, torch_version, error = ray.get(reference, timeout=0)
        except ray.exceptions.RayError as broken:
            raise AutoDPQError(f"--executor ray: node {name} runs nothing: {one_line(broken)}") from None
        cure = f"install autodpq {__version__} in the environment of its `ray start`"
        if error:
            raise AutoDPQError(f"--executor ray: node {name} cannot import autodpq: {error}; {cure}")
        if version != __version__:
            raise AutoDPQError(f"--executor ray: node {name} has autodpq {version}, not {__version__}; {cure}")
        if torch_version != torch.__version__:
            warn(f"node {name} has torch {torch_version}, this machine {torch.__version__}: digits may differ")
