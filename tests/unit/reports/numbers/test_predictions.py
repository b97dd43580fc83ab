"""Predictions that are damaged, or are not of the test rows that they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.fake_studies import predictions_of, write_study

from autodpq.errors import AutoDPQError
from reports import load_study, statistics_table, verdicts


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path, strategies=["fe", "random", "autodpq"], seeds=[4], models=["deepfm"], test_rows=300)


def rewrite(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_parquet(path)).to_parquet(path, index=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.iloc[:-1], "it has 299 rows, the run has 300 test samples"),
        (lambda frame: frame.iloc[::-1], "its labels are not those of"),
        (lambda frame: frame.assign(label=1 - frame["label"]), "that of the run's result 0."),
        (lambda frame: frame.assign(probability=[0.999, *frame["probability"][1:]]), "its AUC is 0."),
        (lambda frame: frame.assign(label=np.uint8(2)), "row 1 has the label 2, not 0 or 1"),
        (lambda frame: frame.assign(label=frame["label"].astype("int64")), "its columns are {'label': 'int64'"),
        (lambda frame: frame.rename(columns={"label": "click"}), "its columns are {'click': 'uint8'"),
        (lambda frame: frame.assign(probability=[*[0.5] * 299, 1.5]), "row 300 has the probability 1.5, not one"),
        (lambda frame: frame.assign(probability=[-1e-9, *[0.5] * 299]), "row 1 has the probability -1e-09"),
        (lambda frame: frame.assign(probability=[math.inf, *[0.5] * 299]), "row 1 has the probability inf"),
        (
            lambda frame: frame.assign(probability=pd.array([None, *[0.5] * 299], dtype="Float64")),
            "a value is missing",
        ),
    ],
)
@pytest.mark.parametrize("strategy", ["autodpq", "random"])
def test_damaged_predictions(study: Path, strategy: str, change: Callable, words: str) -> None:
    path = predictions_of(study, strategy, 4)
    rewrite(path, change)
    refused(study, path if "labels are not" not in words else None, words)


def test_nan_is_no_probability(study: Path) -> None:
    path = predictions_of(study, "fe", 4)
    columns = {"label": pa.array([0] * 300, pa.uint8()), "probability": pa.array([0.5, math.nan] * 150, pa.float64())}
    pq.write_table(pa.table(columns), path)
    refused(study, path, "row 2 has the probability nan, not one from 0 to 1")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"label,probability\n1,0.5\n"])
def test_files_that_are_no_parquet(study: Path, content: bytes) -> None:
    path = predictions_of(study, "random", 4)
    path.write_bytes(content)
    refused(study, path, "damaged (")


def refused(study: Path, path: Path | None, words: str) -> None:
    results = load_study(study)
    for reader in (verdicts, statistics_table):
        with pytest.raises(AutoDPQError) as caught:
            reader(results)
        message = str(caught.value)
        assert message.startswith(f"{path or study}") and len(message.splitlines()) == 1
        assert words in message and message.endswith("remove it, and the report goes without what needs it")
