from __future__ import annotations

import math

from support.made_searches import BEST, idle, search

from reports.numbers.targets import Reached, reached


def test_what_has_not_got_there_is_started_anew() -> None:
    # After two trials of three, from the first on, and never.
    runs = [search(0, [0.4, 0.1, 0.0]), search(1, [0.05, 0.05]), search(2, [0.4, 0.3, 0.2], ends=(1, 2, 9))]
    assert reached(runs, BEST) == Reached(2 / 3, (2 + 1 + 3) / 2, (2 + 1 + 9) / 2)


def test_who_never_gets_there_would_search_for_ever() -> None:
    assert reached([search(0, [0.4])], BEST) == Reached(0.0, math.inf, math.inf)


def test_what_tries_nothing_gets_there_by_its_plan() -> None:
    there = reached([idle(0, 0.1, seconds=5), idle(1, 0.2, seconds=7)], BEST)
    assert (there.share, there.seconds) == (0.5, 12) and math.isnan(there.trials)
