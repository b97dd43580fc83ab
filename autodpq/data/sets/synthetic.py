"""Generated clicks in the shape of MovieLens-1M, of which the truth is known.

Every value has a latent vector. Those of frequent values are drawn freely; those of a field's rare values are
concatenations of D prototypes, each one of K, so that product quantization by the field's (K, D) loses nothing. The
logit of a click is that of a factorization machine (Rendle, 2010) over these vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.choices import DPQ, Choice, Full
from autodpq.data.cache import cache_root, load_cached
from autodpq.data.dataset import EncodedDataset
from autodpq.data.options import LoadOptions
from autodpq.data.source import Batch, Source, Table
from autodpq.metrics import auc
from autodpq.plan import CompressionPlan

FloatArray = npt.NDArray[np.float64]

SEED = 2023
N_ROWS = 150_000
THRESHOLD = 60
LATENT_DIM = 16

_VERSION = 2
"""Goes up when other rows are generated; the source's digest is made of it."""

# What rare values say must be learnable from a few dozen rows each: mostly first-order effects, a few interactions.
_FIRST_ORDER_SCALE = 0.6
_PAIR_SCALE = 0.013


@dataclass(frozen=True)
class FieldShape:
    """How one field is generated.

    Attributes:
        name: The field's name.
        cardinality: Values that may be drawn.
        exponent: Of the power law: value i of 1, 2, ... is drawn in proportion to i to the minus exponent.
        choice: What the rare values are made of; Full() where the field has none.
    """

    name: str
    cardinality: int
    exponent: float
    choice: Choice


SHAPES = (
    FieldShape("user", 1500, 1.05, DPQ(32, 4)),
    FieldShape("movie", 1000, 1.1, DPQ(16, 2)),
    FieldShape("gender", 2, 1.0, Full()),
    FieldShape("age", 7, 0.8, Full()),
    FieldShape("occupation", 21, 0.8, Full()),
    FieldShape("zip", 800, 1.1, DPQ(8, 8)),
    FieldShape("genres", 150, 1.7, DPQ(8, 2)),
    FieldShape("year", 60, 2.1, DPQ(8, 4)),
)


@dataclass(frozen=True)
class GeneratedField:
    """One field's truth.

    Attributes:
        values: int64 [rows], the drawn values, from 0.
        is_rare: bool [cardinality], drawn fewer than THRESHOLD times.
        latent: [cardinality, LATENT_DIM].
        first_order: [cardinality], the first-order effects.
        prototypes: [D, K, LATENT_DIM / D], of which the rare values are made; empty where there are none.
    """

    values: npt.NDArray[np.int64]
    is_rare: npt.NDArray[np.bool_]
    latent: FloatArray
    first_order: FloatArray
    prototypes: FloatArray


@dataclass(frozen=True)
class Generated:
    """Generated rows and their truth.

    Attributes:
        fields: The fields, in the order of SHAPES.
        probabilities: [rows], the true click probabilities.
        labels: uint8 [rows].
    """

    fields: tuple[GeneratedField, ...]
    probabilities: FloatArray
    labels: npt.NDArray[np.uint8]


def bayes_auc(truth_probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> float:
    """The AUC that the true probabilities reach on some rows: no model can be expected to do better."""
    return auc(truth_probabilities, labels)


def true_plan() -> CompressionPlan:
    """The plan that suffices."""
    return CompressionPlan({shape.name: shape.choice for shape in SHAPES})


def generate() -> Generated:
    """Generates the data; the same on every machine."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    fields = tuple(_generate_field(shape, rng) for shape in SHAPES)
    latent_sum, square_sum, first_order = np.zeros((N_ROWS, LATENT_DIM)), np.zeros(N_ROWS), np.zeros(N_ROWS)
    for field in fields:
        latent_sum += field.latent[field.values]
        square_sum += (field.latent**2).sum(axis=1)[field.values]
        first_order += field.first_order[field.values]
    pairs = ((latent_sum**2).sum(axis=1) - square_sum) / 2  # the sum of all pairwise inner products
    logit = _FIRST_ORDER_SCALE * first_order + _PAIR_SCALE * pairs
    logit -= logit.mean()
    probabilities = 1 / (1 + np.exp(-logit))
    labels = (rng.random(N_ROWS) < probabilities).astype(np.uint8)
    return Generated(fields, probabilities, labels)


def _generate_field(shape: FieldShape, rng: np.random.Generator) -> GeneratedField:
    n_values = shape.cardinality
    weights = np.arange(1.0, n_values + 1) ** -shape.exponent
    cumulative = np.cumsum(weights) / weights.sum()
    values = np.searchsorted(cumulative, rng.random(N_ROWS), side="right").clip(max=n_values - 1)
    is_rare = np.bincount(values, minlength=n_values) < THRESHOLD
    latent = rng.standard_normal((n_values, LATENT_DIM))
    first_order = rng.standard_normal(n_values)
    prototypes = np.zeros((0, 0, 0))
    if isinstance(shape.choice, DPQ):
        K, D = shape.choice.K, shape.choice.D
        prototypes = rng.standard_normal((D, K, LATENT_DIM // D))
        codes = rng.integers(K, size=(n_values, D))
        latent[is_rare] = prototypes[np.arange(D), codes].reshape(n_values, LATENT_DIM)[is_rare]
        # Linear in the latent vector: what is true of a rare value then follows from its codes alone.
        direction = rng.standard_normal(LATENT_DIM) / np.sqrt(LATENT_DIM)
        first_order[is_rare] = latent[is_rare] @ direction
    return GeneratedField(values, is_rare, latent, first_order, prototypes)


def load_synthetic(options: LoadOptions) -> EncodedDataset:
    """Loads the embedded data set, generating it where the cache does not have it."""
    source = Source(
        name="synthetic",
        where="synthetic",
        digest=f"generated:{_VERSION}",
        settings={"loader": "synthetic", "seed": SEED, "rows": N_ROWS},
        read=lambda: Table(tuple(shape.name for shape in SHAPES), _batches(), true_plan()),
    )
    return load_cached(source, cache_root(options.cache_dir))


def _batches() -> Iterator[Batch]:
    generated = generate()
    columns = {
        shape.name: pl.Series(field.values + 1).cast(pl.String)
        for shape, field in zip(SHAPES, generated.fields, strict=True)
    }
    yield Batch(
        values=pl.DataFrame(columns),
        labels=generated.labels,
        probabilities=generated.probabilities.astype(np.float32),
    )
