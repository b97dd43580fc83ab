"""The README's Python runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from autodpq.strategy import STRATEGIES
from autodpq.testing import make_task

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_s_strategy_searches() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    known = set(STRATEGIES)
    try:
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
        (name,) = set(STRATEGIES) - known
        task = make_task()
        plan = STRATEGIES[name]().search(task)
        assert plan in [trial.plan for trial in task.history]
        assert len({trial.plan for trial in task.history}) == len(task.history) == 3
    finally:
        for name in set(STRATEGIES) - known:
            del STRATEGIES[name]
