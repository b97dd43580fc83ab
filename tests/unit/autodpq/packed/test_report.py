from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import autodpq
from autodpq.choices import DPQ, Float16, Full, Int
from autodpq.errors import AutoDPQError
from autodpq.packed.report import compression_report

N_ROWS, DIM = 200, 8


class Model(nn.Module):
    """Two tables of their own, and one that two modules share."""

    def __init__(self) -> None:
        super().__init__()
        self.user = nn.Embedding(N_ROWS, DIM)
        self.item = nn.EmbeddingBag(N_ROWS, DIM)
        self.query = nn.Embedding(N_ROWS, DIM)
        self.query.weight = self.item.weight
        self.other = nn.Embedding(N_ROWS, 2)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model()


COUNTS = {"*": np.arange(N_ROWS, 0, -1)}


def test_each_table_is_told_with_its_bytes_and_how_far_rows_are_from_what_they_were(
    model: Model, tmp_path: Path
) -> None:
    plan = {"user": DPQ(16, 4), "item": Int(4), "query": Int(4), "other": Full()}
    small = autodpq.compress(model, COUNTS, plan=plan, threshold=150)
    user, item = compression_report(model, small, COUNTS).tables
    assert (user.modules, user.rows, user.dim) == (("user",), N_ROWS, DIM)
    assert item.modules == ("item", "query")
    assert item.choices == ((149, "int(4)"), (51, "full"))
    assert item.bytes_before == 4 * N_ROWS * DIM
    packed = {table.spec.name: table for table in autodpq.export(small, tmp_path / "small.safetensors").tables}
    assert item.bytes == sum(array.nbytes for array in packed["item"].arrays.values())
    used = torch.arange(N_ROWS, 0, -1)[:, None]
    own = model.user.weight.detach()
    difference = small.user.weight - own
    by_hand = ((used * difference.square()).sum() / (used * own.square()).sum()).sqrt()
    assert user.error == pytest.approx(float(by_hand), rel=1e-6) and 0.05 < user.error < 1
    once = compression_report(model, small).tables[0]
    assert once.error > user.error, "rows that are kept are used most"


def test_the_whole_is_the_sum_of_its_tables_and_prints_as_a_table(model: Model) -> None:
    small = autodpq.compress(model, COUNTS, budget=0.3, bands="auto")
    report = compression_report(model, small, COUNTS)
    assert report.bytes_before == 4 * N_ROWS * (2 * DIM + 2)
    assert report.bytes <= 0.3 * report.bytes_before
    head, *rows, last = str(report).splitlines()
    assert head.split() == ["module", "rows", "bytes", "before", "bytes", "smaller", "error", "choices"]
    assert [line.split("  ")[0] for line in rows] == ["user", "item, query", "other"]
    assert last.split()[:4] == ["all", "600", f"{report.bytes_before:,}", f"{report.bytes:,}"]
    assert len({line.index(f"{table.error:.3f}") for line, table in zip(rows, report.tables, strict=True)}) == 1


def test_half_precision_is_hardly_an_error_and_rows_of_zeros_are_none(model: Model) -> None:
    nn.init.zeros_(model.other.weight)
    report = compression_report(model, autodpq.compress(model, COUNTS, plan={"*": Float16()}))
    assert [table.error < 5e-4 for table in report.tables] == [True] * 3
    assert report.tables[-1].error == 0.0


def test_the_root_itself_may_be_a_table() -> None:
    table = nn.Embedding(N_ROWS, DIM)
    (found,) = compression_report(table, autodpq.compress(table, COUNTS, plan={"*": Int(8)})).tables
    assert found.modules == ("",) and found.error < 0.01


def test_what_is_not_compressed_or_of_another_model_is_refused(model: Model) -> None:
    with pytest.raises(AutoDPQError, match=r"no table of it is compressed; give what autodpq\.compress gave back"):
        compression_report(model, model)
    small = autodpq.compress(model, COUNTS, plan={"*": Int(8)})
    other = nn.ModuleDict({"user": nn.Embedding(N_ROWS + 1, DIM)})
    with pytest.raises(AutoDPQError, match="module 'user': the model has no table of 200 rows of 8 there"):
        compression_report(other, small)


def test_progress_is_told_table_by_table_and_budget_by_budget(model: Model) -> None:
    lines: list[str] = []
    plan = {"user": DPQ(16, 4), "item": Int(4), "query": Int(4), "other": Full()}
    autodpq.compress(model, COUNTS, plan=plan, finetune=lambda model: None, say=lines.append)
    assert lines == [
        "[1/3] user: 200 rows, dpq(16,4)",
        "[2/3] item, query: 200 rows, int(4)",
        "[3/3] other: 200 rows, left as it is",
        "fine-tuning",
    ]
    lines.clear()
    qualities = iter([0.8, 0.795, 0.7])  # of the model, at a sixteenth, at a sixty-fourth
    autodpq.shrink(
        model, COUNTS, evaluate=lambda model: next(qualities), max_loss=0.01, steps=2, candidates="others,int(2)",
        say=lines.append,
    )  # fmt: skip
    assert lines == ["6.2% of the bytes: loses 0.005, allowed", "1.6% of the bytes: loses 0.1, too much"]
