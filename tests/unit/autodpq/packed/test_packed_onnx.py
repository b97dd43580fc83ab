from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from packed_models import FALLBACKS, FIELDS, random_ids, torch_logits, write_model

import autodpq
from autodpq.errors import AutoDPQError
from autodpq.packed.codes import pack_codes
from autodpq.packed.file import open_packed, write_packed
from autodpq.packed.manifest import Manifest, ModelSpec
from autodpq.packed.onnx import export_onnx
from autodpq.packed.table import TableSpec
from autodpq.plan import DPQ


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options)


@pytest.mark.parametrize("model", ["deepfm", "pnn", "dcn", "dcnv2"])
def test_onnx_gives_what_the_network_gives(model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.onnx"
    network = write_model(tmp_path / "a.safetensors", model)
    export_onnx(open_packed(tmp_path / "a.safetensors"), path)
    assert capfd.readouterr() == ("", ""), "the exporter is quiet"
    served = session(path)
    for n_rows in (1, 2, 7, 2048):
        ids = random_ids(n_rows)
        probabilities, logits = served.run(["probabilities", "logits"], {"ids": ids.astype(np.int64)})
        expected = torch_logits(network, ids)
        assert logits.shape == (n_rows,) and np.allclose(logits, expected, atol=1e-5)
        assert np.allclose(probabilities, 1 / (1 + np.exp(-expected)), atol=1e-5)
    for column in range(len(FIELDS)):
        for outside in (-1, FIELDS[column].cardinality, 1 << 33):
            ids = random_ids(3).astype(np.int64)
            ids[1, column] = outside
            with pytest.raises(Exception, match=r"out of data bounds|indices element"):
                served.run(None, {"ids": ids})
    told = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}
    assert told["fields"] == [
        {"name": field.name, "unseen": unseen} for field, unseen in zip(FIELDS, FALLBACKS, strict=True)
    ]


@pytest.mark.parametrize("head_dtype", ["float16", "int8"])
def test_rows_stay_as_they_are_stored(head_dtype: str, tmp_path: Path) -> None:
    write_model(tmp_path / "a.safetensors")
    packed = autodpq.export(tmp_path / "a.safetensors", tmp_path / "b.safetensors", head_dtype=head_dtype)
    export_onnx(packed, tmp_path / "b.onnx")
    ids = random_ids(100)
    (logits,) = session(tmp_path / "b.onnx").run(["logits"], {"ids": ids.astype(np.int64)})
    from autodpq.serving import open_model

    assert np.allclose(logits, open_model(tmp_path / "b.safetensors").score(ids), atol=1e-5)
    kinds = {
        onnx.TensorProto.DataType.Name(held.data_type) for held in onnx.load(tmp_path / "b.onnx").graph.initializer
    }
    assert head_dtype.upper() in kinds


def test_codes_are_small_integers_and_no_table_is_decoded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n_rows, choice = 20_000, DPQ(32, 8)
    spec = TableSpec("a", n_rows, 16, 0, choice, 0)
    arrays = {
        "rows": np.zeros((0, 16), np.float32),
        "centroids": rng.normal(size=(32, 16)).astype(np.float32),
        "codes": pack_codes(rng.integers(0, 32, (n_rows, 8)), 32),
    }
    write_model(tmp_path / "small.safetensors", "dcn", (4,))
    dense = {name: array for name, array in open_packed(tmp_path / "small.safetensors").dense.items()}
    width = 16
    for name, array in dense.items():
        # One field instead of five: the weights of the first.
        axis = next((axis for axis, size in enumerate(array.shape) if size >= 5 * width), None)
        if axis is not None:
            keep = np.r_[0:width, 5 * width : array.shape[axis]]
            dense[name] = array.take(keep, axis)
    path = tmp_path / "a.safetensors"
    write_packed(path, Manifest("network", (spec,), ModelSpec("dcn", (4,)), None, "0.1.0"), {"a": arrays}, dense)
    export_onnx(open_packed(path), tmp_path / "a.onnx")
    held = onnx.load(tmp_path / "a.onnx").graph.initializer
    codes = [tensor for tensor in held if list(tensor.dims) == [n_rows, 8]]
    assert [onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in codes] == ["UINT8"]
    assert (tmp_path / "a.onnx").stat().st_size < n_rows * 8 + 50_000 < n_rows * 16 * 4 / 4


def test_what_cannot_be_exported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    write_model(path)
    packed = open_packed(path)
    own = replace(packed, manifest=replace(packed.manifest, kind="modules", model=None))
    with pytest.raises(AutoDPQError, match=r"torch\.onnx\.export"):
        export_onnx(own, tmp_path / "a.onnx")
    with pytest.raises(AutoDPQError, match="cannot be written"):
        export_onnx(packed, tmp_path / "nowhere" / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(AutoDPQError, match=r"pip install 'autodpq\[onnx\]'"):
        export_onnx(packed, tmp_path / "a.onnx")
    assert not list(tmp_path.glob("*.onnx*"))
