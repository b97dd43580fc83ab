from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.patience import PATIENCE

from autodpq.errors import AutoDPQError
from studies.time_limit import TimeIsUp, time_limit


def test_what_is_inside_ends_when_time_is_up_and_nothing_after_it() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeIsUp), time_limit(0.01):
        threading.Event().wait(PATIENCE)
    assert signal.getsignal(signal.SIGALRM) is before and signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize("seconds", [None, PATIENCE])
def test_what_ends_in_time_is_left_alone(seconds: float | None) -> None:
    with time_limit(seconds):
        running = signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert running == (seconds is not None) and signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_another_thread_cannot_be_ended() -> None:
    def limited() -> None:
        with time_limit(1.0):
            raise AssertionError("it was begun")

    with ThreadPoolExecutor(1) as pool, pytest.raises(AutoDPQError, match=r"^timeout: it needs the main thread"):
        pool.submit(limited).result()
