"""The strategies that come with the project: importing the module registers them, without torch or Optuna."""

from __future__ import annotations

import autodpq.search.autodpq as _registers_autodpq  # noqa: F401
import baselines as _registers_baselines  # noqa: F401

# What "all" stands for: the rows of the paper's tables, and the control.
ALL_STRATEGIES = ("fe", "fe-continued", "others", "grid", "random", "autodpq")
