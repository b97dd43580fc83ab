"""How long a request takes: a model end to end, and tables alone beside nn.Embedding and FBGEMM's integers.

    autodpq-study export STUDY --out model.safetensors
    python benchmarks/latency.py --model model.safetensors
    python benchmarks/latency.py --tables

``--model``: raw values, drawn from its vocabulary, in and probabilities out by numpy; ids in, by numpy, torch and
onnxruntime. ``--tables``: random ids into tables of 10,000 and of 10 million rows, X = 16; FBGEMM stands beside where
``fbgemm-gpu-cpu`` is installed, best in an environment of its own. Requests of 1, 32, 512 and 2,048 rows, on one thread
and two (of BLAS as the environment says), kinds in turn, request by request. Writes docs/benchmarks/latency-model.csv
and latency-tables.csv.
"""

from __future__ import annotations

import argparse
import csv
import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autodpq import DPQ, __version__
from autodpq.choices import Choice, Int
from autodpq.packed.file import open_packed, write_packed
from autodpq.packed.manifest import Manifest
from autodpq.packed.module import PackedEmbedding
from autodpq.packed.spec import TableSpec
from autodpq.serving import open_model
from studies.workers.machine import machine_name

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
BATCHES = {1: 4000, 32: 3000, 512: 1500, 2048: 600}  # rows of a request, and requests
THREADS = (1, 2)
SIZES = (10_000, 10_000_000)
DIM = 16
WARM = 50

Call = Callable[[Any], Any]
Row = dict[str, Any]


def timed(calls: Mapping[str, tuple[Call, Call]], n_requests: int, request: Call) -> dict[str, np.ndarray[Any, Any]]:
    """Seconds of every request by kind.

    Args:
        calls: By kind what makes of a request what it takes, which is not timed, and what answers it.
        n_requests: How many are timed.
        request: Gives the request of a number.
    """
    seconds: dict[str, list[float]] = {kind: [] for kind in calls}
    gc.collect()
    gc.disable()
    try:
        for number in range(-WARM, n_requests):
            asked = request(number + WARM)
            for kind, (made, answer) in calls.items():
                given = made(asked)
                begin = time.perf_counter()
                answer(given)
                taken = time.perf_counter() - begin
                if number >= 0:
                    seconds[kind].append(taken)
    finally:
        gc.enable()
    return {kind: np.array(values) for kind, values in seconds.items()}


def measured(
    calls: Mapping[str, tuple[Call, Call]], request_of: Callable[[int], Call], threads: int, **about: Any
) -> Iterator[Row]:
    """A row for every kind and size of requests; ``request_of`` gives requests of so many rows."""
    torch.set_num_threads(threads)
    for batch, n_requests in BATCHES.items():
        for kind, seconds in timed(calls, n_requests, request_of(batch)).items():
            p50, p95, p99 = 1e6 * np.quantile(seconds, (0.5, 0.95, 0.99))
            row = {**about, "kind": kind, "threads": threads, "batch": batch, "requests": n_requests}
            row |= {"p50_us": round(p50, 1), "p95_us": round(p95, 1), "p99_us": round(p99, 1)}
            print(*row.values(), flush=True)
            yield row


def model_rows(file: Path) -> Iterator[Row]:
    """A model end to end."""
    import onnxruntime
    import polars as pl

    import autodpq
    from autodpq.packed.onnx import export_onnx

    served = open_model(file)
    rng, known = np.random.default_rng(0), pl.read_parquet(file.with_suffix(".vocabulary.parquet"))
    values_of = {name: known.filter(pl.col("field") == name)["value"].to_numpy() for name in served.field_names}
    frame = pl.DataFrame({name: rng.choice(values, 200_000) for name, values in values_of.items()})
    ids, columns = served.vocabulary.encode_bags(frame, "rows")
    columns_of = {name: frame[name].to_list() for name in frame.columns}
    with tempfile.TemporaryDirectory() as name:
        export_onnx(open_packed(file), Path(name) / "model.onnx")
        for threads in THREADS:
            asked = onnxruntime.SessionOptions()
            asked.intra_op_num_threads = threads
            session = onnxruntime.InferenceSession(Path(name) / "model.onnx", asked)
            network = autodpq.load(file).eval()

            def by_onnx(part: Any, session: Any = session) -> Any:
                return session.run(["probabilities"], {"ids": part})

            calls: dict[str, tuple[Call, Call]] = {
                "values, numpy": (lambda part: {n: values[part] for n, values in columns_of.items()}, served.predict),
                "ids, numpy": (lambda part: ids[part], lambda part: served.score(part, columns)),
                "ids, torch": (lambda part: torch.from_numpy(ids[part].astype(np.int64)), network),
                "ids, onnxruntime": (lambda part: ids[part].astype(np.int64), by_onnx),
            }

            def request_of(batch: int) -> Call:
                return lambda number: slice(start := number * batch % (len(frame) - batch), start + batch)

            yield from measured(calls, request_of, threads)


def packed_table(folder: Path, n_rows: int, choice: Choice) -> Path:
    """A table of random bits, all rows by one choice."""
    rng, path = np.random.default_rng(0), folder / f"{choice.name}.safetensors"
    spec = TableSpec("table", n_rows, DIM, 0, choice, 0)
    arrays: dict[str, Any] = {}
    for part, (dtype, shape) in spec.layout.items():
        is_float = np.issubdtype(dtype, np.floating)
        drawn = rng.normal(size=shape).astype(dtype) if is_float else rng.integers(0, 256, shape, np.uint8)
        arrays[part] = drawn if is_float else drawn.view(dtype)
    write_packed(path, Manifest("modules", (spec,), None, None, "benchmark"), {"table": arrays}, {})
    return path


def fbgemm_table(n_rows: int, bits: int) -> tuple[Call, int] | None:
    """FBGEMM's table of integers, a scale and a bias a row, and its bytes; None where it is not installed."""
    try:
        from fbgemm_gpu.split_embedding_configs import SparseType
        from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation, PoolingMode
        from fbgemm_gpu.split_table_batched_embeddings_ops_inference import IntNBitTableBatchedEmbeddingBagsCodegen
    except ImportError:
        return None
    kind = SparseType.INT4 if bits == 4 else SparseType.INT8
    table = IntNBitTableBatchedEmbeddingBagsCodegen(
        [("table", n_rows, DIM, kind, EmbeddingLocation.HOST)], device="cpu", output_dtype=SparseType.FP32,
        pooling_mode=PoolingMode.NONE, row_alignment=1,
    )  # fmt: skip
    table.fill_random_weights()
    parts = [part for both in table.split_embedding_weights() for part in both if part is not None]
    n_bytes = sum(part.nbytes for part in parts)  # integers, and scales and biases
    offsets = {batch: torch.arange(batch + 1, dtype=torch.int32) for batch in BATCHES}
    return lambda ids: table(ids, offsets[len(ids)]), n_bytes


def table_rows() -> Iterator[Row]:
    """Tables alone."""
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        for n_rows in SIZES:
            folder = Path(name) / str(n_rows)
            folder.mkdir()
            full = torch.nn.Embedding(n_rows, DIM)
            calls: dict[str, tuple[Call, Call]] = {"nn.Embedding": (torch.from_numpy, full)}
            sizes = {"nn.Embedding": n_rows * DIM * 4}
            for choice in (DPQ(32, 8), Int(4), Int(8)):
                path = packed_table(folder, n_rows, choice)
                table, served = open_packed(path).tables[0], open_model(path)
                calls[f"{choice}, numpy"] = (lambda ids: ids, partial(served.lookup, "table"))
                calls[f"{choice}, torch"] = (torch.from_numpy, PackedEmbedding(table))
                sizes |= dict.fromkeys((f"{choice}, numpy", f"{choice}, torch"), table.resident_bytes)
            for bits in (4, 8):
                found = fbgemm_table(n_rows, bits)
                if found is not None:
                    kind = f"FBGEMM, {bits} bits"
                    calls[kind] = (lambda ids: torch.from_numpy(ids).int(), found[0])
                    sizes[kind] = found[1]

            def request_of(batch: int, n_rows: int = n_rows) -> Call:
                return lambda number: np.random.default_rng(number).integers(0, n_rows, batch)

            for threads in THREADS:
                for row in measured(calls, request_of, threads, rows=n_rows):
                    speed = 1e6 * row["batch"] / row["p50_us"]
                    yield {**row, "bytes": sizes[row["kind"]], "lookups_per_second": round(speed)}


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--tables", action="store_true")
    options = parser.parse_args()
    name, rows = ("tables", table_rows()) if options.tables else ("model", model_rows(options.model))
    about = {"machine": machine_name(), "torch": torch.__version__, "version": __version__}
    kept = [{**row, **about} for row in rows]
    with (FOLDER / f"latency-{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*kept[0]])
        writer.writeheader()
        writer.writerows(kept)


if __name__ == "__main__":
    main()
