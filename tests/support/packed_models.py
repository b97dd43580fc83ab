"""Small packed networks with a vocabulary, and the torch networks that they were packed from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from autodpq.calibration import Calibration
from autodpq.choices import DPQ, Full, Others
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.planned import PlanEmbedding
from autodpq.models import MODELS
from autodpq.packed.file import write_packed
from autodpq.packed.manifest import Manifest, ModelSpec
from autodpq.packed.network import pack_network
from autodpq.packed.vocabulary.side_file import write_vocabulary
from autodpq.plan import CompressionPlan, Field
from autodpq.training.network import Network

WORDS = {
    "user": [str(7 * number) for number in range(20)],
    "city": ["Köln", "", "東京", "São Paulo, north", "🙂", "Bonn"],
    "device": ["1.5", "", "true", "2.0", 'say "x"'],
    "shop": [f"shop {number}" for number in range(33)],
    "day": ["2024-05-31", "2024-06-01"],
}
PLAN = CompressionPlan({"user": DPQ(5, 4), "city": Full(), "device": Others(), "shop": DPQ(3, 8), "day": DPQ(2, 2)})
HEADS = {"user": 4, "city": 2, "device": 2, "shop": 0, "day": 2}
FIELDS = tuple(Field(name, len(words), HEADS[name]) for name, words in WORDS.items())
FALLBACKS = (11, 5, 3, 32, 0)
DIM = 16


def make_network(model: str, hidden: tuple[int, ...] = (12, 7)) -> Network:
    """A network with the statistics of one that was trained."""
    torch.manual_seed(5)
    kind = MODELS.find(model)
    embedding = PlanEmbedding(FIELDS, PLAN, DIM, kind.first_order, QuantizerOptions())
    network = Network(embedding, kind(len(FIELDS), DIM, hidden, 0.2), 0.1).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            is_matrix = parameter.ndim == 2 and parameter.shape[1] != DIM
            parameter.normal_(std=parameter.shape[1] ** -0.5 if is_matrix else 0.3)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_()
                module.running_var.uniform_(0.1, 3.0)
                module.weight.uniform_(-0.5, 2.0)
    return network


def write_model(
    path: Path,
    model: str = "deepfm",
    hidden: tuple[int, ...] = (12, 7),
    calibration: Calibration | None = None,
    fallbacks: Sequence[int] = FALLBACKS,
    values: pl.DataFrame | None = None,
) -> Network:
    """Writes a packed network and its vocabulary, all words unless others are given; gives the network, whose logits
    are not calibrated."""
    network = make_network(model, hidden)
    specs, tables, dense = pack_network(network, fallbacks)
    own = vocabulary() if values is None else values
    side = write_vocabulary(path.with_suffix(".vocabulary.parquet"), own, specs)
    manifest = Manifest("network", specs, ModelSpec(model, hidden), side, "0.1.0", calibration=calibration)
    write_packed(path, manifest, tables, dense)
    return network


def vocabulary() -> pl.DataFrame:
    """Columns field, id and value."""
    rows = [(name, number, word) for name, words in WORDS.items() for number, word in enumerate(words)]
    return pl.DataFrame(rows, {"field": pl.String, "id": pl.Int32, "value": pl.String}, orient="row")


def random_ids(n_rows: int, seed: int = 0) -> npt.NDArray[np.int32]:
    """int32 [n_rows, fields]."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, field.cardinality, n_rows) for field in FIELDS], 1).astype(np.int32)


def values_of(ids: npt.NDArray[np.int32]) -> pl.DataFrame:
    """The raw values of ids, as text."""
    return pl.DataFrame({name: [words[i] for i in ids[:, n]] for n, (name, words) in enumerate(WORDS.items())})


@torch.no_grad()
def torch_logits(network: Network, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """What the network that was packed gives."""
    logits: npt.NDArray[np.float32] = network(network.embedding.flatten(torch.from_numpy(ids))).numpy()
    return logits
