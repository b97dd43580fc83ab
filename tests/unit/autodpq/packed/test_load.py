from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.packed_files import crafted, parts_of
from support.packed_models import random_ids, torch_logits, values_of, write_model
from torch import nn

import autodpq
from autodpq.errors import AutoDPQError
from autodpq.models import MODELS, CTRModel, DeepFM
from autodpq.packed.file import open_packed, write_packed
from autodpq.packed.load import PackedNetwork


@pytest.mark.parametrize("model", list(MODELS))
def test_logits_are_those_of_the_trained_network_to_the_bit(model: str, tmp_path: Path) -> None:
    network = write_model(tmp_path / "a.safetensors", model)
    loaded = autodpq.load(tmp_path / "a.safetensors")
    assert not loaded.training
    for n_rows in (1, 2, 7, 2048):
        ids = random_ids(n_rows, n_rows)
        with torch.inference_mode(), network.embedding.settled():
            expected = torch_logits(network, ids)
            found = loaded(torch.from_numpy(ids)).numpy()
        assert np.array_equal(found, expected)


def test_values_become_probabilities(tmp_path: Path) -> None:
    network = write_model(tmp_path / "a.safetensors")
    loaded = autodpq.load(str(tmp_path / "a.safetensors"))
    assert isinstance(loaded, PackedNetwork)
    ids = random_ids(50)
    expected = 1 / (1 + np.exp(-torch_logits(network, ids).astype(np.float64)))
    assert np.allclose(loaded.predict(values_of(ids)), expected, atol=1e-6)
    columns = {name: column.to_list() for name, column in values_of(ids).to_dict().items()}
    assert np.allclose(loaded.predict(columns), expected, atol=1e-6)


def rewrite(path: Path, **changes: object) -> Path:
    """The same file with another manifest, its checksum right."""
    packed = open_packed(path)
    tables = {table.spec.name: table.arrays for table in packed.tables}
    write_packed(path, replace(packed.manifest, **changes), tables, packed.dense)  # type: ignore[arg-type]
    return path


def test_no_file_names_code(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_model(path)
    spec = open_packed(path).manifest.model
    assert spec is not None
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    rewrite(path, model=replace(spec, name=f"{tmp_path / 'evil.py'}:Model"))
    with pytest.raises(AutoDPQError, match="is code, which no file may name"):
        autodpq.load(path)


def test_the_class_of_a_plug_in_s_model_is_given(tmp_path: Path) -> None:
    class Mine(DeepFM):
        name = "mine"

    path = tmp_path / "a.safetensors"
    network = write_model(path)
    spec = open_packed(path).manifest.model
    assert spec is not None
    rewrite(path, model=replace(spec, name="mine"))
    with pytest.raises(AutoDPQError, match=r"a\.safetensors: .*'mine'.*or give its class"):
        autodpq.load(path)
    ids = random_ids(9)
    assert np.allclose(autodpq.load(path, Mine)(torch.from_numpy(ids)).numpy(), torch_logits(network, ids), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [(DeepFM, "its model is 'pnn', 'deepfm' was given"), (nn.Linear(2, 1), "the class of its CTRModel is needed")],
)
def test_another_model_is_refused(tmp_path: Path, given: nn.Module | type[CTRModel], message: str) -> None:
    write_model(tmp_path / "a.safetensors", "pnn")
    with pytest.raises(AutoDPQError, match=message):
        autodpq.load(tmp_path / "a.safetensors", given)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_model(path)
    packed = open_packed(path)
    tables = {table.spec.name: table.arrays for table in packed.tables}
    dense = {name: np.array(array) for name, array in packed.dense.items()}
    for name, changed in {
        "'output.bias' is missing": {key: value for key, value in dense.items() if key != "output.bias"},
        "'more' has no place in the model": {**dense, "more": np.zeros(3, np.float32)},
        r"'output.bias' has the shape \[2\], the model's is \[1\]": {**dense, "output.bias": np.zeros(2, np.float32)},
    }.items():
        other = tmp_path / "b.safetensors"
        write_packed(other, packed.manifest, tables, changed)
        with pytest.raises(AutoDPQError, match=f"b.safetensors: weight {name}"):
            autodpq.load(other)


@pytest.mark.parametrize("hidden", [(1 << 61,), (1 << 20, 1 << 20), (1,) * 20_000, (60_000, 12, 7)])
def test_widths_of_weights_that_a_file_does_not_hold_take_no_memory(tmp_path: Path, hidden: tuple[int, ...]) -> None:
    path = tmp_path / "a.safetensors"
    write_model(path)
    header, content = parts_of(path)
    manifest = json.loads(header["__metadata__"]["autodpq"])
    manifest["model"]["hidden"] = hidden
    header["__metadata__"]["autodpq"] = json.dumps(manifest)
    path.write_bytes(crafted(header, content))
    with pytest.raises(AutoDPQError, match=r"a\.safetensors: (model 'deepfm' of widths|weight 'mlp).{,200}$"):
        autodpq.load(path)
