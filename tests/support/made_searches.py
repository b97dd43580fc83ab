"""Replayed searches that nobody made, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autodpq.records.replay import BestWithin, FrontPlan, ReplayedRun, ReplayFile
from reports.numbers.regret import Replayed

BEST = BestWithin(budget=None, plans=9, plan='{"user":"full"}', test_auc=0.8, bytes=400, targets=(0.1, 0.1, 0.1))


def search(
    seed: int,
    regrets: Sequence[float],
    ends: Sequence[float] = (),
    strategy: str = "random",
    budget: int | None = None,
    bytes: int = 400,
) -> ReplayedRun:
    """A search of as many trials; its plan is that of the last one's regret."""
    n_trials = len(regrets)
    return ReplayedRun(
        strategy=strategy, budget=budget, seed=seed, table_seed=seed % 3, trained=False, error=None,
        plan='{"user":"full"}', bytes=bytes, rank=1, seconds=1.0, valid_regret=regrets[-1], test_regret=regrets[-1],
        plans=("{}",) * n_trials, states=("complete",) * n_trials, valid_aucs=(0.5,) * n_trials,
        trial_seconds=tuple(ends or range(1, n_trials + 1)), valid_regrets=tuple(regrets), test_regrets=tuple(regrets),
    )  # fmt: skip


def idle(seed: int, regret: float, seconds: float = 1.0, strategy: str = "autodpq") -> ReplayedRun:
    """A search that tries nothing."""
    none = {"plans": (), "states": (), "valid_aucs": (), "trial_seconds": (), "valid_regrets": (), "test_regrets": ()}
    return search(seed, [regret], strategy=strategy).model_copy(update={**none, "seconds": seconds})


def replay_of(runs: Sequence[ReplayedRun], best: Sequence[BestWithin] = (BEST,)) -> Replayed:
    """A replay of some searches."""
    about = ReplayFile(
        table="t.parquet", dataset="own", model="deepfm", recipe="paper", licence="CC0-1.0", seeds=3, best=tuple(best),
        front=(FrontPlan(bytes=100, test_auc=0.7), FrontPlan(bytes=400, test_auc=0.8)), worst_test_auc=0.6,
        fe_test_auc=0.8, fe_bytes=1000, fe_seconds=3.0,
    )  # fmt: skip
    return Replayed(Path("t"), about, tuple(runs))
