"""Algorithm 1: by turns a step of the candidates' weights and a step of the network's weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from autodpq.embedding.planned import PlanEmbedding
from autodpq.embedding.supernet import SupernetEmbedding
from autodpq.errors import AutoDPQError
from autodpq.kernels.adam import Adam, Group
from autodpq.kernels.kernels import TENSORS
from autodpq.kernels.operations import Merge
from autodpq.plan import NO_ID
from autodpq.training.fit import Batch, DeviceRows, evaluate, make_optimizer, training_step
from autodpq.training.network import Network
from autodpq.training.recipes import Recipe

ALPHA = "embedding.alpha"
TEMPERATURE_START, TEMPERATURE_STEP, TEMPERATURE_END = 1.0, 5e-5, 0.01
"""tau at step 0, what each step takes off it, and the least tau: the paper's."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Settings of Algorithm 1.

    Attributes:
        epochs: Passes over the training rows.
        alpha_learning_rate: Adam's, for the candidates' weights.
        xi: Learning rate of the unrolled step of W; 0 is the first-order search.
        temperature_clock: What a step of tau is: a training step, or an epoch.
    """

    epochs: int = 2
    alpha_learning_rate: float = 3e-2
    xi: float = 0.0
    temperature_clock: Literal["step", "epoch"] = "step"

    def temperature(self, step: int, epoch: int) -> float:
        """tau = max(end, start - step size * s)."""
        clock = step if self.temperature_clock == "step" else epoch
        return max(TEMPERATURE_END, TEMPERATURE_START - TEMPERATURE_STEP * clock)


@dataclass(frozen=True, slots=True)
class ByteLimit:
    """What the union of candidates may cost: an augmented Lagrangian on the expected bytes.

    With g the logarithm of the expected bytes by the limit, alpha's loss has (max(0, lambda + rho g)^2 - lambda^2) /
    (2 rho) added, and lambda becomes max(0, lambda + rho g) every so many steps (Nocedal and Wright, Numerical
    optimization, 2006, Eq. 17.65).

    Attributes:
        costs: float [searched bands, candidates], bytes; 0 where there is no candidate.
        limit: Bytes that the searched bands may take together.
        rho: How fast the price of a byte follows.
        every: Steps between changes of lambda.
    """

    costs: Tensor
    limit: float
    rho: float = 0.02
    every: int = 20

    def excess(self, alpha: Tensor) -> Tensor:
        """g, by the candidates' weights without noise, float [searched bands, candidates]; no candidate is -inf."""
        return ((torch.softmax(alpha, 1) * self.costs).sum() / self.limit).log()


class _Price:
    """The multiplier of a limit, and the gradient that it adds to alpha's."""

    def __init__(self, limit: ByteLimit) -> None:
        self.limit = limit
        self.multiplier = 0.0
        self._steps = 0

    def gradient(self, embedding: SupernetEmbedding) -> Tensor:
        """What is added to the gradient by alpha; the multiplier moves when it is due."""
        with torch.enable_grad():
            alpha = (embedding.alpha.detach() + embedding.no_candidate).requires_grad_()
            excess = self.limit.excess(alpha)
            (slope,) = torch.autograd.grad(excess, alpha)
        force = max(0.0, self.multiplier + self.limit.rho * float(excess.detach()))
        self._steps += 1
        if self._steps % self.limit.every == 0:
            self.multiplier = force
        return force * slope


def supernet_of(network: Network) -> SupernetEmbedding:
    """The union of candidates of a network that is searched."""
    assert isinstance(network.embedding, SupernetEmbedding)
    return network.embedding


def _loss(network: Network, places: Tensor, batch: Batch, weights: dict[str, Tensor]) -> Tensor:
    """Mean cross entropy of a batch, with the given weights and statistics in the place of the network's.

    Its gradient can be differentiated once more: it is dense, and made of operations that have a second one.
    """
    logits = functional_call(network, weights, (places, TENSORS))
    return _cross_entropy(logits, batch.labels, batch.weights) / len(batch.labels)


def _cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Sum over samples, each counting by its weight."""
    return nn.functional.binary_cross_entropy_with_logits(logits, labels, weights, reduction="sum")


def _differentiate(network: Network, *, alpha: bool, weights: bool) -> None:
    """Says what gradients are computed by: alpha, the network's weights W, or both."""
    for parameter in network.parameters():
        parameter.requires_grad_(weights)
    supernet_of(network).alpha.requires_grad_(alpha)


def alpha_gradient(
    network: Network,
    train: Batch,
    valid: Batch,
    xi: float,
) -> Tensor:
    """Gradient of the validation loss by alpha (Algorithm 1).

    The model is in evaluation mode on the validation batch, so that samples do not act on one another. Without an
    unrolled step, those without a rare value then add nothing to the gradient, and are left out. They move no
    statistics.

    Args:
        network: The network that is searched.
        train: Training samples, for the unrolled step.
        valid: Validation samples.
        xi: Learning rate of the unrolled step W - xi dL_train/dW; at 0 it is not taken.

    Returns:
        float [searched fields, candidates]; of the mean over the whole validation batch.
    """
    embedding = supernet_of(network)
    ids, labels, counts = valid
    # Running statistics move once per batch, in the step that is really taken.
    embedding.tracking = False
    try:
        if xi:
            return _unrolled_gradient(network, train, valid, xi)
        # The way back to tables and centroids is not gone.
        _differentiate(network, alpha=True, weights=False)
        network.dropout.eval()
        network.model.eval()
        embedding.train()
        # Alpha acts on rare values alone.
        rare = (ids >= embedding.n_direct).any(1).nonzero().squeeze(1)
        if not len(rare):
            return torch.zeros_like(embedding.alpha)
        logits = network(ids[rare])
        loss = _cross_entropy(logits, labels[rare], None if counts is None else counts[rare]) / len(labels)
        return torch.autograd.grad(loss, embedding.alpha)[0]
    finally:
        embedding.tracking = True


def _unrolled_gradient(network: Network, train: Batch, valid: Batch, xi: float) -> Tensor:
    """The gradient through one unrolled step of W; alpha then acts on every sample, through the weights.

    Of the tables, only the rows of the two batches are there a second time.
    """
    embedding = supernet_of(network)
    _differentiate(network, alpha=True, weights=True)
    flat = torch.cat([train.flat, valid.flat])
    known = flat != NO_ID
    batches = Merge.of(flat[known])
    places = flat.masked_scatter(known, batches.places.to(flat.dtype))
    train_places, valid_places = torch.split(places, [len(train.labels), len(valid.labels)])
    with embedding.restricted(batches.rows) as tables:
        network.train()
        trained: dict[str, Tensor] = {name: value for name, value in network.named_parameters() if name != ALPHA}
        trained |= {f"embedding.{name}": table for name, table in tables.items()}
        # BatchNorm's statistics of the model must not move either.
        moved = {name: value.clone() for name, value in network.named_buffers()}
        loss = _loss(network, train_places, train, {**trained, **moved})
        gradients = torch.autograd.grad(loss, list(trained.values()), create_graph=True, allow_unused=True)
        weights = dict(network.named_buffers())
        for (name, value), gradient in zip(trained.items(), gradients, strict=True):
            weights[name] = value if gradient is None else value - xi * gradient
        network.eval()
        embedding.train()
        loss = _loss(network, valid_places, valid, weights)
        return torch.autograd.grad(loss, embedding.alpha)[0]


def _endless(rows: DeviceRows, network: Network, size: int, seed: int) -> Iterator[Batch]:
    """Validation batches, epoch after epoch."""
    epoch = 0
    while True:
        epoch += 1
        yield from rows.batches(network, size, seed, epoch)


@dataclass(frozen=True)
class SearchEpoch:
    """What one epoch of the search came to.

    Attributes:
        number: From 1.
        seconds: Since the search began.
        valid_auc: Validation AUC of the union of candidates.
        weights: Weights of the candidates, float [searched fields, candidates].
    """

    number: int
    seconds: float
    valid_auc: float
    weights: Tensor


def search(
    network: Network,
    train: DeviceRows,
    valid: DeviceRows,
    recipe: Recipe,
    options: SearchOptions,
    seed: int,
    *,
    limit: ByteLimit | None = None,
    on_epoch: Callable[[SearchEpoch], None] | None = None,
) -> None:
    """Algorithm 1: by turns a step of alpha on a validation batch and a step of W on a training batch.

    Args:
        network: With a :class:`SupernetEmbedding`; searched in place.
        train: Training rows.
        valid: Validation rows.
        recipe: How W is trained.
        options: Settings of the search.
        seed: Seeds orders, dropout and Gumbel noise.
        limit: What the candidates may cost; None for anything.
        on_epoch: Called after every epoch.

    Raises:
        AutoDPQError: The options do not fit.
    """
    if options.epochs < 1:
        raise AutoDPQError(f"search_epochs: {options.epochs} given, at least 1 is needed")
    torch.manual_seed(seed)
    network.reseed(seed)
    begin = time.perf_counter()
    embedding = supernet_of(network)
    _differentiate(network, alpha=False, weights=True)
    optimizer = make_optimizer(network, recipe)
    # The momentum is DARTS' (Liu et al., ICLR 2019), whose alternation Algorithm 1 is.
    alpha_optimizer = Adam([Group([embedding.alpha], options.alpha_learning_rate)], beta1=0.5)
    price = None if limit is None else _Price(limit)
    held_out = _endless(valid, network, recipe.batch_size, seed + 1)
    step = 0
    for epoch in range(1, options.epochs + 1):
        for batch in train.batches(network, recipe.batch_size, seed, epoch):
            embedding.temperature = options.temperature(step, epoch - 1)
            embedding.alpha.grad = alpha_gradient(network, batch, next(held_out), options.xi)
            if price is not None:
                embedding.alpha.grad += price.gradient(embedding)
            alpha_optimizer.step()
            _differentiate(network, alpha=False, weights=True)
            network.train()
            training_step(network, optimizer, batch.flat, batch.labels, recipe.l2, batch.weights)
            step += 1
        if on_epoch is not None:
            metrics = evaluate(network, valid)
            weights = embedding.weights().detach()
            seconds = time.perf_counter() - begin
            on_epoch(SearchEpoch(epoch, seconds, metrics.auc, weights))
            begin = time.perf_counter() - seconds


@torch.no_grad()
def carry_over(searched: Network, decided: Network) -> None:
    """Carries the centroids of the chosen candidates over to the network of the decision.

    That network has no BatchNorm on candidates: normalisation and scaling are one affine map per dimension, which is
    folded into the centroids and into the raw rows, so that both stay on one scale. Rows that are kept go into the
    table. Everything else of the network is left as it is.

    Args:
        searched: With a :class:`SupernetEmbedding`.
        decided: With the :class:`PlanEmbedding` of a plan within the search's space; what it has of rare values is
            overwritten.
    """
    source, target = supernet_of(searched), decided.embedding
    assert isinstance(target, PlanEmbedding) and source.raw is not None
    of_bands = dict(zip(target.bands, target.rows_of_bands(), strict=True))
    for number, band in enumerate(source.quantized):
        chosen = target.choices[band]
        candidate = source.candidates[number].index(chosen)
        rows = source.raw[source.raw_rows(band)]
        if chosen.keeps:
            target.table[of_bands[source.bands[band]].long()] = source.quantizers.looked_up(rows, number, candidate)
            continue
        assert target.quantizers is not None and target.raw is not None
        factor, shift = source.affine(number, candidate)
        from_group, place, which = source.quantizers.group(number, candidate)
        to_group, own, _ = target.quantizers.group(target.quantized.index(band))
        to_group.carry(own, from_group, place, which, factor, shift)
        target.raw[target.raw_rows(band)] = factor * rows + shift
