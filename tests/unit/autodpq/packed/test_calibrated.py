"""A file whose logits are calibrated: whatever reads it gives the same, and none reads it as if it were not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch
from support.packed_files import crafted, parts_of
from support.packed_models import random_ids, torch_logits, values_of, write_model

import autodpq
from autodpq.calibration import Calibration
from autodpq.errors import AutoDPQError
from autodpq.serving import open_model
from reports.tables.file_audit import file_audit_text
from studies.exported.predict import predict_file

CALIBRATION = Calibration(0.3123456789, -2.2)


def calibrated(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return (CALIBRATION.scale * logits.astype(np.float64) + CALIBRATION.shift).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.safetensors"


@pytest.mark.parametrize("model", ["deepfm", "dcn"])
def test_every_reader_applies_it(path: Path, model: str) -> None:
    network = write_model(path, model, calibration=CALIBRATION)
    ids = random_ids(3000)
    with network.embedding.settled():
        plain = torch_logits(network, ids)
    expected = calibrated(plain)
    assert np.abs(expected - plain).mean() > 0.5, "it matters"
    loaded, served = autodpq.load(path), open_model(path)
    with torch.inference_mode():
        np.testing.assert_array_equal(loaded(torch.from_numpy(ids)).numpy(), expected)
    assert served.score(ids).dtype == np.float32
    np.testing.assert_allclose(served.score(ids), expected, rtol=1e-5, atol=1e-5)
    probabilities = 1 / (1 + np.exp(-expected.astype(np.float64)))
    for found in (loaded.predict(values_of(ids)), served.predict(values_of(ids))):
        np.testing.assert_allclose(found, probabilities, atol=1e-6)
    values_of(ids).write_parquet(path.with_name("clicks.parquet"))
    predict_file(path, path.with_name("clicks.parquet"), path.with_name("scores.parquet"))
    np.testing.assert_allclose(
        pl.read_parquet(path.with_name("scores.parquet"))["probability"], probabilities, atol=1e-6
    )


def test_smaller_rows_keep_it(path: Path) -> None:
    write_model(path, calibration=CALIBRATION)
    small = autodpq.export(path, path.with_name("small.safetensors"), head_dtype="int8")
    assert small.manifest.calibration == CALIBRATION
    ids = random_ids(200)
    assert np.abs(open_model(small.path).score(ids) - open_model(path).score(ids)).max() < 0.05


def test_a_file_without_is_as_it_was_and_one_with_differs_by_its_manifest_alone(path: Path) -> None:
    write_model(path)
    before, data = parts_of(path)
    manifest = json.loads(before["__metadata__"]["autodpq"])
    assert manifest["format"] == 1 and list(manifest) == [
        "kind", "tables", "model", "vocabulary", "version", "about", "format"
    ]  # fmt: skip
    write_model(path, calibration=CALIBRATION)
    after, own_data = parts_of(path)
    assert own_data == data and {**after, "__metadata__": None} == {**before, "__metadata__": None}
    told = json.loads(after["__metadata__"]["autodpq"])
    assert told == {**manifest, "calibration": {"scale": CALIBRATION.scale, "shift": CALIBRATION.shift}, "format": 2}


def test_altering_it_or_taking_it_out_shows(path: Path) -> None:
    write_model(path, calibration=CALIBRATION)
    content = path.read_bytes()
    scale = str(CALIBRATION.scale).encode()
    assert content.count(scale) == 1
    path.write_bytes(content.replace(scale, scale[:-1] + (b"1" if scale[-1:] != b"1" else b"2")))
    with pytest.raises(AutoDPQError, match="its content is not what was exported"):
        open_model(path)
    path.write_bytes(content)
    header, data = parts_of(path)
    manifest = json.loads(header["__metadata__"]["autodpq"])
    del manifest["calibration"]
    header["__metadata__"]["autodpq"] = json.dumps(manifest)
    path.write_bytes(crafted(header, data))
    with pytest.raises(AutoDPQError, match="the manifest in its manifest has not the entries about, calibration"):
        open_model(path)


def test_the_audit_tells(path: Path) -> None:
    write_model(path)
    assert "alibrated" not in file_audit_text(path)
    write_model(path, calibration=CALIBRATION)
    text = file_audit_text(path)
    assert "format 2" in text and "Logits are calibrated: times 0.312346, plus -2.2." in text
