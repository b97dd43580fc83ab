"""From a study to a model that is served: ``export``, ``audit RUN`` and ``predict`` through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support.command_line import Call
from support.command_line import call_here as call_in_process

import autodpq
from autodpq.data import load_dataset, split_dataset
from autodpq.metrics import evaluate_predictions
from autodpq.models import MODELS
from autodpq.packed.file import open_packed
from autodpq.serving import open_model
from studies.config import SPLIT_SEED


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, own_csv: Path, cache: Path) -> Path:
    out = tmp_path_factory.mktemp("taken") / "study"
    text = f"run --dataset {own_csv} --strategies fe,others,autodpq --seeds 1 --K 5 --D 4 --threshold 8 --out {out}"
    done = call_in_process(*text.split(), cache=cache)
    assert done.code == 0, done.err
    assert f"autodpq-study export {out} --out model.safetensors" in done.out, "the way to a model is shown"
    return out


def records_of(study: Path) -> pd.DataFrame:
    return pd.read_csv(study / "records.csv").set_index("strategy")


def run_of(study: Path, strategy: str) -> Path:
    return study / "runs" / records_of(study).loc[strategy, "run"]


@pytest.fixture(scope="module")
def exported(study: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "clicks.safetensors"
    done = call_in_process("export", run_of(study, "autodpq"), "--out", out, cache=cache)
    assert done.code == 0, done.err
    return out


def test_every_run_keeps_a_model_of_the_bytes_that_its_record_says(study: Path) -> None:
    for strategy, record in records_of(study).iterrows():
        packed = open_packed(study / "models" / f"{record['run']}.safetensors")
        assert sum(packed.sizes.values()) - packed.sizes["header"] == record["bytes"], strategy
        assert packed.manifest.about["strategy"] == strategy
        assert packed.manifest.about["metrics"]["test_auc"] == record["test_auc"]
    (vocabulary,) = (study / "models").glob("*.vocabulary.parquet")  # which the runs share
    assert (records_of(study)["vocabulary_bytes"] == vocabulary.stat().st_size).all()


def test_exported_hashes_give_the_probabilities_of_texts(
    exported: Path, study: Path, own_csv: Path, cache: Path, tmp_path: Path
) -> None:
    hashed = tmp_path / "hashed.safetensors"
    done = call_in_process("export", run_of(study, "autodpq"), "--out", hashed, "--hashed-vocabulary", cache=cache)
    beside = tmp_path / "hashed.vocabulary.safetensors"
    assert done.code == 0 and f"{beside}: {beside.stat().st_size:,} bytes, what ids stand for, hashed" in done.out
    scores = []
    for model in (exported, hashed):
        scores.append(tmp_path / f"{model.stem}.csv")
        done = call_in_process("predict", model, "--input", own_csv, "--out", scores[-1], cache=cache)
        assert done.code == 0, done.err
    assert scores[0].read_bytes() == scores[1].read_bytes()
    audited = call_in_process("audit", hashed, cache=cache).out
    assert "format 4" in audited and "hashes of values (xxh64)" in " ".join(audited.split())
    assert f"{beside.stat().st_size:,}" in audited


def test_loaded_model_gives_the_numbers_of_the_record(exported: Path, study: Path, own_csv: Path, cache: Path) -> None:
    dataset = load_dataset(own_csv, cache_dir=cache)
    test = dataset.rows(split_dataset(dataset, SPLIT_SEED, "random").test)
    record = records_of(study).loc["autodpq"]
    with torch.inference_mode():
        logits = autodpq.load(exported)(torch.from_numpy(test.ids))
    metrics = evaluate_predictions(logits.double().sigmoid().numpy(), test.labels)
    assert (metrics.auc, metrics.logloss) == (record["test_auc"], record["test_logloss"])
    assert np.allclose(open_model(exported).score(test.ids), logits.numpy(), atol=1e-5)


def test_files_of_values_become_files_of_probabilities(
    exported: Path, own_csv: Path, cache: Path, tmp_path: Path, call_here: Call
) -> None:
    frame = pd.read_csv(own_csv)
    frame.insert(0, "request", [f"r{number}" for number in range(len(frame))])
    frame.loc[0, "user"] = 987654321  # never seen
    frame.to_parquet(tmp_path / "clicks.parquet", index=False)
    done = call_here("predict", exported, "--input", tmp_path / "clicks.parquet", "--out", tmp_path / "scores.parquet")
    assert done.code == 0, done.err
    assert "3,000 rows in" in done.out and "user in 1 (0.0%)" in done.out
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(scores.columns) == ["request", "click", "probability"]
    assert scores["request"].tolist() == frame["request"].tolist()
    dataset = load_dataset(own_csv, cache_dir=cache)
    ids = torch.from_numpy(np.array(dataset.ids))
    model = autodpq.load(exported)
    ids[0, 0] = model.manifest.tables[0].fallback
    with torch.inference_mode():
        expected = torch.cat([model(part) for part in ids.split(500)]).double().sigmoid().numpy()
    assert np.allclose(scores["probability"], expected, atol=1e-6)


@pytest.mark.parametrize("head_dtype", ["float16", "int8"])
def test_smaller_rows_are_exported_with_their_loss(
    study: Path, tmp_path: Path, call_here: Call, head_dtype: str
) -> None:
    run, out = run_of(study, "autodpq"), tmp_path / "small.safetensors"
    done = call_here("export", run, "--out", out, "--head-dtype", head_dtype)
    assert done.code == 0, done.err
    last = done.out.strip().splitlines()[-1]
    assert last.startswith("test AUC 0.") and last.endswith(f"as {head_dtype}")
    shown = float(last.split("(")[1].split(")")[0])
    assert abs(shown) < 0.02
    kept = open_packed(study / "models" / f"{run.name}.safetensors")
    assert sum(open_packed(out).sizes.values()) < sum(kept.sizes.values())


@pytest.mark.slow  # a page of the documentation exports such a file, and test_onnx.py makes one of all kinds
def test_onnx_gives_the_same_probabilities(study: Path, exported: Path, tmp_path: Path, call_here: Call) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx = tmp_path / "model.onnx"
    done = call_here("export", run_of(study, "autodpq"), "--out", tmp_path / "model.safetensors", "--onnx", onnx)
    assert done.code == 0, done.err
    served = open_model(exported)
    rng = np.random.default_rng(0)
    ids = np.stack([rng.integers(0, table.n_rows, 64) for table in served.manifest.tables], 1)
    (probabilities,) = onnxruntime.InferenceSession(onnx).run(["probabilities"], {"ids": ids})
    assert np.allclose(probabilities, 1 / (1 + np.exp(-served.score(ids).astype(float))), atol=1e-5)


OWN_MODEL = """
from torch import nn
from autodpq.models import CTRModel

class Level(CTRModel):
    name = "level"

    def __init__(self, n_fields, embedding_dim, hidden, dropout):
        super().__init__(n_fields, embedding_dim, hidden, dropout)
        self.out = nn.Linear(n_fields * embedding_dim, 1)

    def forward(self, embeddings):
        return self.out(embeddings.flatten(1)).squeeze(1)
"""


def test_a_model_of_ones_own_is_scored_by_its_class(own_csv: Path, tmp_path: Path, call_here: Call) -> None:
    model, study, out = tmp_path / "mine.py", tmp_path / "study", tmp_path / "level.safetensors"
    model.write_text(OWN_MODEL)
    given = ("--models", f"{model}:Level", "--strategies", "others", "--seeds", "1", "--K", "4", "--D", "2")
    done = call_here("run", "--dataset", own_csv, *given, "--threshold", "8", "--out", study)
    assert done.code == 0, done.err
    MODELS.forget("level")  # as in the next process
    try:
        refused = call_here("export", study, "--out", out, "--onnx", tmp_path / "level.onnx")
        assert refused.code == 2 and "(--model FILE.py:Class)" in refused.err and not out.exists()
        done = call_here("export", study, "--out", out)
        assert done.code == 0 and "'level' is no installed one: who scores with it gives --model" in done.out
        refused = call_here("predict", out, "--input", own_csv, "--out", tmp_path / "scores.csv")
        assert refused.code == 2 and "(--model FILE.py:Class)" in refused.err
        done = call_here(
            "predict", out, "--input", own_csv, "--out", tmp_path / "scores.csv", "--model", f"{model}:Level"
        )
        assert done.code == 0 and len(pd.read_csv(tmp_path / "scores.csv")) == len(pd.read_csv(own_csv)), done.err
        assert call_here("audit", out).code == 0
    finally:
        MODELS.forget("level")


def test_audit_of_a_run_and_of_a_file_tell_every_byte(study: Path, exported: Path, call_here: Call) -> None:
    run = run_of(study, "autodpq")
    by_run, by_file = call_here("audit", run), call_here("audit", exported)
    assert by_run.code == by_file.code == 0, by_run.err + by_file.err
    assert f"{exported.stat().st_size:,}" in by_file.out
    kept = study / "models" / f"{run.name}.safetensors"
    assert f"{kept.stat().st_size:,}" in by_run.out
    done = call_here("audit", run, "--threshold", "5")
    assert done.code == 2 and "leave out the run or the options" in done.err


def test_of_a_study_the_best_compressed_model_is_taken_away(study: Path, tmp_path: Path, call_here: Call) -> None:
    compressed = records_of(study).drop(index="fe")
    best = compressed.loc[compressed["valid_auc"].idxmax(), "run"]
    done = call_here("export", study, "--out", tmp_path / "model.safetensors")
    assert done.code == 0, done.err
    assert open_packed(tmp_path / "model.safetensors").manifest.about["run"] == best
    done = call_here("audit", study)
    assert done.code == 0 and f"{(study / 'models' / f'{best}.safetensors').stat().st_size:,}" in done.out


def test_what_cannot_be_taken_away_is_one_line(study: Path, tmp_path: Path, call_here: Call, exported: Path) -> None:
    out = tmp_path / "model.safetensors"
    copy = shutil.copytree(study, tmp_path / "copy")
    run = run_of(copy, "others")
    (copy / "models" / f"{run.name}.safetensors").unlink()
    (tmp_path / "cut.safetensors").write_bytes(exported.read_bytes()[:-7])
    own = json.loads((run_of(copy, "fe") / "config.json").read_text())
    own["data"]["fingerprint"] = "0" * 64
    del own["seal"]
    (run_of(copy, "fe") / "config.json").write_text(json.dumps(own))
    only_fe = shutil.copytree(study, tmp_path / "fe")
    for strategy in ("others", "autodpq"):
        (run_of(only_fe, strategy) / "result.json").unlink()
    for arguments, words in {
        ("export", study / "runs", "--out", out): "this is no folder of a run (STUDY/runs/RUN)",
        ("export", only_fe, "--out", out): f"no finished run compresses anything; name a run, {only_fe / 'runs'}/RUN",
        ("export", run, "--out", out): "kept no models",
        ("export", run_of(study, "fe"), "--out", tmp_path / "model.bin"): "ends in .safetensors",
        ("export", run_of(study, "fe"), "--out", tmp_path / "nowhere" / "a.safetensors"): "cannot be written",
        ("export", run_of(copy, "fe"), "--out", out, "--head-dtype", "int8"): "its rows are not those",
        ("audit", tmp_path / "cut.safetensors"): "cut off or altered",
        ("audit", tmp_path): "no folder of a run",
        ("predict", tmp_path / "none.safetensors", "--input", "a.csv", "--out", "b.csv"): "none.safetensors",
    }.items():
        done = call_here(*arguments)
        assert done.code == 2 and words in done.err and done.err.count("\n") == 1, (arguments, done.err)
    assert not out.exists()
