"""--compile and --optimizer: what they change, and what they leave."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from support.command_line import Call, call_cli
from support.command_line import call_here as call_in_process

pytestmark = pytest.mark.usefixtures("nothing_is_drawn")


def records(call: Call, data: Path, out: Path, *options: str) -> pd.DataFrame:
    arguments = ("--dataset", data, "--strategies", "fe,others", "--seeds", "1", "--K", "4", "--D", "4")
    called = call("run", *arguments, "--out", out, *options)
    assert called.code == 0, called.err
    return pd.read_csv(out / "records.csv").set_index("strategy")


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
@pytest.mark.parametrize("compiler", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_compiled_steps_are_another_way_to_the_same_run(
    call_here: Call, own_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: bool
) -> None:
    if not compiler:  # what it makes of a function is a unit test's matter, too, and takes ten seconds
        monkeypatch.setattr("autodpq.training.step._compiled", lambda function: function)
    off = records(call_here, own_csv, tmp_path / "off", "--compile", "off")
    on = records(call_here, own_csv, tmp_path / "on", "--compile", "on")
    assert not off["compiled"].any() and on["compiled"].all()
    assert (on["run"] == off["run"]).all(), "it is the same run, measured faster"
    # Rounding moves the AUC of three hundred validation rows by a hundredth; that of gradients is a unit test's matter.
    assert (on["valid_auc"] - off["valid_auc"]).abs().max() < 0.05


def test_where_nothing_can_be_compiled_the_study_goes_on_and_says_so(
    call_here: Call, own_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autodpq.training.step.why_not", lambda device: "there is no C++ compiler")
    out = tmp_path / "study"
    called = call_here(
        "run", "--dataset", own_csv, "--strategies", "fe", "--seeds", "1", "--compile", "on", "--out", out
    )
    assert called.code == 0 and "training steps are not compiled: there is no C++ compiler" in called.out
    assert not pd.read_csv(out / "records.csv")["compiled"].any()


@pytest.fixture(scope="module")
def plain(own_csv: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> pd.DataFrame:
    """A study of neither option."""
    return records(partial(call_in_process, cache=cache), own_csv, tmp_path_factory.mktemp("plain") / "study")


def test_small_data_is_not_worth_compiling(plain: pd.DataFrame) -> None:
    assert not plain["compiled"].any() and (plain["optimizer"] == "adam").all()


def test_lazy_adam_is_another_run_and_in_the_record(
    plain: pd.DataFrame, call_here: Call, own_csv: Path, tmp_path: Path
) -> None:
    lazy = records(call_here, own_csv, tmp_path / "lazy", "--optimizer", "lazy-adam")
    assert (lazy["optimizer"] == "lazy-adam").all() and (lazy["run"] != plain["run"]).all()
    assert lazy["valid_auc"].between(0.5, 1).all() and (lazy["valid_auc"] != plain["valid_auc"]).any()


def test_an_unknown_optimizer_is_refused(call_here: Call, own_csv: Path, tmp_path: Path) -> None:
    called = call_here("run", "--dataset", own_csv, "--optimizer", "sgd", "--out", tmp_path / "study")
    assert called.code == 2 and "--optimizer" in called.err and not (tmp_path / "study").exists()


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
def test_processes_that_compile_leave_nothing_behind(own_csv: Path, cache: Path, tmp_path: Path) -> None:
    asked = ["run", "--dataset", own_csv, "--strategies", "fe,random", "--seeds", "1", "--trials", "4", "--jobs", "2"]
    asked += ["--recipe", "robust(max_epochs=1,batch_size=512)", "--compile", "on", "--out", tmp_path / "study"]
    # Nothing that was compiled before is found again, so that torch's compiler starts processes of its own.
    done = call_cli(*asked, cache=cache, env={"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled")})
    assert done.code == 0 and done.err == "", done.err
