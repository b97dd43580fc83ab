"""Networks of one data set, model, recipe and seed: built, started, trained, priced."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from autodpq.choices import Choice, Full
from autodpq.costs import Dense, Ledger, ledger, prices
from autodpq.data.dataset import Samples
from autodpq.embedding.base import Embedding
from autodpq.embedding.planned import PlanEmbedding
from autodpq.embedding.straight_through import compile_all
from autodpq.embedding.supernet import SupernetEmbedding
from autodpq.errors import AutoDPQError
from autodpq.kernels.kernels import Kernels
from autodpq.models.base import CTRModel
from autodpq.plan import NO_ID, CompressionPlan, Field, column_slices, uniform_plan
from autodpq.training.additive import AdditiveModel, fit_additive, sizes_of
from autodpq.training.fit import DeviceRows, Epoch, FitResult, evaluate, fit, is_better
from autodpq.training.network import Network
from autodpq.training.recipes import Recipe
from autodpq.training.step import Compilation, compile_step

# Training that goes on must not see the batches of the training before it once more.
ORDER_OFFSET = 7919


def output_layer(model: nn.Module) -> nn.Linear | None:
    """A model's last linear layer of one output that has a bias; None where there is none."""
    outputs = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer.out_features == 1]
    return outputs[-1] if outputs and outputs[-1].bias is not None else None


def start_output(model: nn.Module, click_rate: float) -> None:
    """Starts a model's logits around the log-odds of the click rate: the bias of its output layer, if it has one.

    Args:
        model: The model.
        click_rate: Of the training rows, above 0 and below 1.
    """
    output = output_layer(model)
    if output is not None:
        nn.init.constant_(output.bias, math.log(click_rate / (1 - click_rate)))


class Trainer:
    """Builds and trains networks alike for every strategy.

    Args:
        fields: All fields, in the order of the ids' columns.
        model: The click-through model.
        recipe: How to train.
        seed: Seeds initial weights, order and dropout.
        device: Where tensors live.
        train: Training rows.
        valid: Validation rows.
        additive: The additive model, where the recipe lets logits start from it; without, it is fitted when needed.
        compiled: Whether training steps are compiled, which is then done at once, or how another trainer has compiled
            them; where it fails, ``compilation`` says why, and steps are not compiled.
        compact: Whether plans are stored in floats of 16 bits; codes are then the nearest centroids', and learned
            straight through.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        model: type[CTRModel],
        recipe: Recipe,
        seed: int,
        device: torch.device,
        train: Samples,
        valid: Samples,
        *,
        additive: AdditiveModel | None = None,
        compiled: bool | Compilation = False,
        compact: bool = False,
    ) -> None:
        self.fields = tuple(fields)
        self.model = model
        self.recipe = recipe
        self.compact = compact
        self.quantizer = recipe.quantizer
        if compact:
            self.quantizer = replace(self.quantizer, scores="euclidean", gradient="centroid", compact=True)
        self.seed = seed
        self.device = device
        self._samples, self._additive = (train, valid), additive
        self.train = DeviceRows.load(train, device)
        self.valid = DeviceRows.load(valid, device)
        self.optimizer = recipe.optimizer_for(fields)
        self.compilation = self._compile() if compiled is True else compiled or None
        self.compiled = self.compilation is not None and self.compilation.failure is None
        if self.compiled and compact:
            compile_all()
        lazy = self.optimizer == "lazy-adam"
        self.kernels = Kernels(recipe.batch_size if self.compiled else 0, lazy)

    def _compile(self) -> Compilation:
        recipe = self.recipe
        torch.manual_seed(self.seed)
        return compile_step(
            self._model().to(self.device),
            len(self.fields),
            recipe.embedding_dim,
            recipe.embedding_dropout,
            recipe.batch_size,
            lazy=self.optimizer == "lazy-adam",
            weighted=self.train.weights is not None,
        )

    def _model(self) -> CTRModel:
        recipe = self.recipe
        return self.model(len(self.fields), recipe.embedding_dim, recipe.hidden, recipe.dropout)

    def _network(self, make_embedding: Callable[[], Embedding]) -> Network:
        torch.manual_seed(self.seed)
        recipe = self.recipe
        model = self._model()
        if recipe.linear_weights == "xavier":
            for layer in model.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.xavier_uniform_(layer.weight)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)
        if recipe.output_start != "drawn":
            labels, weights = self.train.labels, self.train.relative_weights
            clicks = float(labels.sum() if weights is None else labels.double() @ weights)
            n_rows = len(self.train)
            start_output(model, min(max(clicks, 0.5), n_rows - 0.5) / n_rows)
        embedding = make_embedding()
        embedding.start_rows(recipe.initial_deviation)
        return Network(embedding, model, recipe.embedding_dropout).to(self.device)

    def build(self, plan: CompressionPlan) -> Network:
        """The network of a plan, from nothing.

        Raises:
            AutoDPQError: The plan lacks a field, or a choice does not fit X.
        """
        recipe, first_order = self.recipe, self.model.first_order
        return self._network(
            lambda: PlanEmbedding(self.fields, plan, recipe.embedding_dim, first_order, self.quantizer, self.kernels)
        )

    def build_supernet(self, space: Mapping[str, Sequence[Choice]], scale: bool) -> Network:
        """The network of the union of candidates, from nothing.

        Raises:
            AutoDPQError: Nothing is to be searched, or a candidate does not fit X.
        """
        recipe, first_order = self.recipe, self.model.first_order
        return self._network(
            lambda: SupernetEmbedding(
                self.fields, space, recipe.embedding_dim, first_order, self.quantizer, self.kernels, scale
            )
        )

    def start(self, network: Network, pretrained: Mapping[str, Tensor] | None) -> None:
        """Starts a network from the pretrained one's weights, or as the recipe says; centroids by k-means on its rows.

        Args:
            network: Overwritten.
            pretrained: State of the network of :meth:`full_plan`; None starts from nothing.
        """
        embedding = network.embedding
        if pretrained is None:
            if self.recipe.output_start == "additive" and embedding.first_order is not None:
                self._start_additive(network)
        else:
            part = "model."
            model = {name.removeprefix(part): value for name, value in pretrained.items() if name.startswith(part)}
            network.model.load_state_dict(model)
            if self.recipe.continued_embedding_dropout is not None:
                network.dropout.set_rate(self.recipe.continued_embedding_dropout)
            rows = self._shrunken(pretrained["embedding.table"])
            embedding.load_rows(rows, pretrained.get("embedding.first_order"))
        embedding.start_quantizers(self.seed)

    def _shrunken(self, rows: Tensor) -> Tensor:
        """Trained rows, [values, X], of those of few training samples less than others."""
        if not self.recipe.row_shrinkage:
            return rows
        counts = self._counts.to(rows.device)
        return rows * (counts / (counts + self.recipe.row_shrinkage)).float()[:, None]

    @cached_property
    def _counts(self) -> Tensor:
        """How many training samples each value has, by weight, float64 [values], field by field."""
        ids, weights = self._samples[0].ids, self._samples[0].relative_weights
        counts = [np.zeros(field.cardinality) for field in self.fields]
        for own, columns in zip(counts, column_slices(field.columns for field in self.fields), strict=True):
            for column in range(columns.start, columns.stop):
                of_column, times = ids[:, column], weights
                if column > columns.start:  # the first value of a bag is always there
                    known = of_column != NO_ID
                    of_column, times = of_column[known], None if times is None else times[known]
                own += np.bincount(of_column, times, minlength=len(own))
        return torch.from_numpy(np.concatenate(counts).astype(np.float64))

    @torch.no_grad()
    def _start_additive(self, network: Network) -> None:
        """Starts logits as those of the additive model: what values say by themselves need not be learnt any more."""
        output = output_layer(network.model)
        if output is None:
            raise AutoDPQError(
                f"model {self.model.name}: output_start=additive needs a last linear layer of one output with a bias"
            )
        if self._additive is None:
            self._additive = fit_additive(*self._samples, *sizes_of(self.fields))
        nn.init.zeros_(output.weight)
        nn.init.constant_(output.bias, self._additive.intercept)
        weights = np.concatenate(self._additive.weights).astype(np.float32)
        network.embedding.load_first_order(torch.from_numpy(weights))

    def full_plan(self) -> CompressionPlan:
        """The plan that compresses nothing (FE)."""
        return uniform_plan(self.fields, Full())

    def pretrain(
        self,
        on_epoch: Callable[[Epoch, Network], None] | None = None,
        given: Mapping[str, Tensor] | None = None,
    ) -> tuple[Network, FitResult]:
        """Trains the network that compresses nothing.

        Args:
            on_epoch: Called after every epoch.
            given: Weights to train on, as trainings from trained weights are; where no epoch is better than they are,
                they are kept. None starts from nothing.
        """
        network = self.build(self.full_plan())
        if given is None:
            self.start(network, None)
            return network, self._fit(network, self.recipe, self.seed, on_epoch=on_epoch)
        network.load_state_dict(given)
        before = evaluate(network, self.valid)
        result = self.fit(network, on_epoch=on_epoch)
        if not is_better(result.best.metrics, before, self.recipe):
            network.load_state_dict(given)
        return network, result

    def fit(
        self,
        network: Network,
        *,
        epochs: int | None = None,
        on_epoch: Callable[[Epoch, Network], None] | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> FitResult:
        """Trains a network of trained weights on, in place, as :func:`autodpq.training.fit.fit` does."""
        recipe, seed = self.recipe.continued(), self.seed + ORDER_OFFSET
        return self._fit(network, recipe, seed, epochs=epochs, on_epoch=on_epoch, on_step=on_step)

    def train_plan(
        self,
        plan: CompressionPlan,
        pretrained: Mapping[str, Tensor] | None,
        on_epoch: Callable[[Epoch, Network], None] | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> tuple[Network, FitResult]:
        """Trains the network of a plan, from the pretrained table or from nothing."""
        network = self.build(plan)
        self.start(network, pretrained)
        if pretrained is not None:
            return network, self.fit(network, on_epoch=on_epoch, on_step=on_step)
        return network, self._fit(network, self.recipe, self.seed, on_epoch=on_epoch, on_step=on_step)

    def _fit(
        self,
        network: Network,
        recipe: Recipe,
        seed: int,
        *,
        epochs: int | None = None,
        on_epoch: Callable[[Epoch, Network], None] | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> FitResult:
        callback = None if on_epoch is None else lambda epoch: on_epoch(epoch, network)
        return fit(network, self.train, self.valid, recipe, seed, epochs=epochs, on_epoch=callback, on_step=on_step)

    def ledger(self, plan: CompressionPlan) -> Ledger:
        """What a plan costs with this model: embedding, first-order weights and everything else inference needs."""
        return ledger(
            self.fields,
            plan,
            self.recipe.embedding_dim,
            first_order=self.model.first_order,
            dense=self._dense,
            compact=self.compact,
        )

    def prices(self, space: Mapping[str, Sequence[Choice]]) -> tuple[dict[str, list[int]], int]:
        """Bytes of each band's candidates, and of all that no choice changes: their sum is a ledger's."""
        return prices(
            self.fields,
            space,
            self.recipe.embedding_dim,
            first_order=self.model.first_order,
            dense=self._dense,
            compact=self.compact,
        )

    @cached_property
    def _dense(self) -> Dense:
        return dense_weights(self.model, len(self.fields), self.recipe)


def dense_weights(model: type[CTRModel], n_fields: int, recipe: Recipe) -> Dense:
    """The weights that inference needs beside embeddings and first-order weights."""
    with torch.device("meta"):
        made = model(n_fields, recipe.embedding_dim, recipe.hidden, recipe.dropout)
    # Integers are counters that inference does not read.
    return Dense.of(value.shape for value in made.state_dict().values() if value.is_floating_point())
