"""A packed network trained on: what stays, what new values start from, and what is learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch
from support.packed_models import DIM, FIELDS, WORDS, random_ids, values_of, vocabulary, write_model

from autodpq.calibration import Calibration
from autodpq.choices import DPQ, OPQ, Choice, Float16, Full, Hashed, Int, Narrow, Others
from autodpq.data.dataset import Samples
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.planned import PlanEmbedding
from autodpq.errors import AutoDPQError
from autodpq.metrics import auc
from autodpq.models import DeepFM
from autodpq.packed.compress import compress
from autodpq.packed.export import export
from autodpq.packed.file import PackedFile, open_packed, write_packed
from autodpq.packed.manifest import Manifest, ModelSpec
from autodpq.packed.network import pack_network, round_compactly
from autodpq.packed.updating.update import Growth, Updated, changed_rows, growths, open_to_update, update
from autodpq.packed.vocabulary.lookup import Vocabulary
from autodpq.packed.vocabulary.side_file import write_vocabulary
from autodpq.plan import CompressionPlan, Field
from autodpq.serving import open_model
from autodpq.training.network import Network
from autodpq.training.recipes import Recipe

RECIPE = Recipe("paper", batch_size=64, max_epochs=4)
STILL = replace(RECIPE, learning_rate=1e-12, max_epochs=1)
NEW = {"user": ["1", "2 new"], "city": ["Ulm"], "device": ["8", "9"], "shop": ["a", "b", "c"]}
CHOICES = (DPQ(5, 4), OPQ(5, 4), Int(4), Int(8), Float16(), Narrow(3), Others(), Hashed(4), Full())


def write_banded(path: Path, choice: Choice) -> None:
    """A compact model whose fields are in two bands: one of its own rows, one of a choice."""
    fields = [Field(field.name, field.cardinality, 0, (1,)) for field in FIELDS]
    plan = CompressionPlan({band.name: choice if band.start else Full() for field in fields for band in field.bands})
    torch.manual_seed(3)
    embedding = PlanEmbedding(fields, plan, DIM, True, QuantizerOptions(scores="euclidean", compact=True))
    network = Network(embedding, DeepFM(len(fields), DIM, (12, 7), 0.2), 0.0)
    embedding.start_rows(0.3)
    embedding.start_quantizers(0)
    if embedding.first_order is not None:
        torch.nn.init.normal_(embedding.first_order, std=0.1)
    round_compactly(network)
    specs, tables, dense = pack_network(network, [1] * len(fields))
    side = write_vocabulary(path.with_suffix(".vocabulary.parquet"), vocabulary(), specs)
    write_packed(path, Manifest("network", specs, ModelSpec("deepfm", (12, 7)), side, "0.1.0"), tables, dense)


def rows(growth: tuple[Growth, ...], ids: npt.NDArray[np.int32], labels: npt.NDArray[np.bool_]) -> Samples:
    """Rows in the ids of grown tables; a fifth of them holds new values."""
    rng, made = np.random.default_rng(2), ids.copy()
    for column, own in enumerate(growth):
        if len(own.values):
            some = rng.random(len(ids)) < 0.2
            made[some, column] = rng.integers(own.first, own.first + len(own.values), int(some.sum()))
    return Samples(made, labels.astype(np.uint8))


def updated(
    path: Path, recipe: Recipe, new: Mapping[str, list[str]] = NEW, n_rows: int = 600
) -> tuple[PackedFile, Updated, Samples]:
    """A model updated by rows of which only the first twelve shops and the first users have samples."""
    packed, known = open_to_update(path)
    growth = growths(packed, known, {name: pl.Series(own) for name, own in new.items()})
    ids = random_ids(n_rows, 4)
    ids[:, 3] %= 12
    labels = (np.sin(ids[:, 3]) + np.cos(2.0 * ids[:, 0]) + np.random.default_rng(5).normal(size=n_rows)) > 0
    samples = rows(growth, ids, labels)
    train, valid = (Samples(samples.ids[part], samples.labels[part]) for part in (slice(0, -150), slice(-150, None)))
    out = path.with_name("out.safetensors")
    done = update(packed, growth, train, valid, recipe, out, model=DeepFM, device=torch.device("cpu"))
    return packed, done, train


@pytest.mark.parametrize(
    "choice", [None, CHOICES[0], *(pytest.param(own, marks=pytest.mark.slow) for own in CHOICES[1:])], ids=str
)
def test_what_new_values_start_from_and_what_does_not_move(tmp_path: Path, choice: Choice | None) -> None:
    path = tmp_path / "m.safetensors"
    if choice is None:
        write_model(path)
    else:
        write_banded(path, choice)
    packed, done, _ = updated(path, STILL)
    close = 1e-6 if choice is None else 2e-3  # floats of 16 bits may be other ones
    for old, new, own in zip(packed.tables, done.packed.tables, done.growths, strict=True):
        assert new.spec.n_rows == old.spec.n_rows + len(own.values)
        found, ids = new.lookup(np.arange(new.spec.n_rows)), np.arange(old.spec.n_rows)
        assert np.allclose(found[ids], old.lookup(ids), atol=close)
        weights = new.first_order(np.arange(new.spec.n_rows))
        assert np.allclose(weights[ids], old.first_order(ids), atol=5 * close)
        if isinstance(old.spec.tables[-1].choice, Full | Float16):
            start = old.lookup(np.array([old.spec.fallback]))
            assert np.allclose(found[len(ids) :], start, atol=close)
    for name, weights in packed.dense.items():  # but for the statistics, which are those of the new rows
        assert "running" in name or np.allclose(done.packed.dense[name], weights, atol=close), name


def test_rows_that_no_new_row_holds_stay_to_the_bit(tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors")
    packed, done, train = updated(tmp_path / "m.safetensors", RECIPE)
    moved = 0
    for column, (old, new, own) in enumerate(zip(packed.tables, done.packed.tables, done.growths, strict=True)):
        assert old.spec.choice == new.spec.choice
        ids = np.arange(old.spec.n_rows)
        # Of rows that values share, all are held by a new row where one of them is.
        if isinstance(old.spec.choice, DPQ):
            held = np.isin(ids, train.ids[:, column])
            same = (new.lookup(ids) == old.lookup(ids)).all(1) & (new.first_order(ids) == old.first_order(ids))
            assert same[~held].all() and not same[held].all()
            assert np.array_equal(new.arrays["centroids"], old.arrays["centroids"])
            moved += int((~same).sum())
        assert changed_rows(old, new, own) == (new.lookup(ids) != old.lookup(ids)).any(1).sum()
    assert moved


def test_new_rows_are_learned_and_new_values_too(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_model(path)
    packed, known = open_to_update(path)
    growth = growths(packed, known, {"shop": pl.Series(["good", "bad"])})
    ids, first, number = random_ids(700, 6), FIELDS[3].cardinality, np.arange(700)
    ids[:, 3] = np.where(number % 3 == 0, first + number % 2, ids[:, 3])
    labels = np.where(ids[:, 3] >= first, ids[:, 3] == first + 1, ids[:, 0] % 2 == 0)
    part = [Samples(ids[some], labels[some].astype(np.uint8)) for some in (slice(0, 500), slice(500, None))]
    recipe = replace(RECIPE, learning_rate=5e-2, max_epochs=6, patience=6, batch_size=128)
    out = tmp_path / "out.safetensors"
    done = update(packed, growth, *part, recipe, out, model=DeepFM, device=torch.device("cpu"))
    assert growth[3].values.to_list() == ["bad", "good"]
    assert done.after.auc > 0.8 > done.before.auc + 0.2 and 1 <= done.best_epoch <= done.epochs
    frame = values_of(random_ids(50)).with_columns(shop=pl.Series(["good", "bad"] * 25))
    found = open_model(out).predict(frame)
    assert auc(found, np.array([1, 0] * 25)) > 0.9
    assert open_model(path).manifest.vocabulary != done.packed.manifest.vocabulary
    about = done.packed.manifest.about
    assert about["metrics"]["valid_auc"] == pytest.approx(done.after.auc, abs=1e-6)
    assert about["update"]["rows"] == 700
    assert about["ledger"]["bytes"] == sum(done.packed.sizes.values()) - done.packed.sizes["header"]


@pytest.mark.slow
def test_the_same_rows_make_the_same_file(tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors")
    first = updated(tmp_path / "m.safetensors", RECIPE)[1].packed.path.read_bytes()
    assert updated(tmp_path / "m.safetensors", RECIPE)[1].packed.path.read_bytes() == first


def test_the_id_of_values_never_seen_stays_the_last(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    n_users = FIELDS[0].cardinality
    some = vocabulary().filter((pl.col("field") != "user") | (pl.col("id") < n_users - 1))
    write_model(path, fallbacks=(n_users - 1, 5, 3, 32, 0), values=some)
    packed, done, _ = updated(path, STILL)
    growth = done.growths[0]
    assert (growth.first, growth.fallback, growth.n_rows) == (n_users - 1, n_users + 1, n_users + 2)
    served = open_model(done.packed.path)
    values = pl.Series("user", [WORDS["user"][3], "1", "2 new", "never", WORDS["user"][-1]])
    assert served.vocabulary.values("user").look_up(values, "f").tolist() == [3, n_users - 1, n_users, -1, -1]
    assert done.packed.tables[0].spec.fallback == n_users + 1
    old, new = (file.tables[0] for file in (packed, done.packed))
    assert np.allclose(new.lookup(np.array([n_users + 1])), old.lookup(np.array([n_users - 1])), atol=1e-6)
    assert done.growths[3].fallback is None and done.growths[3].first == FIELDS[3].cardinality


@pytest.mark.slow
def test_what_the_file_says_of_logits_and_rows_is_kept(tmp_path: Path) -> None:
    write_model(tmp_path / "whole.safetensors", calibration=Calibration(3.0, -1.0))
    path = tmp_path / "m.safetensors"
    export(tmp_path / "whole.safetensors", path, head_dtype="int8")
    packed, done, _ = updated(path, RECIPE)
    assert {table.spec.head_dtype for table in done.packed.tables} == {"int8"}
    found = done.packed.manifest.calibration
    assert found is not None and found != packed.manifest.calibration
    assert done.after.logloss < done.before.logloss


@pytest.mark.slow
def test_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_model(path)
    _, first, _ = updated(path, RECIPE)
    again = first.packed.path.rename(tmp_path / "again.safetensors")
    _, second, _ = updated(again, RECIPE, {"user": ["0 later"], "day": ["2024-06-02"]})
    known = Vocabulary.beside(second.packed.path, second.packed.manifest)
    values = pl.Series("user", ["0 later", "1", "2 new", WORDS["user"][0]])
    assert known.values("user").look_up(values, "f").tolist() == [22, 20, 21, 0]
    assert known.values("day").look_up(pl.Series("day", ["2024-06-02"]), "f").tolist() == [2]


def test_what_cannot_be_updated_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors")
    export(tmp_path / "m.safetensors", tmp_path / "h.safetensors", hashed_vocabulary=True)
    with pytest.raises(AutoDPQError, match=r"h\.safetensors: its vocabulary holds hashes, which no value can be added"):
        open_to_update(tmp_path / "h.safetensors")
    own = torch.nn.Sequential(torch.nn.Embedding(30, 4))
    export(compress(own, {"0": np.ones(30)}, {"0": Int(4)}), tmp_path / "c.safetensors")
    with pytest.raises(AutoDPQError, match=r"c\.safetensors: it holds tables of a torch model; fine-tune and compress"):
        open_to_update(tmp_path / "c.safetensors")
    packed = open_packed(tmp_path / "m.safetensors")
    tables = {table.spec.name: table.arrays for table in packed.tables}
    write_packed(tmp_path / "n.safetensors", replace(packed.manifest, vocabulary=None), tables, packed.dense)
    with pytest.raises(AutoDPQError, match=r"n\.safetensors: it was exported without a vocabulary"):
        open_to_update(tmp_path / "n.safetensors")
