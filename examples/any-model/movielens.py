"""MovieLens-1M as torch tensors, and how both examples train and measure."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from autodpq.data import load_dataset, split_dataset
from autodpq.metrics import Metrics, evaluate_predictions
from autodpq.packed.file import PackedFile

Part = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class MovieLens:
    """Ids [rows, fields] and labels [rows] of three parts; per field its name, its size and its counts in training."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    counts: tuple[np.ndarray, ...]
    train: Part
    valid: Part
    test: Part


def load_movielens(data_dir: Path | None) -> MovieLens:
    """Loads, encodes and splits the data, 8:1:1."""
    dataset = load_dataset("movielens1m", data_dir=data_dir)
    split = split_dataset(dataset, 2023, "random")

    def part(rows: np.ndarray) -> Part:
        samples = dataset.rows(rows)
        return torch.from_numpy(samples.ids).long(), torch.from_numpy(samples.labels).float()

    train, sizes = part(split.train), tuple(len(counts) for counts in dataset.counts)
    counts = tuple(np.bincount(train[0][:, column], minlength=size) for column, size in enumerate(sizes))
    return MovieLens(dataset.field_names, sizes, counts, train, part(split.valid), part(split.test))


Forward = Callable[[nn.Module, Tensor], Tensor]


@torch.no_grad()
def evaluate(model: nn.Module, part: Part, forward: Forward) -> Metrics:
    """AUC and logloss of a model's probabilities."""
    model.eval()
    probabilities = torch.cat([forward(model, ids) for ids in part[0].split(8192)])
    return evaluate_predictions(probabilities.double().numpy(), part[1].numpy().astype(int))


def train(
    model: nn.Module,
    data: MovieLens,
    forward: Forward,
    penalty: Callable[[nn.Module], Tensor] | None = None,
    learning_rate: float = 1e-3,
) -> None:
    """Adam until validation AUC has not risen for two epochs; the best epoch is kept, the start counts as one."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    best, best_state, since_best = evaluate(model, data.valid, forward).auc, copy.deepcopy(model.state_dict()), 0
    while since_best < 2:
        model.train()
        order = torch.randperm(len(data.train[1]))
        for rows in order.split(2048):
            optimizer.zero_grad()
            probabilities = forward(model, data.train[0][rows])
            loss = nn.functional.binary_cross_entropy(probabilities, data.train[1][rows])
            if penalty is not None:
                loss = loss + penalty(model)
            loss.backward()
            optimizer.step()
        auc = evaluate(model, data.valid, forward).auc
        since_best += 1
        if auc > best:
            best, best_state, since_best = auc, copy.deepcopy(model.state_dict()), 0
    model.load_state_dict(best_state)


def parse_arguments(description: str) -> argparse.Namespace:
    """The command line of both examples."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data-dir", type=Path, help="folder of ml-1m.zip; else it is downloaded")
    parser.add_argument("--out", type=Path, default=Path("deepfm.safetensors"), help="the packed file")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def show(before: Metrics, after: Metrics, model: nn.Module, packed: PackedFile) -> None:
    """Prints test metrics and the bytes of all embedding tables, before and after."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    old = sum(table.weight.numel() * table.weight.element_size() for table in tables)
    kept = [name for name, module in model.named_modules() if isinstance(module, nn.Embedding)]
    parts = tuple(f"{part}.{name}." for name in kept for part in ("tables", "dense"))
    new = sum(size for name, size in packed.sizes.items() if name.startswith(parts))
    for name, choice in packed.manifest.about["plan"].items():
        print(f"{name}: {choice}")
    print(f"test AUC {before.auc:.5f} before, {after.auc:.5f} after ({after.auc - before.auc:+.5f})")
    print(f"test logloss {before.logloss:.5f} before, {after.logloss:.5f} after")
    print(f"embedding tables {old:,} bytes before, {new:,} after ({new / old:.1%})")
