"""The AutoDPQ strategy: pretrain, search over the union of candidates, decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from autodpq.plan import CompressionPlan
from autodpq.search.strategy import Strategy, register

if TYPE_CHECKING:
    from autodpq.search.bilevel import SearchEpoch
    from autodpq.search.task import SearchTask


@register
class AutoDPQ(Strategy):
    """Differentiable search over the union of each band's candidates (Algorithm 1).

    In the paper's space the final training starts from the pretrained table and model, and from the centroids that the
    search left. In the wide one it starts as that of any plan: the search has moved every row, and small data is learnt
    by heart in two epochs more. Within a budget of bytes, weights start from the pretrained network's sensitivity at
    the price of bytes that meets it, which then follows what the union costs; the plan is the best within the budget
    by sensitivity as the search has corrected it. Of many candidates those are searched that a price could choose.

    Args:
        search_epochs: Passes of the search over the training rows.
        alpha_learning_rate: Learning rate of the candidates' weights.
        xi: Learning rate of the unrolled step; 0 is the first-order search.
        temperature_clock: What tau is annealed by, ``step`` or ``epoch``.
        scale: Whether normalised candidates are scaled back to the field's pretrained rare rows.
    """

    name: ClassVar[str] = "autodpq"

    def __init__(
        self,
        *,
        search_epochs: PositiveInt = 2,
        alpha_learning_rate: PositiveFloat = 3e-2,
        xi: NonNegativeFloat = 0.0,
        temperature_clock: Literal["step", "epoch"] = "step",
        scale: bool = True,
    ) -> None:
        self.search_epochs = search_epochs
        self.alpha_learning_rate = alpha_learning_rate
        self.xi = xi
        self.temperature_clock = temperature_clock
        self.scale = scale

    def search(self, task: SearchTask) -> CompressionPlan:
        from autodpq.search.bilevel import SearchOptions, carry_over, search, supernet_of
        from autodpq.search.bytes import byte_limit, decide_within, start_weights, thinned

        trainer = task.trainer
        with task.phase("search"):
            options = SearchOptions(
                epochs=self.search_epochs,
                alpha_learning_rate=self.alpha_learning_rate,
                xi=self.xi,
                temperature_clock=self.temperature_clock,
            )
            space, limit = task.space, None
            losses: Mapping[str, tuple[float, ...]] = {}
            if task.budget.bytes is not None:
                losses = task.rises()
                space = thinned(trainer, task.space, losses)
                limit = byte_limit(task, space)
            network = trainer.build_supernet(space, self.scale)
            trainer.start(network, task.pretrained())  # a copy that no longer lies beside the table in the search
            begun = None if limit is None else start_weights(supernet_of(network), losses, task.space, limit)

            def report(epoch: SearchEpoch) -> None:
                task.epochs["search"] += 1
                task.report(epoch.valid_auc, network)

            recipe = trainer.recipe.continued()
            rows = trainer.train, trainer.valid
            search(network, *rows, recipe, options, task.seed, limit=limit, on_epoch=report)
            plan = supernet_of(network).decide()
            if begun is not None:
                plan = decide_within(task, supernet_of(network), losses, begun)
            if task.init == "pretrained" and not trainer.compact:
                decided = trainer.build(plan)
                trainer.start(decided, task.pretrained())
                carry_over(network, decided)
                task.hand_over(decided)
        return plan
