"""Training speed beside DeepCTR-Torch, torchfm and FuxiCTR: samples per second of a DeepFM on the same data.

    python benchmarks/peers.py --peers-python PATH

PATH is a Python in which deepctr-torch, torchfm and fuxictr from PyPI are installed; without it only this project is
measured. Ids have the cardinalities of MovieLens-1M's fields and frequencies much like theirs, labels are random.
All train X = 16, an MLP of 16-16 with BatchNorm, ReLU and dropout of 0.2 by Adam at 1e-3 on the binary cross entropy of
batches of 2048, without L2 penalties. Every training is a process of its own; they take turns, round after round.
What a person would wait for is timed: the batches are made in it, building of the model and a warm-up are not.

DeepCTR-Torch is trained by its own ``fit``. torchfm and FuxiCTR are fed by the data loaders that they come with, and by
slices of shuffled tensors, the fastest feed that they can have. PyPI has FuxiCTR's layers and its training step
(which clips gradients), but not its model zoo: DeepFM is put together here as there.

The machine must be idle: with as many threads as cores, one other busy process makes threads wait for each other, and a
training is a hundred times slower.

Writes docs/benchmarks/peers.csv and peers.png; with ``--vocabulary N``, where the tables have N rows in all,
peers-N.csv and no figure; with ``--network wide``, which is X = 10, an MLP of 400-400-400 and batches of 4,096 as in
BARS, peers-wide.csv and no figure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).parents[1]
# MovieLens-1M: user, film, gender, age, occupation, zip code, genres, year.
CARDINALITIES = (6040, 3706, 2, 7, 21, 3402, 301, 81)
FIELDS = tuple(f"field{number}" for number in range(len(CARDINALITIES)))
DROPOUT, LEARNING_RATE = 0.2, 1e-3
WARM_UP = 20  # steps

Row = dict[str, Any]


@dataclass(frozen=True)
class Network:
    """What all train.

    Attributes:
        dim: X, the length of an embedding.
        hidden: Widths of the MLP.
        batch: Samples of a step.
    """

    dim: int
    hidden: tuple[int, ...]
    batch: int


NETWORKS = {"paper": Network(16, (16, 16), 2048), "wide": Network(10, (400, 400, 400), 4096)}


def draw_ids(sizes: Sequence[int], n_rows: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Ids by Zipf and Mandelbrot's law, most frequent first, [rows, fields]."""
    ids = np.empty((n_rows, len(sizes)), np.int32)
    for column, size in enumerate(sizes):
        # With this shift the most frequent film, user and gender are about as frequent as they are.
        shares = np.cumsum(1 / (np.arange(1, size + 1) + size / 100))
        ids[:, column] = np.searchsorted(shares, rng.random(n_rows) * shares[-1], side="right").clip(max=size - 1)
    return ids


@dataclass(frozen=True)
class Data:
    """What all train on.

    Attributes:
        ids: int32 [rows, fields].
        labels: uint8 [rows].
        sizes: Cardinality of every field.
        folder: For files that a data loader reads.
    """

    ids: npt.NDArray[np.int32]
    labels: npt.NDArray[np.uint8]
    sizes: tuple[int, ...]
    folder: Path

    @classmethod
    def generate(cls, n_rows: int, vocabulary: int, folder: Path) -> Data:
        """Ids by Zipf and Mandelbrot's law, most frequent first; the first two fields share what values are added."""
        rng, added = np.random.default_rng(0), vocabulary - sum(CARDINALITIES)
        sizes = (CARDINALITIES[0] + added // 2, CARDINALITIES[1] + added - added // 2, *CARDINALITIES[2:])
        ids = draw_ids(sizes, n_rows, rng)
        return cls(ids, rng.integers(0, 2, n_rows, np.uint8), sizes, folder)

    @classmethod
    def load(cls, folder: Path) -> Data:
        """Reads what :meth:`save` wrote."""
        with np.load(folder / "data.npz") as arrays:
            return cls(arrays["ids"], arrays["labels"], tuple(arrays["sizes"].tolist()), folder)

    def save(self) -> None:
        """Writes for the processes."""
        np.savez(self.folder / "data.npz", ids=self.ids, labels=self.labels, sizes=self.sizes)


def time_steps(
    epoch: Callable[[], Iterable[Any]], step: Callable[[Any], object], seconds: float, network: Network
) -> Row:
    """Warms up, then trains as many steps as fit, from the start of an epoch on.

    Args:
        epoch: Gives one epoch's batches, all of the same size.
        step: Trains one batch.
        seconds: How long to train; the warm-up takes no longer either.
        network: What is trained.
    """

    def endless() -> Iterator[Any]:
        while True:
            yield from epoch()

    def train(most: int | None, limit: float) -> tuple[int, float]:
        """How many steps, at least two, in how many seconds."""
        number, elapsed, begin = 0, 0.0, time.perf_counter()
        for batch in islice(endless(), most):
            step(batch)
            number, elapsed = number + 1, time.perf_counter() - begin
            if number > 1 and elapsed >= limit:
                break
        return number, elapsed

    train(WARM_UP, seconds)
    steps, elapsed = train(None, seconds)
    return {"samples_per_second": round(steps * network.batch / elapsed), "steps": steps}


def train_autodpq(data: Data, sizes: Network, seconds: float, compiled: bool) -> Row:
    """This project's training step and batches, on the plan that compresses nothing."""
    import torch

    from autodpq.data.dataset import Samples
    from autodpq.models.deepfm import DeepFM
    from autodpq.plan import Field
    from autodpq.training.fit import Batch, make_optimizer, training_step
    from autodpq.training.recipes import Recipe
    from autodpq.training.trainer import Trainer

    torch.set_flush_denormal(
        True
    )  # as studies.workers.machine.torch_settings does; the number of threads is the one asked for
    recipe = Recipe(
        "peers", sizes.dim, hidden=sizes.hidden, dropout=DROPOUT, learning_rate=LEARNING_RATE, batch_size=sizes.batch
    )
    fields = [Field(name, size, size) for name, size in zip(FIELDS, data.sizes, strict=True)]
    samples = Samples(data.ids, data.labels)
    one, device = Samples(data.ids[:1], data.labels[:1]), torch.device("cpu")
    trainer = Trainer(fields, DeepFM, recipe, 0, device, samples, one, compiled=compiled)
    network = trainer.build(trainer.full_plan())
    optimizer = make_optimizer(network, recipe)
    network.train()

    def step(batch: Batch) -> None:
        training_step(network, optimizer, batch.flat, batch.labels, recipe.l2)

    row = time_steps(lambda: trainer.train.batches(network, sizes.batch, 0, 0), step, seconds, sizes)
    if trainer.compilation is None:
        return row
    assert trainer.compilation.failure is None, trainer.compilation.failure
    return {**row, "compile_seconds": round(trainer.compilation.seconds, 2)}


def train_torchfm(data: Data, sizes: Network, seconds: float, loader: bool) -> Row:
    """torchfm's DeepFM in the loop of its example, fed by a DataLoader or by slices."""
    import torch

    model = import_module("torchfm.model.dfm").DeepFactorizationMachineModel(
        data.sizes, sizes.dim, sizes.hidden, DROPOUT
    )
    optimizer, criterion = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE), torch.nn.BCELoss()
    ids, labels = data.ids.astype(np.int64), data.labels.astype(np.int64)

    def step(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        loss = criterion(model(batch[0]), batch[1].float())
        model.zero_grad()
        loss.backward()
        optimizer.step()

    if loader:
        pairs: Any = list(zip(ids, labels, strict=True))  # as torchfm.dataset gives them
        batches = torch.utils.data.DataLoader(pairs, batch_size=sizes.batch, shuffle=True, num_workers=0)
        return time_steps(lambda: batches, step, seconds, sizes)
    tensors = torch.from_numpy(ids), torch.from_numpy(labels)

    def epoch() -> Iterator[tuple[torch.Tensor, ...]]:
        order = torch.randperm(len(ids))
        yield from zip(*(torch.split(tensor[order], sizes.batch) for tensor in tensors), strict=True)

    return time_steps(epoch, step, seconds, sizes)


def train_deepctr(data: Data, sizes: Network, seconds: float) -> Row:
    """DeepCTR-Torch's DeepFM by its own fit: whole epochs, each over as many rows as fit."""
    feature = import_module("deepctr_torch.inputs").SparseFeat
    columns = [feature(name, size, sizes.dim) for name, size in zip(FIELDS, data.sizes, strict=True)]
    model = import_module("deepctr_torch.models").DeepFM(
        columns,
        columns,
        dnn_hidden_units=sizes.hidden,
        l2_reg_linear=0,
        l2_reg_embedding=0,
        l2_reg_dnn=0,
        dnn_dropout=DROPOUT,
        dnn_use_bn=True,
    )
    model.compile("adam", "binary_crossentropy")  # at 1e-3

    def fit(n_batches: int, epochs: int = 1) -> float:
        rows = slice(n_batches * sizes.batch)
        inputs = {name: data.ids[rows, column] for column, name in enumerate(FIELDS)}
        begin = time.perf_counter()
        model.fit(inputs, data.labels[rows], batch_size=sizes.batch, epochs=epochs, verbose=0)
        return time.perf_counter() - begin

    available = len(data.ids) // sizes.batch
    fit(1)  # makes what Adam keeps
    trial = int(np.clip(seconds / fit(1), 1, min(WARM_UP, available)))
    steps = max(1, round(seconds * trial / fit(trial)))
    n_batches = min(steps, available)
    epochs = round(steps / n_batches)
    elapsed = fit(n_batches, epochs)
    return {"samples_per_second": round(n_batches * epochs * sizes.batch / elapsed), "steps": n_batches * epochs}


def make_fuxictr(data: Data, sizes: Network) -> Any:
    """FuxiCTR's DeepFM, as model_zoo/DeepFM/DeepFM_torch/src/DeepFM.py of its repository puts it together."""
    base: Any = import_module("fuxictr.pytorch.models").BaseModel
    layers = import_module("fuxictr.pytorch.layers")
    features = import_module("fuxictr.features").FeatureMap("benchmark", str(data.folder))
    for name, size in zip(FIELDS, data.sizes, strict=True):
        features.features[name] = {"source": "", "type": "categorical", "vocab_size": size}
    features.labels, features.default_emb_dim, features.num_fields = ["label"], sizes.dim, len(data.sizes)
    features.set_column_index()

    class DeepFM(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(features, "DeepFM", verbose=0, model_root=str(data.folder), metrics=["AUC"])
            self.embedding_layer = layers.FeatureEmbedding(features, sizes.dim)
            self.fm = layers.FactorizationMachine(features)
            self.mlp = layers.MLP_Block(
                input_dim=features.sum_emb_out_dim(),
                output_dim=1,
                hidden_units=list(sizes.hidden),
                hidden_activations="ReLU",
                output_activation=None,
                dropout_rates=DROPOUT,
                batch_norm=True,
            )
            self.compile("adam", "binary_crossentropy", LEARNING_RATE)
            self.reset_parameters()
            self.model_to_device()

        def forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
            columns = self.get_inputs(inputs)
            embeddings = self.embedding_layer(columns)
            predicted = self.fm(columns, embeddings)
            predicted += self.mlp(embeddings.flatten(start_dim=1))
            return {"y_pred": self.output_activation(predicted)}

    return DeepFM()


def train_fuxictr(data: Data, sizes: Network, seconds: float, loader: bool) -> Row:
    """FuxiCTR's training step on its layers, fed by its NpzDataLoader or by a dict of slices."""
    import torch

    model = make_fuxictr(data, sizes)
    model._max_gradient_norm = 10.0  # the default of its fit
    model.train()
    columns = dict(zip((*FIELDS, "label"), (*data.ids.T.astype(np.int64), data.labels.astype(np.float32)), strict=True))

    def step(batch: dict[str, torch.Tensor]) -> None:
        model.train_step(batch).item()  # its train_epoch sums the losses

    if loader:
        path = data.folder / "fuxictr.npz"
        np.savez(path, **columns)
        loaders = import_module("fuxictr.pytorch.dataloaders.npz_dataloader")
        batches = loaders.NpzDataLoader(
            model.feature_map, str(path), batch_size=sizes.batch, shuffle=True, num_workers=0
        )
        return time_steps(lambda: batches, step, seconds, sizes)
    tensors = {name: torch.from_numpy(column) for name, column in columns.items()}

    def epoch() -> Iterator[dict[str, torch.Tensor]]:
        order = torch.randperm(len(data.ids))
        parts = zip(*(torch.split(tensor[order], sizes.batch) for tensor in tensors.values()), strict=True)
        yield from (dict(zip(tensors, part, strict=True)) for part in parts)

    return time_steps(epoch, step, seconds, sizes)


# Every kind with its package.
KINDS: dict[str, tuple[str, Callable[[Data, Network, float], Row]]] = {
    "autodpq": ("autodpq", partial(train_autodpq, compiled=False)),
    "autodpq, compiled": ("autodpq", partial(train_autodpq, compiled=True)),
    "torchfm, DataLoader": ("torchfm", partial(train_torchfm, loader=True)),
    "torchfm, tensor slices": ("torchfm", partial(train_torchfm, loader=False)),
    "deepctr-torch": ("deepctr-torch", train_deepctr),
    "fuxictr, NpzDataLoader": ("fuxictr", partial(train_fuxictr, loader=True)),
    "fuxictr, tensor slices": ("fuxictr", partial(train_fuxictr, loader=False)),
}


def run_kind(kind: str, network: str, folder: Path, seconds: float, threads: int) -> None:
    """A process that trains and prints its answer."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    package, train = KINDS[kind]
    row = train(Data.load(folder), NETWORKS[network], seconds)
    print(json.dumps({**row, "torch": torch.__version__, "package": f"{package} {version(package)}"}), flush=True)


def answer(kind: str, network: str, python: str, folder: Path, seconds: float, threads: int) -> Row:
    """Has a process train."""
    # Nothing that an earlier process compiled is found again.
    with tempfile.TemporaryDirectory() as cache:
        environment = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}
        environment["TORCHINDUCTOR_CACHE_DIR"] = cache
        command = [python, __file__, "--kind", kind, "--network", network, "--folder", str(folder)]
        command += ["--seconds", str(seconds), "--threads", str(threads)]
        ended = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
    if ended.returncode:
        raise SystemExit(f"{kind}: its process failed ({ended.returncode})")
    # Peers print, too; a line of theirs may even come last.
    row: Row = json.loads([line for line in ended.stdout.splitlines() if line.startswith("{")][-1])
    return row


def main() -> None:
    """Times, writes and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--peers-python", help="a Python with deepctr-torch, torchfm and fuxictr")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="of one training")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, each measured")
    parser.add_argument("--rows", type=int, default=401_408, help="of the data; rounded down to whole batches")
    parser.add_argument("--network", choices=NETWORKS, default="paper", help="what is trained")
    parser.add_argument(
        "--vocabulary", type=int, help="rows of the tables in all; as many as MovieLens-1M's if left out"
    )
    parser.add_argument("--out", type=Path, default=HERE / "docs" / "benchmarks", help="folder of what is written")
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        run_kind(options.kind, options.network, options.folder, options.seconds, int(options.threads))
        return
    least = sum(CARDINALITIES)
    vocabulary = least if options.vocabulary is None else options.vocabulary
    batch = NETWORKS[options.network].batch
    if vocabulary < least or options.rows < batch:
        parser.error(f"--vocabulary must be at least {least}, --rows at least {batch}")
    import pandas as pd
    from peers_figure import draw, summarise

    from autodpq import __version__
    from studies.workers.machine import machine_name

    rows = []
    with tempfile.TemporaryDirectory() as name:
        Data.generate(options.rows // batch * batch, vocabulary, Path(name)).save()
        for number in range(options.rounds):
            for threads in map(int, options.threads.split(",")):
                for kind, (package, _) in KINDS.items():
                    python = sys.executable if package == "autodpq" else options.peers_python
                    if python is None:
                        continue
                    before = {"load_before": round(os.getloadavg()[0], 2)}
                    row = answer(kind, options.network, python, Path(name), options.seconds, threads)
                    what = {"round": number, "kind": kind, "threads": threads, "vocabulary": vocabulary}
                    named = {column: row.get(column) for column in ("samples_per_second", "compile_seconds", "steps")}
                    where = {"machine": machine_name(), "torch": row["torch"], "package": row["package"]}
                    rows.append({**what, **named, **where, **before, "autodpq": __version__})
                    print({**what, **named, **before}, flush=True)
    frame = pd.DataFrame(rows)
    options.out.mkdir(exist_ok=True)
    stem = "peers" + ("-wide" if options.network == "wide" else "")
    stem += "" if options.vocabulary is None else f"-{vocabulary}"
    frame.to_csv(options.out / f"{stem}.csv", index=False)
    summarise(frame)
    if stem == "peers":
        draw(frame, options.out / "peers.png")


if __name__ == "__main__":
    main()
