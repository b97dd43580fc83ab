from __future__ import annotations

import subprocess
import sys
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import studies
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.serving import open_model
from studies.folder.frames import keep_frame


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    user, item = (rng.zipf(1.6, 700) % 60 for _ in range(2))
    click = (rng.random(700) < 1 / (1 + np.exp(-np.sin(user) - np.cos(item)))).astype(int)
    return pd.DataFrame({"click": click, "user": user, "item": [f"item {value}" for value in item]})


@pytest.fixture(scope="module")
def folder(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "mine"
    run(frame, folder, strategies=["fe", "random", "others"], tensorboard=True)
    return folder


def run(frame: Any, folder: Path, **options: Any) -> studies.Study:
    kept = {"seeds": 1, "trials": 2, "threshold": 10, "cache_dir": str(folder.parent / "cache"), **options}
    return studies.run(frame, out=folder, show_progress=False, **kept)


@pytest.fixture
def study(folder: Path) -> studies.Study:
    return studies.open_study(folder)


def test_a_frame_goes_from_rows_to_records(study: studies.Study) -> None:
    assert list(study.records["strategy"]) == ["fe", "others", "random"]
    assert set(study.records["dataset"]) == {"frame"}
    assert study.records["test_auc"].between(0.4, 1).all()
    assert study.failed == 0
    assert study.report.is_file()


def test_the_same_call_again_measures_nothing_anew(frame: pd.DataFrame, folder: Path, study: studies.Study) -> None:
    results = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/result.json")}
    assert len(results) == 3
    again = run(pl.from_pandas(frame), folder, strategies=["fe", "others", "random"], tensorboard=True)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/result.json")} == results
    pd.testing.assert_frame_equal(again.records, study.records)


def test_tables_are_text_in_a_terminal_and_markdown_in_a_notebook(study: studies.Study) -> None:
    auc = f"{study.records.set_index('strategy')['test_auc']['fe']:.4f}"
    assert auc in str(study.table1())
    assert auc in study.table1()._repr_markdown_()
    assert "Others" in str(study.table2())
    assert "FE" in str(study.headroom()) and "ECE" in str(study.calibration())
    assert "Random" in str(study.statistics())
    assert all("AUC" in verdict for verdict in study.verdicts()[:1])
    assert study._repr_markdown_() == study.table1().to_markdown()
    assert repr(study) == f"Study({str(study.folder)!r})"


def test_figures_are_drawn(study: studies.Study) -> None:
    for figure in (study.figure3(), study.auc_bytes(), study.plans("frame", "deepfm")):
        assert figure.axes


def test_the_best_plan_is_the_compressed_one_of_the_best_validation_auc(study: studies.Study) -> None:
    compressed = study.records[study.records["strategy"] != "fe"].set_index("run")
    best = str(compressed["valid_auc"].idxmax())
    assert study.best_run() == best
    assert study.best_plan(model="deepfm") == CompressionPlan.from_json(compressed["plan"][best])


def test_a_model_is_taken_away(study: studies.Study, tmp_path: Path, frame: pd.DataFrame) -> None:
    from autodpq.serving import open_model

    file = study.export(tmp_path / "model.safetensors")
    probabilities = open_model(file).predict(frame)
    assert probabilities.shape == (len(frame),)
    assert len(np.unique(probabilities)) > 10


def test_scalars_of_every_run_are_written(study: studies.Study) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    records = study.records.set_index("run")
    folders = sorted((study.folder / "tensorboard").iterdir())
    assert len(folders) == 3
    for folder in folders:
        record = records.loc[folder.name[-12:]]
        events = EventAccumulator(str(folder)).Reload()
        (test_auc,) = events.Scalars("result/test_auc")
        assert test_auc.value == pytest.approx(record["test_auc"])
        if record["trials"]:
            assert [event.step for event in events.Scalars("trial/bytes")] == list(range(record["trials"]))
            best = [event.value for event in events.Scalars("trial/best_valid_auc")]
            assert best == sorted(best) and best[-1] == pytest.approx(record["valid_auc"])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda study: study.figure3(model="pnm"), "model: .* has no run of 'pnm'"),
        (lambda study: study.best_plan(dataset="fram"), "dataset: .* has no run of 'fram'; did you mean 'frame'"),
        (lambda study: study.export("model.bin"), "model.bin"),
    ],
)
def test_what_a_study_has_not(study: studies.Study, ask: Any, message: str) -> None:
    with pytest.raises(AutoDPQError, match=message):
        ask(study)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sedes": 2}, "unknown option 'sedes'; did you mean 'seeds'"),
        ({"k": (8,)}, "unknown option 'k'; did you mean 'K'"),
        ({"seeds": 0}, "--seeds: 0 given"),
        ({"strategies": ["randm"]}, "unknown strategy 'randm'"),
        ({"dataset": 3}, "dataset: int given"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match=message):
        studies.run(**{"out": tmp_path / "study", "show_progress": False, **options})
    assert not (tmp_path / "study").exists()


def test_a_folder_without_a_study(tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match="no study folder"):
        studies.open_study(tmp_path)


def test_frames_of_all_kinds_are_the_same_rows(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = keep_frame(frame, tmp_path)
    written = path.stat().st_mtime_ns
    for other in (pl.from_pandas(frame), pa.Table.from_pandas(frame, preserve_index=False)):
        assert keep_frame(other, tmp_path) == path
    assert path.stat().st_mtime_ns == written
    assert pl.read_parquet(path).equals(pl.from_pandas(frame))


def test_a_kept_frame_that_was_altered_is_named(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = keep_frame(frame, tmp_path)
    content = path.read_bytes()
    for place in range(0, len(content), len(content) // 40):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(AutoDPQError, match=r"frame\.parquet: damaged \(.*\); remove it to have it written anew"):
            keep_frame(frame, tmp_path)
    path.unlink()
    assert keep_frame(frame, tmp_path).read_bytes() == content
    (tmp_path / "frame.parquet.json").unlink()  # earlier versions wrote none
    assert keep_frame(frame, tmp_path) == path


def test_another_frame_needs_another_folder(frame: pd.DataFrame, tmp_path: Path) -> None:
    kept = keep_frame(frame, tmp_path).read_bytes()
    with pytest.raises(AutoDPQError, match="holds other rows"):
        keep_frame(frame.head(10), tmp_path)
    assert (tmp_path / "frame.parquet").read_bytes() == kept


@pytest.mark.parametrize(
    "options", [{"strategies": ["randm"]}, {"seeds": 0}, {"K": [8, 8]}, {"models": ["deepfm", "deepfm"]}]
)
def test_a_bad_option_is_refused_before_the_frame_is_written(frame: pd.DataFrame, tmp_path: Path, options: Any) -> None:
    with pytest.raises(AutoDPQError, match=f"--{next(iter(options))}|randm"):
        run(frame, tmp_path / "study", **options)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (pd.DataFrame({"a": [1, "x"]}, dtype=object), "dataset: column 'a': values of type int and str cannot be one"),
        ([[1, 2]], "dataset: list given"),
    ],
)
def test_a_frame_that_cannot_be_kept(bad: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match=message):
        keep_frame(bad, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_importing_studies_is_light() -> None:
    code = "import sys, studies; print(sorted({'torch', 'pandas', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture(scope="module")
def clicks() -> pd.DataFrame:
    """Clicks that follow from a truth value, a day and a whole number that is missing here and there."""
    rng = np.random.default_rng(3)
    day, mobile, slot = rng.integers(0, 12, 900), rng.random(900) < 0.5, rng.integers(0, 9, 900)
    click = (rng.random(900) < 1 / (1 + np.exp(-2 * np.sin(day) - 2 * mobile + 1 - np.cos(slot)))).astype(int)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D")
    return pd.DataFrame({"click": click, "day": days, "mobile": mobile, "slot": np.where(slot == 4, np.nan, slot)})


def test_a_model_of_a_csv_says_the_same_of_the_frame_that_it_came_from(clicks: pd.DataFrame, tmp_path: Path) -> None:
    clicks.astype({"slot": "Int64"}).to_csv(tmp_path / "clicks.csv", index=False)
    study = run(tmp_path / "clicks.csv", tmp_path / "out", strategies=["others"], threshold=80)
    served = open_model(study.export(tmp_path / "m.safetensors"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = served.predict(pl.read_csv(tmp_path / "clicks.csv", infer_schema=False))
        for frame in (clicks, clicks.convert_dtypes(), pl.from_pandas(clicks), pd.read_csv(tmp_path / "clicks.csv")):
            assert served.predict(frame).tolist() == expected.tolist()
    assert len(set(expected.tolist())) > 50


SCRIPT = """import studies
def main():
    studies.run("synthetic", out={out!r}, jobs={jobs}, seeds=1)
{call}
"""


@pytest.mark.parametrize(
    ("jobs", "call", "is_refused"),
    [
        (2, "main()", True),
        (2, "for _ in range(2):\n    main()", True),
        (2, 'if __name__ == "__main__":\n    main()', False),
        (1, "main()", False),
    ],
)
def test_a_script_without_a_main_guard_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, call: str, is_refused: bool
) -> None:
    reached = []
    monkeypatch.setattr("studies.runner.run_study", lambda *_: reached.append(1))
    monkeypatch.setattr("studies.study.write_report", lambda _: None)
    path = tmp_path / "mine.py"
    path.write_text(SCRIPT.format(out=str(tmp_path / "out"), jobs=jobs, call=call))
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(path), raising=False)
    script = compile(path.read_text(), str(path), "exec")
    if not is_refused:
        exec(script, {"__name__": "__main__"})
        assert reached
        return
    with pytest.raises(
        AutoDPQError, match=r"mine\.py, line [45]: a study with jobs above 1 .* put it below if __name__"
    ):
        exec(script, {"__name__": "__main__"})
    assert not reached and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["a", 1, None], "column 'bad': values of type int and str cannot"),
        ([datetime(2024, 1, 1).date(), "x", None], "column 'bad': values of type date and str cannot"),
        ([1j, 2j, 3j], "column 'bad': values of type complex cannot"),
        ([2**70, 1, 2], "column 'bad': values of type int cannot"),
    ],
)
def test_a_column_that_cannot_be_kept_is_named(tmp_path: Path, values: list[object], words: str) -> None:
    mixed = pd.DataFrame({"click": [0, 1, 0], "bad": pd.Series(values, dtype=object)})
    with pytest.raises(AutoDPQError, match=rf"^dataset: {words} be one column of parquet; convert[^\n]*$"):
        keep_frame(mixed, tmp_path)
    objects = pl.DataFrame({"click": [0, 1, 0], "bad": pl.Series(values, dtype=pl.Object)})
    with pytest.raises(AutoDPQError, match=r"^dataset: column 'bad': Python objects, which parquet cannot hold"):
        keep_frame(objects, tmp_path)
    twice = pd.concat([mixed[["click"]], mixed[["click"]]], axis=1)
    with pytest.raises(AutoDPQError, match=r"^dataset: two columns are called 'click'; rename one$"):
        keep_frame(twice, tmp_path)
    assert not list(tmp_path.iterdir())


def test_sparse_columns_are_kept(tmp_path: Path) -> None:
    dense = pd.DataFrame({"click": [0, 1, 0], "a": [0, 0, 7], "b": [float("nan"), 1.5, 2.5]})
    sparse = dense.astype({"a": pd.SparseDtype(int, 0), "b": pd.SparseDtype(float)})
    assert pl.read_parquet(keep_frame(sparse, tmp_path)).equals(pl.from_pandas(dense))
