"""Networks whose fields have several bands, from training to the file and back."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autodpq.choices import DPQ, Choice, Float16, Full, Hashed, Int, Narrow, Others
from autodpq.choices.integer import largest_integer
from autodpq.choices.weights import weight_bits
from autodpq.costs import Dense, is_matrix, ledger
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.planned import PlanEmbedding
from autodpq.models import MODELS
from autodpq.packed.file import PackedFile, open_packed, write_packed
from autodpq.packed.load import load
from autodpq.packed.manifest import Manifest, ModelSpec
from autodpq.packed.network import fallback_ids, pack_network, round_compactly
from autodpq.plan import CompressionPlan, Field, bands_of
from autodpq.serving import open_model
from autodpq.training.fit import DeviceRows, predict
from autodpq.training.network import Network

X = 8
FIELDS = (Field("user", 60, 0, (3, 12, 40)), Field("item", 33, 0, (20,)), Field("day", 7, 0))
OPTIONS = QuantizerOptions(scores="euclidean", gradient="centroid", compact=True)
CHOICES = [Full(), Others(), Hashed(2), Hashed(50), Int(2), Int(4), Int(8), Float16(), Narrow(3)]
CHOICES += [DPQ(K, D) for K in (2, 5, 16, 300) for D in (1, 2, 8)]

plans = st.fixed_dictionaries({band.name: st.sampled_from(CHOICES) for band in bands_of(FIELDS)}).map(CompressionPlan)


def make_network(plan: CompressionPlan, model: str = "deepfm", seed: int = 0) -> Network:
    torch.manual_seed(seed)
    kind = MODELS.find(model)
    embedding = PlanEmbedding(FIELDS, plan, X, kind.first_order, OPTIONS)
    embedding.start_rows(0.1)
    if embedding.first_order is not None:
        torch.nn.init.normal_(embedding.first_order)
    embedding.start_quantizers(seed)
    return Network(embedding, kind(len(FIELDS), X, (6, 4), 0.0), 0.0)


def random_ids(n_rows: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    some = np.stack([rng.integers(0, field.cardinality, n_rows) for field in FIELDS], 1).astype(np.int32)
    some[:60, 0] = np.arange(60)
    return some


def kept(network: Network, path: Path, model: str = "deepfm") -> PackedFile:
    specs, tables, dense = pack_network(network, fallback_ids(network, {}))
    write_packed(path, Manifest("network", specs, ModelSpec(model, (6, 4)), None, "test"), tables, dense)
    return open_packed(path)


@given(plans)
def test_a_file_is_the_ledger_to_the_byte_and_serves_what_was_evaluated(plan: CompressionPlan) -> None:
    network = make_network(plan)
    round_compactly(network)
    ids = random_ids(200)
    expected = predict(network, DeviceRows(torch.from_numpy(ids), torch.zeros(200)))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        packed = kept(network, path)
        dense = Dense.of(array.shape for array in packed.dense.values())
        priced = ledger(FIELDS, plan, X, first_order=True, dense=dense, compact=True)
        assert path.stat().st_size - packed.sizes["header"] == priced.bytes
        weights = sum(size for name, size in packed.sizes.items() if name.endswith(("first_order", "weight_scale")))
        assert weights == priced.first_order_bytes
        served = 1 / (1 + np.exp(-load(path).score(ids).astype(np.float64)))
        # Sums of first-order weights are taken in another order; embeddings are bit-equal.
        np.testing.assert_allclose(served, expected, rtol=0, atol=1e-6)
        with torch.no_grad(), network.embedding.settled():
            flat = network.embedding.flatten(torch.from_numpy(ids))
            embeddings = network.embedding(flat).numpy()
        assert np.array_equal(load(path).embed(torch.from_numpy(ids)).numpy(), embeddings)
        assert np.array_equal(open_model(path).embed(ids), embeddings)
        np.testing.assert_allclose(open_model(path).score(ids), load(path).score(ids), rtol=0, atol=1e-5)


@pytest.mark.parametrize("choice", [Hashed(5), DPQ(16, 4), Int(4), Narrow(3)], ids=str)
def test_what_is_rounded_twice_is_rounded(choice: Choice) -> None:
    network = make_network(CompressionPlan({band.name: choice for band in bands_of(FIELDS)}))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    round_compactly(network)
    once = {name: value.clone() for name, value in network.state_dict().items()}
    round_compactly(network)
    assert all(torch.equal(value, once[name]) for name, value in network.state_dict().items())
    changed = {name for name in once if not torch.equal(once[name], before[name])}
    assert {"embedding.first_order", "model.output.weight"} <= changed and "embedding.raw" not in changed
    for name in changed:
        if "first_order" in name:  # in integers of few bits, the outermost of which may be cut off
            largest = largest_integer(weight_bits(choice, X))
            assert (once[name] - before[name]).square().mean() < (before[name].abs().max() / largest).square() / 8
        else:
            # Half a step of 8 bits in a matrix beside the embeddings, else the last of 11 bits.
            is_rounded_coarsely = name.startswith("model.") and is_matrix(before[name].shape)
            off = float(before[name].abs().max()) / 250 if is_rounded_coarsely else 1e-3
            torch.testing.assert_close(once[name], before[name], rtol=0, atol=off)


def test_a_band_s_rows_are_its_own() -> None:
    """What is trained of a batch moves the rows of the bands of its ids, and no other."""
    plan = CompressionPlan({**dict.fromkeys(("user/1", "user/3"), Full()), "user/2": Others(), "user/4": DPQ(4, 2),
                            "item/1": Int(8), "item/2": Hashed(4), "day": Full()})  # fmt: skip
    network = make_network(plan)
    embedding = network.embedding
    rows = embedding.rows_of_ids()
    assert len(set(rows[0][3:12].tolist())) == 1 and len(set(rows[0].tolist())) == 3 + 1 + 28 + 20
    assert len(set(rows[1][20:].tolist())) == 4 and rows[1][20] == rows[1][24]
    assert all((own < embedding.n_direct).all() for own in (rows[0][:40], rows[1][20:], rows[2]))
    assert (rows[0][40:] >= embedding.n_direct).all() and (rows[1][:20] >= embedding.n_direct).all()
    network.train()
    ids = torch.tensor([[41, 5, 0], [41, 21, 0], [2, 5, 6]], dtype=torch.int32)
    network(embedding.flatten(ids)).sum().backward()
    moved = set(embedding.raw.grad.any(1).nonzero().flatten().tolist())
    assert moved == {int(rows[0][41]) - embedding.n_direct, int(rows[1][5]) - embedding.n_direct}
    touched = set(embedding.table.grad.any(1).nonzero().flatten().tolist())
    assert touched == {int(rows[1][21]), int(rows[2][0]), int(rows[0][2]), int(rows[2][6])}


def test_values_that_a_batch_holds_often_get_the_sum_of_their_gradients() -> None:
    plan = CompressionPlan({band.name: Int(8) for band in bands_of(FIELDS)})
    network = make_network(plan)
    network.train()
    weights = torch.linspace(-1, 1, 3 * X).view(3, X)
    for ids, factor in (([[7, 3, 1]], 3), ([[7, 3, 1]] * 3, 1)):
        network.embedding.raw.grad = None
        rows = network.embedding(network.embedding.flatten(torch.tensor(ids, dtype=torch.int32)))
        (factor * rows * weights).sum().backward()
        numbers = [int(own[value]) for own, value in zip(network.embedding.rows_of_ids(), ids[0], strict=True)]
        expected = torch.zeros_like(network.embedding.raw)
        expected[torch.tensor(numbers) - network.embedding.n_direct] = 3 * weights
        torch.testing.assert_close(network.embedding.raw.grad, expected)
