"""What every search is measured against: full embeddings, full embeddings trained on, and no rare rows at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from autodpq.choices import Others
from autodpq.plan import CompressionPlan, uniform_plan
from autodpq.search.autodpq import AutoDPQ
from autodpq.search.strategy import Strategy, register

if TYPE_CHECKING:
    from autodpq.search.task import SearchTask
    from autodpq.training.fit import Epoch
    from autodpq.training.network import Network

_SEARCH_EPOCHS = AutoDPQ().search_epochs  # the control spends as many as what it controls for


@register
class FullEmbedding(Strategy):
    """Every value keeps a row of its own: nothing is compressed."""

    name: ClassVar[str] = "fe"

    def search(self, task: SearchTask) -> CompressionPlan:
        network = task.trainer.build(task.trainer.full_plan())
        network.load_state_dict(task.pretrained())
        task.hand_over(network, trained=True)
        return task.trainer.full_plan()


@register
class FullEmbeddingContinued(Strategy):
    """The control: full embeddings, trained on by AutoDPQ's schedule after pretraining.

    As many further epochs as AutoDPQ's search, then a final training that stops as AutoDPQ's does: what AutoDPQ gains
    by longer training alone, this gains too.

    Args:
        search_epochs: Epochs in the place of the search.
    """

    name: ClassVar[str] = "fe-continued"

    def __init__(self, *, search_epochs: PositiveInt = _SEARCH_EPOCHS) -> None:
        self.search_epochs = search_epochs

    def search(self, task: SearchTask) -> CompressionPlan:
        trainer = task.trainer
        network = trainer.build(trainer.full_plan())
        network.load_state_dict(task.pretrained())
        with task.phase("search"):

            def report(epoch: Epoch, trained: Network) -> None:
                task.epochs["search"] += 1
                task.report(epoch.metrics.auc, trained)

            trainer.fit(network, epochs=self.search_epochs, on_epoch=report)
        task.hand_over(network)
        return trainer.full_plan()


@register
class OthersOnly(Strategy):
    """All rare values of a field share one row."""

    name: ClassVar[str] = "others"

    def search(self, task: SearchTask) -> CompressionPlan:
        return uniform_plan(task.fields, Others())
