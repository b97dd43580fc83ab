"""Trials of Ray Tune."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from studies.workers.order import MAX_ATTEMPTS
from studies.workers.ray_connection import one_line
from studies.workers.ray_worker import train_trial

# What Tune may take to end its trials, and to see that they were ended.
GRACE_SECONDS = 0.5
END_SECONDS = 10.0


class Tuning:
    """Trials of Tune, in a thread: it would keep Ctrl-C to itself.

    Args:
        mailbox: Tells the trials what to do.
        name: The mailbox's.
        trials: How many.
        resources: What each takes.

    Attributes:
        error: Why it failed, or the last trial that was lost; empty unless one was.
    """

    def __init__(self, mailbox: Any, name: str, trials: int, resources: Mapping[str, float]) -> None:
        self.error = ""
        self._trials: Sequence[Any] = []
        self._ends = False
        self._thread = threading.Thread(target=self._run, args=(mailbox, name, trials, resources), daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether trials may still run."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Ends all trials and waits until they have; not for epochs that are under way, for they may be long."""
        actors = [trial.temporary_state.ray_actor for trial in list(self._trials)]
        self._ends = True
        self._thread.join(GRACE_SECONDS)
        if self.is_alive():
            for actor in actors:
                if actor is not None:
                    import_module("ray").kill(actor)
            self._thread.join(END_SECONDS)

    def _run(self, mailbox: Any, name: str, trials: int, resources: Mapping[str, float]) -> None:
        tune = import_module("ray.tune")
        folder = tempfile.mkdtemp(prefix="autodpq-tune-")
        try:
            tune.Tuner(
                tune.with_resources(train_trial, dict(resources)),
                param_space={"mailbox": name},
                tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
                run_config=tune.RunConfig(
                    name="autodpq",
                    storage_path=folder,
                    failure_config=tune.FailureConfig(max_failures=MAX_ATTEMPTS - 1),
                    callbacks=[self._watch(mailbox)],
                    stop=self._stopper(),
                    verbose=0,
                ),
            ).fit()
        except BaseException as error:
            self.error = one_line(error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _stopper(self) -> Any:
        tuning = self

        class Stopper(import_module("ray.tune").Stopper):  # type: ignore[misc]
            def __call__(self, trial: str, result: object) -> bool:
                return False

            def stop_all(self) -> bool:
                return tuning._ends

            __reduce__ = _unread

        return Stopper()

    def _watch(self, mailbox: Any) -> Any:
        """Tells the mailbox of lost trials before Tune begins them again."""
        tuning, ray = self, import_module("ray")

        class Watch(import_module("ray.tune").Callback):  # type: ignore[misc]
            def on_trial_start(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
                tuning._trials = trials

            def on_trial_recover(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
                tuning.error = _last_error(trial)
                ray.get(mailbox.trial_lost.remote(trial.trial_id, tuning.error))

            on_trial_error = on_trial_recover

            __reduce__ = _unread

        return Watch()


def _last_error(trial: Any) -> str:
    """Why a trial was lost."""
    try:
        return one_line(import_module("ray.cloudpickle").loads(Path(trial.pickled_error_file).read_bytes()))
    except Exception as error:
        return one_line(error)


def _unread(_: object) -> tuple[type, tuple[()]]:
    """How to pickle what cannot be: Tune stores its settings, to go on after a crash, and we never read them."""
    return object, ()
