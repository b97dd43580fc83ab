"""Strategies that break the contract where another process must be able to import them."""

from __future__ import annotations

import multiprocessing
from typing import ClassVar

from autodpq.choices import DPQ
from autodpq.plan import CompressionPlan, uniform_plan
from autodpq.search.strategy import Strategy
from autodpq.search.task import SearchTask


class DependsOnTheProcess(Strategy):
    """Gives one plan in a process that was started by another, and a second one elsewhere."""

    name: ClassVar[str] = "depends-on-the-process"

    def search(self, task: SearchTask) -> CompressionPlan:
        return uniform_plan(task.fields, DPQ(2, 1 if multiprocessing.parent_process() else 2))
