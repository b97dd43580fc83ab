"""How every model of a study is trained: one recipe, the same for all strategies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from autodpq.embedding.options import QuantizerOptions
from autodpq.errors import look_up
from autodpq.plan import Field

LAZY_RATIO = 4
"""Adam costs time in the size of the table, lazy Adam in that of the batch; about here they cost the same."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Sizes and training settings.

    Attributes:
        name: The recipe's name.
        embedding_dim: X.
        initial_deviation: Standard deviation of the normal distribution that embedding rows start from.
        output_start: What the model's last bias starts from: ``drawn`` as its layer's other weights, or ``click-rate``,
            the log-odds of the training rows' click rate: rare clicks or few steps would leave the level unlearnt.
        linear_weights: What linear layers start from: ``xavier`` (uniform, biases of zero) or ``torch`` (its default).
        hidden: Widths of the MLP's blocks.
        dropout: Dropout rate of the MLP's blocks.
        embedding_dropout: Element-wise dropout rate on the embeddings of all fields.
        learning_rate: Adam's.
        continued_learning_rate: Adam's where training starts from trained weights, for every strategy alike.
        batch_size: Samples per step.
        l2: L2 penalty of every value's embedding and first-order weight, whatever stores it.
        patience: Training ends after so many epochs in a row without a better validation AUC.
        max_epochs: Training ends after so many epochs in any case.
        quantizer: How codes are chosen.
        optimizer: ``adam``, ``lazy-adam`` (which touches the batch's rows of the tables alone), or ``auto``, the latter
            where the fields have more values than :data:`LAZY_RATIO` batches could hold.
    """

    name: str
    embedding_dim: int = 16
    initial_deviation: float = 1e-4
    output_start: Literal["drawn", "click-rate"] = "drawn"
    linear_weights: Literal["xavier", "torch"] = "xavier"
    hidden: tuple[int, ...] = (16, 16)
    dropout: float = 0.2
    embedding_dropout: float = 0.0
    learning_rate: float = 1e-3
    continued_learning_rate: float = 1e-3
    batch_size: int = 2048
    l2: float = 0.0
    patience: int = 2
    max_epochs: int = 100
    quantizer: QuantizerOptions = field(default_factory=QuantizerOptions)
    optimizer: Literal["auto", "adam", "lazy-adam"] = "auto"

    def optimizer_for(self, fields: Sequence[Field]) -> Literal["adam", "lazy-adam"]:
        """The optimizer of a data set's tables; the same for all plans."""
        if self.optimizer != "auto":
            return self.optimizer
        n_values = sum(field.cardinality for field in fields)
        return "lazy-adam" if n_values > LAZY_RATIO * self.batch_size * len(fields) else "adam"

    def continued(self) -> Recipe:
        """The recipe of trainings that start from trained weights."""
        return replace(self, learning_rate=self.continued_learning_rate)


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
        quantizer=QuantizerOptions(scores="euclidean"),
    ),
}


def find_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        AutoDPQError: There is none; names the nearest.
    """
    return look_up("recipe", name, RECIPES)


def recorded(recipe: Recipe) -> dict[str, Any]:
    """All of a recipe, as a run's configuration holds it: what was measured by earlier versions is found again.

    What they did not know is left out where it is as it was, and what they could vary stands there as it is.
    """
    values = asdict(recipe)
    if values["optimizer"] == "adam":
        del values["optimizer"]
    if values["output_start"] == "drawn":
        del values["output_start"]
    if values["quantizer"]["gradient"] == "softmax":
        del values["quantizer"]["gradient"]
    values["quantizer"] |= {"straight_through": False, "gumbel": False, "separate_values": False}
    return values
