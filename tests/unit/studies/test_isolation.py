"""What a strategy does, by mistake or on purpose, reaches no other: neither its digits nor its life."""

from __future__ import annotations

import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.installed import installing
from support.small_study import Run, small_study

from autodpq.choices import DPQ, Full, Others
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan, uniform_plan
from autodpq.search.strategy import STRATEGIES, Strategy
from autodpq.search.task import SearchTask
from autodpq.trial import best_trial
from studies.folder.status import status_lines
from studies.isolation import ProcessSettings

NUMBERS = ["test_auc", "test_logloss", "valid_auc", "valid_logloss", "parameters", "bytes", "epochs", "plan", "error"]


def evaluates(task: SearchTask) -> None:
    with task.phase("search"):
        task.evaluate_many([uniform_plan(task.fields, choice) for choice in (Others(), DPQ(4, 2))])


def raises(error: BaseException) -> Callable[..., None]:
    def act(*_: object) -> None:
        raise error

    return act


def zeroes_what_it_got(task: SearchTask) -> None:
    for value in task.pretrained().values():
        value.zero_()


def zeroes_the_executor_s(task: Any) -> None:
    for value in task._pretrained.state.values():
        value.zero_()


def zeroes_its_trainer_s(task: SearchTask) -> None:
    task.trainer.train.labels.zero_()
    task.trainer.valid.labels.zero_()


def changes_its_trainer(task: SearchTask) -> None:
    task.trainer.recipe = replace(task.trainer.recipe, learning_rate=1.0, max_epochs=1)
    task.trainer.seed = 77


def unlocks_the_labels(task: SearchTask) -> None:
    task.train.labels.flags.writeable = True
    task.train.labels[:] = 1


def widens_the_space(task: Any) -> None:
    task.space["user"] = (DPQ(64, 8),)


def replaces_the_space(task: Any) -> None:
    task.space = {field.name: (DPQ(64, 8),) for field in task.fields}


def sets_all_there_is_to_set(_: SearchTask) -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    torch.set_grad_enabled(False)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    np.seterr(all="raise")
    os.environ["AUTODPQ_CACHE"] = "/nowhere"
    os.chdir("/")
    sys.path.clear()
    warnings.simplefilter("error")
    sys.stdout = sys.stderr


def sets_a_device(_: SearchTask) -> None:
    torch.set_default_device("meta")


def forks(_: SearchTask) -> None:
    child = os.fork()
    if child == 0:
        sys.exit()  # as a script would that forgets who it is
    os.waitpid(child, 0)


def forks_and_goes_on(_: SearchTask) -> None:
    os.fork()  # both go on to search


def hands_over_nonsense(task: Any) -> None:
    task.hand_over("the plan")


def hands_over_another_plan(task: SearchTask) -> None:
    task.hand_over(task.trainer.build(uniform_plan(task.fields, Full())), trained=True)


def breaks_its_clock(task: SearchTask) -> None:
    task.epochs.clear()


def prunes_badly(task: SearchTask) -> None:
    def prune(number: int, valid_aucs: object) -> bool:
        raise ZeroDivisionError

    with task.phase("search"):
        task.evaluate_many([uniform_plan(task.fields, Others())], prune)


def sleeps(_: SearchTask) -> None:
    time.sleep(0.01)


ACTS = {
    "value-error": raises(ValueError("not today")),
    "exit": raises(SystemExit()),
    "exit-0": raises(SystemExit(0)),
    "memory": raises(MemoryError()),
    "refusal": raises(AutoDPQError("it refuses")),
    "generator-exit": raises(StopIteration()),
    **{
        act.__name__.replace("_", "-"): act
        for act in (
            evaluates, zeroes_what_it_got, zeroes_the_executor_s, zeroes_its_trainer_s, changes_its_trainer,
            unlocks_the_labels, widens_the_space, replaces_the_space, sets_all_there_is_to_set, sets_a_device, forks,
            forks_and_goes_on, hands_over_nonsense, hands_over_another_plan, breaks_its_clock, prunes_badly, sleeps,
        )
    },
}  # fmt: skip
ANSWERS = ("plan", "none", "text", "outside", "best")


REFUSED = {
    "none": "None given",
    "text": "'others' given",
    "outside": "is not among",
    "best": "no trial is complete",
}


class Hostile(Strategy):
    """Does one thing after another, and answers something.

    Args:
        acts: Names of what it does, with + between.
        answer: What it gives back.
    """

    name: ClassVar[str] = "hostile"

    def __init__(self, *, acts: str = "", answer: str = "plan") -> None:
        self.acts = acts
        self.answer = answer

    def search(self, task: SearchTask) -> Any:
        for act in filter(None, self.acts.split("+")):
            ACTS[act](task)
        answers = {
            "plan": lambda: uniform_plan(task.fields, Others()),
            "none": lambda: None,
            "text": lambda: "others",
            "outside": lambda: uniform_plan(task.fields, DPQ(64, 8)),
            "best": lambda: best_trial(task.history).plan,
        }
        return answers[self.answer]()


@pytest.fixture(autouse=True)
def _hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with installing(tmp_path, monkeypatch):
        STRATEGIES.add(Hostile)
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path, pd.DataFrame]:
    """A study without hostile strategies; more of them run where it lies."""
    folder = tmp_path_factory.mktemp("hostile")
    run = small_study(folder)
    return run, folder, run("fe,others,grid,autodpq", "alone").set_index("strategy")[NUMBERS]


def hostile(acts: str, answer: str = "plan") -> str:
    return f"hostile(acts='{acts}',answer='{answer}')"


# What ends the run that does it, and what its record says.
FAILS = {
    "value-error": "ValueError: not today",
    "exit": "SystemExit:",
    "exit-0": "SystemExit: 0",
    "memory": "MemoryError:",
    "refusal": "it refuses",
    "generator-exit": "StopIteration:",
    "zeroes-the-executor-s": "it changed rows or weights that all strategies share",
    "unlocks-the-labels": "it changed rows or weights that all strategies share",
    "widens-the-space": "TypeError: 'mappingproxy' object does not support item assignment",
    "replaces-the-space": "AttributeError: property 'space' of 'SearchTask' object has no setter",
    "hands-over-nonsense": "hand_over: 'the plan' given, a Network is needed",
    "hands-over-another-plan": "hand_over: the network is not of the plan that the strategy gave back",
    "breaks-its-clock": "it changed how its epochs are counted",
    "prunes-badly": "ZeroDivisionError",
}


def behind_header(path: Path) -> bytes:
    """The arrays of a packed file."""
    data = path.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


def test_what_a_strategy_does_reaches_no_other(alone: tuple[Run, Path, pd.DataFrame]) -> None:
    run, folder, expected = alone
    before = ProcessSettings()
    hostiles = [hostile(act) for act in ACTS] + [hostile("", answer) for answer in ANSWERS]
    records = run(",".join([*hostiles[::2], "fe", *hostiles[1::2], "others", "grid", "autodpq"]), "all")
    records = records.set_index("strategy")
    pd.testing.assert_frame_equal(records.loc[expected.index, NUMBERS], expected, check_dtype=False)
    for name, record in records.drop(expected.index).iterrows():
        act = str(name).partition("acts=")[2].partition(",")[0].strip("')\"")
        answered = str(name).partition("answer=")[2].strip("')\"") or "plan"
        fails = FAILS.get(act) or REFUSED.get(answered)
        assert (fails is None) == pd.isna(record["error"]), (name, record["error"])
        assert fails is None or fails in record["error"], (name, record["error"])
        if fails is None:  # what it answered is what others answers
            assert record["test_auc"] == expected.loc["others", "test_auc"], name
    for strategy in expected.index:
        models = [folder / name / "models" / f"{records.loc[strategy, 'run']}.safetensors" for name in ("alone", "all")]
        assert behind_header(models[0]) == behind_header(models[1])  # which names the study
    failed = [line for line in status_lines(folder / "all") if line.startswith("failed")]
    assert len(failed) == records["error"].notna().sum()
    assert repr(before._values) == repr(ProcessSettings()._values)


def test_the_order_of_strategies_and_the_number_of_threads_change_nothing(
    alone: tuple[Run, Path, pd.DataFrame],
) -> None:
    run, _, expected = alone
    torch.set_num_threads(2)
    try:
        records = run("autodpq,grid,others,fe", "reversed").set_index("strategy")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    pd.testing.assert_frame_equal(records.loc[expected.index, NUMBERS], expected)


def test_a_trial_does_not_depend_on_what_the_strategy_has_set(alone: tuple[Run, Path, pd.DataFrame]) -> None:
    run, _, _ = alone
    acts = ("evaluates", "sets-all-there-is-to-set+evaluates", "sets-a-device+evaluates", "forks-and-goes-on+evaluates")
    records = run(",".join(hostile(act, "best") for act in acts), "trials")
    assert records["error"].isna().all(), records["error"].tolist()
    assert records["valid_auc"].nunique() == records["test_auc"].nunique() == 1


def test_what_goes_wrong_around_a_strategy_ends_the_study_even_if_it_is_caught(
    alone: tuple[Run, Path, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, _ = alone

    class Catches(Strategy):
        name: ClassVar[str] = "catches"

        def search(self, task: SearchTask) -> CompressionPlan:
            try:
                evaluates(task)
            except BaseException:
                pass
            return uniform_plan(task.fields, Others())

    STRATEGIES.add(Catches)

    def full(*_: object) -> None:
        raise AutoDPQError("trials.jsonl: cannot be written (No space left on device)")

    monkeypatch.setattr("studies.folder.records.append_trial", full)
    with pytest.raises(AutoDPQError, match="No space left"):
        run("catches", "full")
    monkeypatch.setattr("studies.folder.records.append_trial", raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run("catches", "interrupted")


def test_a_first_trial_that_failed_and_an_auc_of_nothing_still_make_a_run(
    alone: tuple[Run, Path, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    from autodpq.training import attempt

    train_one, number = attempt.train_one, iter(range(10))

    def trains_badly(*arguments: Any, **options: Any) -> Any:
        outcome = train_one(*arguments, **options)
        if next(number) == 0:
            return replace(outcome, valid_auc=None, valid_logloss=None, state=None, error="RuntimeError: made to fail")
        return replace(outcome, valid_auc=0.0)

    run, _, _ = alone
    monkeypatch.setattr("studies.workers.local.train_one", trains_badly)
    (record,) = run("grid", "zero", K=(4, 8)).to_dict("records")
    assert pd.isna(record["error"]) and record["trials"] == 2 and record["failed_trials"] == 1


@pytest.mark.slow
@given(
    acts=st.lists(
        st.lists(st.sampled_from(sorted(ACTS)), max_size=4).map("+".join), min_size=1, max_size=4, unique=True
    ),
    answer=st.sampled_from(ANSWERS),
)
def test_a_hundred_hostile_studies(alone: tuple[Run, Path, pd.DataFrame], acts: list[str], answer: str) -> None:
    run, _, expected = alone
    name = f"study-{random.SystemRandom().getrandbits(64):x}"
    records = run(",".join(["fe", *(hostile(act, answer) for act in acts), "others", "grid", "autodpq"]), name)
    pd.testing.assert_frame_equal(
        records.set_index("strategy").loc[expected.index, NUMBERS], expected, check_dtype=False
    )
