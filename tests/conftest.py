"""What all tests share."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Iterator

import hypothesis
import pytest

# Before torch is imported, and for the processes that tests start: tests of this size gain nothing from threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nor from a process of torch's compiler that imports torch again.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
pytest.register_assert_rewrite("autodpq.testing")

# How long an example takes says nothing on a machine that is busy with other things; files are written by all examples
# of a test into one folder. The same examples every time: what is wrong fails at once or by hand, not now and then.
hypothesis.settings.register_profile(
    "any-machine",
    max_examples=15,
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.register_profile(
    "thorough", hypothesis.settings.get_profile("any-machine"), max_examples=1000, derandomize=False
)  # by hand: --hypothesis-profile=thorough
hypothesis.settings.load_profile("any-machine")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported stays: searching it for garbage again and again takes a third of the time that collecting takes,
    and a sixth of the tests'.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _plug_ins_are_forgotten() -> Iterator[None]:
    """What a test loads is there for no other: neither its name nor the folder that it lies in."""
    from support.installed import forgetting

    path = list(sys.path)
    with forgetting():
        yield
    sys.path[:] = path


@pytest.fixture(scope="session", autouse=True)
def _workers_are_forked() -> Iterator[None]:
    """Those that the runner starts in this process; how they are started otherwise is tested by a few."""
    from support.forked import FORKING

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studies.workers.processes.multiprocessing", FORKING)
        yield


@pytest.fixture(scope="module", autouse=True)
def _garbage_is_collected_where_it_was_made() -> Iterator[None]:
    """Connections that Optuna leaves open warn when they are collected, which would fail another module's test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    gc.freeze()  # what is left is searched no more
