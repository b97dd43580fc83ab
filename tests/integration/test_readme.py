"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from autodpq.options import label
from autodpq.strategy import STRATEGIES
from autodpq.testing import make_task
from studies.config import ALL_STRATEGIES, check_config, make_strategies, read_config

README = Path(__file__).parents[2] / "README.md"


def block(language: str) -> str:
    """The README's only block of a language."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    return str(text)


def test_the_readme_s_strategy_searches() -> None:
    known = set(STRATEGIES)
    exec(compile(block("python"), "README.md", "exec"), {"__name__": "readme"})
    (name,) = set(STRATEGIES) - known
    task = make_task()
    plan = STRATEGIES[name]().search(task)
    assert plan in [trial.plan for trial in task.history]
    assert len({trial.plan for trial in task.history}) == len(task.history) == 3


def test_the_readme_s_strategy_runs_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(block("python"))
    config = check_config({"strategies": ("random", f"{tmp_path / 'mine.py'}:InTurn")})
    assert [label(strategy) for strategy in make_strategies(config)] == ["random", "in-turn"]


def test_the_readme_s_file_of_options_is_one(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(block("toml"))
    config = check_config(read_config(tmp_path / "study.toml"))
    strategies = {label(strategy) for strategy in make_strategies(config)}
    assert strategies == {*ALL_STRATEGIES, "autodpq(search_epochs=4)", "nsga2(max_bytes=700000)"} - {"autodpq"}
    assert config.dataset == "movielens1m"
