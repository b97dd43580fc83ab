"""Training with early stopping on validation rows, and evaluation."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autodpq.calibration import Calibration, fit_calibration
from autodpq.data.dataset import Samples
from autodpq.embedding.planned import PlanEmbedding
from autodpq.errors import AutoDPQError
from autodpq.kernels.adam import Adam, Group
from autodpq.metrics import Metrics, evaluate_predictions
from autodpq.training.network import Network
from autodpq.training.recipes import Recipe

EVALUATION_BATCH = 8192
CHUNK_BATCHES = 32
"""Batches that are brought into an epoch's order together: enough to be fast, and little memory beside the rows."""


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
        best: The best epoch, by what the recipe stops by.
        seconds: All of training.
    """

    epochs: int
    best: Epoch
    seconds: float


class Batch(NamedTuple):
    """Some samples, as a network reads them.

    Attributes:
        flat: The network's row numbers [batch, columns].
        labels: float32 [batch].
        weights: float32 [batch], in units of the mean over all rows; None where all count the same.
    """

    flat: Tensor
    labels: Tensor
    weights: Tensor | None = None


@dataclass(frozen=True)
class DeviceRows:
    """Samples on the device.

    Attributes:
        ids: int32 [rows, columns], frequency ranks.
        labels: float32 [rows].
        weights: float64 [rows], how much each counts; None where all count the same.
    """

    ids: Tensor
    labels: Tensor
    weights: Tensor | None = None

    @classmethod
    def load(cls, samples: Samples, device: torch.device) -> DeviceRows:
        """Moves samples to the device; memory-mapped ids stay where they are if that is the CPU."""
        labels = torch.from_numpy(samples.labels.astype(np.float32))
        with warnings.catch_warnings():
            # Rows lie in files that processes share and none may write; none does.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            ids = torch.from_numpy(samples.ids)
        weights = None if samples.weights is None else torch.tensor(samples.weights, device=device)
        return cls(ids.to(device), labels.to(device), weights)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def relative_weights(self) -> Tensor | None:
        """The weights in units of their mean, float64 [rows]."""
        return None if self.weights is None else self.weights / self.weights.mean()

    @property
    def numpy_weights(self) -> npt.NDArray[np.float64] | None:
        """How much each sample counts, float64 [rows], as metrics take it."""
        return None if self.weights is None else self.weights.cpu().numpy()

    def batches(self, network: Network, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """One epoch's batches.

        Their order is drawn from (seed, epoch); a rest of one row is dropped (BatchNorm).
        """
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        order = torch.randperm(len(self), generator=generator).to(self.ids.device)
        relative = self.relative_weights
        for chunk in torch.split(order, size * CHUNK_BATCHES):
            chunk_ids, chunk_labels = self.ids.index_select(0, chunk), self.labels.index_select(0, chunk)
            weights: Iterable[Tensor | None] = repeat(None)
            if relative is not None:
                weights = torch.split(relative.index_select(0, chunk).float(), size)
            # Without weights there is no end to them: the batches' end is that of the ids and labels.
            for ids, labels, own in zip(torch.split(chunk_ids, size), torch.split(chunk_labels, size), weights):  # noqa: B905
                if len(labels) > 1:
                    yield Batch(network.embedding.flatten(ids), labels, own)


def make_optimizer(network: Network, recipe: Recipe) -> Adam:
    """Adam over all weights that are trained; L2 on first-order weights, and on the rows that are trained as rows."""
    embedding, rate = network.embedding, recipe.table_learning_rate or recipe.learning_rate
    penalty = embedding.raw_penalty(recipe.l2)
    groups = [Group([embedding.table], rate, recipe.l2)]
    if embedding.first_order is not None:
        l2 = recipe.l2 if recipe.first_order_l2 is None else recipe.first_order_l2
        groups.append(Group([embedding.first_order], rate, l2))
    if embedding.raw is not None and penalty is not None:
        groups.append(Group([embedding.raw], rate, penalty))
    known = {id(weights) for group in groups for weights in group.weights}
    for module, own_rate in ((embedding, rate), (network.model, recipe.learning_rate)):
        rest = [weights for weights in module.parameters() if weights.requires_grad and id(weights) not in known]
        groups.append(Group(rest, own_rate))
    return Adam(groups, embedding.kernels.update, proximal=recipe.penalty == "proximal")


def training_step(
    network: Network, optimizer: Adam, ids: Tensor, labels: Tensor, l2: float, weights: Tensor | None = None
) -> None:
    """One step on the mean cross entropy of a batch, each sample counting by its weight.

    Rows are penalised by the optimizer; centroids here, as the rows that they stand for would be. The union of
    candidates is left alone: it is normalised, so that the size of its centroids changes nothing.
    """
    optimizer.zero_grad()
    network.backward(ids, labels, weights)
    if l2 and isinstance(network.embedding, PlanEmbedding):
        network.embedding.penalise_centroids(l2)
    optimizer.step()


@torch.no_grad()
def _logits(network: Network, rows: DeviceRows) -> Tensor:
    """Click logits, float32 [rows]."""
    network.eval()
    with network.embedding.settled(rows.ids):
        parts = [network(network.embedding.flatten(ids)) for ids in torch.split(rows.ids, EVALUATION_BATCH)]
    return torch.cat(parts)


def predict(network: Network, rows: DeviceRows, calibration: Calibration | None = None) -> npt.NDArray[np.float64]:
    """Click probabilities, float64 [rows]; of calibrated logits where a calibration is given."""
    logits = _logits(network, rows)
    if calibration is not None:
        logits = calibration(logits.double()).float()  # as the packed file has it
    return logits.double().sigmoid().cpu().numpy()


def evaluate(network: Network, rows: DeviceRows, calibration: Calibration | None = None) -> Metrics:
    """AUC and logloss; of calibrated logits where a calibration is given."""
    return evaluate_predictions(predict(network, rows, calibration), rows.labels.cpu().numpy(), rows.numpy_weights)


def calibrate(network: Network, rows: DeviceRows) -> tuple[Calibration, str | None]:
    """Fits the scale and the shift of a trained network's logits, as :func:`autodpq.calibration.fit_calibration`.

    Args:
        network: The network, which stays as it is.
        rows: Rows that it was not trained on.

    Raises:
        AutoDPQError: All labels of the rows are the same.
        TrainingError: A logit is not finite.
    """
    labels = rows.labels.cpu().numpy().astype(np.uint8)
    return fit_calibration(_logits(network, rows).cpu().numpy(), labels, rows.numpy_weights)


def is_better(metrics: Metrics, than: Metrics, recipe: Recipe) -> bool:
    """Whether metrics are better than others by what the recipe stops by."""
    return metrics.auc > than.auc if recipe.stop_by == "auc" else metrics.logloss < than.logloss


def fit(
    network: Network,
    train: DeviceRows,
    valid: DeviceRows,
    recipe: Recipe,
    seed: int,
    *,
    epochs: int | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[], None] | None = None,
) -> FitResult:
    """Trains until what the recipe stops by gets no better on validation rows, then restores the best epoch.

    Args:
        network: Trained in place.
        train: Rows to learn from.
        valid: Rows to stop by.
        recipe: How to train.
        seed: Seeds order and dropout.
        epochs: Train exactly so many epochs instead.
        on_epoch: Called after every epoch, with the network as it is then; its time is not counted.
        on_step: Called before every step; what it raises ends training.

    Raises:
        TrainingError: Predictions are not finite.
    """
    torch.manual_seed(seed)
    network.reseed(seed)
    begin = time.perf_counter()
    optimizer = make_optimizer(network, recipe)
    best: Epoch | None = None
    best_state: dict[str, Tensor] = {}
    number, limit = 0, recipe.max_epochs if epochs is None else epochs
    for number in range(1, limit + 1):
        network.train()
        for ids, labels, weights in train.batches(network, recipe.batch_size, seed, number):
            if on_step is not None:
                on_step()
            training_step(network, optimizer, ids, labels, recipe.l2, weights)
        metrics = evaluate(network, valid)
        is_best = best is None or is_better(metrics, best.metrics, recipe)
        since_best = 0 if best is None or is_best else number - best.number
        last = number == limit or (epochs is None and since_best >= recipe.patience)
        epoch = Epoch(number, time.perf_counter() - begin, metrics, is_best, last)
        if epoch.best:
            best = epoch
            for name, value in network.state_dict().items():
                # In place, so that a large table is never there three times.
                best_state[name] = best_state[name].copy_(value) if name in best_state else value.clone()
        if on_epoch is not None:
            called = time.perf_counter()
            on_epoch(epoch)
            begin += time.perf_counter() - called
        if epoch.last:
            break
        if not epoch.best and recipe.plateau_factor < 1:
            network.load_state_dict(best_state)
            optimizer.rate_factor *= recipe.plateau_factor
    if best is None:
        raise AutoDPQError(f"epochs: {epochs} given, at least 1 is needed")
    network.load_state_dict(best_state)
    return FitResult(number, best, time.perf_counter() - begin)
