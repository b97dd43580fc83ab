"""Where trials are trained: here, or in processes side by side."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from autodpq.data import Samples
from autodpq.models import find_model
from autodpq.network import Network
from autodpq.plan import CompressionPlan, Field
from autodpq.recipes import Recipe
from autodpq.trainer import Trainer
from autodpq.training import Epoch
from autodpq.trial import Outcome
from studies.machine import torch_settings

OnEpoch = Callable[[Epoch, Network], None]


def train_one(
    trainer: Trainer,
    plan: CompressionPlan,
    pretrained: Mapping[str, Tensor] | None,
    on_epoch: OnEpoch | None = None,
) -> Outcome:
    """Trains one plan; whatever goes wrong becomes the outcome's error, so that the search goes on.

    The time charged is all of it, k-means included.
    """
    begin = time.perf_counter()
    try:
        network, result = trainer.train_plan(plan, pretrained, on_epoch)
    except Exception as error:
        return Outcome(None, None, time.perf_counter() - begin, 0, None, f"{type(error).__name__}: {error}")
    seconds, metrics = time.perf_counter() - begin, result.best.metrics
    return Outcome(metrics.auc, metrics.logloss, seconds, result.epochs, network.state_dict())


@dataclass(frozen=True)
class TrainerSpec:
    """All that another process needs to build the same trainer."""

    fields: tuple[Field, ...]
    model: str
    recipe: Recipe
    seed: int
    device: str
    train: Samples
    valid: Samples
    pretrained: dict[str, Tensor] | None


_worker: tuple[Trainer, Mapping[str, Tensor] | None] | None = None


def _start_worker(spec: TrainerSpec) -> None:
    global _worker
    device = torch.device(spec.device)
    trainer = Trainer(spec.fields, find_model(spec.model), spec.recipe, spec.seed, device, spec.train, spec.valid)
    _worker = (trainer, spec.pretrained)


@torch_settings()
def _train_in_worker(plan: CompressionPlan) -> Outcome:
    assert _worker is not None
    return train_one(_worker[0], plan, _worker[1])


class LocalExecutor:
    """Trains plans here, one after another, or in ``jobs`` processes.

    Args:
        trainer: Trains.
        train: Training rows, for other processes.
        valid: Validation rows, for other processes.
        pretrained: Where plans start; None from nothing.
        jobs: Number of processes.
        on_epoch: Called after every epoch that is trained here.
        on_outcome: Called after every plan.
    """

    def __init__(
        self,
        trainer: Trainer,
        train: Samples,
        valid: Samples,
        pretrained: Mapping[str, Tensor] | None,
        jobs: int,
        on_epoch: OnEpoch,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        self.trainer = trainer
        self.train = train
        self.valid = valid
        self.pretrained = pretrained
        self.jobs = jobs
        self.on_epoch = on_epoch
        self.on_outcome = on_outcome

    def __call__(self, plans: Sequence[CompressionPlan]) -> Iterator[Outcome]:
        """Yields outcomes in the order of the plans."""
        if self.jobs == 1 or len(plans) < 2:
            for plan in plans:
                outcome = train_one(self.trainer, plan, self.pretrained, self.on_epoch)
                self.on_outcome(outcome)
                yield outcome
            return
        trainer = self.trainer
        spec = TrainerSpec(
            trainer.fields,
            trainer.model.name,
            trainer.recipe,
            trainer.seed,
            str(trainer.device),
            self.train,
            self.valid,
            None if self.pretrained is None else dict(self.pretrained),
        )
        # Forked children would inherit torch's threads in an unknown state.
        context = multiprocessing.get_context("spawn")
        workers = min(self.jobs, len(plans))
        with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(spec,)) as pool:
            for outcome in pool.map(_train_in_worker, plans):
                self.on_outcome(outcome)
                yield outcome
