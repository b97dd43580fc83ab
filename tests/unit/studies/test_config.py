from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.encoded import make_dataset
from support.installed import installing

from autodpq.choices import DPQ, Full, Int, Others
from autodpq.data import dataset_spec
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan, Field
from autodpq.plugins.options import label
from autodpq.search.autodpq import AutoDPQ
from autodpq.search.strategy import STRATEGIES, Strategy
from autodpq.search.task import SearchTask
from baselines import TPE, FullEmbedding, FullEmbeddingContinued, Grid, Random
from studies.config import (
    ALL_STRATEGIES,
    RunConfig,
    candidates,
    check_config,
    make_space,
    make_strategies,
    read_config,
    run_config,
    study_candidates,
)
from studies.options import StudyConfig

ROWS = {"user": [0, 0, 1, 1], "item": [0, 0, 0, 1]}, [0, 1, 0, 1]
DATASET = make_dataset(*ROWS)


class Mine(Strategy):
    """A strategy of one's own."""

    name: ClassVar[str] = "mine"

    def __init__(self, *, shift: int = 0, words: tuple[str, ...] = ()) -> None:
        self.shift = shift
        self.words = words

    def search(self, task: SearchTask) -> CompressionPlan:
        raise NotImplementedError


@pytest.fixture
def mine() -> Iterator[None]:
    STRATEGIES.add(Mine)
    yield
    STRATEGIES.forget("mine")


@pytest.fixture
def forgetting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with installing(tmp_path, monkeypatch):
        yield


def labels(**values: Any) -> list[str]:
    return [label(strategy) for strategy in make_strategies(check_config(values))]


def run_of(strategy: Any = None, seed: int = 0, model: str = "deepfm", **values: Any) -> RunConfig:
    return run_config(check_config(values), DATASET, model, strategy or FullEmbedding(), seed)


def test_defaults_are_accepted() -> None:
    config = check_config({})
    assert config.strategies == ("all",)
    assert labels() == ["fe", "fe-continued", "others", "grid", "random", "autodpq"]
    assert (config.dataset, config.models, config.seeds, config.recipe) == ("synthetic", ("deepfm",), 3, None)


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
        ({"candidates": "dpq(8,2)", "K": (8,)}, "--candidates: not together with --K or --D"),
        ({"candidates": ("dpq(8,2)",), "D": (2,)}, "--candidates: not together with --K or --D"),
        ({"candidates": "dpq(8,2),brothers"}, "--candidates: unknown choice 'brothers'"),
        ({"candidates": ("dpq(8,2)", "full,dpq(8,2)")}, "--candidates: dpq(8,2) is given twice"),
        ({"candidates": "dpq(8,3)"}, "--candidates: D=3 does not divide the embedding dimension 16"),
        ({"candidates": "dpq(8,2"}, "--candidates: 'dpq(8,2': ')' is missing"),
        ({"candidates": ()}, "--candidates: at least one choice is needed"),
        ({"candidates": 3}, "--candidates: 3 given"),
        ({"seedz": 3}, "--seedz: 3 given"),
        ({"strategies": ()}, "--strategies: at least one name"),
        ({"models": ()}, "--models: at least one name"),
        ({"strategies": ("fe", "grid", "fe")}, "--strategies: fe is given twice"),
        ({"strategies": ("all", "fe")}, "--strategies: fe is given twice"),
        ({"strategies": ("tpe", "tpe(batch_size=1)")}, "--strategies: tpe is given twice"),
        (
            {"strategies": ("tpe(batch_size=2)", "tpe( batch_size = 2 )")},
            "--strategies: tpe(batch_size=2) is given twice",
        ),
        ({"strategies": ("tpe(batch_size=0)",)}, "tpe: option batch_size='0': a number above 0 is needed"),
        ({"strategies": ("tpe(bach_size=2)",)}, "tpe: unknown option 'bach_size'; did you mean 'batch_size'?"),
        ({"strategies": ("fe(a=1)",)}, "fe: unknown option 'a'; it has none"),
        ({"strategies": ("tpe(2)",)}, "'tpe(2)': '2' given, option=value is needed"),
        ({"strategies": ("all(seed=1)",)}, "unknown strategy 'all'"),
        ({"strategies": ("gone.py:Mine",)}, "gone.py:Mine: there is no file gone.py"),
        ({"options": {"tpee": {}}}, "unknown strategy 'tpee'; did you mean 'tpe'?"),
        ({"options": {"autodpq": {"epochs": 3}}}, "autodpq: unknown option 'epochs'; did you mean 'search_epochs'?"),
        ({"options": {"autodpq": {"scale": "yes"}}}, "autodpq: option scale='yes': true or false is needed"),
        ({"models": ("pnn", "pnn")}, "--models: pnn is given twice"),
        ({"models": ("pnn(x=1)",)}, "unknown model 'pnn(x=1)'; did you mean 'pnn'?"),
        ({"models": ("gone.module:Mine",)}, "gone.module:Mine: gone.module does not import: ModuleNotFoundError"),
        ({"executor": "slurm"}, "--executor: 'slurm' given"),
        ({"executor": "ray", "jobs": 2}, "--jobs: applies to --executor local, not ray"),
        ({"ray_address": "host:6379"}, "--ray-address: applies to --executor ray, not local"),
        ({"cpus_per_trial": 2}, "--cpus-per-trial: applies to --executor ray, not local"),
        ({"gpus_per_trial": 0.5}, "--gpus-per-trial: applies to --executor ray, not local"),
        ({"executor": "ray", "cpus_per_trial": 0}, "--cpus-per-trial: 0 given"),
        ({"executor": "ray", "gpus_per_trial": -1}, "--gpus-per-trial: -1 given"),
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


@pytest.mark.parametrize(
    "given", ["dpq(8,4), others,full", ("dpq(8,4)", "others", "full"), ["dpq(8,4)", "others,full"]]
)
def test_candidates_are_choices_of_any_kind_in_the_order_given(given: Any) -> None:
    config = check_config({"candidates": given})
    choices = study_candidates(config, dataset_spec(config.dataset))
    assert choices == (DPQ(8, 4), Others(), Full())
    assert run_of(candidates=given).candidates == ("dpq(8,4)", "others", "full")
    assert make_space((Field("user", 10, 4),), choices, 16) == {"user": choices}


def test_pairs_are_named_alike_as_candidates_and_as_K_and_D() -> None:
    assert run_of(candidates="dpq(8,2),dpq(8,4)").run_id == run_of(K=(8,), D=(2, 4)).run_id


def test_space_has_all_pairs_or_full_alone() -> None:
    pairs = candidates((8, 16), (2,))
    space = make_space((Field("user", 10, 4), Field("gender", 2, 2)), pairs, 16)
    assert space == {"user": tuple(pairs), "gender": (Full(),)}


def test_the_wide_space_has_full_and_what_is_smaller_in_every_band() -> None:
    choices = (DPQ(16, 2), Others(), Full(), Int(8))
    space = make_space((Field("user", 200, 0, (5, 40)), Field("gender", 2, 0)), choices, 16, compact=True)
    assert space == {
        "user/1": (Full(), Others(), Int(8)),
        "user/2": (Full(), DPQ(16, 2), Others(), Int(8)),
        "user/3": (Full(), DPQ(16, 2), Others(), Int(8)),
        "gender": (Full(), Others(), Int(8)),
    }


@pytest.mark.parametrize("dim", [16, 12])
def test_candidates_of_the_wide_space_fit_the_embedding(dim: int) -> None:
    config = check_config({"space": "wide", "recipe": f"paper(embedding_dim={dim})"})
    choices = study_candidates(config, dataset_spec(config.dataset))
    assert choices[:5] == (Full(), Others(), Int(2), Int(4), Int(8))
    assert {choice.D for choice in choices[5:]} == {D for D in (1, 2, 4, 8, 16) if dim % D == 0}


def test_what_earlier_versions_did_not_know_is_not_in_their_runs_names() -> None:
    known = run_of()
    assert not {"space", "bands", "budget", "calibrate"} & json.loads(known.canonical()).keys()
    wide = run_of(Grid(), space="wide", bands=(100, 10))
    assert json.loads(wide.canonical())["bands"] == [100, 10] and wide.run_id != known.run_id
    assert wide.compact and not dataclasses.replace(wide, strategy="fe").compact and not known.compact


def test_run_is_named_by_the_digest_of_its_canonical_configuration() -> None:
    run = RunConfig({"name": "own"}, "pnn", "grid", {}, 3, {"name": "toy"}, "scratch", ("dpq(8,2)",), None)
    text = (
        '{"candidates":["dpq(8,2)"],"data":{"name":"own"},"init":"scratch","model":"pnn","options":{},'
        '"recipe":{"name":"toy"},"seed":3,"strategy":"grid","trials":null}'
    )
    assert run.canonical() == text
    assert run.run_id == hashlib.sha256(text.encode()).hexdigest()[:12]


NAMED = f"""
import sys
sys.path[:0] = sys.argv[1:]
from support.encoded import make_dataset
from baselines import FullEmbedding
from studies.config import check_config, run_config
print(run_config(check_config({{}}), make_dataset(*{ROWS}), "deepfm", FullEmbedding(), 2).run_id)
"""


@pytest.mark.slow  # each process of the tests has sets of another order, and finds the names below
def test_run_is_named_alike_in_another_process() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "4321"}
    command = [sys.executable, "-c", NAMED, str(Path(__file__).parents[2]), str(Path(__file__).parents[3])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == run_of(seed=2).run_id


def test_runs_of_default_options_are_named_as_they_were_before_options_could_be_given() -> None:
    # What was measured then is found again.
    names = {
        (type(strategy), seed): run_of(strategy, seed).run_id for strategy in (AutoDPQ(), Random()) for seed in (0, 1)
    }
    assert names == {
        (AutoDPQ, 0): "6c9f547b31af",
        (AutoDPQ, 1): "bfb6bdd01ef1",
        (Random, 0): "a2beee3855cd",
        (Random, 1): "664ba139cb83",
    }
    assert run_of(FullEmbeddingContinued()).run_id == "08979f022c70"
    assert run_of().run_id == "7b34ea8b7563" and run_of().pretrained_id == "05c0cd200162"


def test_variants_of_one_strategy_are_runs_of_their_own() -> None:
    texts = ("tpe", "tpe(batch_size=2)", "tpe(batch_size=3)", "random")
    config = check_config({"strategies": texts})
    runs = [run_config(config, DATASET, "deepfm", strategy, 0) for strategy in make_strategies(config)]
    assert [run.strategy for run in runs] == list(texts)
    assert [run.options for run in runs] == [{"batch_size": 1}, {"batch_size": 2}, {"batch_size": 3}, {}]
    assert len({run.run_id for run in runs}) == 4 and len({run.pretrained_id for run in runs}) == 1
    # What is said is the same as what stands there anyway.
    assert run_of(TPE(batch_size=1)).run_id == run_of(TPE()).run_id == runs[0].run_id


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


def test_all_stands_for_the_paper_s_beside_others() -> None:
    everything = [*ALL_STRATEGIES]
    assert labels(strategies=("all", "tpe")) == [*everything, "tpe"]
    assert labels(strategies=("tpe", "all", "nsga2(population_size=9)")) == [
        "tpe",
        *everything,
        "nsga2(population_size=9)",
    ]
    assert labels(strategies=("all", "autodpq(xi=0.1)")) == [*everything, "autodpq(xi=0.1)"]


@pytest.mark.usefixtures("mine")
def test_options_of_the_command_line_stand_before_those_of_the_file() -> None:
    options = {"mine": {"shift": 3, "words": ["a", "b c"]}}
    assert labels(strategies=("mine",), options=options) == ['mine(shift=3, words=["a", "b c"])']
    assert labels(strategies=("mine(shift=4)",), options=options) == ['mine(shift=4, words=["a", "b c"])']
    assert labels(strategies=("mine(shift=0, words=[])",), options=options) == ["mine"]
    assert labels(strategies=("mine", "mine(shift=5)", "fe"), options={"mine": {"shift": 3}}) == [
        "mine(shift=3)",
        "mine(shift=5)",
        "fe",
    ]
    # Options of what is not asked for do no harm.
    assert labels(strategies=("fe",), options=options) == ["fe"]


MINE = """
from autodpq.search.strategy import Strategy

class Mine(Strategy):
    name = "own"

    def __init__(self, *, shift: int = 0):
        self.shift = shift

    def search(self, task):
        return None
"""


@pytest.mark.usefixtures("forgetting")
def test_options_of_a_plug_in_that_only_the_command_line_may_name(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MINE)
    (tmp_path / "study.toml").write_text("[options.own]\nshift = 3\n")
    values = {**read_config(tmp_path / "study.toml"), "strategies": ("own.py:Mine", "own.py:Mine(shift=4)")}
    assert [label(strategy) for strategy in make_strategies(check_config(values))] == ["own(shift=3)", "own(shift=4)"]


def test_file_of_options(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        """
        dataset = "movielens1m"
        strategies = ["all", "nsga2(population_size=8)"]
        models = ["deepfm", "pnn"]
        seeds = 5
        K = [8, 16]
        resplit = true
        cpus_per_trial = 0.5
        executor = "ray"
        [options.autodpq]
        search_epochs = 4
        xi = 1
        """
    )
    values = read_config(path)
    config = check_config(values)
    assert (config.dataset, config.models, config.seeds, config.K) == ("movielens1m", ("deepfm", "pnn"), 5, (8, 16))
    assert (config.resplit, config.cpus_per_trial, config.executor, config.D) == (True, 0.5, "ray", None)
    assert [label(strategy) for strategy in make_strategies(config)][-2:] == [
        "autodpq(search_epochs=4, xi=1.0)",
        "nsga2(population_size=8)",
    ]
    assert set(values) == {*"dataset strategies models seeds K resplit cpus_per_trial executor options".split()}


def test_file_of_no_options_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text("# nothing\n")
    assert read_config(tmp_path / "study.toml") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sedes = 3", "study.toml: sedes = 3: Extra inputs are not permitted; did you mean 'seeds'?"),
        ("frequency-scope = 'all'", "did you mean 'frequency_scope'?"),
        ("zzz = 3", "study.toml: zzz = 3: Extra inputs are not permitted; known: dataset, strategies, options"),
        ("seeds = 'many'", "study.toml: seeds = 'many': a whole number is needed"),
        ("seeds = 0", "study.toml: seeds = 0: a number of at least 1 is needed"),
        ("strategies = 'fe'", "study.toml: strategies = 'fe': "),
        ("strategies = ['fe', 3]", "study.toml: strategies.1 = 3: a text is needed"),
        ("K = ['a']", "study.toml: K.0 = 'a': a whole number is needed"),
        ("resplit = 'maybe'", "study.toml: resplit = 'maybe': true or false is needed"),
        ("split = 'weekly'", "study.toml: split = 'weekly': 'random', 'time', 'column' or 'auto' is needed"),
        ("[options]\nautodpq = 3", "study.toml: options.autodpq = 3: "),
        ("options = 3", "study.toml: options = 3: "),
        ("seeds = ", "study.toml is not valid TOML: Invalid value (at end of document)"),
        ("seeds = 1\nseeds = 2", "study.toml is not valid TOML: Cannot overwrite a value"),
        ("{'seeds': 3}", "study.toml is not valid TOML: "),
        ("strategies = ['tpe(x']", "'tpe(x': expected name(option=value, ...)"),
    ],
)
def test_file_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(AutoDPQError) as error:
        check_config(read_config(tmp_path / "study.toml"))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b'label = "\xff\xfe"\n')
    (tmp_path / "folder.toml").mkdir()
    for name, message in (
        ("gone.toml", "cannot be read: No such file or directory"),
        ("folder.toml", "cannot be read: Is a directory"),
        ("bytes.toml", "is not valid TOML: 'utf-8' codec can't decode byte 0xff"),
    ):
        with pytest.raises(AutoDPQError) as error:
            read_config(tmp_path / name)
        assert str(error.value).startswith(f"--config: {tmp_path / name} {message}")
        assert "\n" not in str(error.value)


@pytest.mark.usefixtures("mine")
def test_colons_in_options_are_no_code(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text("""strategies = ["fe", 'mine(words=["a:b"])']""")
    config = check_config(read_config(tmp_path / "study.toml"))
    assert [label(strategy) for strategy in make_strategies(config)] == ["fe", 'mine(words=["a:b"])']


CODE = "coded.py:Mine"


@pytest.mark.usefixtures("forgetting")
@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"strategies = ['{CODE}']", "strategies"),
        (f"strategies = ['fe', '{CODE}(shift=1)']", "strategies"),
        ("strategies = ['coded:Mine']", "strategies"),
        (f"models = ['{CODE}']", "models"),
        (f"dataset = '{CODE}'", "dataset"),
        (f"[options.'{CODE}']\nshift = 1", "options"),
        ("[options.'coded:Mine']", "options"),
    ],
)
@pytest.mark.parametrize("disguised", [False, True], ids=["plain", "as a file"])
def test_file_of_options_may_name_no_code(tmp_path: Path, text: str, key: str, disguised: bool) -> None:
    (tmp_path / "coded.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + MINE)
    if disguised:
        # An archive that brings the file of options may bring a file of this name beside it.
        (tmp_path / CODE).write_text("click,a\n0,1\n")
        (tmp_path / "coded:Mine").write_text("click,a\n0,1\n")
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(AutoDPQError) as error:
        check_config(read_config(tmp_path / "study.toml"))
    if key != "dataset" or not disguised:
        assert str(error.value).startswith(f"{tmp_path / 'study.toml'}: {key}: '")
        assert str(error.value).endswith("is code to load, which only the command line may name")
    assert not (tmp_path / "ran").exists(), "the code was run"


@pytest.mark.usefixtures("forgetting")
def test_command_line_may_name_code(tmp_path: Path) -> None:
    (tmp_path / "coded.py").write_text(MINE)
    assert labels(strategies=(f"{CODE}(shift=2)",)) == ["own(shift=2)"]


@pytest.mark.parametrize("name", ["clicks (1).csv", "it's.csv", "12:30.csv", "a(b=c).csv", "[x].csv"])
def test_file_of_options_may_name_any_file_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / name).write_text("click,a\n0,1\n")
    for given in (str(tmp_path / name), f"~/{name}"):
        (tmp_path / "study.toml").write_text(f"dataset = {json.dumps(given)}")
        assert check_config(read_config(tmp_path / "study.toml")).dataset == given
