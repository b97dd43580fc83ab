"""Runs Optuna's samplers on a table of plans through OptunaHub: pip install optunahub."""

from __future__ import annotations

import sys
from pathlib import Path

import optuna
import optunahub

HERE = Path(__file__).parent


def main(table: str = "synthetic", trials: int = 50) -> None:
    """Two studies: the front of AUC and bytes, and the best AUC within half of the largest plan's bytes."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    module = optunahub.load_local_module("benchmarks/embedding_compression", registry_root=str(HERE / "package"))

    problem = module.Problem(table)
    study = optuna.create_study(directions=problem.directions, sampler=optuna.samplers.NSGAIISampler(seed=1))
    study.optimize(problem, n_trials=trials)
    print(f"NSGA-II: {len(study.best_trials)} of {trials} trials are on its front of AUC and bytes")

    sizes = [rows[0].bytes for rows in problem.table.plans.values()]
    problem = module.Problem(table, max_bytes=(min(sizes) + max(sizes)) // 2)
    study = optuna.create_study(directions=problem.directions, sampler=optuna.samplers.TPESampler(seed=1))
    study.optimize(problem, n_trials=trials)
    best = study.best_trial
    print(f"TPE within {problem.max_bytes:,} bytes: validation AUC {best.value:.4f}, {best.params}")
    print(f"Test regret: {problem.test_regret(best.params):.5f}")


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
