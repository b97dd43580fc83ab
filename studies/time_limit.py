"""A limit to a study's time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from autodpq.errors import AutoDPQError


class TimeIsUp(KeyboardInterrupt):
    """The time that a study may take is over: it ends as by Ctrl-C, with all that is finished kept."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Ends what is inside after so many seconds, wherever it is; None for no limit.

    Raises:
        AutoDPQError: It is not in the main thread, the only one that can be ended.
        TimeIsUp: The time is over.
    """
    if seconds is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise AutoDPQError("timeout: it needs the main thread; leave it out, or run the study there")

    def end(*_: object) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
