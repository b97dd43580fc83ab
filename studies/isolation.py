"""What strategies share, kept as it was: the process' settings, and the rows and weights that every one starts from."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.deterministic
from torch import Tensor

from autodpq.costs import chosen
from autodpq.data import Samples
from autodpq.embedding.planned import PlanEmbedding
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan, bands_of
from autodpq.search.task import Executor, HandOver, Journal
from autodpq.training.network import Network
from autodpq.training.trainer import Trainer
from autodpq.trial import PHASES, Outcome, Phase, Prune, Trial, never
from studies.folder.records import weights_digest

_filling: Any = torch.utils.deterministic  # torch sets its one attribute at run time, unknown to checkers


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # a default that is set slows every call


def _set_determinism(mode: tuple[int, bool]) -> None:
    torch.set_deterministic_debug_mode(mode[0])
    _filling.fill_uninitialized_memory = mode[1]


def _set_environment(variables: dict[str, str]) -> None:
    if dict(os.environ) != variables:
        os.environ.clear()
        os.environ.update(variables)


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it has been removed
        return None


def _set_folder(folder: Path | None) -> None:
    if folder is not None and folder != _current_folder():
        os.chdir(folder)


def _set_interrupts(handler: Any) -> None:
    ours = threading.current_thread() is threading.main_thread() and handler is not None  # None: not Python's
    if ours and signal.getsignal(signal.SIGINT) != handler:
        signal.signal(signal.SIGINT, handler)


def _set_output(files: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = files


def _set_items(there: list[Any], items: list[Any]) -> None:
    there[:] = items


# What code may change for all that runs after it in a process: how each is read, and how it is put back.
_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, _set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (lambda: (torch.get_deterministic_debug_mode(), _filling.fill_uninitialized_memory), _set_determinism),
    (torch.get_rng_state, torch.set_rng_state),
    (np.random.get_state, np.random.set_state),
    (random.getstate, random.setstate),
    (np.geterr, lambda modes: np.seterr(**modes)),
    (lambda: dict(os.environ), _set_environment),
    (_current_folder, _set_folder),
    (lambda: list(sys.path), lambda path: _set_items(sys.path, path)),
    (lambda: list(warnings.filters), lambda filters: _set_items(warnings.filters, filters)),  # type: ignore[arg-type]
    (lambda: (sys.stdout, sys.stderr), _set_output),
    (lambda: signal.getsignal(signal.SIGINT), _set_interrupts),
)


class ProcessSettings:
    """The settings of this process as they are now."""

    def __init__(self) -> None:
        self._values = [read() for read, _ in _SETTINGS]

    def restore(self) -> None:
        """Puts them back, denormals as :func:`studies.workers.machine.torch_settings` has them."""
        for (_, write), value in zip(_SETTINGS, self._values, strict=True):
            write(value)
        torch.set_flush_denormal(True)  # which torch does not tell

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Puts them back for a while: what is trained for a strategy does not depend on what it has set."""
        others = ProcessSettings()
        self.restore()
        try:
            yield
        finally:
            others.restore()


class Outside:
    """Tells what goes wrong around a strategy, in the study's folder or where trials are trained, from its own errors.

    Attributes:
        error: What went wrong around it, and ends the study, even where the strategy has caught it; None if nothing.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._process = os.getpid()

    def end_fork(self) -> None:
        """Ends this process if it is a child that the strategy has forked: the study goes on in its parent."""
        if os.getpid() != self._process:
            os._exit(1)

    @contextmanager
    def _watched(self, theirs: Sequence[BaseException] = ()) -> Iterator[None]:
        self.end_fork()
        try:
            yield
        except GeneratorExit:  # nobody waits for more outcomes
            raise
        except BaseException as error:
            if error not in theirs:
                self.error = self.error or error
            raise

    def executor(self, executor: Executor, settings: ProcessSettings) -> Executor:
        """The same executor, watched; what the strategy's pruning raises is the strategy's own.

        Args:
            executor: Trains plans.
            settings: What they are trained with, whatever the strategy has set.
        """

        def train(plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
            theirs: list[BaseException] = []

            def ask(number: int, valid_aucs: Sequence[float]) -> bool:
                try:
                    return prune(number, valid_aucs)
                except BaseException as error:
                    theirs.append(error)
                    raise

            outcomes = executor(plans, numbers, never if prune is never else ask)
            while True:
                with self._watched(theirs), settings.in_force():
                    outcome = next(outcomes, None)
                if outcome is None:
                    return
                yield outcome

        return train

    def journal(self, journal: Journal) -> Journal:
        """The same journal, watched."""
        return _WatchedJournal(journal, self._watched)


class _WatchedJournal:
    def __init__(self, journal: Journal, watched: Callable[[], AbstractContextManager[None]]) -> None:
        self._journal = journal
        self._watched = watched

    def finished_trials(self) -> Sequence[Trial]:
        with self._watched():
            return self._journal.finished_trials()

    def add_trial(self, trial: Trial, state: Mapping[str, Tensor] | None) -> None:
        with self._watched():
            self._journal.add_trial(trial, state)

    def add_point(self, seconds: float, phase: Phase, valid_auc: float, reached_by: Network | Trial | None) -> None:
        with self._watched():
            self._journal.add_point(seconds, phase, valid_auc, reached_by)


def check_epochs(epochs: Mapping[str, int]) -> None:
    """Refuses counts of epochs that are none.

    Raises:
        AutoDPQError: A phase is missing, or its count is no whole number.
    """
    if set(epochs) != set(PHASES) or not all(isinstance(count, int) and count >= 0 for count in epochs.values()):
        raise AutoDPQError("it changed how its epochs are counted: whole numbers by phase")


def check_network(handed: HandOver | None, plan: CompressionPlan, trainer: Trainer) -> None:
    """Refuses a handed-over network that is not what a study would build for the plan.

    Raises:
        AutoDPQError: It is of another plan or model.
    """
    if handed is None:
        return
    network = handed.network
    choices = tuple(chosen(band, plan) for band in bands_of(trainer.fields))
    if not isinstance(network.embedding, PlanEmbedding) or network.embedding.choices != choices:
        raise AutoDPQError("hand_over: the network is not of the plan that the strategy gave back")
    if type(network.model) is not trainer.model:
        raise AutoDPQError(f"hand_over: the network is not a {trainer.model.name}, the study's model")


def shared_digest(rows: Iterable[Samples], state: Mapping[str, Tensor]) -> str:
    """Hexadecimal digest of what all strategies of a seed share.

    Args:
        rows: Training and validation rows; ids that lie in a file cannot be changed, and are left out.
        state: The pretrained network's weights.
    """
    digest = hashlib.sha256()
    for samples in rows:
        digest.update(samples.labels.tobytes())
        if samples.weights is not None:
            digest.update(samples.weights.tobytes())
        if not isinstance(samples.ids, np.memmap):
            digest.update(samples.ids.tobytes())
    digest.update(weights_digest(state).encode())
    return digest.hexdigest()
