"""A packed network trained on: with later rows, and with rows or codes for values that it has not seen."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from autodpq._version import __version__
from autodpq.calibration import Calibration
from autodpq.choices import Arrays
from autodpq.data.dataset import Samples
from autodpq.data.digest import file_digest
from autodpq.embedding.planned import PlanEmbedding
from autodpq.errors import AutoDPQError
from autodpq.files import write_whole
from autodpq.metrics import Metrics, evaluate_predictions
from autodpq.models import CTRModel
from autodpq.packed.file import PackedFile, open_packed, write_packed
from autodpq.packed.load import PackedNetwork, make_model
from autodpq.packed.manifest import SideFile
from autodpq.packed.network import fallback_ids, pack_network, round_compactly
from autodpq.packed.scoring import probabilities
from autodpq.packed.spec import AnySpec, BandedSpec, TableSpec, store_rows
from autodpq.packed.table import PackedTable
from autodpq.packed.vocabulary.extension import extended_vocabulary
from autodpq.packed.vocabulary.lookup import Vocabulary
from autodpq.packed.vocabulary.words import Words
from autodpq.plan import CompressionPlan, Field
from autodpq.training.fit import calibrate, evaluate
from autodpq.training.network import Network
from autodpq.training.recipes import Recipe, changed_recipe
from autodpq.training.trainer import Trainer

SEED = 0
_CHUNK = 1 << 18  # rows that are compared at a time


@dataclass(frozen=True)
class Growth:
    """How the ids of a table go on.

    Attributes:
        spec: The table as it is.
        first: The id of the first new value. Those before it stay what they are.
        values: The new values, String [values], rising; none for a table that stays as it is.
        fallback: The id that stands for values never seen; None for the typical rare id of the new table.
    """

    spec: AnySpec
    first: int
    values: pl.Series
    fallback: int | None

    @property
    def n_rows(self) -> int:
        """Ids that there will be."""
        return self.spec.n_rows + len(self.values)

    @property
    def sources(self) -> npt.NDArray[np.int64]:
        """Of each id the one whose row it starts from, int64 [rows]: new ones from that of values never seen."""
        ids = np.arange(self.spec.n_rows)
        return np.concatenate([ids[: self.first], np.full(len(self.values), self.spec.fallback), ids[self.first :]])

    @property
    def is_new(self) -> npt.NDArray[np.bool_]:
        """Which ids are those of new values, bool [rows]."""
        ids = np.arange(self.n_rows)
        return (ids >= self.first) & (ids < self.first + len(self.values))

    @property
    def field(self) -> Field:
        """The field that the table becomes."""
        spec = self.spec
        if isinstance(spec, TableSpec):
            return Field(spec.name, self.n_rows, spec.head)
        cuts = np.cumsum([n_rows for n_rows, _ in spec.bands])[:-1]
        return Field(spec.name, self.n_rows, 0, tuple(cuts.tolist()))


@dataclass(frozen=True)
class Updated:
    """What became of a file.

    Attributes:
        packed: The new file, opened.
        growths: How the ids of its tables went on.
        before: Metrics of the old file on the rows that were held out.
        after: Those of the new one.
        epochs: How many were trained, the best of which is kept.
        best_epoch: Which that was.
    """

    packed: PackedFile
    growths: tuple[Growth, ...]
    before: Metrics
    after: Metrics
    epochs: int
    best_epoch: int


def open_to_update(path: Path) -> tuple[PackedFile, Vocabulary]:
    """Opens a packed file that can be updated.

    Raises:
        AutoDPQError: It holds no network of ranked ids with a vocabulary of texts, or cannot be opened.
    """
    packed = open_packed(path)
    if packed.manifest.kind == "modules":
        raise AutoDPQError(f"{path}: it holds tables of a torch model; fine-tune and compress that model again")
    if packed.manifest.bags:
        name = next(iter(packed.manifest.bags))
        raise AutoDPQError(f"{path}: field {name!r} has several values a row, which no update takes; train it anew")
    side = packed.manifest.vocabulary
    if side is not None and side.hash is not None:
        raise AutoDPQError(
            f"{path}: its vocabulary holds hashes, which no value can be added to; update the file with texts, then "
            "export it with --hashed-vocabulary"
        )
    return packed, Vocabulary.beside(path, packed.manifest)


def growths(packed: PackedFile, vocabulary: Vocabulary, values: Mapping[str, pl.Series]) -> tuple[Growth, ...]:
    """How the ids of each table go on.

    Where no value has the id that stands for values never seen, that stays the last one, and the first new value gets
    the id that it had.

    Args:
        packed: The file.
        vocabulary: Its vocabulary.
        values: Per field values that it has not, String; of a binned field none, for bins stay.

    Raises:
        AutoDPQError: The vocabulary lacks values of ids.
    """
    found = []
    for spec in packed.manifest.tables:
        words, none = vocabulary.values(spec.name), pl.Series([], dtype=pl.String)
        if not isinstance(words, Words):
            found.append(Growth(spec, spec.n_rows, none, spec.fallback))
            continue
        own = values.get(spec.name, none).sort()
        has_value = np.zeros(spec.n_rows, bool)
        has_value[words.as_read.ids] = True
        is_last = spec.fallback == spec.n_rows - 1 and not has_value[-1]
        first = spec.n_rows - is_last
        if not has_value[:first].all():
            raise AutoDPQError(f"{packed.path}: field {spec.name!r}: its vocabulary lacks values; export it again")
        found.append(Growth(spec, first, own, first + len(own) if is_last else None))
    return tuple(found)


def update_recipe(recipe: Recipe, packed: PackedFile) -> Recipe:
    """How a packed network is trained on.

    Sizes are the file's. The learning rate is that of a training from nothing: later rows say what is not known yet,
    and few steps are taken with them. Only the batch's rows are moved: Adam's other form would let penalties shrink
    what no new row holds. Codes are those of the nearest centroids, learned straight through, for the file holds codes
    and nothing that a softmax could be taken of.
    """
    model = packed.manifest.model
    assert model is not None, "a network has one"
    sizes = {"embedding_dim": packed.manifest.tables[0].dim, "hidden": model.hidden}
    how = {"continued_learning_rate": recipe.learning_rate, "optimizer": "lazy-adam"}
    quantizer = {"quantizer_scores": "euclidean", "quantizer_gradient": "centroid"}
    return changed_recipe(recipe, {**sizes, **how, **quantizer})


def update(
    packed: PackedFile,
    growths: Sequence[Growth],
    train: Samples,
    valid: Samples,
    recipe: Recipe,
    out: Path,
    *,
    model: type[CTRModel],
    device: torch.device,
) -> Updated:
    """Trains a packed network on and writes it, its vocabulary beside it.

    Args:
        packed: The file.
        growths: How its ids go on.
        train: Rows to learn from, in ids of what is written.
        valid: Rows to stop by.
        recipe: How it was trained; its settings for trainings that start from trained weights are taken.
        out: Where to.
        model: Its click-through model.
        device: Where tensors live.

    Raises:
        AutoDPQError: Training comes to nothing, or a file cannot be written.
    """
    before = _evaluated(packed, model, _as_before(valid, growths))
    fields = [growth.field for growth in growths]
    compact = isinstance(packed.manifest.tables[0], BandedSpec)
    recipe = update_recipe(recipe, packed)
    trainer = Trainer(fields, model, recipe, SEED, device, train, valid, compact=compact)
    plan = CompressionPlan({band.name: band.choice for spec in packed.manifest.tables for band in spec.tables})
    network = trainer.build(plan)
    network.model.load_state_dict(make_model(packed, model).state_dict())
    if recipe.continued_embedding_dropout is not None:
        network.dropout.set_rate(recipe.continued_embedding_dropout)
    _load_tables(network, packed.tables, growths)
    _keep_shared(network)
    fitted = trainer.fit(network)
    if compact:
        round_compactly(network)
    calibration: Calibration | None = None
    if packed.manifest.calibration is not None:
        calibration, _ = calibrate(network, trainer.valid)
    own = {growth.spec.name: growth.fallback for growth in growths}
    fallbacks = fallback_ids(network, {name: number for name, number in own.items() if number is not None})
    metrics = evaluate(network, trainer.valid, calibration)
    specs, tables, dense = pack_network(network, fallbacks)
    specs, tables = _stored(specs, tables, packed.manifest.tables)
    content = extended_vocabulary(
        _vocabulary_path(packed),
        {growth.spec.name: (growth.first, growth.values) for growth in growths if len(growth.values)},
    )
    side = _write_vocabulary(content, out)
    # What is said of the file before it, but for what is no longer so.
    about = dict(packed.manifest.about)
    ledger = trainer.ledger(plan)
    about |= {
        "metrics": {"valid_auc": metrics.auc, "valid_logloss": metrics.logloss},
        "ledger": {"parameters": ledger.parameters, "bytes": ledger.bytes},
        "update": {"of": file_digest(packed.path), "rows": len(train) + len(valid), "recipe": recipe.name},
    }
    manifest = dataclasses.replace(
        packed.manifest, tables=specs, vocabulary=side, version=__version__, about=about, calibration=calibration
    )
    write_packed(out, manifest, tables, dense)
    updated = open_packed(out)
    after = _evaluated(updated, model, valid)  # of what is stored, which may be rows of 8 bits
    return Updated(updated, tuple(growths), before, after, fitted.epochs, fitted.best.number)


@torch.no_grad()
def _load_tables(network: Network, tables: Sequence[PackedTable], growths: Sequence[Growth]) -> None:
    """Starts an embedding from packed tables; rows of new values from those of values never seen."""
    embedding = network.embedding
    assert isinstance(embedding, PlanEmbedding), "a plan's"
    device = embedding.table.device
    rows = torch.zeros(embedding.n_direct + embedding.n_raw, embedding.embedding_dim, device=device)
    weights = torch.zeros(len(rows), device=device)
    for numbers, table, growth in zip(embedding.rows_of_ids(), tables, growths, strict=True):
        sources, is_new = growth.sources, torch.from_numpy(growth.is_new).to(device)
        decoded = torch.from_numpy(table.lookup(sources)).to(device)
        of_ids = torch.from_numpy(table.first_order(sources)).to(device) if table.spec.first_order else None
        # A row that new values share with others is the others'.
        for some in (is_new, ~is_new):
            rows[numbers[some].long()] = decoded[some]
            if of_ids is not None:
                weights[numbers[some].long()] = of_ids[some]
    embedding.table[: embedding.n_direct] = rows[: embedding.n_direct]
    if embedding.first_order is not None:
        embedding.first_order.copy_(weights)
    if embedding.raw is None or embedding.quantizers is None:
        return
    embedding.raw.copy_(rows[embedding.n_direct :])
    bands = [band for table in tables for band in table.bands()]
    for number, column in enumerate(embedding.quantized):
        own = embedding.raw_rows(column)
        embedding.raw[own] = embedding.quantizers.resume(bands[column].arrays, embedding.raw[own], SEED, number)


def _keep_shared(network: Network) -> None:
    """Keeps what rows share, such as centroids, so that a row which no new sample holds stays what it is.

    Rows that new samples hold move to other codes. Were centroids trained by these samples, all other rows would move
    with them, or from code to code.
    """
    quantizers = network.embedding.quantizers
    if quantizers is not None:
        quantizers.requires_grad_(False)


def _stored(
    specs: Sequence[AnySpec], tables: Mapping[str, Arrays], before: Sequence[AnySpec]
) -> tuple[tuple[AnySpec, ...], dict[str, Arrays]]:
    """Rows of their own in as many bits as they had."""
    found: list[AnySpec] = []
    stored = dict(tables)
    for spec, old in zip(specs, before, strict=True):
        if isinstance(spec, TableSpec) and spec.head_dtype != old.head_dtype:
            stored[spec.name] = stored[spec.name] | store_rows(stored[spec.name]["rows"], old.head_dtype)
            spec = dataclasses.replace(spec, head_dtype=old.head_dtype)
        found.append(spec)
    return tuple(found), stored


def _vocabulary_path(packed: PackedFile) -> Path:
    side = packed.manifest.vocabulary
    assert side is not None, "what can be updated has one"
    return packed.path.with_name(side.name)


def _write_vocabulary(content: bytes, out: Path) -> SideFile:
    """Writes a side file under a name of its own, so that it never takes the place of one that is in use."""
    digest = hashlib.sha256(content).hexdigest()
    path = write_whole(out.with_name(f"{out.stem}.{digest[:8]}.vocabulary.parquet"), content)
    return SideFile(path.name, digest)


def _as_before(rows: Samples, growths: Sequence[Growth]) -> Samples:
    """Rows in the ids of the file that is updated: new values are those never seen."""
    ids = np.stack([growth.sources[rows.ids[:, column]] for column, growth in enumerate(growths)], 1)
    return Samples(ids.astype(np.int32), rows.labels)


def _evaluated(packed: PackedFile, model: type[CTRModel], rows: Samples) -> Metrics:
    network = PackedNetwork(packed, make_model(packed, model)).eval()
    return evaluate_predictions(probabilities(network.score(rows.ids)), rows.labels)


def changed_rows(old: PackedTable, new: PackedTable, growth: Growth) -> int:
    """How many ids of a table have another embedding than before; those of new values do not count."""
    known, sources = np.flatnonzero(~growth.is_new), growth.sources
    parts = (known[start : start + _CHUNK] for start in range(0, len(known), _CHUNK))
    return sum(int((new.lookup(ids) != old.lookup(sources[ids])).any(1).sum()) for ids in parts)
