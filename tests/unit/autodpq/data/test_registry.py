from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autodpq.data import DATASETS, dataset_spec, load_dataset
from autodpq.data.splits import SPLIT_METHODS
from autodpq.errors import AutoDPQError


def test_the_known_data_sets_and_their_defaults() -> None:
    defaults = {spec.name: (spec.threshold, spec.K, spec.D, spec.split_method) for spec in DATASETS.values()}
    assert defaults == {
        "synthetic": (60, (8, 16, 32), (2, 4, 8), "random"),
        "movielens1m": (40, (8, 16, 32), (2, 4, 8), "random"),
        "avazu": (7, (8, 16), (2, 4), "random"),
        "criteo": (10, (8, 16), (2, 4), "random"),
    }
    for name, spec in DATASETS.items():
        assert dataset_spec(name) is spec
        assert spec.embedding_dim == 16
        assert all(spec.embedding_dim % D == 0 for D in spec.D)
        assert spec.split_method in SPLIT_METHODS


def test_a_file_is_a_data_set_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "my clicks.csv.gz"
    path.write_bytes(b"")
    spec = dataset_spec(path)
    assert (spec.name, spec.threshold, spec.K, spec.D) == ("my clicks", 10, (8, 16, 32), (2, 4, 8))
    assert spec.split_method == "auto"
    assert dataset_spec(str(path)).name == "my clicks"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("movielens", r"'movielens' is neither a data set nor a file; did you mean 'movielens1m'\?"),
        ("Avazu", r"did you mean 'avazu'\?"),
        ("nothing.csv", r"'nothing\.csv' is neither a data set nor a file"),
        ("", r"known: synthetic, movielens1m, avazu, criteo"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name: str, message: str) -> None:
    for function in (dataset_spec, load_dataset):
        with pytest.raises(AutoDPQError, match=message):
            function(name)


@pytest.mark.parametrize(
    ("name", "options", "option"),
    [
        ("movielens1m", {"label": "rating"}, "label"),
        ("movielens1m", {"split_column": "a"}, "split_column"),
        ("movielens1m", {"time_column": "a"}, "time_column"),
        ("avazu", {"label_above": 2}, "label_above"),
        ("criteo", {"time_column": "I1"}, "time_column"),
        ("avazu", {"weight_column": "hour"}, "weight_column"),
        ("movielens1m", {"multi": ["genres"]}, "multi"),
        ("synthetic", {"fields": ["user"]}, "fields"),
        ("synthetic", {"exclude": ["user"]}, "exclude"),
        ("synthetic", {"data_dir": "somewhere"}, "data_dir"),
        ("own.csv", {"label_above": 4}, "label_above"),
        ("own.csv", {"data_dir": "somewhere"}, "data_dir"),
    ],
)
def test_an_option_that_does_not_apply_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any], option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.csv").write_text("click,a\n0,u\n1,v\n")
    with pytest.raises(AutoDPQError, match=f"the option '{option}' does not apply to it"):
        load_dataset(name, **options)


def test_a_text_for_a_sequence_of_names_is_refused() -> None:
    with pytest.raises(AutoDPQError, match="option 'fields': a sequence of names is expected, not the text 'user'"):
        load_dataset("movielens1m", fields="user")


def test_every_option_applies_to_something() -> None:
    own = {"label", "numeric", "missing", "multi", "split_column", "time_column", "weight_column"}
    taken = frozenset.union(*(spec.options for spec in DATASETS.values())) | own
    assert taken == set(load_dataset.__kwdefaults__ or {})


def test_loading_data_imports_no_torch() -> None:
    program = "import sys, autodpq.data; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
