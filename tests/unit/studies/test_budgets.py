from __future__ import annotations

import pytest

from autodpq.choices import Full, Others
from autodpq.costs import ledger
from autodpq.errors import AutoDPQError
from autodpq.models import DCN, DeepFM
from autodpq.plan import Field, bands_of, uniform_plan
from autodpq.training.recipes import RECIPES
from autodpq.training.trainer import dense_weights
from studies.budgets import budget_bytes, check_budgets, full_bytes, read_budget

FIELDS = (Field("user", 900, 0, (100, 400)), Field("item", 70, 0))
RECIPE = RECIPES["paper"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("93207", (93207, False)),
        ("100kB", (100_000, False)),
        ("1.5 MB", (1_500_000, False)),
        ("2KiB", (2048, False)),
        ("64 B", (64, False)),
        ("10%", (0.1, True)),
        ("0.5 %", (0.005, True)),
        ("100%", (1.0, True)),
    ],
)
def test_sizes_and_shares(text: str, expected: tuple[float, bool]) -> None:
    number, is_share = read_budget(text)
    assert (pytest.approx(number), is_share) == expected


@pytest.mark.parametrize(
    "text", ["", "kB", "10 percent", "-5", "1e5", "ten", "5%%", "0%", "0.0kB", "101%", "1,5MB", "nan"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(AutoDPQError, match="--budget: "):
        read_budget(text)


@pytest.mark.parametrize("model", [DeepFM, DCN])
def test_shares_are_of_the_bytes_of_fe(model: type) -> None:
    dense = dense_weights(model, len(FIELDS), RECIPE)
    priced = ledger(FIELDS, uniform_plan(FIELDS, Full()), 16, first_order=model.first_order, dense=dense)
    assert full_bytes(FIELDS, model, RECIPE) == priced.bytes
    assert budget_bytes(["50%", "7kB"], FIELDS, model, RECIPE) == [priced.bytes // 2, 7000]


def test_the_smallest_plan_is_just_within() -> None:
    space = {band.name: (Full(), Others()) for band in bands_of(FIELDS)}
    dense = dense_weights(DeepFM, len(FIELDS), RECIPE)
    smallest = uniform_plan(FIELDS, Others())
    least = ledger(FIELDS, smallest, 16, first_order=True, dense=dense, compact=True).bytes
    check_budgets([least], FIELDS, space, DeepFM, RECIPE, True)
    with pytest.raises(
        AutoDPQError, match=f"{least - 1:,} bytes are too few: the smallest plan with deepfm takes {least:,}"
    ):
        check_budgets([least, least - 1], FIELDS, space, DeepFM, RECIPE, True)
