from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from in_memory import make_dataset

import autodpq.search  # noqa: F401 (registers it)
from autodpq.errors import AutoDPQError
from autodpq.plan import DPQ, Field, Full
from baselines import FullEmbedding, FullEmbeddingContinued, Grid
from studies.config import RunConfig, StudyConfig, candidates, check_config, make_space, run_config

DATASET = make_dataset({"user": [0, 0, 1, 1], "item": [0, 0, 0, 1]}, [0, 1, 0, 1])


def run_of(strategy: Any = None, seed: int = 0, model: str = "deepfm", **values: Any) -> RunConfig:
    return run_config(check_config(values), DATASET, model, strategy or FullEmbedding(), seed)


def test_defaults_are_accepted() -> None:
    config = check_config({})
    assert config.strategies == ("fe", "fe-continued", "others", "grid", "random", "autodpq")
    assert (config.dataset, config.models, config.seeds, config.recipe) == ("synthetic", ("deepfm",), 3, "paper")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": 0}, "--seeds: 0 given"),
        ({"seeds": "x"}, "--seeds: 'x' given"),
        ({"trials": 0}, "--trials: 0 given"),
        ({"threshold": 0}, "--threshold: 0 given"),
        ({"threshold": -3}, "--threshold: -3 given"),
        ({"jobs": 0}, "--jobs: 0 given"),
        ({"init": "warm"}, "--init: 'warm' given"),
        ({"split": "weekly"}, "--split: 'weekly' given"),
        ({"frequency_scope": "test"}, "--frequency-scope: 'test' given"),
        ({"device": "tpu"}, "--device: 'tpu' given"),
        ({"K": ("a",)}, "--K: 'a' given"),
        ({"D": (2.5,)}, "--D: 2.5 given"),
        ({"K": (1,)}, "K=1"),
        ({"K": (8, -4)}, "K=-4"),
        ({"D": (0,)}, "D=0"),
        ({"D": (2, 3)}, "--D: D=3 does not divide the embedding dimension 16"),
        ({"seedz": 3}, "--seedz: 3 given"),
        ({"strategies": ()}, "--strategies: at least one name"),
        ({"models": ()}, "--models: at least one name"),
        ({"strategies": ("fe", "grid", "fe")}, "--strategies: a name is given twice in fe,grid,fe"),
        ({"models": ("pnn", "pnn")}, "--models: a name is given twice in pnn,pnn"),
        ({"strategies": ("gird",)}, "unknown strategy 'gird'; did you mean 'grid'?"),
        ({"models": ("deepmf",)}, "unknown model 'deepmf'; did you mean 'deepfm'?"),
        ({"recipe": "papr"}, "unknown recipe 'papr'; did you mean 'paper'?"),
        ({"dataset": "movielens"}, "'movielens' is neither a data set nor a file; did you mean 'movielens1m'?"),
        ({"dataset": ""}, "'' is neither a data set nor a file"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(AutoDPQError) as error:
        check_config(values)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["K", "D"])
def test_candidates_given_twice_or_not_at_all_are_refused(option: str) -> None:
    for given in ((8, 8), ()):
        with pytest.raises(AutoDPQError, match=f"--{option}"):
            check_config({option: given})


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.xlsx").touch()
    with pytest.raises(AutoDPQError, match=r"own\.xlsx: this kind of file cannot be read"):
        check_config({"dataset": str(tmp_path / "own.xlsx")})


def test_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        check_config({}).seeds = 7  # type: ignore[misc]


def test_every_pair_in_the_order_given() -> None:
    assert candidates((16, 8), (2, 4)) == [DPQ(16, 2), DPQ(16, 4), DPQ(8, 2), DPQ(8, 4)]


def test_space_has_all_pairs_or_full_alone() -> None:
    pairs = candidates((8, 16), (2,))
    space = make_space((Field("user", 10, 4), Field("gender", 2, 2)), pairs)
    assert space == {"user": tuple(pairs), "gender": (Full(),)}


def test_run_is_named_by_the_digest_of_its_canonical_configuration() -> None:
    run = RunConfig({"name": "own"}, "pnn", "grid", {}, 3, {"name": "toy"}, "scratch", ("dpq(8,2)",), None)
    text = (
        '{"candidates":["dpq(8,2)"],"data":{"name":"own"},"init":"scratch","model":"pnn","options":{},'
        '"recipe":{"name":"toy"},"seed":3,"strategy":"grid","trials":null}'
    )
    assert run.canonical() == text
    assert run.run_id == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_run_is_named_alike_in_another_process() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_config; print(test_config.run_of(seed=2).run_id)"
    environment = {**os.environ, "PYTHONHASHSEED": "4321"}
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == run_of(seed=2).run_id


def test_order_of_keys_does_not_change_the_name() -> None:
    run = run_of()
    turned = RunConfig(**{**vars(run), "data": dict(reversed(run.data.items()))})
    assert turned.run_id == run.run_id


def test_runs_that_differ_in_what_decides_their_numbers_are_named_differently() -> None:
    runs = [
        run_of(),
        run_of(seed=1),
        run_of(Grid()),
        run_of(FullEmbeddingContinued()),
        run_of(FullEmbeddingContinued(search_epochs=9)),
        run_of(model="pnn"),
        run_of(recipe="strong"),
        run_of(threshold=7),
        run_of(K=(8,)),
        run_of(D=(2,)),
        run_of(trials=5),
        run_of(init="scratch"),
        run_of(split="time"),
        run_of(resplit=True, seed=1),
        run_of(frequency_scope="train"),
    ]
    assert len({run.run_id for run in runs}) == len(runs)
    other = make_dataset({"user": [0, 0, 1, 1]}, [0, 1, 0, 1])
    assert run_config(StudyConfig(), other, "deepfm", FullEmbedding(), 0).data["name"] == "own"


def test_data_of_another_fingerprint_is_another_run() -> None:
    run = run_of()
    assert RunConfig(**{**vars(run), "data": {**run.data, "fingerprint": "0" * 64}}).run_id != run.run_id


def test_where_and_how_fast_it_runs_does_not_change_the_name(tmp_path: Path) -> None:
    plain = run_of()
    for values in (
        {"jobs": 4},
        {"device": "cpu"},
        {"cache_dir": str(tmp_path)},
        {"data_dir": str(tmp_path)},
        {"seeds": 9},
        {"strategies": ("fe", "grid")},
        {"models": ("pnn", "deepfm")},
        {"threshold": 60},  # what the data set has anyway
        {"K": (8, 16, 32), "D": (2, 4, 8)},
    ):
        assert run_of(**values).run_id == plain.run_id, values
    assert not {"jobs", "device", "machine", "versions"} & set(json.loads(plain.canonical()))


def test_all_strategies_of_a_seed_share_the_pretrained_network() -> None:
    assert len({run.pretrained_id for run in (run_of(), run_of(Grid()), run_of(trials=3), run_of(K=(8,)))}) == 1
    different = [run_of(), run_of(seed=1), run_of(recipe="strong"), run_of(model="pnn"), run_of(split="time")]
    assert len({run.pretrained_id for run in different}) == len(different)


def test_resplit_gives_every_seed_a_split_of_its_own_and_all_strategies_the_same() -> None:
    seeds = [run_of(seed=seed, resplit=True).data["split_seed"] for seed in range(3)]
    assert seeds == [2023, 2024, 2025]
    assert [run_of(seed=seed).data["split_seed"] for seed in range(3)] == [2023] * 3
    assert run_of(Grid(), seed=2, resplit=True).data["split_seed"] == 2025
