"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packed_models import random_ids, values_of, write_model
from torch import nn

from autodpq.options import label
from autodpq.strategy import STRATEGIES
from autodpq.testing import make_task
from studies.config import ALL_STRATEGIES, check_config, make_strategies, read_config

README = Path(__file__).parents[2] / "README.md"


def block(language: str, holding: str) -> str:
    """The README's only block of a language that holds some text."""
    texts = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    (text,) = [text for text in texts if holding in text]
    return str(text)


def test_the_readme_s_strategy_searches() -> None:
    known = set(STRATEGIES)
    exec(compile(block("python", "@register"), "README.md", "exec"), {"__name__": "readme"})
    (name,) = set(STRATEGIES) - known
    task = make_task()
    plan = STRATEGIES[name]().search(task)
    assert plan in [trial.plan for trial in task.history]
    assert len({trial.plan for trial in task.history}) == len(task.history) == 3


def test_the_readme_s_strategy_runs_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(block("python", "@register"))
    config = check_config({"strategies": ("random", f"{tmp_path / 'mine.py'}:InTurn")})
    assert [label(strategy) for strategy in make_strategies(config)] == ["random", "in-turn"]


def test_the_readme_s_file_of_options_is_one(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(block("toml", "strategies"))
    config = check_config(read_config(tmp_path / "study.toml"))
    strategies = {label(strategy) for strategy in make_strategies(config)}
    assert strategies == {*ALL_STRATEGIES, "autodpq(search_epochs=4)", "nsga2(max_bytes=700000)"} - {"autodpq"}
    assert config.dataset == "movielens1m"


def test_the_readme_s_model_is_served_and_another_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model.safetensors")
    names: dict[str, Any] = {"frame": values_of(random_ids(9))}
    exec(compile(block("python", "open_model"), "README.md", "exec"), names)
    assert names["probabilities"].shape == (9,)
    assert np.allclose(names["probabilities"], names["network"].predict(names["frame"]), atol=1e-6)

    def make_model() -> nn.Module:
        return nn.Sequential(nn.Embedding(4000, 8), nn.Flatten(), nn.Linear(8, 1))

    trained: list[nn.Module] = []
    names |= {"model": make_model(), "counts": {"*": np.ones(4000)}, "train": trained.append, "make_model": make_model}
    exec(compile(block("python", "autodpq.compress"), "README.md", "exec"), names)
    ids = torch.arange(4000)[:, None]
    assert trained == [names["compressed"]]
    assert torch.equal(names["loaded"](ids), names["compressed"](ids))
    assert (tmp_path / "compressed.safetensors").stat().st_size < 0.1 * 4000 * 8 * 4 + 2000
