"""Data sets: tables to frequency-ranked ids, splits, and the loaders (no torch here)."""

from autodpq.data.dataset import EncodedDataset, Samples, Truth
from autodpq.data.registry import DATASETS, DatasetSpec, dataset_spec, load_dataset
from autodpq.data.sets.synthetic import bayes_auc
from autodpq.data.splits import (
    FRACTIONS,
    SPLIT_METHODS,
    Split,
    chronological_split,
    column_split,
    random_split,
    split_dataset,
)

__all__ = [
    "DATASETS",
    "FRACTIONS",
    "SPLIT_METHODS",
    "DatasetSpec",
    "EncodedDataset",
    "Samples",
    "Split",
    "Truth",
    "bayes_auc",
    "chronological_split",
    "column_split",
    "dataset_spec",
    "load_dataset",
    "random_split",
    "split_dataset",
]
