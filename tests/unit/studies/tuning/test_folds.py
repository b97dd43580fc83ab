"""Validation rows that are too few to choose by, and what comes instead."""

from __future__ import annotations

import numpy as np
import pytest

from autodpq.data import Samples
from studies.prepared import Prepared
from studies.tuning import folds
from studies.tuning.folds import folds_of


def prepared(train: int, valid: int, rate: float = 0.3) -> Prepared:
    rng = np.random.default_rng(1)
    ids = np.arange(train + valid, dtype=np.int32)[:, None]
    labels = (rng.random(train + valid) < rate).astype(np.uint8)
    parts = Samples(ids[:train], labels[:train]), Samples(ids[train:], labels[train:])
    return Prepared((), *parts, None, None, None)  # type: ignore[arg-type]


def test_further_validation_rows_are_others_and_all_rows_are_used() -> None:
    own = prepared(80, 10)
    found = folds_of(own, "random")
    assert found[0] is own and len(found) == folds.FOLDS
    for fold in found[1:]:
        every = np.concatenate([fold.train.ids, fold.valid.ids])[:, 0]
        assert sorted(every) == list(range(90)) and len(fold.valid) == 10
        labels = np.concatenate([own.train.labels, own.valid.labels])
        assert (fold.train.labels == labels[fold.train.ids[:, 0]]).all()
    seen = np.concatenate([fold.valid.ids[:, 0] for fold in found[1:]])
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("method", ["time", "column"])
def test_only_rows_of_a_random_split_are_like_one_another(method: str) -> None:
    own = prepared(80, 10)
    assert folds_of(own, method) == (own,)


def test_enough_validation_rows_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    own = prepared(800, 100)
    clicks = int(own.valid.labels.sum())
    monkeypatch.setattr(folds, "FEWEST", clicks)
    assert len(folds_of(own, "random")) == 1
    monkeypatch.setattr(folds, "FEWEST", clicks + 1)
    assert len(folds_of(own, "random")) == folds.FOLDS


def test_a_split_whose_rows_are_all_of_one_class_is_left_out() -> None:
    own = prepared(80, 10, rate=0.05)
    found = folds_of(own, "random")
    assert 1 <= len(found) < folds.FOLDS
    assert all(0 < fold.valid.labels.sum() < 10 for fold in found[1:])
