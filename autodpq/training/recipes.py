"""How every model of a study is trained: one recipe, the same for all strategies."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from autodpq.embedding.options import Gradient, QuantizerOptions, Scores
from autodpq.errors import AutoDPQError, look_up
from autodpq.plan import Field
from autodpq.plugins.options import call_text, check_options, construct, options_of, parse_call

if TYPE_CHECKING:
    from autodpq.training.additive import AdditiveModel

LAZY_RATIO = 4
"""Adam costs time in the size of the table, lazy Adam in that of the batch; about here they cost the same."""

_Size = Annotated[int, pydantic.Field(ge=1)]
_Share = Annotated[float, pydantic.Field(ge=0, lt=1)]
_Above0 = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
_From0 = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Sizes and training settings.

    What is minimised is the mean cross entropy of the training rows, plus for every value ``l2`` / 2 times the
    squared norm of its embedding and ``first_order_l2`` / 2 times that of its first-order weight. A value of n of N
    rows is thus shrunken towards zero, most where N l2 / n is large: where it is rare. A proximal penalty is exactly
    that; a coupled one only where gradients arrive with every step, and under lazy Adam it weighs a value as often as
    that occurs, so that rare values are shrunken no more than others.

    Attributes:
        name: The recipe's name: one of :data:`RECIPES`, and in parentheses the settings that differ from it.
        embedding_dim: X, the length of an embedding.
        initial_deviation: Standard deviation of the normal distribution that embeddings start from.
        output_start: What logits start from: drawn, as the last layer's other weights; click-rate, the log-odds of the
            training rows' click rate; additive, the additive model's logits, in models with first-order weights.
        linear_weights: What linear layers start from: xavier (uniform, biases of 0) or torch (its default).
        hidden: Widths of the MLP's blocks.
        dropout: Dropout rate of the MLP's blocks.
        embedding_dropout: Element-wise dropout rate on the embeddings of all fields.
        learning_rate: Adam's.
        table_learning_rate: Adam's for embeddings, first-order weights and centroids; none for the same.
        continued_learning_rate: Adam's where training starts from trained weights, for every strategy alike.
        continued_embedding_dropout: The embeddings' dropout rate where training starts from trained weights, for every
            strategy alike; none for the same. Coarse rows overfit less than those of 32-bit floats.
        row_shrinkage: Where training starts from trained weights, the row of a value of n training samples is
            multiplied by n / (n + this), for every strategy alike: what few samples have taught is mostly noise.
        batch_size: Samples per step.
        l2: L2 penalty of every value's embedding, whatever stores it.
        first_order_l2: L2 penalty of every value's first-order weight; none for the additive model's where logits
            start from it, else for that of embeddings.
        penalty: coupled, added to gradients, which Adam rescales, so that on rare values it acts as a far greater one;
            proximal, a step of its own beside Adam's, so that what is minimised is what is stated.
        stop_by: What makes an epoch better than those before: auc or logloss of the validation rows.
        patience: Training ends after so many epochs in a row without a better one.
        plateau_factor: After an epoch that is no better, training goes on from the best one's weights, at learning
            rates multiplied by this; at 1 it goes on as it is.
        max_epochs: Training ends after so many epochs in any case.
        quantizer_temperature: Of the softmax over centroids; the smaller, the harder.
        quantizer_scores: What makes a centroid near: inner (inner product) or euclidean (distance).
        quantizer_gradient: What training sees of a code: softmax over centroids, or centroid, the best one.
        optimizer: adam, lazy-adam (the batch's rows of the tables alone), or auto, by the tables' size.
    """

    name: str
    embedding_dim: _Size = 16
    initial_deviation: _Above0 = 1e-4
    output_start: Literal["drawn", "click-rate", "additive"] = "drawn"
    linear_weights: Literal["xavier", "torch"] = "xavier"
    hidden: Annotated[tuple[_Size, ...], pydantic.Field(min_length=1)] = (16, 16)
    dropout: _Share = 0.2
    embedding_dropout: _Share = 0.0
    learning_rate: _Above0 = 1e-3
    table_learning_rate: _Above0 | None = None
    continued_learning_rate: _Above0 = 1e-3
    continued_embedding_dropout: _Share | None = None
    row_shrinkage: _From0 = 0.0
    batch_size: Annotated[int, pydantic.Field(ge=2)] = 2048
    l2: _From0 = 0.0
    first_order_l2: _From0 | None = None
    penalty: Literal["coupled", "proximal"] = "coupled"
    stop_by: Literal["auc", "logloss"] = "auc"
    patience: _Size = 2
    plateau_factor: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    max_epochs: _Size = 100
    quantizer_temperature: _Above0 = 1e-4
    quantizer_scores: Scores = "inner"
    quantizer_gradient: Gradient = "softmax"
    optimizer: Literal["auto", "adam", "lazy-adam"] = "auto"

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def quantizer(self) -> QuantizerOptions:
        """How codes are chosen."""
        return QuantizerOptions(self.quantizer_temperature, self.quantizer_scores, self.quantizer_gradient)

    def optimizer_for(self, fields: Sequence[Field]) -> Literal["adam", "lazy-adam"]:
        """The optimizer of a data set's tables; the same for all plans."""
        if self.optimizer != "auto":
            return self.optimizer
        n_values = sum(field.cardinality for field in fields)
        return "lazy-adam" if n_values > LAZY_RATIO * self.batch_size * len(fields) else "adam"

    def with_penalty_of(self, additive: AdditiveModel) -> Recipe:
        """The recipe with the penalty of first-order weights decided, so that the additive model is where they rest."""
        if self.output_start != "additive" or self.first_order_l2 is not None:
            return self
        return replace(self, first_order_l2=additive.l2)

    def continued(self) -> Recipe:
        """The recipe of trainings that start from trained weights."""
        share = self.continued_learning_rate / self.learning_rate
        of_tables = None if self.table_learning_rate is None else self.table_learning_rate * share
        return replace(self, learning_rate=self.continued_learning_rate, table_learning_rate=of_tables)


# Where the paper is silent, its recipe takes the starting weights with which FE comes out as printed; "strong" takes
# those of the best validation AUC.
RECIPES = {
    "paper": Recipe("paper"),
    "strong": Recipe(
        "strong",
        initial_deviation=0.01,
        linear_weights="torch",
        output_start="click-rate",
        embedding_dropout=0.4,
        l2=1e-5,
        # At 1e-3 a fresh Adam first worsens a converged network for five to ten epochs, and whether patience outlasts
        # that is a toss of a coin; at 3e-4 validation AUC rises from the first epoch on.
        continued_learning_rate=3e-4,
        patience=3,
        quantizer_scores="euclidean",
    ),
    "robust": Recipe(
        "robust",
        initial_deviation=0.01,
        linear_weights="torch",
        output_start="additive",
        hidden=(64, 64),
        l2=1e-6,
        penalty="proximal",
        continued_learning_rate=1e-4,
        row_shrinkage=200.0,
        plateau_factor=0.1,
        quantizer_scores="euclidean",
    ),
}
SETTINGS = tuple(setting.name for setting in fields(Recipe) if setting.name != "name")


def find_recipe(given: str | Mapping[str, Any]) -> Recipe:
    """The recipe that a person asks for.

    Args:
        given: ``NAME`` or ``NAME(setting=value, ...)``; a recipe file, ``FILE.toml``; or what such a file holds:
            ``base``, the name of a recipe, and settings that differ from it.

    Raises:
        AutoDPQError: There is no such recipe or setting, names the nearest; a value does not fit; a file cannot be
            read.
    """
    if isinstance(given, str):
        if not given.strip().endswith(".toml"):
            base, texts = parse_call(given)
            return _changed(base, texts, {})
        path = Path(given.strip()).expanduser()
        try:
            return find_recipe(tomllib.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise AutoDPQError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise AutoDPQError(f"{path} is not valid TOML: {error}") from None
        except AutoDPQError as error:
            raise AutoDPQError(f"{path}: {error}") from None
    settings = dict(given)
    base = settings.pop("base", None)
    if not isinstance(base, str):
        raise AutoDPQError(f"base = {base!r} given, the name of a recipe is needed: {', '.join(RECIPES)}")
    return _changed(base, {}, settings)


def changed_recipe(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A recipe with some settings changed; named by all in which it differs from its base."""
    base, _ = parse_call(recipe.name)
    changed = replace(recipe, **values)
    settings = {setting: getattr(changed, setting) for setting in SETTINGS}
    return replace(changed, name=call_text(base, settings, options_of(RECIPES[base])))


def recipe_text(recipe: Recipe) -> str:
    """A recipe as a recipe file holds it."""
    base, _ = parse_call(recipe.name)
    known = options_of(RECIPES[base])
    changed = {name: value for name, value in options_of(recipe).items() if name != "name" and value != known[name]}
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in {"base": base, **changed}.items())


def _changed(base: str, texts: Mapping[str, str], values: Mapping[str, Any]) -> Recipe:
    """A recipe with some settings given: as texts of the command line, or as values of TOML."""
    recipe = look_up("recipe", base, RECIPES)
    for setting in (*texts, *values):
        look_up(f"setting of the recipe {base},", setting, dict.fromkeys(SETTINGS))
    made = construct(Recipe, texts, {**options_of(recipe), **values}, name=base)
    return changed_recipe(recipe, {setting: getattr(made, setting) for setting in SETTINGS})


# What versions before did not know: it is left out of a run's configuration where it is as it was.
_ONCE = {
    "optimizer": "adam",
    "output_start": "drawn",
    "quantizer_gradient": "softmax",
    "table_learning_rate": None,
    "first_order_l2": None,
    "continued_embedding_dropout": None,
    "row_shrinkage": 0.0,
    "penalty": "coupled",
    "stop_by": "auc",
    "plateau_factor": 1.0,
}


def recorded(recipe: Recipe) -> dict[str, Any]:
    """All of a recipe, as a run's configuration holds it: what was measured by earlier versions is found again.

    What they could vary stands there as it is, and the quantizer's settings as they lay.
    """
    values = {name: value for name, value in asdict(recipe).items() if name not in _ONCE or value != _ONCE[name]}
    part = "quantizer_"
    quantizer = {name.removeprefix(part): values.pop(name) for name in [*values] if name.startswith(part)}
    return values | {"quantizer": quantizer | dict.fromkeys(("straight_through", "gumbel", "separate_values"), False)}
