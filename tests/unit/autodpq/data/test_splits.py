from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.data import EncodedDataset, Split, chronological_split, column_split, random_split, split_dataset
from autodpq.data.splits import FRACTIONS, stratified_split
from autodpq.errors import AutoDPQError


def dataset(n_rows: int = 100, *, time: bool = False, column: bool = False) -> EncodedDataset:
    return EncodedDataset(
        name="made",
        field_names=("field",),
        ids=np.zeros((n_rows, 1), np.int32),
        labels=(np.arange(n_rows) % 2).astype(np.uint8),
        counts=(np.array([n_rows]),),
        time=np.arange(n_rows)[::-1].copy() if time else None,
        split_column=(np.arange(n_rows) // 2 % 3).astype(np.int8) if column else None,
        fingerprint="00",
    )


def check_partition(split: Split, n_rows: int) -> None:
    parts = split.parts().values()
    assert np.array_equal(np.sort(np.concatenate(list(parts))), np.arange(n_rows))
    for rows in parts:
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()


@given(st.integers(10, 500), st.integers(0, 2**32))
def test_a_random_split_is_a_partition_that_the_seed_decides(n_rows: int, seed: int) -> None:
    split = random_split(n_rows, seed)
    check_partition(split, n_rows)
    assert len(split.train) == round(0.8 * n_rows)
    again = random_split(n_rows, seed)
    assert all(np.array_equal(a, b) for a, b in zip(split.parts().values(), again.parts().values(), strict=True))


def test_another_seed_gives_another_split() -> None:
    assert not np.array_equal(random_split(100, 1).test, random_split(100, 2).test)


@given(st.lists(st.integers(-3, 3), min_size=10, max_size=80))
def test_a_chronological_split_never_trains_on_what_comes_later(times: list[int]) -> None:
    time = np.array(times)
    split = chronological_split(time, (0.5, 0.25, 0.25))
    check_partition(split, len(time))
    keys = [[(time[row], row) for row in rows] for rows in split.parts().values()]
    assert max(keys[0]) < min(keys[1])
    assert max(keys[1]) < min(keys[2])


def test_a_column_split_is_what_the_column_says() -> None:
    split = column_split(np.array([2, 0, 1, 0, 2], np.int8))
    assert [rows.tolist() for rows in split.parts().values()] == [[1, 3], [2], [0, 4]]


def test_auto_takes_the_column_then_the_time_then_chance() -> None:
    assert np.array_equal(
        split_dataset(dataset(time=True, column=True), 1).test, column_split(np.arange(100) // 2 % 3).test
    )
    assert split_dataset(dataset(time=True), 1).test.tolist() == list(range(10))
    assert np.array_equal(split_dataset(dataset(), 1).test, random_split(100, 1).test)


def test_the_method_overrides() -> None:
    data = dataset(time=True, column=True)
    assert np.array_equal(split_dataset(data, 1, "random").test, random_split(100, 1).test)
    assert split_dataset(data, 1, "time", (0.5, 0.3, 0.2)).test.tolist() == list(range(20))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("time", "no time to split by"),
        ("column", "no split column"),
        ("chance", "unknown split method 'chance'; expected one of auto, random, time, column"),
    ],
)
def test_a_method_that_cannot_be_is_refused(method: str, message: str) -> None:
    with pytest.raises(AutoDPQError, match=message):
        split_dataset(dataset(), 1, method)


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (0.9, 0.1, 0.0), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_fractions_must_add_up(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(AutoDPQError, match="three positive numbers"):
        random_split(100, 1, fractions)


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(AutoDPQError, match="the valid part of the split is empty"):
        column_split(np.array([0, 2, 0]))
    with pytest.raises(AutoDPQError, match="part of the split is empty"):
        random_split(2, 1)


def test_an_empty_part_of_a_data_set_is_named() -> None:
    data = dataset(column=True)
    assert data.split_column is not None
    data.split_column[data.split_column == 1] = 0
    with pytest.raises(AutoDPQError, match="'made': the valid part of the split is empty; the column gives it no row"):
        split_dataset(data, 1)
    with pytest.raises(AutoDPQError, match="'made': the valid part of the split is empty; give more rows"):
        split_dataset(dataset(2), 1)


@pytest.mark.parametrize(("part", "label"), [("train", 0), ("valid", 1), ("test", 1)])
@pytest.mark.parametrize("method", ["time", "column"])
def test_a_part_of_one_class_is_refused(part: str, label: int, method: str) -> None:
    data = dataset(time=True, column=True)
    data.labels[split_dataset(data, 1, method).parts()[part]] = label
    with pytest.raises(AutoDPQError, match=f"'made': every label of the {part} part is {label}; split otherwise"):
        split_dataset(data, 1, method)


@given(
    st.integers(3, 40),
    st.integers(3, 400),
    st.integers(0, 9),
    st.sampled_from([FRACTIONS, (0.1, 0.1, 0.8), (0.2, 0.7, 0.1)]),
)
def test_each_part_of_a_stratified_split_has_both_classes(
    clicks: int, others: int, seed: int, fractions: tuple[float, float, float]
) -> None:
    labels = np.random.Generator(np.random.PCG64(seed)).permutation(np.repeat([1, 0], [clicks, others]))
    split = stratified_split(labels, seed, fractions)
    rows = np.concatenate([*split.parts().values()])
    assert np.array_equal(np.sort(rows), np.arange(clicks + others))
    for part, fraction in zip(split.parts().values(), fractions, strict=True):
        assert np.all(np.diff(part) > 0) and {*labels[part]} == {0, 1}
        for label, count in enumerate((others, clicks)):
            assert abs((labels[part] == label).sum() - fraction * count) <= 2
    assert all(map(np.array_equal, split.parts().values(), stratified_split(labels, seed, fractions).parts().values()))


def test_few_clicks_are_in_every_part_and_others_are_split_as_ever() -> None:
    few = dataset(2000)
    few.labels[:] = 0
    few.labels[:4] = 1
    plain = [
        seed for seed in range(40) if all(few.labels[rows].any() for rows in random_split(2000, seed).parts().values())
    ]
    assert 0 < len(plain) < 40
    for seed in range(40):
        split = split_dataset(few, seed, "random")
        assert all(few.labels[rows].any() for rows in split.parts().values())
        assert np.array_equal(split.test, random_split(2000, seed).test) == (seed in plain)
    few.labels[:2] = 0
    with pytest.raises(
        AutoDPQError, match="'made': 2 rows have the label 1, too few for one in each part; get more rows"
    ):
        split_dataset(few, 1, "random")
