"""Training with early stopping on validation AUC, and evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autodpq.data.dataset import Samples
from autodpq.embedding import PlanEmbedding
from autodpq.errors import AutoDPQError
from autodpq.metrics import Metrics, evaluate_predictions
from autodpq.network import Network
from autodpq.recipes import Recipe

EVALUATION_BATCH = 8192


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        number: From 1.
        seconds: Since training began, evaluation included.
        metrics: On the validation rows.
        best: Whether no earlier epoch was as good.
        last: Whether training ends with it.
    """

    number: int
    seconds: float
    metrics: Metrics
    best: bool
    last: bool


@dataclass(frozen=True)
class FitResult:
    """What training came to; the network holds the best epoch's weights.

    Attributes:
        epochs: How many were trained.
        best: The best epoch, by validation AUC.
        seconds: All of training.
    """

    epochs: int
    best: Epoch
    seconds: float


@dataclass(frozen=True)
class DeviceRows:
    """Samples on the device.

    Attributes:
        ids: int32 [rows, fields], frequency ranks, or row numbers once flattened.
        labels: float32 [rows].
    """

    ids: Tensor
    labels: Tensor

    @classmethod
    def load(cls, samples: Samples, device: torch.device) -> DeviceRows:
        """Moves samples to the device."""
        labels = torch.from_numpy(samples.labels.astype(np.float32))
        return cls(torch.from_numpy(samples.ids).to(device), labels.to(device))

    def flattened(self, network: Network) -> DeviceRows:
        """The same rows with the network's row numbers for ids."""
        return DeviceRows(network.embedding.flatten(self.ids), self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch's batches in an order drawn from (seed, epoch); a rest of one row is dropped (BatchNorm)."""
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        order = torch.randperm(len(self), generator=generator).to(self.ids.device)
        ids, labels = self.ids[order], self.labels[order]
        for start in range(0, len(self), size):
            if len(self) - start > 1:
                yield ids[start : start + size], labels[start : start + size]


def make_optimizer(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam over all weights that are trained; L2 on the rows and first-order weights that are used as they are.

    Raw rows of quantized values are left out: hardly a gradient but the penalty's own would reach them, and Adam, which
    divides by its size, would drive them to zero at full speed.
    """
    indexed = [network.embedding.table]
    if network.embedding.first_order is not None:
        indexed.append(network.embedding.first_order)
    known = {id(weights) for weights in indexed}
    rest = [weights for weights in network.parameters() if weights.requires_grad and id(weights) not in known]
    groups: list[dict[str, Any]] = [{"params": indexed, "weight_decay": recipe.l2}, {"params": rest}]
    return torch.optim.Adam(groups, lr=recipe.learning_rate, fused=True)


def training_step(network: Network, optimizer: torch.optim.Optimizer, ids: Tensor, labels: Tensor, l2: float) -> None:
    """One step on the mean cross entropy of a batch.

    Rows are penalised by the optimizer; centroids here, as the rows that they stand for would be. The union of
    candidates is left alone: it is normalised, so that the size of its centroids changes nothing.
    """
    optimizer.zero_grad(set_to_none=True)
    loss = nn.functional.binary_cross_entropy_with_logits(network(ids), labels)
    if l2 and isinstance(network.embedding, PlanEmbedding) and network.embedding.quantizers is not None:
        loss = loss + 0.5 * l2 * network.embedding.centroid_norms()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


@torch.no_grad()
def predict(network: Network, rows: DeviceRows) -> npt.NDArray[np.float64]:
    """Click probabilities of flattened rows, float64 [rows]."""
    network.eval()
    with network.embedding.settled():
        parts = [network(ids) for ids in torch.split(rows.ids, EVALUATION_BATCH)]
    return torch.cat(parts).double().sigmoid().cpu().numpy()


def evaluate(network: Network, rows: DeviceRows) -> Metrics:
    """AUC and logloss of flattened rows."""
    return evaluate_predictions(predict(network, rows), rows.labels.cpu().numpy())


def fit(
    network: Network,
    train: DeviceRows,
    valid: DeviceRows,
    recipe: Recipe,
    seed: int,
    *,
    epochs: int | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> FitResult:
    """Trains until validation AUC stops rising, then restores the best epoch.

    Args:
        network: Trained in place.
        train: Rows to learn from, with ids as in the data set.
        valid: Rows to stop by.
        recipe: How to train.
        seed: Seeds order and dropout.
        epochs: Train exactly so many epochs instead.
        on_epoch: Called after every epoch, with the network as it is then; its time is not counted.

    Raises:
        AutoDPQError: Predictions are not finite.
    """
    torch.manual_seed(seed)
    network.reseed(seed)
    begin = time.perf_counter()
    train, valid = train.flattened(network), valid.flattened(network)
    optimizer = make_optimizer(network, recipe)
    best: Epoch | None = None
    best_state: dict[str, Tensor] = {}
    number, limit = 0, recipe.max_epochs if epochs is None else epochs
    for number in range(1, limit + 1):
        network.train()
        for ids, labels in train.batches(recipe.batch_size, seed, number):
            training_step(network, optimizer, ids, labels, recipe.l2)
        metrics = evaluate(network, valid)
        is_best = best is None or metrics.auc > best.metrics.auc
        since_best = 0 if best is None or is_best else number - best.number
        last = number == limit or (epochs is None and since_best >= recipe.patience)
        epoch = Epoch(number, time.perf_counter() - begin, metrics, is_best, last)
        if epoch.best:
            best, best_state = epoch, deepcopy(network.state_dict())
        if on_epoch is not None:
            called = time.perf_counter()
            on_epoch(epoch)
            begin += time.perf_counter() - called
        if epoch.last:
            break
    if best is None:
        raise AutoDPQError(f"epochs: {epochs} given, at least 1 is needed")
    network.load_state_dict(best_state)
    return FitResult(number, best, time.perf_counter() - begin)
