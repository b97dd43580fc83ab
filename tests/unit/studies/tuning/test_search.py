from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import polars as pl
import pytest
from support.forked import FORKING

from autodpq.errors import AutoDPQError
from autodpq.training.recipes import RECIPES, find_recipe
from studies.config import check_config
from studies.tuning import search
from studies.tuning.folds import FOLDS
from studies.tuning.ranges import RANGES, Between, OneOf, ranges_of
from studies.tuning.results import importance_frame, summary, trials_frame, write_tuning
from studies.tuning.search import Tuned, Tuning, tune

SETTINGS = ("learning_rate", "l2", "hidden")


def rows(n: int = 700, *, click: int | None = None) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    user, item = (rng.zipf(1.6, n) % 60 for _ in range(2))
    labels = (rng.random(n) < 1 / (1 + np.exp(-np.sin(user) - np.cos(item)))).astype(int)
    part = np.resize(["train"] * 8 + ["valid", "test"], n)
    return pd.DataFrame({"click": labels if click is None else click, "user": user, "item": item, "part": part})


@pytest.fixture
def asked(tmp_path: Path) -> Any:
    rows().to_csv(tmp_path / "own.csv", index=False)

    def make(trials: int = 3, *, out: str = "tuned", settings: tuple[str, ...] = SETTINGS, **values: Any) -> Tuning:
        options = {"dataset": str(tmp_path / "own.csv"), "cache_dir": str(tmp_path / "cache"), "split_column": "part"}
        options |= {"recipe": "robust(batch_size=64, max_epochs=3)", "strategies": ("fe",), "device": "cpu"}
        return Tuning(check_config(options | values), tmp_path / out, settings, trials)

    return make


def tuned(tuning: Tuning) -> tuple[Tuned, list[str]]:
    said: list[str] = []
    return tune(tuning, said.append), said


def without_times(found: Tuned) -> list[Any]:
    return [(trial.state, trial.by_epoch, trial.valid_auc, trial.settings) for trial in found.trials]


def test_the_first_trial_is_the_recipe_itself_and_the_best_one_is_taken(asked: Any) -> None:
    found, said = tuned(asked(4))
    first, best = found.trials[0], found.best
    assert first.settings == {"learning_rate": 1e-3, "l2": RECIPES["robust"].l2, "hidden": RECIPES["robust"].hidden}
    complete = [trial.valid_auc or 0.0 for trial in found.trials if trial.state == "complete"]
    assert best.valid_auc == max(complete) == max(best.by_epoch) and len(found.trials) == len(said) == 4
    assert {setting: getattr(found.recipe, setting) for setting in SETTINGS} == best.settings
    assert found.recipe.batch_size == 64 and found.recipe.name.startswith("robust(")
    assert said[0].startswith("[1/4] validation AUC 0.") and "learning_rate 0.001" in said[0]


def test_then_come_the_other_recipes_that_lie_in_the_ranges(asked: Any) -> None:
    found, _ = tuned(asked(2))
    strong = RECIPES["strong"]
    assert found.trials[1].settings == {setting: getattr(strong, setting) for setting in SETTINGS}


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_trial_ends_early_where_it_is_not_among_the_best_of_all_that_came_so_far(direction: str) -> None:
    study = optuna.create_study(direction=direction, pruner=search._Rungs())
    sign = 1 if direction == "maximize" else -1

    def reached(value: float, epoch: int) -> bool:
        trial = study.ask()
        for before in range(1, epoch + 1):
            trial.report(sign * value, before)
        return trial.should_prune()

    # The first ones are spared; then the best third, rounded up, goes on, whatever those are that were left.
    assert [reached(value, 2) for value in (0.5, 0.4, 0.3)] == [False] * 3
    assert reached(0.45, 2) is False and reached(0.41, 2) is True and reached(0.6, 2) is False
    assert reached(0.1, 1) is False and reached(0.1, 3) is False
    assert [reached(value, 4) for value in (0.5, 0.6, 0.7, 0.65, 0.4)] == [False, False, False, False, True]


def test_the_folder_holds_the_recipe_and_what_was_seen(asked: Any, tmp_path: Path) -> None:
    found, _ = tuned(asked(9))
    path = write_tuning(found, tmp_path / "tuned")
    assert find_recipe(str(path)) == found.recipe
    assert path.read_text().startswith("# The best of 9 trials of FE with deepfm on own, of which ")
    frame = pl.read_parquet(tmp_path / "tuned" / "trials.parquet")
    assert frame.equals(trials_frame(found)) and frame.columns[-3:] == list(SETTINGS)
    assert frame["state"].is_in(["complete", "pruned"]).all() and frame["by_epoch"].list.len().min() >= 1
    importance = importance_frame(found)
    assert set(importance["setting"]) == set(SETTINGS) and importance["importance"].sum() == pytest.approx(1)
    assert (tmp_path / "tuned" / "tuning.png").stat().st_size > 10_000
    assert f"AUC {found.best.valid_auc:.4f}" in summary(found)


def test_more_trials_go_on_where_fewer_ended(asked: Any) -> None:
    whole, _ = tuned(asked(4, out="whole"))
    tuned(asked(2))
    found, said = tuned(asked(4))
    assert without_times(found) == without_times(whole) and len(said) == 2
    again, said = tuned(asked(4))
    assert without_times(again) == without_times(whole) and not said


def test_a_trial_that_its_process_left_is_begun_anew(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = tuned(asked(4, out="whole"))

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    tuned(asked(2))
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(search.Trainer, "pretrain", die)
        tuned(asked(4))
    found, said = tuned(asked(4))
    assert without_times(found) == without_times(whole) and len(said) == 2
    assert len(optuna.load_study(study_name="tuning", storage=storage(asked(4).out)).trials) == 5


def storage(out: Path) -> optuna.storages.JournalStorage:
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(out / "trials.log")))


@pytest.mark.slow  # it starts a process
def test_two_processes_share_the_trials(asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, train = [], search._Worker._train

    def slowly(worker: Any, *trial: Any) -> None:
        own.append(trial)
        # The other process, which starts meanwhile, is left some.
        while len(own) == 2 and len(storage(tmp_path / "tuned").get_all_trials(0)) < 3:
            time.sleep(0.05)
        train(worker, *trial)

    monkeypatch.setattr(search._Worker, "_train", slowly)
    monkeypatch.setattr(search, "multiprocessing", FORKING)
    found, said = tuned(asked(6, jobs=2))
    assert len(found.trials) == 6 and 2 <= len(own) < 6 and len(said) == len(own)
    trials = optuna.load_study(study_name="tuning", storage=storage(tmp_path / "tuned")).trials
    assert len(trials) == 6 and all(trial.state.is_finished() for trial in trials)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"models": ("pnn",)}, "the tuning of another model"),
        ({"recipe": "strong(batch_size=64, max_epochs=3)"}, "the tuning of another recipe"),
        ({"exclude": ("item",)}, "the tuning of another data"),
    ],
)
def test_another_tuning_needs_another_folder(asked: Any, changed: dict[str, Any], told: str) -> None:
    tuned(asked(1))
    before = (asked().out / "trials.log").read_bytes()
    with pytest.raises(AutoDPQError, match=told):
        tuned(asked(2, **changed))
    with pytest.raises(AutoDPQError, match="the tuning of another settings"):
        tuned(asked(2, settings=("l2",)))
    assert (asked().out / "trials.log").read_bytes() == before


def test_what_cannot_be_tuned_is_refused_before_anything_is_written(asked: Any, tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match="--settings: 'l3' cannot be tuned; did you mean 'l2'"):
        tuned(asked(settings=("l3",)))
    with pytest.raises(AutoDPQError, match="--settings: none given"):
        tuned(asked(settings=()))
    rows(click=1).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(AutoDPQError) as error:
        tuned(asked())
    assert "every label is 1" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "tuned").exists()


def test_training_that_comes_to_nothing_is_a_failed_trial(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from autodpq.errors import TrainingError

    def fail(*_: Any) -> None:
        raise TrainingError("predictions are NaN")

    monkeypatch.setattr(search.Trainer, "pretrain", fail)
    with pytest.raises(AutoDPQError, match="no trial came to anything; give it more time or other settings"):
        tuned(asked(2))


def test_by_logloss_the_least_is_best(asked: Any) -> None:
    found, _ = tuned(asked(3, recipe="robust(batch_size=64, max_epochs=3, stop_by=logloss)"))
    losses = [trial.valid_logloss or 9.0 for trial in found.trials if trial.state == "complete"]
    assert found.best.valid_logloss == min(losses) == min(found.best.by_epoch)


@pytest.mark.parametrize("setting", sorted(RANGES))
def test_ranges_hold_what_recipes_may_have(setting: str) -> None:
    span = RANGES[setting]
    values = span.values if isinstance(span, OneOf) else (span.low, span.high, (span.low + span.high) / 2)
    for value in values:
        drawn = span.drawn(value)
        assert drawn is not None
        assert span.value(drawn) == (value if isinstance(span, OneOf) else float(f"{value:.3g}"))
        given = json.dumps(span.value(drawn))
        assert find_recipe(f"robust({setting}={given})") is not None
    assert span.drawn(-1.0) is None


def test_ranges_stand_in_one_order() -> None:
    assert list(ranges_of(["l2", "learning_rate"])) == ["learning_rate", "l2"]
    assert Between(1e-4, 1.0).value(0.123456) == 0.123


def test_few_validation_rows_are_those_of_several_splits(asked: Any, tmp_path: Path) -> None:
    one, _ = tuned(asked(1, out="one"))
    rows().drop(columns="part").to_csv(tmp_path / "own.csv", index=False)
    found, said = tuned(asked(1, split_column=None))
    assert one.folds == 1 and found.folds == FOLDS
    assert "on validation rows;" in summary(one) and "of 5 splits, in the mean;" in summary(found)
    best = found.best
    assert best.valid_auc is not None and best.valid_auc != max(best.by_epoch)
    assert any(f"validation AUC {best.valid_auc:.4f} " in line for line in said)
