from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.encoded import make_dataset

from autodpq.choices import DPQ
from autodpq.data import EncodedDataset, Samples, Truth
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan, Field
from studies.headroom import auc_by_frequency, headroom
from studies.prepared import Prepared, prepare


def test_headroom_by_hand() -> None:
    ids = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [0, 0], [1, 0], [0, 1]], np.int32)
    labels = np.array([1, 0, 1, 0, 0, 1, 1], np.uint8)
    probabilities = np.array([0.9, 0.8, 0.3, 0.6, 0.4, 0.7, 0.5])
    fields = (Field("user", 4, 2), Field("item", 2, 1))
    # Rare: 0.3 and 0.5 clicked, 0.6 not: no pair in order. Others: 0.9 and 0.7 clicked, 0.8 and 0.4 not: 3 of 4 pairs.
    # The oracle puts 1, 0 and 1 for the rare ones: of 4 x 3 pairs only (0.7, 0.8) is out of order.
    assert headroom(Samples(ids, labels), fields, probabilities) == {
        "samples": 7,
        "rare_samples": 3,
        "auc_rare": 0.0,
        "auc_other": 0.75,
        "auc_oracle": pytest.approx(11 / 12),
    }


def test_headroom_is_none_where_a_class_is_missing() -> None:
    ids, fields = np.array([[0], [0], [1]], np.int32), (Field("user", 2, 1),)
    values = headroom(Samples(ids, np.array([0, 1, 1], np.uint8)), fields, np.array([0.2, 0.3, 0.1]))
    assert (values["rare_samples"], values["auc_rare"], values["auc_other"]) == (1, None, 1.0)
    assert values["auc_oracle"] == 1.0


def test_headroom_without_rare_values() -> None:
    fields = (Field("user", 2, 2),)
    values = headroom(Samples(np.array([[0], [1]], np.int32), np.array([0, 1], np.uint8)), fields, np.array([0.6, 0.5]))
    assert values == {"samples": 2, "rare_samples": 0, "auc_rare": None, "auc_other": 0.0, "auc_oracle": 0.0}


def test_auc_by_frequency_by_hand() -> None:
    # The rarest values of the rows occur 2, 2, 30, 35, 35, 1 and 0 times.
    ids = np.array([[0, 1], [0, 1], [1, 0], [0, 0], [0, 0], [1, 2], [2, 0]], np.int32)
    counts = (np.array([50, 30, 0]), np.array([35, 2, 1]))
    labels = np.array([1, 0, 1, 0, 1, 0, 1], np.uint8)
    probabilities = np.array([0.9, 0.2, 0.3, 0.6, 0.7, 0.5, 0.1])
    assert auc_by_frequency(Samples(ids, labels), counts, probabilities) == [
        {"least": 0, "most": 0, "samples": 1, "auc": None},
        {"least": 1, "most": 2, "samples": 3, "auc": 1.0},
        {"least": 30, "most": 35, "samples": 3, "auc": 0.5},
    ]


def own_data() -> EncodedDataset:
    # Over all rows, value 0 occurs 6 times, 1 five times, 2 three times, 3 and 4 once.
    user = [0, 0, 1, 1, 1, 2, 2, 3, 0, 0, 2, 0, 0, 1, 1, 4]
    split = [0] * 8 + [1] * 4 + [2] * 4
    return make_dataset({"user": user}, [0, 1] * 8, split)


def prepared(scope: str, threshold: int = 3, method: str = "column") -> Prepared:
    return prepare(own_data, threshold=threshold, split_method=method, split_seed=1, frequency_scope=scope)


def test_frequencies_are_counted_over_all_rows() -> None:
    ready = prepared("all")
    assert ready.fields == (Field("user", 5, 3),)
    assert ready.train.ids[:, 0].tolist() == [0, 0, 1, 1, 1, 2, 2, 3]
    assert ready.test().ids[:, 0].tolist() == [0, 1, 1, 4]
    assert ready.truth is None


def test_frequencies_are_counted_over_training_rows_alone() -> None:
    ready = prepared("train")
    # Of the training rows three hold value 1, two 0, two 2, one 3; value 4 is unseen and falls to the last id.
    assert ready.fields == (Field("user", 5, 1),)
    assert ready.train.ids[:, 0].tolist() == [1, 1, 0, 0, 0, 2, 2, 3]
    assert ready.valid.ids[:, 0].tolist() == [1, 1, 2, 1]
    assert ready.test().ids[:, 0].tolist() == [1, 0, 0, 4]
    assert not (ready.train.ids == 4).any()


def test_parts_are_disjoint_and_the_split_seed_draws_them() -> None:
    data = make_dataset({"user": list(range(200))}, [0, 1] * 100)
    parts = [
        prepare(lambda: data, threshold=1, split_method="random", split_seed=seed, frequency_scope="all")
        for seed in (1, 1, 2)
    ]
    rows = [[part.ids[:, 0].tolist() for part in (ready.train, ready.valid, ready.test())] for ready in parts]
    assert rows[0] == rows[1] != rows[2]
    assert sorted(row for part in rows[0] for row in part) == list(range(200)) and [len(part) for part in rows[0]] == [
        160,
        20,
        20,
    ]


def test_threshold_above_every_count_is_refused() -> None:
    with pytest.raises(AutoDPQError, match="threshold 7 is above every count"):
        prepared("all", threshold=7)
    with pytest.raises(AutoDPQError, match="threshold 4 is above every count"):
        prepared("train", threshold=4)


def test_truth_of_generated_data_is_that_of_the_test_rows() -> None:
    plan = CompressionPlan({"user": DPQ(2, 2)})
    # Wrong on all rows but the test rows, where the order of the labels 0, 1, 0, 1 is right but for one pair of four.
    known = np.array([0.9, 0.1] * 6 + [0.2, 0.3, 0.4, 0.5], np.float32)
    data = replace(own_data(), truth=Truth(plan, known))
    ready = prepare(lambda: data, threshold=3, split_method="column", split_seed=1, frequency_scope="train")
    assert ready.truth == {"bayes_auc": 0.75, "plan": plan.to_json()}
