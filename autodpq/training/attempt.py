"""One trial: a plan trained for an executor, whatever goes wrong."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping

from torch import Tensor

from autodpq.errors import AutoDPQError, TrainingError, one_line
from autodpq.plan import CompressionPlan
from autodpq.training.fit import Epoch
from autodpq.training.network import Network
from autodpq.training.trainer import Trainer
from autodpq.trial import Outcome, Prune


class _Pruned(Exception):
    """Training ends here."""


class _CallerFailed(Exception):
    """Not the trial failed, but who was asked about it."""


def train_one(
    trainer: Trainer,
    plan: CompressionPlan,
    pretrained: Mapping[str, Tensor] | None,
    after_epoch: Callable[[Epoch, tuple[float, ...]], bool],
    timeout: float | None = None,
) -> Outcome:
    """Trains one plan for an executor; whatever goes wrong becomes the outcome's error, so that the search goes on.

    The time charged is all of it, k-means included, but not that of ``after_epoch``.

    Args:
        trainer: Trains.
        plan: The plan.
        pretrained: Where it starts; None from nothing.
        after_epoch: Called after every epoch with the validation AUCs so far; says whether to end here.
        timeout: Seconds after which it counts as failed; None for no limit.
    """
    begin = time.perf_counter()
    waited = 0.0
    aucs: tuple[float, ...] = ()

    def on_epoch(epoch: Epoch, network: Network) -> None:
        nonlocal waited, aucs
        aucs = (*aucs, epoch.metrics.auc)
        called = time.perf_counter()
        try:
            ends = after_epoch(epoch, aucs)
        except Exception as error:
            raise _CallerFailed from error
        waited += time.perf_counter() - called
        if ends:
            raise _Pruned

    def seconds() -> float:
        return time.perf_counter() - begin - waited

    def on_step() -> None:
        if timeout is not None and seconds() > timeout:
            raise too_long(timeout)

    try:
        network, result = trainer.train_plan(plan, pretrained, on_epoch, on_step)
    except _Pruned:
        return Outcome(None, None, seconds(), aucs, None)
    except _CallerFailed as failed:
        assert failed.__cause__ is not None, "raised from what failed"
        raise failed.__cause__ from None
    except Exception as error:
        return failure(error, seconds(), aucs)
    metrics = result.best.metrics
    return Outcome(metrics.auc, metrics.logloss, seconds(), aucs, network.state_dict())


def too_long(timeout: float) -> TrainingError:
    """What is said of a trial that took longer than its seconds."""
    return TrainingError(f"the trial took longer than its {timeout:g} s (--trial-timeout)")


def failure(error: Exception, seconds: float = 0.0, valid_aucs: tuple[float, ...] = ()) -> Outcome:
    """What a trial comes to that an error ended; an error of code brings its traceback, the project's own say it all.

    Args:
        error: The error.
        seconds: Of training.
        valid_aucs: Validation AUC after each epoch before.
    """
    trace = None if isinstance(error, AutoDPQError) else "".join(traceback.format_exception(error))
    return Outcome(None, None, seconds, valid_aucs, None, one_line(error), traceback=trace)


def pruned_by(
    prune: Prune, number: int, on_epoch: Callable[[Epoch], None] | None = None
) -> Callable[[Epoch, tuple[float, ...]], bool]:
    """The ``after_epoch`` of :func:`train_one` for trials that are trained where ``prune`` can be asked."""

    def after_epoch(epoch: Epoch, valid_aucs: tuple[float, ...]) -> bool:
        if on_epoch is not None:
            on_epoch(epoch)
        return not epoch.last and prune(number, valid_aucs)

    return after_epoch
