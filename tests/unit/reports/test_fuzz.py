"""Altered studies, by chance: each reader refuses them in one line, or what it reads can be shown and gone on with."""

from __future__ import annotations

import io
import json
import re
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_studies import make_config, write_study
from support.fuzzing import altered_json, json_values, spliced

from autodpq.choices import DPQ, Full, Others
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.testing import FIELDS, make_task, make_trainer
from autodpq.trial import Outcome
from reports import (
    calibration_table,
    headroom_table,
    load_study,
    statistics_table,
    table1,
    table2,
    verdicts,
    write_report,
)
from reports.figures.plans import rare_bits_per_value
from reports.numbers import bootstrap
from reports.numbers.curves import mean_curve, run_curve
from studies.folder.records import RunFolder
from studies.folder.status import status_lines

# What json.dumps cannot write, by the text that stands for it.
UNWRITABLE = {"<deep>": "[" * 100_000 + "]" * 100_000, "<huge>": "9" * 5000, "<overflow>": "1e999"}
NASTY = [
    *UNWRITABLE, -1, 0, 1 << 31, 1 << 63, 10**400, 0.5, 5e-324, 1e-9, 1e308, float("inf"), float("nan"), True, None, "",
    "\ud800", "\0", "a\nb", "\u2028", "../a", "x" * 100_000, "dpq(256,8)", "full", "fe", "autodpq", [], {}, [[]],
    [None], "{}", '{"user":"full"}',
]  # fmt: skip
VALUES = json_values(NASTY)
PLANS = [
    CompressionPlan({"user": choice, "item": choice, "device": Full()}) for choice in (DPQ(2, 1), Others(), DPQ(4, 2))
]
UNFINISHED = "runs/bbbbbbbbbbbb"
READ = "result.json", "result.json", "config.json", "predictions.parquet"
ALSO_THERE = "study.json", "trials.jsonl", "curve.jsonl"


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "MOST_RESAMPLES", 10)
        patch.setattr(bootstrap, "LEAST_RESAMPLES", 10)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of six runs that are done and one that was interrupted."""
    folder = tmp_path_factory.mktemp("fuzzed") / "study"
    folder.mkdir()
    strategies = ("fe", "random", "autodpq")
    seeds, models = (0, 1), ("deepfm",)
    write_study(folder, strategies=strategies, seeds=seeds, models=models, fields=FIELDS, truth=True, test_rows=40)
    (folder / "study.json").write_text(json.dumps({"study": "fake", "recipe": "strong", "init": "pretrained"}))
    for path in folder.glob("runs/*/result.json"):
        record = json.loads(path.read_text())["record"]
        asked = {name: record[name] for name in ("model", "strategy", "seed")}
        path.with_name("config.json").write_text(json.dumps(make_config(data={"name": "own"}, **asked)))
    run = folder / UNFINISHED
    (run / "incumbents").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps(make_config(data={"name": "own"}, model="deepfm", strategy="tpe")))
    for name, lines in (
        ("trials", map(trial_line, range(3))),
        ("curve", [{"seconds": 1.5, "phase": "search", "valid_auc": 0.7}]),
    ):
        (run / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for number in range(3):
        (run / "incumbents" / f"{number}.safetensors").touch()
    return folder


def trial_line(number):
    trial = {"number": number, "plan": PLANS[number].to_json(), "state": "complete", "valid_auc": 0.7 + number / 100}
    costs = {"parameters": 1, "bytes": 1, "seconds": {"search": 0.5}, "epochs": 2, "attempts": 1}
    return {**trial, **costs, "valid_logloss": 0.5, "error": None, "valid_aucs": [0.6, trial["valid_auc"]]}


@contextmanager
def one_file_altered(study, data, *names):
    originals = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    name = data.draw(st.sampled_from(names))
    path = data.draw(st.sampled_from(sorted(path for path in originals if path.name == name)))
    content = altered(data, path.suffix, originals[path])
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    try:
        yield
    finally:
        for path, original in originals.items():
            if not path.exists() or path.read_bytes() != original:
                path.write_bytes(original)


def altered(data, suffix, content):
    """What damage, or another program, may make of a file; None for no file."""
    way = data.draw(st.sampled_from(["removed", "cut", *["spliced"] * 3, *["edited"] * 7]))
    if way == "removed":
        return None
    if way == "cut":
        return content[: data.draw(st.integers(0, len(content)))]
    if way == "spliced":
        return spliced(data, content)
    if suffix == ".parquet":
        return edited_predictions(data, content)
    if suffix == ".jsonl":
        lines = content.splitlines(keepends=True)
        number = data.draw(st.integers(0, len(lines) - 1))
        lines[number] = edited_json(data, lines[number]) + b"\n"
        return b"".join(lines)
    return edited_json(data, content)


def edited_predictions(data, content):
    columns = pq.read_table(io.BytesIO(content)).to_pydict()
    way, name = (
        data.draw(st.sampled_from([*["cell"] * 6, "column", "row"])),
        data.draw(st.sampled_from(sorted(columns))),
    )
    values = columns[name]
    row = data.draw(st.integers(0, len(values) - 1))
    if way == "cell":
        values[row] = data.draw(st.none() | st.floats() if name == "probability" else st.none() | st.integers(0, 255))
    elif way == "row":
        columns = {name: [*own[:row], *own[row + 1 :]] for name, own in columns.items()}
    types = {"label": data.draw(st.sampled_from([*[pa.uint8()] * 5, pa.float64()])), "probability": pa.float64()}
    if way == "column":
        del columns[name]
    stream = io.BytesIO()
    pq.write_table(pa.table({name: pa.array(own, types[name]) for name, own in columns.items()}), stream)
    return stream.getvalue()


def edited_json(data, content):
    text = json.dumps(altered_json(data, json.loads(content), VALUES))
    for short, whole in UNWRITABLE.items():
        text = text.replace(json.dumps(short), whole)
    keys = re.findall(r'"(\w+)": ', text[:5000])
    if keys and not data.draw(st.integers(0, 9)):
        key = data.draw(st.sampled_from(keys))
        text = text.replace(f'"{key}": ', f'"{key}": {json.dumps(data.draw(st.none() | st.text()))}, "{key}": ', 1)
    return text.encode()


@contextmanager
def refused_in_one_line(study):
    """What is refused names a file of the study."""
    try:
        yield
    except AutoDPQError as error:
        message = str(error)
        assert message.startswith(str(study)) and len(message.splitlines()) == 1 and message.encode()


def check_report(study, data):
    with one_file_altered(study, data, *READ, *ALSO_THERE), refused_in_one_line(study):
        results = load_study(study)
        assert all(sentence.endswith(".") and len(sentence.splitlines()) == 1 for sentence in verdicts(results))
        tables = (table1(results), table2(results), statistics_table(results), headroom_table(results))
        for table in (*tables, calibration_table(results)):
            for text in (table.to_markdown(), table.to_latex(), table.to_csv(), table.to_text()):
                assert text.encode()
        for dataset, model in results.pairs():
            runs = results.runs_of(dataset, model)
            mean_curve([run_curve(run) for run in runs])
            assert all(rare_bits_per_value(field) > 0 for run in runs for field in run.fields if field.field.tail)


def check_status(study, data):
    with (
        one_file_altered(study, data, "study.json", "config.json", "result.json", "trials.jsonl"),
        refused_in_one_line(study),
    ):
        assert list(status_lines(study))[-1].endswith("runs are done; stopped: the same command goes on")


def check_resumed(study, data):
    def fails(plans, numbers, prune):
        for _ in plans:
            yield Outcome(None, None, 0.0, (), None, "RuntimeError: made to fail")

    with one_file_altered(study, data, "trials.jsonl", "curve.jsonl"), refused_in_one_line(study):
        journal = RunFolder(study / UNFINISHED, make_trainer())
        task = make_task(trials=None, journal=journal, executor=fails, init="scratch")
        assert len(task.evaluate_many(PLANS, lambda number, valid_aucs: False)) == len(PLANS)


CHECKS = [check_report, check_status, check_resumed]


@pytest.mark.parametrize("check", CHECKS)
@settings(max_examples=5)
@given(data=st.data())
def test_altered_studies_are_errors_of_ours(check, study, data):
    check(study, data)


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
@settings(max_examples=10_000)
@given(data=st.data())
def test_altered_studies_ten_thousand_times(check, study, data):
    check(study, data)


def check_written(study, data):
    with one_file_altered(study, data, *READ), refused_in_one_line(study):
        assert write_report(study)


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
@settings(max_examples=1)
@given(data=st.data())
def test_what_is_read_of_altered_studies_can_be_drawn(study, data):
    check_written(study, data)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
@settings(max_examples=1000)
@given(data=st.data())
def test_what_is_read_of_altered_studies_can_be_drawn_a_thousand_times(study, data):
    check_written(study, data)
