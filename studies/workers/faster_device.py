"""Which device trains faster: a few steps on each say it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import islice

import torch

from autodpq.plan import CompressionPlan
from autodpq.training.fit import make_optimizer, training_step
from autodpq.training.trainer import Trainer

_WARM, _TIMED = 5, 20  # steps
_DEVICES = {name: torch.device(name) for name in ("cpu", "cuda")}


def faster_device(
    trainer_on: Callable[[torch.device], Trainer], plan: CompressionPlan
) -> tuple[torch.device, Mapping[str, float]]:
    """The device that trains faster what a study trains: the network that compresses nothing, and one that does.

    A GPU waits for Python, which starts hundreds of small operations a step: at batches of some thousand samples it
    may be slower than one core.

    Args:
        trainer_on: Makes a trainer for a device.
        plan: Compresses.

    Returns:
        The device, and of each the milliseconds that a step of both takes together.
    """
    taken = {name: _milliseconds(trainer_on(device), plan) for name, device in _DEVICES.items()}
    return _DEVICES[min(taken, key=lambda name: taken[name])], taken


def _milliseconds(trainer: Trainer, plan: CompressionPlan) -> float:
    recipe, total = trainer.recipe, 0.0
    for own in (trainer.full_plan(), plan):
        network = trainer.build(own).train()
        optimizer = make_optimizer(network, recipe)
        rows = trainer.train.batches(network, recipe.batch_size, trainer.seed, 1)
        batches = list(islice(rows, _WARM + _TIMED))
        n_warm = min(_WARM, len(batches) - 1)
        for number, batch in enumerate(batches):
            if number == n_warm:
                begin = _now(trainer.device)
            training_step(network, optimizer, batch.flat, batch.labels, recipe.l2, batch.weights)
        total += 1e3 * (_now(trainer.device) - begin) / (len(batches) - n_warm)
    return total


def _now(device: torch.device) -> float:
    """Seconds, once the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
