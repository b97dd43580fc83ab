from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from support.tables import OPTIONS, Small

from autodpq.choices import DPQ, Full, Others
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.records.folder import read_trials
from autodpq.records.table import read_table
from autodpq.search.strategy import STRATEGIES, AskTellStrategy
from autodpq.trial import Space, Trial


class Elsewhere(AskTellStrategy):
    """Asks for what is not among the candidates."""

    name: ClassVar[str] = "elsewhere"

    def ask(self, number: int, space: Space, rng: np.random.Generator, history: Sequence[Trial]) -> CompressionPlan:
        return CompressionPlan({name: DPQ(8, 4) if number == 2 else Full() for name in space})


class Swallows(Elsewhere):
    """Does not want to hear of it."""

    name: ClassVar[str] = "swallows"

    def search(self, task: Any) -> CompressionPlan:
        try:
            return super().search(task)
        except AutoDPQError:
            return CompressionPlan(dict.fromkeys(task.space, Others()))


class Gives(Elsewhere):
    """Gives back what is not among the candidates, and tries nothing."""

    name: ClassVar[str] = "gives"

    def search(self, task: Any) -> CompressionPlan:
        return CompressionPlan(dict.fromkeys(task.space, DPQ(8, 4)))


class Breaks(AskTellStrategy):
    """Fails with odd seeds."""

    name: ClassVar[str] = "breaks"

    def search(self, task: Any) -> CompressionPlan:
        if task.seed % 2:
            raise RuntimeError("it is odd")
        return super().search(task)

    def ask(self, number: int, space: Space, rng: np.random.Generator, history: Sequence[Trial]) -> CompressionPlan:
        return CompressionPlan(dict.fromkeys(space, Others()))


@pytest.fixture(autouse=True)
def _strategies() -> Any:
    for strategy in (Elsewhere, Swallows, Gives, Breaks):
        STRATEGIES.add(strategy)
    yield
    for strategy in (Elsewhere, Swallows, Gives, Breaks):
        STRATEGIES.forget(strategy.name)


def assert_same_searches(small: Small, strategies: Sequence[str], table: str = "table", **options: Any) -> None:
    """Searches of a study and of a table are the same, seed by seed and trial by trial, and so are their models."""
    study, path = f"study-{table}", small.folder / table / "table.parquet"
    records = small.study(",".join(strategies), study, **{**OPTIONS, **options})
    given = {name: options[name] for name in ("trials", "budget") if name in options}
    replayed = small.replay(" ".join(strategies), path, f"replay-{table}", seeds=OPTIONS["seeds"], **given)
    known = {(row.plan, row.seed): row for row in read_table(path).rows}
    assert records["error"].isna().all() and not replayed.failed
    compared = 0
    for search in replayed.results.runs:
        same = (records["strategy"] == search.strategy) & (records["seed"] == search.seed)
        if search.budget is not None:
            same &= records["budget"] == search.budget
        (record,) = records[same].to_dict("records")
        lines = read_trials(small.folder / study / "runs" / record["run"] / "trials.jsonl")
        assert [line.plan for line in lines] == [*search.plans]
        assert [line.state for line in lines] == [*search.states]
        assert [line.valid_auc for line in lines] == [*search.valid_aucs]
        for line in lines:
            row, epochs = known[line.plan, search.seed], len(line.valid_aucs)
            assert line.valid_aucs == row.valid_aucs[:epochs]
            assert (line.bytes, line.parameters) == (row.bytes, row.parameters)
            assert line.state == "pruned" or (line.valid_logloss == row.valid_logloss and epochs == row.epochs)
        assert record["plan"] == search.plan
        row = known[search.plan, search.seed]
        measured = row.stored_valid_auc, row.stored_valid_logloss, row.test_auc, row.test_logloss, row.bytes
        named = ("valid_auc", "valid_logloss", "test_auc", "test_logloss", "bytes")
        if lines:  # what trains for itself hands its own network over
            assert measured == tuple(record[name] for name in named)
        compared += 1
    assert compared == len(strategies) * OPTIONS["seeds"] * len(options.get("budget", [None]))


def test_random_is_the_same_as_trained_for_real(small: Small) -> None:
    assert_same_searches(small, ["random"], trials=4)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [
    {"space": "wide", "threshold": None, "candidates": ("others,int(4),dpq(4,2)",), "budget": ("30%", "20%")},
    {"init": "scratch"},
    {"resplit": True},
    {"compile": "on"},
    {"models": ("dcn",)},
], ids=lambda changes: next(iter(changes)))  # fmt: skip
def test_searches_are_the_same_whatever_the_table_is_of(small: Small, changes: Mapping[str, Any]) -> None:
    name = f"table-{next(iter(changes))}"
    small.tabulate(name, **{option: value for option, value in changes.items() if option != "budget"})
    assert_same_searches(small, ["random", "grid", "tpe", "nsga2"], name, trials=6, **changes)


@pytest.mark.slow
def test_what_prunes_and_what_trains_for_itself_choose_the_same(small: Small) -> None:
    small.tabulate("table-asha", recipe="paper(max_epochs=4)")
    assert_same_searches(
        small, ["asha", "autodpq", "sensitivity"], "table-asha", trials=8, recipe="paper(max_epochs=4)"
    )


def test_search_seeds_go_round_the_seeds_of_the_table(small: Small) -> None:
    runs = small.replay("random others", seeds=5, trials=3).results.runs
    assert [(run.seed, run.table_seed) for run in runs] == [(seed, seed % 2) for seed in range(5)] * 2
    table = read_table(small.folder / "table" / "table.parquet")
    valid = {(row.plan, row.seed): row.valid_auc for row in table.rows}
    for run in runs:
        assert [valid[plan, run.table_seed] for plan in run.plans] == [*run.valid_aucs]
    drawn = [run.plans for run in runs if run.strategy == "random"]
    assert len(set(drawn)) > 2, "draws depend on the search's seed, not on the table's"


def test_regret_ranks_and_seconds_follow_from_the_table(small: Small) -> None:
    replayed = small.replay("random grid others", seeds=3, trials=4, budget=("60%",))
    table = read_table(small.folder / "table" / "table.parquet")
    (best,) = replayed.results.about.best
    within = [row for row in table.rows if best.budget is None or row.bytes <= best.budget]
    plans = {row.plan for row in within}
    assert 1 < len(plans) < 9 and best.plans == len(plans)
    worth = {plan: np.mean([row.test_auc for row in within if row.plan == plan]) for plan in plans}
    assert best.test_auc == pytest.approx(max(worth.values()), abs=1e-12)
    row_of = {(row.plan, row.seed): row for row in within}
    for run in replayed.results.runs:
        top = max(row.valid_auc for row in within if row.seed == run.table_seed)
        known = [row_of[plan, run.table_seed].valid_auc for plan in run.plans]
        assert run.valid_regrets == pytest.approx([top - max(known[: end + 1]) for end in range(len(known))])
        assert run.test_regret == pytest.approx(max(worth.values()) - worth[run.plan], abs=1e-12)
        assert run.rank == 1 + sum(value > worth[run.plan] + 1e-15 for value in worth.values())
        fe = table.about.seeds[run.table_seed].seconds
        first = {plan: row_of[plan, run.table_seed].seconds for plan in {*run.plans, run.plan}}
        assert run.seconds == pytest.approx(fe + sum(first.values()))


def test_a_plan_that_is_not_there_ends_it_and_says_which_are(small: Small) -> None:
    for strategy in ("elsewhere", "swallows", "gives"):
        with pytest.raises(AutoDPQError) as raised:
            small.replay(strategy, out="nowhere")
        assert str(raised.value).startswith(f"{strategy}: ") and str(raised.value).endswith(
            "no plan with user = dpq(8,4) is in the table; its candidates there: full, others, dpq(4,2)"
        )
    assert not (small.folder / "nowhere" / "replay.parquet").exists()


def test_a_search_that_fails_is_recorded_and_the_others_go_on(small: Small) -> None:
    replayed = small.replay("breaks random", seeds=4, trials=2)
    assert [run.error for run in replayed.results.runs][:4] == [None, "RuntimeError: it is odd"] * 2
    assert replayed.failed == 2 and len(replayed.runs) == 8
    assert "2 of breaks's searches came to nothing and are left" in " ".join(replayed.regret().to_text().split())


def test_what_is_asked_for_must_be_what_the_table_is_of(small: Small, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text((small.folder / "own.csv").read_text().replace("\n1,", "\n0,", 1))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"recipe": "paper(max_epochs=3)"}, "--recipe paper(max_epochs=2), and paper(max_epochs=3) is asked for"),
        ({"candidates": ("full",)}, "--candidates full,others,dpq(4,2), and full is asked for"),
        ({"models": ("dcn",)}, "--models deepfm, and dcn is asked for"),
        ({"space": "wide", "threshold": None}, "--space paper, and wide is asked for"),
        ({"dataset": str(tmp_path / "own.csv")}, "fingerprint "),
        ({"jobs": 2}, "--jobs: not together with --replay"),
        ({"seed": 2}, "unknown option 'seed'; did you mean 'seeds'"),
        ({"seeds": 0}, "--seeds: 0 given"),
        ({"budget": ("1%",)}, "are too few: the smallest plan"),
    ]
    for given, said in cases:
        with pytest.raises(AutoDPQError) as raised:
            small.replay("random", out="nowhere", **given)
        assert said in str(raised.value) and "\n" not in str(raised.value)
    with pytest.raises(AutoDPQError, match="none of them compresses anything"):
        small.replay("fe", out="nowhere")
    same = {"recipe": OPTIONS["recipe"], "threshold": 10, "dataset": str(small.folder / "own.csv")}
    assert not small.replay("grid", **same).failed


def test_the_table_is_searched_without_its_data(small: Small, tmp_path: Path) -> None:
    table = tmp_path / "copy.parquet"
    table.write_bytes((small.folder / "table" / "table.parquet").read_bytes())
    for name in ("own.csv", "cache"):
        (small.folder / name).rename(small.folder / f"{name}-away")
    try:
        assert not small.replay("random", table, seeds=1).failed
        with pytest.raises(AutoDPQError, match="is neither a data set nor a file"):
            small.replay("sensitivity", table, seeds=1)
    finally:
        for name in ("own.csv", "cache"):
            (small.folder / f"{name}-away").rename(small.folder / name)


def test_nothing_lies_above_the_front_of_the_table(small: Small) -> None:
    replayed = small.replay("random grid", seeds=4, trials=3, budget=("90%", "70%"))
    front = replayed.results.about.front
    worth = read_table(small.folder / "table" / "table.parquet").worth
    assert front[-1].test_auc == max(worth.values()) and replayed.results.about.worst_test_auc == min(worth.values())
    known = {best.budget: best for best in replayed.results.about.best}
    for run in replayed.results.runs:
        assert run.bytes is not None and run.test_regret is not None and run.budget is not None
        auc = known[run.budget].test_auc - run.test_regret
        assert auc == pytest.approx(worth[CompressionPlan.from_json(run.plan)], abs=1e-12)
        assert auc <= max(plan.test_auc for plan in front if plan.bytes <= run.bytes) + 1e-12
    assert [row["searches"] for row in replayed.fronts().records] == [4, 4]
    assert replayed.attainment().get_axes()[0].get_xscale() == "log"
    with pytest.raises(AutoDPQError, match="ranks need three strategies"):
        replayed.ranks(replayed.results.about.best[0].budget)


def test_the_target_is_the_best_hundredth_of_a_seed_s_plans(small: Small) -> None:
    replayed = small.replay("random", seeds=2, trials=3)
    (best,) = replayed.results.about.best
    rows = read_table(small.folder / "table" / "table.parquet").rows
    assert best.targets == (0.0, 0.0), "of nine plans that is the best one"
    assert not replayed.fronts().grids
    with pytest.raises(AutoDPQError, match="a front needs two budgets"):
        replayed.attainment()
    assert len({row.valid_auc for row in rows}) > 9


def test_words_and_table_name_every_strategy(small: Small) -> None:
    replayed = small.replay("random grid others", seeds=4, trials=3)
    text, words = replayed.regret().to_text(), " ".join(replayed.words())
    for name in ("Random", "Grid", "Others"):
        assert name in text and name in words
    assert "Regret of the best trial after 3" in words
    place = next(run.rank for run in replayed.results.runs if run.strategy == "others")
    assert f"The plan of Others is the {'best' if place == 1 else place}" in words and "best of 9" in words
    assert json.loads(replayed.results.about.best[0].plan).keys() == {"user", "item"}
