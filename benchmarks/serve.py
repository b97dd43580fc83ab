"""What serving a packed table costs beside nn.Embedding: look-ups per second, resident memory, cold start.

    python benchmarks/serve.py

All rows are quantized by (32, 8), X = 16; ids are uniformly random, in batches of 2048; one thread. Every table stands
in a process of its own; the processes take turns, round after round, and must all give the same embeddings. Writes
docs/benchmarks/serve.csv, serve-cold.csv and serve.png.
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

HERE = Path(__file__).parents[1]
SIZES = (10_000, 1_000_000, 10_000_000)
DIM, K, D, BATCH = 16, 32, 8, 2048
BATCHES = 300  # of one round
PLAIN, MAPPED, TORCH, NUMPY = KINDS = ("nn.Embedding", "nn.Embedding, mapped", "packed, torch", "packed, numpy")
LOOKED_UP = (PLAIN, TORCH, NUMPY)  # once all is read, a mapped table is like any other
SMALL = 100  # rows of what warms up

Ids = npt.NDArray[np.int64]
Row = dict[str, Any]
LookUp = Callable[[Any], Any]  # ids to embeddings, each as the kind has them


def prepare(kind: str) -> tuple[Callable[[Path], LookUp], Callable[[Ids], Any]]:
    """Imports what a kind needs; gives what opens its file in a folder, and what makes ids such as it takes."""
    if kind == NUMPY:
        from autodpq.serving import open_model

        def open_numpy(folder: Path) -> LookUp:
            model = open_model(folder / "packed.safetensors")
            return lambda ids: model.lookup("table", ids)

        return open_numpy, lambda ids: ids
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if kind == TORCH:
        from autodpq.packed.file import open_packed
        from autodpq.packed.module import PackedEmbedding

        def open_torch(folder: Path) -> LookUp:
            return PackedEmbedding(open_packed(folder / "packed.safetensors").tables[0])

    else:

        def open_torch(folder: Path) -> LookUp:
            if kind == PLAIN:
                module = nn.Embedding(int(folder.name), DIM)
            else:  # no row is made in vain; the device "meta" would import torch's compiler for most of a second
                module = nn.Embedding.from_pretrained(torch.empty(int(folder.name), DIM))  # type: ignore[no-untyped-call]
            module.load_state_dict(torch.load(folder / "weight.pt", mmap=kind == MAPPED), assign=kind == MAPPED)
            return module

    return open_torch, torch.from_numpy


def random_ids(n_rows: int, seed: int) -> Ids:
    """A batch; the same for every kind."""
    return np.random.default_rng(seed).integers(0, n_rows, BATCH)


def total(embeddings: Any) -> float:
    """What tells other embeddings from the same."""
    return float(np.asarray(embeddings).astype(np.float64).sum())


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def serve_rounds(kind: str, folder: Path) -> None:
    """A process that looks up: every id once, then a round for every number that it is sent."""
    n_rows = int(folder.name)
    opener, made = prepare(kind)
    # What is loaded at the first look-up of all is no part of a table.
    opener(folder.parent / str(SMALL))(made(random_ids(SMALL, 0)))
    before = resident()
    look_up = opener(folder)
    for start in range(0, n_rows, BATCH):
        look_up(made(np.arange(start, min(start + BATCH, n_rows))))
    print(json.dumps({"resident_bytes": resident() - before}), flush=True)
    for line in sys.stdin:
        batches = [made(random_ids(n_rows, int(line) * BATCHES + number)) for number in range(BATCHES)]
        found = look_up(batches[0])
        begin = time.perf_counter()
        for ids in batches:
            look_up(ids)
        seconds = time.perf_counter() - begin
        print(json.dumps({"seconds": seconds, "total": total(found)}), flush=True)


def start_cold(kind: str, folder: Path) -> None:
    """A process that opens its file and answers one batch."""
    ids = random_ids(int(folder.name), 0)
    opener, made = prepare(kind)
    begin = time.perf_counter()
    found = opener(folder)(made(ids))
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "total": total(found)}), flush=True)


@contextmanager
def process(task: str, kind: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """This script as a process that serves."""
    command = [sys.executable, __file__, "--process", task, kind, str(folder)]
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, **threads}, **pipes) as running:
        try:
            yield running
        finally:
            running.kill()


def answer(running: subprocess.Popen[str], line: str = "") -> Row:
    """What a process says next, asked by a line or by itself."""
    assert running.stdin is not None and running.stdout is not None, "both are pipes"
    if line:
        print(line, file=running.stdin, flush=True)
    said = running.stdout.readline()
    if not said:
        raise SystemExit(f"{running.args!r} ended without an answer")
    values: Row = json.loads(said)
    return values


def agreed(answers: dict[str, Row]) -> dict[str, Row]:
    """The same answers, of which all must have found the same embeddings."""
    if len({each["total"] for each in answers.values()}) > 1:
        raise SystemExit(f"the embeddings differ: {answers}")
    return answers


def write_tables(folder: Path) -> dict[str, int]:
    """Writes a table of random codes, packed and as a state of nn.Embedding; gives bytes in memory by arithmetic."""
    import torch

    from autodpq import DPQ
    from autodpq.choices.codes import words_size
    from autodpq.packed.file import open_packed, write_packed
    from autodpq.packed.manifest import Manifest
    from autodpq.packed.spec import TableSpec

    n_rows, path, rng = int(folder.name), folder / "packed.safetensors", np.random.default_rng(0)
    folder.mkdir()
    arrays = {
        "rows": np.zeros((0, DIM), np.float32),
        "centroids": rng.normal(size=(K, DIM)).astype(np.float32),
        # As K is a power of two, any bits are codes.
        "codes": rng.integers(0, 256, words_size(n_rows, D, K.bit_length() - 1), np.uint8),
    }
    spec = TableSpec("table", n_rows, DIM, 0, DPQ(K, D), 0)
    write_packed(path, Manifest("modules", (spec,), None, None, "benchmark"), {"table": arrays}, {})
    table = open_packed(path).tables[0]
    weight = np.empty((n_rows, DIM), np.float32)
    for start in range(0, n_rows, 1 << 16):
        weight[start : start + (1 << 16)] = table.lookup(np.arange(start, min(start + (1 << 16), n_rows)))
    torch.save({"weight": torch.from_numpy(weight)}, folder / "weight.pt")
    return {PLAIN: weight.nbytes, TORCH: table.resident_bytes, NUMPY: table.resident_bytes}


def time_lookups(folder: Path, n_rounds: int, computed: dict[str, int]) -> list[Row]:
    """Look-ups and memory of one size."""
    rows = []
    with ExitStack() as stack:
        running = {kind: stack.enter_context(process("rounds", kind, folder)) for kind in LOOKED_UP}
        memory = {kind: answer(each)["resident_bytes"] for kind, each in running.items()}
        for number in range(n_rounds):
            load = round(os.getloadavg()[0], 2)
            answers = agreed({kind: answer(each, str(number)) for kind, each in running.items()})
            for kind, each in answers.items():
                speed = {"lookups_per_second": round(BATCH * BATCHES / each["seconds"])}
                size = {"resident_bytes": memory[kind], "computed_bytes": computed[kind]}
                rows.append({"rows": int(folder.name), "table": kind, "round": number, **speed, **size, "load": load})
    return rows


def time_starts(folder: Path, n_rounds: int) -> list[Row]:
    """Cold starts of one size; its files are in the page cache."""
    rows = []
    for number in range(-1, n_rounds):  # the first round warms up
        load, answers = round(os.getloadavg()[0], 2), {}
        for kind in KINDS:
            begin = time.perf_counter()
            with process("cold", kind, folder) as running:
                answers[kind] = answer(running)
            answers[kind]["before"] = time.perf_counter() - begin - answers[kind]["seconds"]
        for kind, each in agreed(answers).items():
            start = {"milliseconds": round(1000 * each["seconds"], 2)}
            start["python_and_imports_milliseconds"] = round(1000 * each["before"])
            rows.append({"rows": int(folder.name), "table": kind, "round": number, **start, "load": load})
    return [row for row in rows if row["round"] >= 0]


def main() -> None:
    """Times, writes and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--process", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        task, kind, folder = options.process
        {"rounds": serve_rounds, "cold": start_cold}[task](kind, Path(folder))
        return
    import pandas as pd
    from serve_figure import draw, summarise

    from studies.workers.machine import machine_name, versions

    lookups, starts = [], []
    with tempfile.TemporaryDirectory() as name:
        write_tables(Path(name) / str(SMALL))
        for n_rows in SIZES:
            folder = Path(name) / str(n_rows)
            computed = write_tables(folder)
            os.sync()  # what is still being written would slow down what is timed
            lookups += time_lookups(folder, options.rounds, computed)
            starts += time_starts(folder, options.rounds)
    where = {"machine": machine_name()} | {name: versions()[name] for name in ("python", "torch", "numpy", "autodpq")}
    timed, started = (pd.DataFrame(rows).assign(**where) for rows in (lookups, starts))
    target = HERE / "docs" / "benchmarks"
    timed.to_csv(target / "serve.csv", index=False)
    started.to_csv(target / "serve-cold.csv", index=False)
    summarise(timed, started)
    draw(timed, started, target / "serve.png")


if __name__ == "__main__":
    main()
