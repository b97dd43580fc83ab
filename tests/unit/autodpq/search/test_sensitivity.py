from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.information import information_by_samples

from autodpq.choices import DPQ, Float16, Full, Hashed, Int, Others
from autodpq.models import DeepFM
from autodpq.plan import Field, bands_of, uniform_plan
from autodpq.search.bilevel import ByteLimit, _Price
from autodpq.search.bytes import start_weights
from autodpq.search.sensitivity import rise_by_weights, rise_of_loss, rises, row_information
from autodpq.testing.toys import RECIPE, make_samples
from autodpq.training.fit import DeviceRows
from autodpq.training.trainer import Trainer

FIELDS = (Field("user", 40, 0, (10,)), Field("item", 24, 0), Field("device", 3, 0))
CANDIDATES = (Full(), Others(), Int(2), Int(8), DPQ(4, 2))
SPACE = {band.name: CANDIDATES for band in bands_of(FIELDS)}


def make_trainer() -> Trainer:
    rows = make_samples(400, 1), make_samples(100, 2)
    return Trainer(FIELDS, DeepFM, RECIPE, 0, torch.device("cpu"), *rows, compact=True)


def test_the_information_is_the_loss_s_second_derivative_without_that_of_logits():
    trainer = make_trainer()
    network, _ = trainer.pretrain()
    found, of_weights = row_information(network, trainer.train)
    expected, expected_of_weights = information_by_samples(network, trainer.train.ids)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(of_weights, expected_of_weights, rtol=1e-4, atol=1e-9)


def test_weights_that_values_share_raise_the_loss():
    weights, information = torch.tensor([1.0, -1.0, 3.0]), torch.tensor([2.0, 2.0, 1.0])
    candidates = [Full(), Others(), Hashed(2), Int(2)]
    losses = rise_by_weights(weights, information, candidates, 16, compact=False)
    # The mean by information is 0.6; of the first and the third row, 5 / 3.
    assert losses == pytest.approx([0.0, 0.5 * (2 * 0.4**2 + 2 * 1.6**2 + 2.4**2), 0.5 * (2 * 4 / 9 + 16 / 9), 0.0])
    uneven = torch.tensor([1.0, -0.7, 2.6])
    few_bits = rise_by_weights(uneven, information, [Full(), DPQ(4, 1)], 16, compact=True)
    assert 0 < few_bits[0] < few_bits[1] < losses[1]


def test_samples_inform_by_their_weights():
    trainer = make_trainer()
    network, _ = trainer.pretrain()
    weights = torch.zeros(len(trainer.train), dtype=torch.float64)
    weights[:100] = 5.0
    found, of_weights = row_information(network, replace(trainer.train, weights=weights))
    first = DeviceRows(trainer.train.ids[:100], trainer.train.labels[:100])
    alone, of_weights_alone = row_information(network, first)
    torch.testing.assert_close(found, alone * 4, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(of_weights, of_weights_alone * 4, rtol=1e-5, atol=1e-9)


def test_less_exact_choices_raise_the_loss_more():
    trainer = make_trainer()
    network, _ = trainer.pretrain()
    found = rises(trainer, network.state_dict(), SPACE).losses
    assert set(found) == {"user/1", "user/2", "item", "device"}
    for name, row in found.items():
        rise = dict(zip(CANDIDATES, row, strict=True))
        assert 0 <= rise[Full()] < rise[Int(8)] < rise[Int(2)], name
        assert rise[Int(8)] < rise[Others()]


def test_a_large_band_is_judged_by_a_sample(monkeypatch):
    rows = torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
    information = torch.rand(600, 4, generator=torch.Generator().manual_seed(1))
    options = make_trainer().quantizer
    (whole,) = rise_of_loss(rows, information, [Int(2)], options, 0)
    monkeypatch.setattr("autodpq.search.sensitivity.SAMPLE", 400)
    (sampled,) = rise_of_loss(rows, information, [Int(2)], options, 0)
    assert sampled != whole and sampled == pytest.approx(whole, rel=0.15)


def test_the_search_starts_at_the_price_that_meets_the_limit():
    trainer = make_trainer()
    network, _ = trainer.pretrain()
    losses = rises(trainer, network.state_dict(), SPACE).losses
    supernet = trainer.build_supernet(SPACE, True).embedding
    prices, _ = trainer.prices(SPACE)
    costs = torch.tensor(list(prices.values()), dtype=torch.float32)
    least, most = float(costs.min(1).values.sum()), float(costs.max(1).values.sum())
    for share in (0.1, 0.3, 0.6):
        limit = ByteLimit(costs, least + share * (most - least))
        start_weights(supernet, losses, SPACE, limit)
        assert float(limit.excess(supernet.alpha.detach()).abs()) < 0.3
        assert (supernet.alpha.max(1).values == 0).all() and (supernet.alpha >= -4).all()


def test_a_price_brings_the_expected_bytes_to_the_limit():
    trainer = make_trainer()
    supernet = trainer.build_supernet(SPACE, True).embedding
    prices, _ = trainer.prices(SPACE)
    costs = torch.tensor(list(prices.values()), dtype=torch.float32)
    limit = ByteLimit(costs, 0.5 * float(costs.mean(1).sum()))
    price = _Price(limit)
    with torch.no_grad():
        for _ in range(4000):
            supernet.alpha -= 0.3 * price.gradient(supernet)
    assert float(limit.excess(supernet.alpha.detach())) < 0.05
    assert np.isfinite(price.multiplier) and price.multiplier >= 0


def test_what_has_no_less_bytes_is_full():
    trainer = make_trainer()
    full = uniform_plan(FIELDS, Full())
    prices, fixed = trainer.prices({band.name: (Full(), Float16()) for band in bands_of(FIELDS)})
    assert fixed + sum(row[0] for row in prices.values()) == trainer.ledger(full).bytes
    assert all(row[0] == row[1] for row in prices.values())
