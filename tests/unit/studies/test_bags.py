"""``--multi``: a study whose rows have several values of a field, from the file to predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from support.small_study import Run, small_study

import autodpq
from autodpq.errors import AutoDPQError
from autodpq.packed.file import open_packed
from autodpq.packed.load import PackedNetwork
from autodpq.packed.manifest import BAGS_FORMAT, Manifest
from autodpq.plan import Bag
from autodpq.records.folder import entries, read_config, read_finished, read_records
from autodpq.serving import open_model
from reports.tables.file_audit import file_audit_text
from studies.cli.inspection import inspect_data
from studies.exported.predict import predict_file
from studies.folder.frames import keep_frame
from studies.folder.models import export_run
from studies.prepared import LOADING, load_rows, prepare_for

TAGS = [f"tag {number}" for number in range(25)]
PAPER = "fe,others,random,autodpq(search_epochs=1)"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A study on rows with none to four tags each."""
    folder = tmp_path_factory.mktemp("bags")
    run = small_study(folder)
    frame, rng = pd.read_csv(folder / "own.csv"), np.random.default_rng(4)
    drawn = [rng.choice(25, size, p=np.arange(25, 0, -1) / 325) for size in rng.integers(0, 5, len(frame))]
    clicks = [np.sin(own).sum() + rng.normal(0, 0.5) > 0 for own in drawn]
    frame["click"] = np.where(rng.random(len(frame)) < 0.7, clicks, frame["click"]).astype(int)
    frame["tags"] = ["; ".join(TAGS[number] for number in own) for own in drawn]
    frame.to_csv(folder / "tagged.csv", index=False)
    run("random", "paper", dataset=str(folder / "tagged.csv"), multi=("tags",), trials=1, threshold=8)
    return run, folder


@pytest.fixture(scope="module")
def all_strategies(world: tuple[Run, Path]) -> tuple[Run, Path]:
    """The same rows searched by others, and in the wide space."""
    run, folder = world
    options: dict[str, Any] = {"dataset": str(folder / "tagged.csv"), "multi": ("tags",), "trials": 1}
    run(PAPER, "paper", **options, threshold=8)
    wide = {"K": None, "D": None, "space": "wide", "budget": ("50%",), "calibrate": True}
    run("fe,sensitivity,autodpq(search_epochs=1)", "wide", **options | wide)
    return world


def networks(study: Path) -> Any:
    """Of each run its result, its test rows, its predictions, and its file as torch and as numpy read it."""
    for path, _ in read_records(study).items():
        config = read_config(path.with_name("config.json"))
        loading = {name: config.loading.get(name) for name in LOADING}
        test = prepare_for(lambda own=loading: load_rows(own), entries(config.data)).test()  # type: ignore[misc]
        file = study / "models" / f"{path.parent.name}.safetensors"
        network = autodpq.load(file)
        assert isinstance(network, PackedNetwork)
        kept = pd.read_parquet(path.with_name("predictions.parquet"))["probability"].to_numpy()
        yield read_finished(path), test, kept, network, open_model(file)


def test_training_torch_and_numpy_read_the_same(world: tuple[Run, Path]) -> None:
    check_readers(world[1] / "paper", 1)


@pytest.mark.slow
def test_readers_of_every_strategy_s_plan(all_strategies: tuple[Run, Path]) -> None:
    check_readers(all_strategies[1] / "paper", 4)
    check_readers(all_strategies[1] / "wide", 3)


def check_readers(study: Path, expected: int) -> None:
    n_runs = 0
    for result, test, kept, network, served in networks(study):
        n_runs += 1
        assert result.record.error is None
        assert network.manifest.bags == {"tags": Bag(";", 4)} and network.manifest.format == BAGS_FORMAT
        assert network.manifest.columns == (1, 1, 4) and test.ids.shape[1] == 6
        logits = network.score(test.ids.copy())
        np.testing.assert_array_equal(torch.from_numpy(logits).double().sigmoid().numpy(), kept)
        np.testing.assert_allclose(served.score(test.ids), logits, rtol=0, atol=1e-5)
        ids = torch.from_numpy(test.ids.copy())
        np.testing.assert_array_equal(served.embed(test.ids), network.embed(ids).numpy())
        floors = result.floors
        assert floors is not None and floors.additive is not None and floors.additive.auc > 0.55
    assert n_runs == expected


def test_values_are_read_as_training_read_them(world: tuple[Run, Path], tmp_path: Path) -> None:
    frame = pd.read_csv(world[1] / "tagged.csv", keep_default_na=False)
    test = frame[frame["part"] == "test"].drop(columns=["click", "part"])
    lists = {**test.to_dict("list"), "tags": [[tag for tag in tags.split("; ") if tag] for tags in test["tags"]]}
    pl.DataFrame(lists).write_parquet(tmp_path / "new.parquet")
    test.to_csv(tmp_path / "new.csv", index=False)
    for result, _, kept, network, served in networks(world[1] / "paper"):
        np.testing.assert_allclose(served.predict(test), kept, atol=1e-6)
        np.testing.assert_allclose(network.predict(pl.DataFrame(test)), kept, atol=1e-6)
        model = world[1] / "paper" / "models" / f"{result.run}.safetensors"
        for suffix in ("csv", "parquet"):
            told = predict_file(model, tmp_path / f"new.{suffix}", tmp_path / "out.csv")
            assert told.n_rows == len(test) and told.unseen["tags"] == 0
            np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")["probability"], kept, atol=1e-6)


def test_a_bag_may_be_longer_than_any_in_training(world: tuple[Run, Path]) -> None:
    _, _, _, network, served = next(networks(world[1] / "paper"))
    asked = {"user": [1, 1, 1], "item": [2, 2, 2], "tags": ["; ".join(TAGS[:9]), "; ".join(TAGS[8::-1]), "tag 0;new"]}
    ids, columns = served.vocabulary.encode_bags(pl.DataFrame(asked), "asked")
    assert columns == (1, 1, 9) and ids.shape == (3, 11)
    expected = served.lookup("tags", ids[0, 2:]).mean(0)
    np.testing.assert_allclose(served.embed(ids, columns)[:2, 2], [expected, expected], atol=1e-6)
    fallback = served.manifest.tables[2].fallback
    new = (served.lookup("tags", [ids[2, 2]])[0] + served.lookup("tags", [fallback])[0]) / 2
    np.testing.assert_allclose(served.embed(ids, columns)[2, 2], new, atol=1e-6)
    np.testing.assert_allclose(served.predict(asked), network.predict(asked), atol=1e-6)
    for ask in (lambda: served.score(ids), lambda: network.score(ids)):
        with pytest.raises(AutoDPQError, match=r"ids of shape \[3, 11\] given, \[batch, 6\] is needed"):
            ask()


def test_a_bag_without_a_value_is_no_id(world: tuple[Run, Path]) -> None:
    _, test, _, network, served = next(networks(world[1] / "paper"))
    ids = test.ids[:2].copy()
    ids[:, 2:] = -1
    with pytest.raises(AutoDPQError, match="id -1 given"):
        served.score(ids)
    with pytest.raises(IndexError, match="id -1 given"):
        network.score(ids)


def test_exported_files_keep_how_bags_are_read(world: tuple[Run, Path], tmp_path: Path) -> None:
    study = world[1] / "paper"
    (run,) = [path.parent for path, record in read_records(study).items() if record.strategy == "random"]
    lines = export_run(
        run, tmp_path / "model.safetensors", head_dtype="float16", hashed_vocabulary=True, onnx=None,
        data_dir=None, cache_dir=None,
    )  # fmt: skip
    assert [line for line in lines if line.endswith("as float16")]
    manifest = open_packed(tmp_path / "model.safetensors").manifest
    assert manifest.bags == {"tags": Bag(";", 4)} and manifest.format == BAGS_FORMAT
    asked = {"user": [1], "item": [2], "tags": ["tag 3;tag 1"]}
    served = open_model(tmp_path / "model.safetensors")
    np.testing.assert_allclose(served.predict(asked), open_model(model_of(study, run)).predict(asked), atol=2e-3)
    assert "tags: bags of values, 4 at most in training" in file_audit_text(tmp_path / "model.safetensors")
    text = manifest.to_json()
    assert Manifest.from_json(text) == manifest
    for old, new, said in (
        ('"columns":4', '"columns":0', "1 to 255 are possible"),
        ('"columns":4', '"columns":"4"', "impossible"),
        ('"bags":{"tags"', '"bags":{"gone"', "such as have no table"),
        ('"missing":[]', '"missing":0', "missing values that are no list"),
        ('"format":5', '"format":4', "has not the entries"),
    ):
        assert text.count(old) == 1
        with pytest.raises(AutoDPQError, match=said):
            Manifest.from_json(text.replace(old, new))


def model_of(study: Path, run: Path) -> Path:
    return study / "models" / f"{run.name}.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "strategy"), [("paper", "random"), ("wide", "sensitivity")])
def test_onnx_gives_the_same(all_strategies: tuple[Run, Path], name: str, strategy: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    from autodpq.packed.onnx import export_onnx

    study = all_strategies[1] / name
    for result, test, kept, _, _ in networks(study):
        if result.record.strategy != strategy:
            continue
        export_onnx(open_packed(study / "models" / f"{result.run}.safetensors"), tmp_path / "model.onnx")
        session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
        found = session.run(["probabilities"], {"ids": test.ids.astype(np.int64)})[0]
        np.testing.assert_allclose(found, kept, atol=1e-6)
        assert '"name": "tags"' in session.get_modelmeta().custom_metadata_map["fields"]
        assert '"columns": 4' in session.get_modelmeta().custom_metadata_map["fields"]


def test_inspection_counts_samples(world: tuple[Run, Path]) -> None:
    loading = {"dataset": str(world[1] / "tagged.csv"), "cache_dir": str(world[1] / "cache"), "multi": ("tags",)}
    found = inspect_data(loading, threshold=40)
    frame = pd.read_csv(world[1] / "tagged.csv", keep_default_na=False)
    bags = [{tag for tag in tags.split("; ")} for tags in frame["tags"]]
    counts = pd.Series([tag for tags in frame["tags"] for tag in tags.split("; ")]).value_counts()
    rare = set(counts[counts < 40].index)
    (field,) = [field for field in found.fields if field.name == "tags"]
    assert field.kind == "bags" and field.cardinality == len(counts) and field.head == len(counts) - len(rare)
    assert field.rare_samples == pytest.approx(np.mean([bool(bag & rare) for bag in bags]))
    assert any("tags is read as bags of up to 4 values between ';'" in note for note in found.notes)


def test_a_frame_s_lists_are_bags(world: tuple[Run, Path], tmp_path: Path) -> None:
    frame = pd.read_csv(world[1] / "tagged.csv", keep_default_na=False)
    lists = frame.assign(tags=[[tag for tag in tags.split("; ") if tag] for tags in frame["tags"]])
    for number, own in enumerate((lists, pl.from_pandas(lists))):
        path = keep_frame(own, tmp_path / str(number))
        loading = {"dataset": str(path), "multi": ("tags",), "split_column": "part"}
        found = load_rows({**loading, "cache_dir": str(tmp_path / "cache")})
        text = {**loading, "dataset": str(world[1] / "tagged.csv"), "cache_dir": str(world[1] / "cache")}
        np.testing.assert_array_equal(found.ids, load_rows(text).ids)
        assert found.bags == {"tags": Bag("", 4)}
