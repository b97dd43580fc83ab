"""What bands are worth to ``autodpq.compress``: test AUC of one torch model with one choice per table and by bands.

    python benchmarks/compress_bands.py --data-dir DIR

A small DeepFM of MovieLens-1M with a ``nn.Embedding`` for every field, whose ids are in any order, is trained, and
compressed to a tenth and a twentieth of its tables' bytes, as it is and fine-tuned. Prints a line for each.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

import autodpq
from autodpq.data import load_dataset, split_dataset
from autodpq.metrics import Metrics, evaluate_predictions

DIM = 16

Part = tuple[Tensor, Tensor]


class DeepFM(nn.Module):
    """Products of all pairs of fields, and an MLP.

    Args:
        names: Of the fields.
        sizes: How many values each has.
    """

    def __init__(self, names: Sequence[str], sizes: Sequence[int]) -> None:
        super().__init__()
        tables = {name: nn.Embedding(size, DIM) for name, size in zip(names, sizes, strict=True)}
        for table in tables.values():
            nn.init.normal_(table.weight, std=0.01)
        self.tables = nn.ModuleDict(tables)
        self.dropout = nn.Dropout(0.4)
        first, width = DIM * len(names), 64
        self.mlp = nn.Sequential(
            nn.Linear(first, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of ids, int64 [batch, fields]; gives float [batch]."""
        rows = [table(ids[:, column]) for column, table in enumerate(self.tables.values())]
        embeddings = self.dropout(torch.stack(rows, 1))
        pairs: Tensor = 0.5 * (embeddings.sum(1).square() - embeddings.square().sum(1)).sum(1)
        deep: Tensor = self.mlp(embeddings.flatten(1)).squeeze(1)
        return pairs + deep


@torch.no_grad()
def evaluate(model: nn.Module, part: Part) -> Metrics:
    """AUC and logloss."""
    model.eval()
    logits = torch.cat([model(ids) for ids in torch.split(part[0], 8192)]).double()
    return evaluate_predictions(logits.sigmoid().numpy(), part[1].numpy().astype(int))


def train(model: nn.Module, parts: dict[str, Part], seed: int, learning_rate: float, epochs: int) -> None:
    """Adam until validation AUC has not risen for two epochs; the best epoch is kept, the start counts as one."""
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    best, state, since_best = evaluate(model, parts["valid"]).auc, copy.deepcopy(model.state_dict()), 0
    ids, labels = parts["train"]
    for _ in range(epochs):
        model.train()
        for rows in torch.split(torch.randperm(len(labels)), 2048):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.binary_cross_entropy_with_logits(model(ids[rows]), labels[rows]))
            optimizer.step()
        auc = evaluate(model, parts["valid"]).auc
        since_best += 1
        if auc > best:
            best, state, since_best = auc, copy.deepcopy(model.state_dict()), 0
        if since_best == 2:
            break
    model.load_state_dict(state)


def table_bytes(model: nn.Module) -> int:
    """What the tables of a compressed model take in its file, those that were left as they are among them."""
    with TemporaryDirectory() as folder:
        packed = autodpq.export(model, Path(folder) / "model.safetensors")
        return sum(size for name, size in packed.sizes.items() if name.startswith(("tables.", "dense.tables.")))


def main() -> None:
    """Trains, compresses and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="folder of ml-1m.zip; else it is downloaded")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30, help="of training, at most; of fine-tuning a sixth")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_dataset("movielens1m", data_dir=arguments.data_dir)
    split, names, sizes = split_dataset(dataset, 2023, "random"), dataset.field_names, [*map(len, dataset.counts)]
    rng = np.random.default_rng(0)
    # The data set's ids are ranks by frequency, which a torch model's are not.
    orders = [rng.permutation(size) for size in sizes]
    parts: dict[str, Part] = {}
    for part in ("train", "valid", "test"):
        samples = dataset.rows(getattr(split, part))
        ids = np.stack([order[samples.ids[:, column]] for column, order in enumerate(orders)], 1)
        parts[part] = torch.from_numpy(ids), torch.from_numpy(samples.labels.astype(np.float32))
    counts = {
        f"tables.{name}": np.bincount(parts["train"][0][:, column], minlength=sizes[column])
        for column, name in enumerate(names)
    }
    torch.manual_seed(arguments.seed)
    model = DeepFM(names, sizes)
    train(model, parts, arguments.seed, 1e-3, arguments.epochs)
    print(f"{4 * DIM * sum(sizes):,} bytes: test AUC {evaluate(model, parts['test']).auc:.5f}", flush=True)

    def finetune(compressed: nn.Module) -> None:
        train(compressed, parts, arguments.seed, 3e-4, arguments.epochs // 6)

    for budget in (0.1, 0.05):
        for bands in (None, "auto"):
            begin = time.perf_counter()
            cut = autodpq.compress(model, counts, budget=budget, bands=bands)
            seconds = time.perf_counter() - begin
            tuned = autodpq.compress(model, counts, budget=budget, bands=bands, finetune=finetune)
            before, after = evaluate(cut, parts["test"]).auc, evaluate(tuned, parts["test"]).auc
            print(f"{budget:.0%}, bands={bands}: {table_bytes(tuned):,} bytes, chosen in {seconds:.0f} s")
            print(f"test AUC {before:.5f}, fine-tuned {after:.5f}\n{tuned}", flush=True)


if __name__ == "__main__":
    main()
