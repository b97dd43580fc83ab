"""What serving a packed table costs beside nn.Embedding: look-ups per second, resident memory, cold start.

    python benchmarks/serve.py

All rows are quantized by (32, 8), X = 16; ids are uniformly random, in batches of 2048; one thread. Every table stands
in a process of its own; the processes take turns, round after round. All give the same embeddings, which is checked.
Writes docs/benchmarks/serve.csv, serve-cold.csv and serve.png.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
LookUp = Callable[[Ids], npt.NDArray[np.float32]]

HERE = Path(__file__).parents[1]
SIZES = (10_000, 1_000_000, 10_000_000)
DIM, K, D, BATCH = 16, 32, 8, 2048
BATCHES = 300  # of one round
KINDS = {
    "nn.Embedding": "nn.Embedding: constructed, torch.load, load_state_dict",
    "nn.Embedding, mapped": "nn.Embedding: on no device, torch.load(mmap=True), load_state_dict(assign=True)",
    "packed, torch": "PackedEmbedding of open_packed",
    "packed, numpy": "autodpq.serving.open_model",
}
WARM = [kind for kind in KINDS if kind != "nn.Embedding, mapped"]


def prepare(kind: str) -> Callable[[Path], LookUp]:
    """Imports what a kind needs; gives what opens its file in a folder."""
    if kind == "packed, numpy":
        from autodpq.serving import open_model

        def open_numpy(folder: Path) -> LookUp:
            model = open_model(folder / "packed.safetensors")
            return lambda ids: model.lookup("table", ids)

        return open_numpy
    import torch
    from torch import nn

    torch.set_num_threads(1)

    def looked_up(module: nn.Module) -> LookUp:
        def look_up(ids: Ids) -> npt.NDArray[np.float32]:
            with torch.inference_mode():
                found: npt.NDArray[np.float32] = module(torch.from_numpy(ids)).numpy()
            return found

        return look_up

    if kind == "packed, torch":
        from autodpq.packed.file import open_packed
        from autodpq.packed.module import PackedEmbedding

        return lambda folder: looked_up(PackedEmbedding(open_packed(folder / "packed.safetensors").tables[0]))

    def open_torch(folder: Path) -> LookUp:
        mapped = kind == "nn.Embedding, mapped"
        n_rows = int(folder.name)
        module = nn.Embedding(n_rows, DIM, device="meta" if mapped else None)
        state = torch.load(folder / "weight.pt", mmap=mapped)
        module.load_state_dict(state, assign=mapped)
        return looked_up(module)

    return open_torch


def batch(n_rows: int, seed: int) -> Ids:
    """Random ids; the same for every kind."""
    return np.random.default_rng(seed).integers(0, n_rows, BATCH)


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def reply(values: dict[str, Any]) -> None:
    """Answers the process that asked."""
    print(json.dumps(values), flush=True)


def serve_rounds(kind: str, folder: Path) -> None:
    """One process that looks up: memory first, then a round for every seed that it is sent."""
    n_rows = int(folder.name)
    opener = prepare(kind)
    # What is loaded at the first look-up of all is no part of a table.
    opener(folder.parent / "100")(batch(100, 0))
    before = resident()
    look_up = opener(folder)
    for start in range(0, n_rows, BATCH):
        look_up(np.arange(start, min(start + BATCH, n_rows)))
    reply({"resident_bytes": resident() - before})
    for line in sys.stdin:
        batches = [batch(n_rows, int(line) * BATCHES + number) for number in range(BATCHES)]
        look_up(batches[0])
        begin = time.perf_counter()
        for ids in batches:
            look_up(ids)
        seconds = time.perf_counter() - begin
        reply({"seconds": seconds, "sum": float(look_up(batches[0]).astype(np.float64).sum())})


def start_cold(kind: str, folder: Path) -> None:
    """One process that opens its file and answers one batch."""
    ids = batch(int(folder.name), 0)
    begin = time.perf_counter()
    opener = prepare(kind)
    imported = time.perf_counter()
    found = opener(folder)(ids)
    end = time.perf_counter()
    total = float(found.astype(np.float64).sum())
    reply({"import_seconds": imported - begin, "seconds": end - imported, "sum": total})


@contextmanager
def process(task: str, kind: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """This script as a process that serves."""
    command = [sys.executable, __file__, "--task", task, "--kind", kind, "--folder", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=HERE
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def ask(running: subprocess.Popen[str], line: str = "") -> dict[str, Any]:
    """What a process answers next."""
    assert running.stdin is not None and running.stdout is not None
    if line:
        print(line, file=running.stdin, flush=True)
    answer = running.stdout.readline()
    if not answer:
        raise SystemExit(f"a process ended without an answer: {running.args!r}")
    values: dict[str, Any] = json.loads(answer)
    return values


def agree(answers: list[dict[str, Any]]) -> None:
    """Stops where not all look-ups gave the same embeddings."""
    if len({answer["sum"] for answer in answers}) > 1:
        raise SystemExit(f"embeddings differ: {answers}")


def write_tables(folder: Path, n_rows: int) -> dict[str, int]:
    """Writes a random table packed and whole; gives what each kind keeps in memory, by arithmetic."""
    import torch

    from autodpq import DPQ
    from autodpq.packed.codes import packed_size
    from autodpq.packed.file import open_packed, write_packed
    from autodpq.packed.manifest import Manifest
    from autodpq.packed.table import TableSpec

    rng = np.random.default_rng(0)
    folder.mkdir()
    spec = TableSpec("table", n_rows, DIM, 0, DPQ(K, D), 0)
    arrays = {
        "rows": np.zeros((0, DIM), np.float32),
        "centroids": rng.normal(size=(K, DIM)).astype(np.float32),
        # Every bit pattern is a code, as K is a power of two.
        "codes": rng.integers(0, 256, packed_size(n_rows, K, D), np.uint8),
    }
    path = folder / "packed.safetensors"
    write_packed(path, Manifest("modules", (spec,), None, None, "benchmark"), {"table": arrays}, {})
    table = open_packed(path).tables[0]
    weight = np.empty((n_rows, DIM), np.float32)
    for start in range(0, n_rows, 1 << 16):
        ids = np.arange(start, min(start + (1 << 16), n_rows))
        weight[ids] = table.lookup(ids)
    torch.save({"weight": torch.from_numpy(weight)}, folder / "weight.pt")
    packed = table.resident_bytes
    return {"nn.Embedding": weight.nbytes, "packed, torch": packed, "packed, numpy": packed}


def warm_rounds(folder: Path, n_rounds: int, computed: dict[str, int]) -> list[dict[str, Any]]:
    """Look-ups and memory of one size."""
    rows = []
    with ExitStack() as stack:
        running = {kind: stack.enter_context(process("rounds", kind, folder)) for kind in WARM}
        memory = {kind: ask(each)["resident_bytes"] for kind, each in running.items()}
        for number in range(n_rounds):
            load = os.getloadavg()[0]
            answers = {kind: ask(each, str(number)) for kind, each in running.items()}
            agree(list(answers.values()))
            rows += [
                {
                    "rows": int(folder.name),
                    "table": kind,
                    "round": number,
                    "lookups_per_second": round(BATCH * BATCHES / answer["seconds"]),
                    "resident_bytes": memory[kind],
                    "computed_bytes": computed[kind],
                    "load_before": round(load, 2),
                }
                for kind, answer in answers.items()
            ]
    return rows


def cold_rounds(folder: Path, n_rounds: int) -> list[dict[str, Any]]:
    """Cold starts of one size, the files in the page cache."""
    rows = []
    for number in range(-1, n_rounds):  # the first warms up
        load = os.getloadavg()[0]
        answers = {}
        for kind in KINDS:
            with process("cold", kind, folder) as running:
                answers[kind] = ask(running)
        agree(list(answers.values()))
        rows += [
            {
                "rows": int(folder.name),
                "table": kind,
                "round": number,
                "milliseconds": round(1000 * answer["seconds"], 2),
                "import_milliseconds": round(1000 * answer["import_seconds"]),
                "load_before": round(load, 2),
            }
            for kind, answer in answers.items()
            if number >= 0
        ]
    return rows
if __name__ == "__main__":
    p = argparse.ArgumentParser(); p.add_argument("--task"); p.add_argument("--kind"); p.add_argument("--folder", type=Path); o = p.parse_args()
    {"rounds": serve_rounds, "cold": start_cold}[o.task](o.kind, o.folder)
