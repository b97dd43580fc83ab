from __future__ import annotations

import pytest

from reports.names import display_name, in_order, short_bytes, within, without_budget


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (93_207, "93.2 kB"), (999_999, "1,000 kB"), (1_500_000, "1.5 MB"),
     (2_345_000_000, "2,345 MB")],
)  # fmt: skip
def test_bytes_as_people_read_them(n_bytes: int, text: str) -> None:
    assert short_bytes(n_bytes) == text


def test_a_strategy_has_its_name_and_its_place_whatever_its_budget() -> None:
    assert within("autodpq", None) == "autodpq"
    assert display_name(within("autodpq", 93_207)) == "AutoDPQ within 93.2 kB"
    assert display_name(within("mine(depth=2)", 50_000)) == "mine(depth=2) within 50 kB"
    assert without_budget(within("mine(depth=2)", 50_000)) == "mine(depth=2)"
    named = [within(name, budget) for name in ("mine", "autodpq", "grid") for budget in (9_000, 2_000_000, 50_000)]
    assert in_order([*named, "fe"]) == [
        "fe",
        *("grid within 2 MB", "grid within 50 kB", "grid within 9 kB"),
        *("autodpq within 2 MB", "autodpq within 50 kB", "autodpq within 9 kB"),
        *("mine within 2 MB", "mine within 50 kB", "mine within 9 kB"),
    ]
