from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.packed_files import arrays_of
from support.packed_models import FALLBACKS, FIELDS, random_ids, torch_logits, write_model
from torch import Tensor

import autodpq
from autodpq.calibration import Calibration
from autodpq.choices import CHOICES, DPQ, Choice, Full, Hashed, Int, Others
from autodpq.errors import AutoDPQError
from autodpq.models import DCN, MODELS, CTRModel
from autodpq.packed.file import PackedFile, open_packed, write_packed
from autodpq.packed.manifest import Manifest, ModelSpec
from autodpq.packed.onnx import _quiet, export_onnx
from autodpq.packed.spec import TableSpec
from autodpq.packed.torch_operations import PADDING
from autodpq.testing import examples_of

OUTSIDE = r"out of data bounds|indices element"  # onnxruntime's words


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options)


CALIBRATION = Calibration(0.3123456789, -2.2)


@pytest.mark.slow  # an export takes seconds: that of all kinds of tables, below, is what is fast
@pytest.mark.parametrize(("model", "calibration"), [("deepfm", CALIBRATION), *((name, None) for name in MODELS)])
def test_onnx_gives_what_the_network_gives(
    model: str,
    calibration: Calibration | None,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "a.onnx"
    network = write_model(tmp_path / "a.safetensors", model, calibration=calibration)
    with recorded(caplog):
        export_onnx(open_packed(tmp_path / "a.safetensors"), path)
    check_quiet(capfd, recwarn, caplog)
    served = session(path)
    for n_rows in (1, 2, 7, 2048):
        ids = random_ids(n_rows)
        probabilities, logits = served.run(["probabilities", "logits"], {"ids": ids.astype(np.int64)})
        expected = torch_logits(network, ids)
        if calibration is not None:
            plain, expected = expected, calibration.scale * expected + calibration.shift
            assert np.abs(expected - plain).mean() > 0.5, "it matters"
        assert logits.shape == (n_rows,) and logits.dtype == np.float32 and np.allclose(logits, expected, atol=1e-5)
        assert np.allclose(probabilities, 1 / (1 + np.exp(-expected)), atol=1e-5)
    for column in range(len(FIELDS)):
        for outside in (-1, FIELDS[column].cardinality, 1 << 33):
            ids = random_ids(3).astype(np.int64)
            ids[1, column] = outside
            with pytest.raises(Exception, match=OUTSIDE):
                served.run(None, {"ids": ids})
    check_told(path, {field.name: unseen for field, unseen in zip(FIELDS, FALLBACKS, strict=True)})


@contextmanager
def recorded(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Torch keeps what it logs from the root: here, it is recorded as well."""
    torch_logger = logging.getLogger("torch")
    torch_logger.addHandler(caplog.handler)
    try:
        yield
    finally:
        torch_logger.removeHandler(caplog.handler)


def check_quiet(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    logged = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert (*capfd.readouterr(), logged, list(recwarn)) == ("", "", [], []), "the exporter is quiet"


def check_told(path: Path, unseen: Mapping[str, int]) -> None:
    """The file is valid, and tells of its fields and of nothing else."""
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    told = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    assert told["autodpq"] == autodpq.__version__
    assert told["fields"] == [{"name": name, "unseen": number} for name, number in unseen.items()]
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)
    assert str(Path(autodpq.__file__).parent).encode() not in path.read_bytes(), "nothing tells where it was made"


class Linear(CTRModel):
    """A model of somebody's own, with first-order weights."""

    name: ClassVar[str] = "own:linear"
    first_order: ClassVar[bool] = True

    def __init__(self, n_fields: int, embedding_dim: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__(n_fields, embedding_dim, hidden, dropout)
        self.weights = torch.nn.Linear(n_fields * embedding_dim, 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        logits: Tensor = self.weights(embeddings.flatten(1)).squeeze(1)
        return logits


class Branching(Linear):
    """A model that cannot be traced: what it does depends on what it is given."""

    def forward(self, embeddings: Tensor) -> Tensor:
        logits = super().forward(embeddings)
        return logits + 1 if logits.sum() > 0 else logits


def write_tables(
    path: Path,
    specs: Sequence[TableSpec],
    model: CTRModel,
    hidden: tuple[int, ...] = (),
    calibration: Calibration | None = None,
) -> PackedFile:
    """A network of tables as they are asked for, all weights at random."""
    tables = {spec.name: arrays_of(spec, seed) for seed, spec in enumerate(specs)}
    dense = {name: value.numpy() for name, value in model.state_dict().items() if value.is_floating_point()}
    manifest = Manifest("network", tuple(specs), ModelSpec(model.name, hidden), None, "0.1.0", {}, calibration)
    write_packed(path, manifest, tables, dense)
    return open_packed(path)


def write_packed_again(packed: PackedFile, path: Path) -> Path:
    """The same network with its logits as they are."""
    tables = {table.spec.name: table.arrays for table in packed.tables}
    write_packed(path, replace(packed.manifest, calibration=None), tables, packed.dense)
    return path


def kinds(path: Path) -> dict[str, str]:
    """Of all that an ONNX file holds: its type by its name."""
    held = onnx.load(path).graph.initializer
    return {tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in held}


@pytest.mark.slow  # each table takes two seconds; that codes are read as torch reads them is tested below
def test_every_choice_in_every_type_and_a_model_of_ones_own(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cases: list[tuple[int, int, Choice, str]] = [
        (9, 4, Full(), "float16"),
        (700, 4, DPQ(70_000, 2), "int8"),
        (9, 0, Others(), "float32"),
        (9, 4, DPQ(256, 4), "int8"),
        (700, 0, DPQ(70_000, 2), "float32"),
        (9, 4, Full(), "int8"),
        (1, 0, DPQ(2, 1), "float32"),
        (1, 0, Full(), "float32"),
        (1, 0, Others(), "float32"),
        (9, 4, Others(), "float16"),
        (9, 4, Others(), "int8"),
        (9, 4, DPQ(3, 2), "float16"),
        (700, 4, DPQ(257, 1), "float32"),
    ]
    specs = [
        TableSpec(str(number), n_rows, 4, head, choice, n_rows - 1, first_order=True, head_dtype=dtype)
        for number, (n_rows, head, choice, dtype) in enumerate(cases)
    ]
    # The other kinds, whose frequent ids are listed.
    others = [examples_of(kind, 4)[-1] for kind in CHOICES.values() if kind.__module__.startswith("autodpq.")]
    specs += [
        TableSpec(choice.name, 12, 4, 3, choice, 0, first_order=True, ranked=False)
        for choice in others
        if not isinstance(choice, Full | Others)
    ]
    packed = write_tables(tmp_path / "a.safetensors", specs, Linear(len(specs), 4, (), 0.0), calibration=CALIBRATION)
    path = tmp_path / "a.onnx"
    with pytest.raises(AutoDPQError, match="give its class as model"):
        export_onnx(packed, path)
    with recorded(caplog):
        export_onnx(packed, path, Linear)
    check_quiet(capfd, recwarn, caplog)
    check_told(path, {spec.name: spec.fallback for spec in specs})
    held = kinds(path)
    coded = [number for number, spec in enumerate(specs) if isinstance(spec.choice, DPQ)]
    assert len(coded) >= 2 and {held[f"network.tables.{number}.choice_codes"] for number in coded} == {"UINT8"}
    stored = {"float32": "FLOAT", "float16": "FLOAT16", "int8": "INT8"}
    for number, spec in enumerate(specs):
        if spec.n_stored:
            assert held[f"network.tables.{number}.rows"] == stored[spec.head_dtype]
    served, network = session(path), autodpq.load(packed.path, model=Linear)
    rng = np.random.default_rng(1)
    for n_rows in (0, 1, 500):
        ids = np.stack([rng.integers(0, spec.n_rows, n_rows) for spec in specs], 1)
        probabilities, logits = served.run(["probabilities", "logits"], {"ids": ids})
        expected = network(torch.from_numpy(ids)).numpy()
        assert logits.shape == (n_rows,) and logits.dtype == np.float32 and np.allclose(logits, expected, atol=1e-5)
        assert np.allclose(probabilities, 1 / (1 + np.exp(-expected)), atol=1e-5)
    plain = autodpq.load(write_packed_again(packed, tmp_path / "plain.safetensors"), model=Linear)
    uncalibrated = plain(torch.from_numpy(ids)).numpy()
    assert np.allclose(expected, CALIBRATION.scale * uncalibrated + CALIBRATION.shift, atol=1e-5)
    assert np.abs(expected - uncalibrated).mean() > 0.5, "it matters"
    for column, spec in enumerate(specs):
        for outside in (-1, -spec.n_rows, spec.n_rows, spec.n_rows + spec.head):
            ids = np.zeros((2, len(specs)), np.int64)
            ids[1, column] = outside
            with pytest.raises(Exception, match=OUTSIDE):
                served.run(None, {"ids": ids})


@pytest.mark.slow  # two of them are in the graph above
def test_frequent_ids_may_be_listed(tmp_path: Path) -> None:
    cases: list[tuple[int, Choice]] = [(3, DPQ(3, 2)), (0, DPQ(3, 2)), (4, Others()), (3, Hashed(2)), (5, Int(2))]
    specs = [TableSpec(str(n), 12, 4, head, choice, 0, ranked=False) for n, (head, choice) in enumerate(cases)]
    packed = write_tables(tmp_path / "a.safetensors", specs, DCN(len(specs), 4, (), 0.0))
    export_onnx(packed, tmp_path / "a.onnx")
    served, network = session(tmp_path / "a.onnx"), autodpq.load(packed.path)
    ids = np.stack([np.random.default_rng(column).permutation(12) for column in range(len(specs))], 1)
    (logits,) = served.run(["logits"], {"ids": ids})
    assert np.allclose(logits, network(torch.from_numpy(ids)).numpy(), atol=1e-5) and logits.std() > 1e-3
    for outside in (-1, 12, 1 << 33):
        with pytest.raises(Exception, match=OUTSIDE):
            served.run(None, {"ids": np.full((1, len(specs)), outside)})


def test_codes_stay_packed_and_no_table_is_decoded(tmp_path: Path) -> None:
    n_rows = 20_000
    packed = write_tables(
        tmp_path / "a.safetensors", [TableSpec("a", n_rows, 16, 0, DPQ(32, 8), 0)], DCN(1, 16, (4,), 0.0), (4,)
    )
    path = tmp_path / "a.onnx"
    export_onnx(packed, path)
    held = onnx.load(path).graph.initializer
    name, n_bytes = "network.tables.0.choice_codes", n_rows * 8 * 5 // 8
    codes = [tensor for tensor in held if tensor.name == name]
    assert [(kinds(path)[tensor.name], list(tensor.dims)) for tensor in codes] == [("UINT8", [n_bytes + PADDING])]
    others = {tensor.name: 4 * int(np.prod(tensor.dims)) for tensor in held if tensor.name != name}
    decoding = others["network.tables.0.read_decoding"]
    assert max(others.values()) == decoding < n_bytes, "nothing is as large as the codes"
    assert n_bytes < path.stat().st_size < n_bytes + decoding + 20_000
    assert [file.name for file in tmp_path.glob("*.onnx*")] == ["a.onnx"], "all of it is in one file"
    ids = np.arange(0, n_rows, 7)[:, None]
    (logits,) = session(path).run(["logits"], {"ids": ids})
    assert np.allclose(logits, autodpq.load(packed.path)(torch.from_numpy(ids)).numpy(), atol=1e-5)
    assert logits.std() > 1e-3


def test_what_cannot_be_exported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [TableSpec("a", 9, 4, 4, Others(), 0, first_order=True)]
    packed = write_tables(tmp_path / "a.safetensors", specs, Linear(1, 4, (), 0.0))
    own = replace(packed, manifest=replace(packed.manifest, kind="modules", model=None))
    with pytest.raises(AutoDPQError, match=r"torch\.onnx\.export"):
        export_onnx(own, tmp_path / "a.onnx")
    with pytest.raises(AutoDPQError, match="cannot be written"):
        export_onnx(packed, tmp_path / "nowhere" / "a.onnx", Linear)
    for missing in ("onnx", "onnxscript"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, missing, None)
            with pytest.raises(AutoDPQError, match=r"pip install 'autodpq\[onnx\]'"):
                export_onnx(packed, tmp_path / "a.onnx", Linear)
    monkeypatch.setattr("autodpq.packed.onnx._MOST_BYTES", 10)
    with pytest.raises(AutoDPQError, match="bytes are more than one ONNX file holds"):
        export_onnx(packed, tmp_path / "a.onnx", Linear)
    assert not list(tmp_path.glob("*.onnx*"))


@pytest.mark.slow
def test_a_model_that_cannot_be_traced_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    specs = [TableSpec("a", 9, 4, 4, Others(), 0, first_order=True)]
    packed = write_tables(tmp_path / "a.safetensors", specs, Branching(1, 4, (), 0.0))
    with pytest.raises(AutoDPQError, match=r"a\.safetensors: torch cannot export its model to ONNX: \w") as caught:
        export_onnx(packed, tmp_path / "a.onnx", Branching)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.glob("*.onnx*"))


class Foreign(torch.nn.Module):
    """A model that this project did not write."""

    def __init__(self) -> None:
        super().__init__()
        self.single = torch.nn.Embedding(700, 8)
        self.bag = torch.nn.EmbeddingBag(300, 8, mode="mean")
        self.shared = torch.nn.Embedding(50, 8)
        self.weights = torch.nn.Linear(24, 1)

    def forward(self, ids: Tensor) -> Tensor:
        rows = [self.single(ids[:, 0]), self.bag(ids[:, 1:4]), self.shared(ids[:, 4])]
        logits: Tensor = self.weights(torch.cat(rows, 1)).squeeze(1)
        return logits


@pytest.mark.slow  # it is torch that exports it; how such a model looks up is tested with compress
def test_a_loaded_model_of_others_goes_through_torchs_own_exporter(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Foreign()
    sizes = {"single": 700, "bag": 300, "shared": 50}
    counts = {name: rng.integers(0, 100, size) for name, size in sizes.items()}
    plan: dict[str, Choice] = {"single": DPQ(32, 4), "bag": DPQ(5, 2), "shared": Others()}
    autodpq.export(autodpq.compress(model, counts=counts, plan=plan, threshold=90), tmp_path / "a.safetensors")
    loaded = autodpq.load(tmp_path / "a.safetensors", model=Foreign())
    path = tmp_path / "a.onnx"
    with _quiet():
        example = torch.zeros((2, 5), dtype=torch.int64)
        batch = ({0: torch.export.Dim("batch")},)
        program = torch.onnx.export(loaded, (example,), path, input_names=["ids"], dynamic_shapes=batch, dynamo=True)
    assert program is not None
    held = kinds(path)
    assert held["single.table.choice_codes"] == held["bag.table.choice_codes"] == "UINT8"
    widths = [sizes["single"], *[sizes["bag"]] * 3, sizes["shared"]]
    served = session(path)
    for n_rows in (1, 2, 2048):
        ids = rng.integers(0, widths, (n_rows, 5))
        with torch.no_grad():
            assert np.allclose(served.run(None, {"ids": ids})[0], loaded(torch.from_numpy(ids)).numpy(), atol=1e-5)
    for column, width in enumerate(widths):
        for outside in (-1, width, width + 7):
            ids = np.zeros((2, 5), np.int64)
            ids[1, column] = outside
            with pytest.raises(Exception, match=OUTSIDE):
                served.run(None, {"ids": ids})
