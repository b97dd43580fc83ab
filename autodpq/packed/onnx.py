"""A packed network as ONNX, its codes decoded in the graph."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autodpq import __version__
from autodpq.errors import AutoDPQError
from autodpq.files import whole_file
from autodpq.models import CTRModel
from autodpq.packed.file import PackedFile
from autodpq.packed.load import PackedNetwork, make_model
from autodpq.packed.spec import AnySpec

OPSET = 18
_MOST_BYTES = 2_000_000_000  # what one file of protocol buffers can hold


class _Network(nn.Module):
    def __init__(self, network: PackedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        logits: Tensor = self.network(ids)
        return logits.sigmoid(), logits


def export_onnx(packed: PackedFile, path: Path, model: type[CTRModel] | None = None) -> None:
    """Writes a packed network as ONNX: ``ids``, int64 [batch, columns], to ``probabilities`` and ``logits``, [batch].

    A field has one column; one of bags as many as the longest bag of the training data had values, -1 standing behind
    the values of a shorter one. Codes stay integers and are decoded in the graph. Ids outside a table are an error of
    the runtime. The model's metadata tell the fields and the id of each that stands for values never seen.

    Args:
        packed: A study's network.
        path: Where to.
        model: The class of its click-through model, where it is not installed.

    Raises:
        AutoDPQError: The file holds no network, a library is missing, or the model cannot be exported or written.
    """
    if packed.manifest.kind != "network":
        raise AutoDPQError(
            f"{packed.path}: its model is not ours; load it with autodpq.load and give it to torch.onnx.export"
        )
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError:
        raise AutoDPQError("ONNX export needs onnx and onnxscript: pip install 'autodpq[onnx]'") from None
    network = _Network(PackedNetwork(packed, make_model(packed, model))).eval()
    size = sum(value.nbytes for value in network.state_dict().values())
    if size > _MOST_BYTES:
        raise AutoDPQError(f"{path}: {size:,} bytes are more than one ONNX file holds; serve the packed file instead")
    try:
        proto = _proto(network, sum(packed.manifest.columns))
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error.__cause__ or error).split("\n")[0].split())
        raise AutoDPQError(f"{packed.path}: torch cannot export its model to ONNX: {reason}") from error
    # The exporter leaves the code of every operation there, with its path on this machine.
    _strip(proto)
    about = {"autodpq": __version__, "fields": [_field(packed, spec) for spec in packed.manifest.tables]}
    onnx.helper.set_model_props(proto, {name: json.dumps(value) for name, value in about.items()})
    onnx.checker.check_model(proto)
    with whole_file(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def _field(packed: PackedFile, spec: AnySpec) -> dict[str, Any]:
    """What is told of a field; of one of bags how many columns of ids it has, -1 standing where there is no value."""
    bag = packed.manifest.bags.get(spec.name)
    return {"name": spec.name, "unseen": spec.fallback, **({} if bag is None else {"columns": bag.columns})}


def _proto(network: _Network, n_columns: int) -> Any:
    ids = torch.zeros((2, n_columns), dtype=torch.int64)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (ids,),
            input_names=["ids"],
            output_names=["probabilities", "logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "as dynamo was asked for"
    return program.model_proto


def _strip(message: Any) -> None:
    """Clears what is told of operations and values, in a message and all that it holds."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _strip(part)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of its steps and of operators of missing libraries, and prints whole graphs where it fails."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
