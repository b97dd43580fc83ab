"""What every search is measured against: full embeddings, full embeddings trained on, and no rare rows at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from autodpq.choices import Full, Others
from autodpq.plan import CompressionPlan, bands_of, uniform_plan
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
    compresses: ClassVar[bool] = False

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
    compresses: ClassVar[bool] = False

    def __init__(self, *, search_epochs: PositiveInt = _SEARCH_EPOCHS) -> None:
        self.search_epochs = search_epochs

    def search(self, task: SearchTask) -> CompressionPlan:
        trainer = task.trainer
        network = trainer.build(trainer.full_plan())
        trainer.start(network, task.pretrained())
        with task.phase("search"):

            def report(epoch: Epoch, trained: Network) -> None:
                task.epochs["search"] += 1
                task.report(epoch.metrics.auc, trained)

            trainer.fit(network, epochs=self.search_epochs, on_epoch=report)
        task.hand_over(network)
        return trainer.full_plan()


@register
class OthersOnly(Strategy):
    """All rare values of a field share one row.

    Within a budget of bytes, as many of the bands of the most frequent values as fit keep rows of their own; values of
    all others share one row a band.
    """

    name: ClassVar[str] = "others"

    def search(self, task: SearchTask) -> CompressionPlan:
        plan = uniform_plan(task.fields, Others())
        if task.budget.bytes is None:
            return plan
        by_frequency = sorted((band for band in bands_of(task.fields) if band.n_rows), key=lambda band: band.stop)
        for band in by_frequency:
            larger = CompressionPlan({**plan, band.name: Full()})
            if task.trainer.ledger(larger).bytes > task.budget.bytes:
                break
            plan = larger
        return plan
