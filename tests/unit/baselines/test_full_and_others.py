from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autodpq.choices import Full, Others
from autodpq.errors import AutoDPQError
from autodpq.plan import uniform_plan
from autodpq.plugins.options import options_of
from autodpq.search.autodpq import AutoDPQ
from autodpq.search.strategy import STRATEGIES, Strategy
from autodpq.testing import FIELDS, MemoryJournal, ToyExecutor, make_task
from autodpq.training.fit import evaluate
from baselines import FullEmbedding, FullEmbeddingContinued, OthersOnly


def test_fe_keeps_every_row_and_hands_over_the_pretrained_network() -> None:
    executor = ToyExecutor()
    task = make_task(executor=executor)
    plan = FullEmbedding().search(task)
    assert plan == uniform_plan(FIELDS, Full()) and set(plan.values()) == {Full()}
    assert task.handed_over is not None and task.handed_over.trained
    state = task.handed_over.network.state_dict()
    assert state.keys() == task.pretrained().keys()
    assert all(torch.equal(state[name], value) for name, value in task.pretrained().items())
    assert executor.trained == [] and task.history == ()


def test_fe_is_charged_for_the_pretraining_alone() -> None:
    task = make_task()
    FullEmbedding().search(task)
    assert task.seconds["pretrain"] > 0 and task.seconds["search"] == task.seconds["retrain"] == 0
    assert task.epochs["search"] == task.epochs["retrain"] == 0 < task.epochs["pretrain"]


def test_others_shares_one_row_per_field_and_leaves_training_to_the_runner() -> None:
    executor = ToyExecutor()
    task = make_task(executor=executor)
    plan = OthersOnly().search(task)
    assert dict(plan) == {"user": Others(), "item": Others(), "device": Full()}
    assert task.handed_over is None and executor.trained == []


@pytest.mark.parametrize("search_epochs", [1, 3])
def test_fe_continued_trains_on_for_its_epochs_and_is_trained_further(search_epochs: int) -> None:
    journal = MemoryJournal()
    task = make_task(journal=journal)
    plan = FullEmbeddingContinued(search_epochs=search_epochs).search(task)
    assert set(plan.values()) == {Full()}
    assert task.epochs["search"] == search_epochs
    assert [phase for _, phase, _ in journal.points] == ["search"] * search_epochs
    assert task.epochs["pretrain"] > 0 and task.seconds["search"] > 0
    # The final training is the runner's: it goes on from this network.
    assert task.handed_over is not None and not task.handed_over.trained
    state = task.handed_over.network.state_dict()
    assert not all(torch.equal(state[name], value) for name, value in task.pretrained().items())


def test_fe_continued_starts_where_plans_do() -> None:
    task = make_task()
    task.trainer.recipe = replace(task.trainer.recipe, row_shrinkage=5.0, continued_learning_rate=1e-30)
    FullEmbeddingContinued(search_epochs=1).search(task)
    assert task.handed_over is not None
    started = task.trainer.build(task.trainer.full_plan())
    task.trainer.start(started, task.pretrained())
    assert torch.equal(task.handed_over.network.embedding.table, started.embedding.table)
    assert not torch.equal(started.embedding.table, task.pretrained()["embedding.table"])


def test_fe_continued_leaves_the_shared_pretrained_weights_alone() -> None:
    task = make_task()
    before = {name: value.clone() for name, value in task.pretrained().items()}
    FullEmbeddingContinued().search(task)
    assert all(torch.equal(before[name], value) for name, value in task.pretrained().items())


def test_fe_continued_hands_over_its_best_epoch() -> None:
    journal = MemoryJournal()
    task = make_task(journal=journal)
    FullEmbeddingContinued(search_epochs=3).search(task)
    assert task.handed_over is not None
    network, valid = task.handed_over.network, task.trainer.valid
    assert evaluate(network, valid).auc == max(auc for _, _, auc in journal.points)


def test_control_spends_as_many_search_epochs_as_autodpq() -> None:
    assert FullEmbeddingContinued().search_epochs == AutoDPQ().search_epochs
    spent = []
    for strategy in (AutoDPQ(), FullEmbeddingContinued()):
        task = make_task()
        strategy.search(task)
        assert task.handed_over is not None and not task.handed_over.trained
        spent.append(dict(task.epochs))
    assert spent[0] == spent[1]


def test_no_search_epoch_is_refused() -> None:
    with pytest.raises(AutoDPQError, match="epochs"):
        AutoDPQ(search_epochs=0).search(make_task())
    with pytest.raises(AutoDPQError, match="epochs"):
        FullEmbeddingContinued(search_epochs=0).search(make_task())


@pytest.mark.parametrize(
    ("name", "strategy"), [("fe", FullEmbedding), ("fe-continued", FullEmbeddingContinued), ("others", OthersOnly)]
)
def test_baselines_are_found_by_name(name: str, strategy: type[Strategy]) -> None:
    assert STRATEGIES.find(name) is strategy


def test_options_are_read_off_the_constructor() -> None:
    assert options_of(FullEmbedding()) == {}
    assert options_of(FullEmbeddingContinued(search_epochs=7)) == {"search_epochs": 7}
