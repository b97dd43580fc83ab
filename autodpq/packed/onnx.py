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

import numpy as np
import torch
from torch import Tensor, nn

from autodpq import __version__
from autodpq.errors import AutoDPQError
from autodpq.files import whole_file
from autodpq.models import CTRModel
from autodpq.packed.codes import unpack_codes
from autodpq.packed.file import PackedFile
from autodpq.packed.load import make_model
from autodpq.packed.table import PackedTable
from autodpq.plan import DPQ, Full, Others

OPSET = 18
_MOST_BYTES = 2_000_000_000  # what one file of protocol buffers can hold


class _Table(nn.Module):
    """One table in operations that ONNX has; codes are small integers, a row per rare id."""

    def __init__(self, table: PackedTable) -> None:
        super().__init__()
        self.spec = table.spec
        choice = self.spec.choice
        self.register_buffer("rows", torch.from_numpy(table.arrays["rows"].copy()))
        if self.spec.head_dtype == "int8":
            self.register_buffer("scales", torch.from_numpy(table.arrays["scales"].copy())[:, None])
        if self.spec.first_order:
            self.register_buffer("first_order", torch.from_numpy(table.arrays["first_order"].copy()))
        if isinstance(choice, DPQ):
            codes = unpack_codes(table.arrays["codes"], self.spec.tail, choice.K, choice.D)
            # No operation of torch takes uint32.
            kind = np.int32 if choice.K > 1 << 16 else np.min_scalar_type(choice.K - 1)
            self.register_buffer("codes", torch.from_numpy(codes.astype(kind)))
            centroids = torch.from_numpy(table.arrays["centroids"].copy())
            by_subspace = centroids.view(choice.K, choice.D, -1).transpose(0, 1).flatten(0, 1)
            self.register_buffer("centroids", by_subspace.contiguous())
            self.register_buffer("offsets", torch.arange(choice.D) * choice.K)

    def checked(self, ids: Tensor) -> Tensor:
        """Ids below 0, which would count from the end, become one that no table has."""
        return torch.where(ids < 0, torch.full_like(ids, 1 << 40), ids)

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings of checked ids, int64 [batch]; gives float32 [batch, X]."""
        choice, head = self.spec.choice, self.spec.head
        if isinstance(choice, Full):
            return self.stored(ids)
        is_tail = ids >= head
        if isinstance(choice, Others):
            return self.stored(self.shared(ids))
        decoded = self.decoded(torch.where(is_tail, ids - head, torch.zeros_like(ids)))
        if not head:
            return decoded
        return torch.where(is_tail[:, None], decoded, self.stored(torch.where(is_tail, torch.zeros_like(ids), ids)))

    def shared(self, ids: Tensor) -> Tensor:
        """The numbers of rows where all rare ids share one; what is outside stays outside."""
        rare = (ids >= self.spec.head) & (ids < self.spec.n_rows)
        return torch.where(rare, torch.full_like(ids, self.spec.head), ids)

    def stored(self, numbers: Tensor) -> Tensor:
        """Rows as they are stored, in float32."""
        rows = self.get_buffer("rows").index_select(0, numbers).float()
        return rows * self.get_buffer("scales").index_select(0, numbers) if self.spec.head_dtype == "int8" else rows

    def decoded(self, places: Tensor) -> Tensor:
        """What the codes of rare ids stand for."""
        entries = self.get_buffer("codes").index_select(0, places).long() + self.get_buffer("offsets")
        return self.get_buffer("centroids").index_select(0, entries.flatten()).view(-1, self.spec.dim)

    def weights(self, ids: Tensor) -> Tensor:
        """First-order weights of checked ids."""
        numbers = self.shared(ids) if isinstance(self.spec.choice, Others) else ids
        return self.get_buffer("first_order").index_select(0, numbers)


class _Network(nn.Module):
    def __init__(self, packed: PackedFile, model: CTRModel) -> None:
        super().__init__()
        self.tables = nn.ModuleList(_Table(table) for table in packed.tables)
        self.model = model
        self.first_order = model.first_order

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        tables = [table for table in self.tables if isinstance(table, _Table)]
        columns = [table.checked(ids[:, column]) for column, table in enumerate(tables)]
        pairs = list(zip(tables, columns, strict=True))
        logits: Tensor = self.model(torch.stack([table(column) for table, column in pairs], 1))
        if self.first_order:
            logits = logits + torch.stack([table.weights(column) for table, column in pairs], 1).sum(1)
        return logits.sigmoid(), logits


def export_onnx(packed: PackedFile, path: Path, model: type[CTRModel] | None = None) -> None:
    """Writes a packed network as ONNX: ``ids``, int64 [batch, fields], to ``probabilities`` and ``logits``, [batch].

    Codes stay integers and are decoded in the graph. Ids outside a table are an error of the runtime. The model's
    metadata tell the fields and the id of each that stands for values never seen.

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
    for spec in packed.manifest.tables:
        if not spec.ranked:
            raise AutoDPQError(
                f"{packed.path}: the ids of {spec.name!r} are no frequency ranks, as ONNX export needs; "
                "serve the packed file instead"
            )
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError:
        raise AutoDPQError("ONNX export needs onnx and onnxscript: pip install 'autodpq[onnx]'") from None
    network = _Network(packed, make_model(packed, model)).eval()
    size = sum(value.nbytes for value in network.state_dict().values())
    if size > _MOST_BYTES:
        raise AutoDPQError(f"{path}: {size:,} bytes are more than one ONNX file holds; serve the packed file instead")
    try:
        proto = _proto(network, len(packed.tables))
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error.__cause__ or error).split("\n")[0].split())
        raise AutoDPQError(f"{packed.path}: torch cannot export its model to ONNX: {reason}") from error
    # The exporter leaves the code of every operation there, with its path on this machine.
    _strip(proto)
    about = {"autodpq": __version__, "fields": [{"name": s.name, "unseen": s.fallback} for s in packed.manifest.tables]}
    onnx.helper.set_model_props(proto, {name: json.dumps(value) for name, value in about.items()})
    onnx.checker.check_model(proto)
    with whole_file(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def _proto(network: _Network, n_fields: int) -> Any:
    ids = torch.zeros((2, n_fields), dtype=torch.int64)
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
