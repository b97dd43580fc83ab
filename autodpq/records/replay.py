"""A replay: what strategies came to against a table of plans, one parquet file with a row for each search."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from autodpq.records.files import damage_told
from autodpq.records.parquet import read_rows, write_rows
from autodpq.records.schema import AUC, Count, Entries, Few, Seconds, Share

REPLAY = "replay.parquet"
FORMAT = 2
_KIND = "autodpq.replay"
_ADVICE = "replay the table again"


class BestWithin(Entries):
    """The best plan of a table within a budget.

    Attributes:
        budget: Bytes that plans may take; None for any.
        plans: How many plans are within it.
        plan: The best of them by test AUC, the mean over the table's seeds.
        test_auc: Its test AUC, the mean over the table's seeds.
        bytes: What it costs.
        targets: By seed of the table the validation regret up to which a plan is among the best hundredth.
    """

    budget: Count | None
    plans: Count
    plan: str
    test_auc: AUC
    bytes: Count
    targets: tuple[Share, ...]


class FrontPlan(Entries):
    """A plan of the table of which none is as small and better.

    Attributes:
        bytes: What it costs.
        test_auc: Its test AUC, the mean over the table's seeds.
    """

    bytes: Count
    test_auc: AUC


class ReplayFile(Entries):
    """The metadata of a replay.

    Attributes:
        table: Where the table lay.
        dataset: Of the table.
        model: Of the table.
        recipe: Of the table, its name.
        licence: Of the table.
        seeds: How many the table has: search ``s`` saw the trainings of its seed ``s`` modulo so many.
        best: The best plan within each budget.
        front: The table's Pareto front, from the smallest plan.
        worst_test_auc: Of the worst plan, the mean over the table's seeds.
        fe_test_auc: FE's test AUC, the mean over the table's seeds.
        fe_bytes: FE's bytes.
        fe_seconds: Seconds of FE's training, the mean over the table's seeds.
    """

    table: str
    dataset: str
    model: str
    recipe: str
    licence: str
    seeds: Few
    best: tuple[BestWithin, ...]
    front: tuple[FrontPlan, ...]
    worst_test_auc: AUC
    fe_test_auc: AUC
    fe_bytes: Count
    fe_seconds: Seconds


class ReplayedRun(Entries):
    """A search. What lists hold is of each trial, in order.

    Regrets of AUC are the best of the table minus what is had: by validation with the seed that the search saw, within
    its budget; or by test rows, of the means over the table's seeds. After a trial they are those of the best trial so
    far by validation AUC; before one is complete, those of the table's worst plan.

    Attributes:
        strategy: Who searched.
        budget: Bytes that plans might take; None for any.
        seed: Of its draws.
        table_seed: Of the trainings that it saw.
        trained: Whether it trained for itself.
        error: Why it came to nothing; None unless it did.
        plan: What it gave back; empty where it came to nothing.
        bytes: What that costs.
        rank: How many plans of the table within the budget are better by mean test AUC, plus one.
        seconds: Simulated: of FE's training where plans start from it, of the trials, of what it trained itself, and,
            where no trial was of its plan, of that plan's training.
        valid_regret: Of its plan.
        test_regret: Of its plan.
        plans: What was tried.
        states: How each ended.
        valid_aucs: What the search was told; None unless complete.
        trial_seconds: When each ended.
        valid_regrets: After each.
        test_regrets: After each.
    """

    strategy: str
    budget: Count | None
    seed: Few
    table_seed: Few
    trained: bool
    error: str | None
    plan: str
    bytes: Count | None
    rank: Count | None
    seconds: Seconds
    valid_regret: Share | None
    test_regret: Share | None
    plans: tuple[str, ...]
    states: tuple[str, ...]
    valid_aucs: tuple[AUC | None, ...]
    trial_seconds: tuple[Seconds, ...]
    valid_regrets: tuple[Share, ...]
    test_regrets: tuple[Share, ...]


def write_replay(path: Path, about: ReplayFile, runs: Sequence[ReplayedRun]) -> None:
    """Writes a replay whole or not at all.

    Raises:
        AutoDPQError: It cannot be written.
    """
    import pyarrow as pa

    text, number, count = pa.string(), pa.float64(), pa.int64()
    kinds = {
        "strategy": text, "budget": count, "seed": count, "table_seed": count, "trained": pa.bool_(), "error": text,
        "plan": text, "bytes": count, "rank": count, "seconds": number, "valid_regret": number, "test_regret": number,
        "plans": pa.list_(text), "states": pa.list_(text), "valid_aucs": pa.list_(number),
        "trial_seconds": pa.list_(number), "valid_regrets": pa.list_(number), "test_regrets": pa.list_(number),
    }  # fmt: skip
    write_rows(path, _KIND, FORMAT, about, runs, pa.schema(kinds))


def read_replay(path: Path) -> tuple[ReplayFile, tuple[ReplayedRun, ...]]:
    """Reads a replay.

    Raises:
        AutoDPQError: It cannot be read, was cut short or altered, or is of another format.
    """
    about, rows = read_rows(path, _KIND, FORMAT, _ADVICE, "autodpq-study run --replay")
    with damage_told(path, _ADVICE):
        return ReplayFile.model_validate_json(json.dumps(about)), tuple(map(ReplayedRun.model_validate, rows))
