from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from autodpq.choices import DPQ, Full, Others
from autodpq.costs import Dense, ledger
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.planned import PlanEmbedding
from autodpq.models import MODELS
from autodpq.packed.network import fallback_ids, pack_network
from autodpq.packed.table import PackedTable
from autodpq.plan import CompressionPlan, Field
from autodpq.training.fit import DeviceRows, predict
from autodpq.training.network import Network

FIELDS = (
    Field("whole", 7, 3),
    Field("frequent", 5, 5),
    Field("shared", 9, 4),
    Field("codes", 40, 6),
    Field("all codes", 33, 0),
    Field("other codes", 12, 2),
)
PLAN = CompressionPlan(
    {
        "whole": Full(),
        "frequent": DPQ(4, 2),  # no rare values: every row is kept
        "shared": Others(),
        "codes": DPQ(5, 4),
        "all codes": DPQ(16, 8),
        "other codes": DPQ(3, 4),
    }
)


def make_network(model: str = "deepfm", scores: str = "euclidean") -> Network:
    torch.manual_seed(7)
    kind = MODELS.find(model)
    options = replace(QuantizerOptions(), scores=scores)
    embedding = PlanEmbedding(FIELDS, PLAN, 16, kind.first_order, options)
    for parameter in embedding.parameters():
        torch.nn.init.normal_(parameter)
    return Network(embedding, kind(len(FIELDS), 16, (8, 4), 0.0), 0.0)


def random_ids(n_rows: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.stack([rng.integers(0, field.cardinality, n_rows) for field in FIELDS], 1).astype(np.int32)


@pytest.mark.parametrize("scores", ["inner", "euclidean"])
def test_tables_hold_what_the_network_looks_up_outside_training(scores: str) -> None:
    network = make_network(scores=scores)
    specs, tables, _ = pack_network(network, [0] * len(FIELDS))
    ids = random_ids(500)
    network.eval()
    flat = network.embedding.flatten(torch.from_numpy(ids))
    with torch.no_grad(), network.embedding.settled():
        expected = network.embedding(flat).numpy()
        weights = network.embedding.first_order_sum(flat).numpy()
    found = [PackedTable(spec, tables[spec.name]) for spec in specs]
    for column, table in enumerate(found):
        assert np.array_equal(table.lookup(ids[:, column]), expected[:, column])
    total = np.stack([table.first_order(ids[:, column]) for column, table in enumerate(found)], 1).sum(1)
    assert np.allclose(total, weights, atol=1e-6)


def test_what_is_stored_is_the_ledger_to_the_byte() -> None:
    network = make_network()
    _, tables, dense = pack_network(network, [0] * len(FIELDS))
    n_dense = sum(array.size for array in dense.values())
    priced = ledger(FIELDS, PLAN, 16, first_order=True, dense=Dense(n_dense))
    stored = [array for arrays in tables.values() for array in arrays.values()] + list(dense.values())
    assert sum(array.nbytes for array in stored) == priced.bytes
    assert "mlp.layers.1.num_batches_tracked" in network.model.state_dict()
    assert all(array.dtype == np.float32 for array in dense.values())


def test_predictions_are_those_of_the_codes_whatever_the_batches() -> None:
    network = make_network()
    ids = torch.from_numpy(random_ids(300))
    rows = DeviceRows(ids, torch.zeros(300))
    together = predict(network, rows)
    with torch.no_grad():
        flat = network.embedding.flatten(ids)
        one_by_one = torch.cat([network(part) for part in flat.split(1)]).double().sigmoid().numpy()
    assert np.allclose(together, one_by_one, atol=1e-6)


def test_weights_that_change_after_evaluation_are_seen() -> None:
    network = make_network()
    rows = DeviceRows(torch.from_numpy(random_ids(50)), torch.zeros(50))
    before = predict(network, rows)
    with torch.no_grad():
        for parameter in network.embedding.parameters():
            parameter.mul_(-1.5)
    assert not np.allclose(before, predict(network, rows))


def test_values_never_seen_stand_on_the_typical_rare_row_or_on_the_data_s_own() -> None:
    network = make_network()
    fallbacks = fallback_ids(network, {"codes": 39})
    assert fallbacks[3] == 39
    specs, tables, _ = pack_network(network, fallbacks)
    assert tuple(spec.fallback for spec in specs) == fallbacks
    for spec in specs:
        if spec.name == "codes":
            continue
        first = spec.head if spec.tail or spec.name == "whole" else 0
        table, ids = PackedTable(spec, tables[spec.name]), np.arange(first, spec.n_rows)
        of_rows, of_weights = (
            ((values - values.mean(0)) ** 2).sum(1) for values in (table.lookup(ids), table.first_order(ids)[:, None])
        )
        distances = of_rows / max(of_rows.mean(), 1e-30) + of_weights / max(of_weights.mean(), 1e-30)
        assert distances[spec.fallback - first] == pytest.approx(distances.min(), rel=1e-5)


def test_every_model_keeps_its_weights_under_their_own_names() -> None:
    for model in MODELS:
        network = make_network(model)
        specs, _, dense = pack_network(network, [0] * len(FIELDS))
        floats = {name for name, value in network.model.state_dict().items() if value.is_floating_point()}
        assert set(dense) == floats
        assert all(spec.first_order == (model == "deepfm") for spec in specs)
