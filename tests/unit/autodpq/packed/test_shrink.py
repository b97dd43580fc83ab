from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import autodpq
from autodpq.errors import AutoDPQError
from autodpq.packed.drop_in import CompressedEmbedding

N_ROWS, DIM = 400, 8
COUNTS = {"table": np.arange(N_ROWS, 0, -1)}
FEW = "int(2|4|8),dpq(4|16,2|4)"  # what all are tried with takes its time


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(N_ROWS, DIM)

    def forward(self, ids: Tensor) -> Tensor:
        rows: Tensor = self.table(ids)
        return rows.sum(1)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model()


def rows_of(model: nn.Module) -> Tensor:
    return model.get_submodule("table")(torch.arange(N_ROWS))


class Evaluate:
    """Minus the mean squared error of rows; keeps of each model that it saw how many bytes it takes, and the loss."""

    def __init__(self, model: Model) -> None:
        self.rows, self.seen = model.table.weight.detach().clone(), []

    def __call__(self, model: nn.Module) -> float:
        assert not model.training and not torch.is_grad_enabled()
        error = float((rows_of(model) - self.rows).square().mean())
        table = model.get_submodule("table")
        if isinstance(table, CompressedEmbedding):
            self.seen.append((size_of(model), error))
        return -error


def size_of(model: nn.Module) -> int:
    return sum(array.nbytes for array in model.get_submodule("table").table.table().arrays.values())


@pytest.mark.parametrize("max_loss", [0.001, 0.03, 0.2])
def test_the_smallest_model_whose_loss_is_allowed_comes_back(model: Model, max_loss: float) -> None:
    evaluate = Evaluate(model)
    small = autodpq.shrink(model, COUNTS, evaluate=evaluate, max_loss=max_loss, steps=5, candidates=FEW)
    assert len(evaluate.seen) >= 4 and small.training and model.training
    allowed = [size for size, loss in evaluate.seen if loss <= max_loss]
    assert size_of(small) == min(allowed) < 4 * N_ROWS * DIM
    # It is halved towards the border: what is refused is smaller than what is taken.
    assert all(size < min(allowed) for size, loss in evaluate.seen if loss > max_loss)
    assert isinstance(model.table, nn.Embedding)


def test_more_loss_makes_it_smaller(model: Model) -> None:
    sizes = [
        size_of(autodpq.shrink(model, COUNTS, evaluate=Evaluate(model), max_loss=loss, candidates=FEW))
        for loss in (0.001, 0.03, 0.2)
    ]
    assert all(second < first for first, second in pairwise(sizes))


def test_every_copy_is_fine_tuned_before_it_is_evaluated(model: Model) -> None:
    tuned: list[nn.Module] = []
    autodpq.shrink(
        model, COUNTS, evaluate=Evaluate(model), max_loss=0.1, steps=3, finetune=lambda copy: tuned.append(copy)
    )
    assert len(tuned) == 3 and model not in tuned


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_loss": -0.1}, r"^max_loss: -0\.1 given, a number from 0 on is needed$"),
        ({"max_loss": math.nan}, r"^max_loss: nan given"),
        ({"max_loss": 0.1, "steps": 0}, r"^steps: 0 given, at least 1 is needed$"),
        (
            {"max_loss": 0.0, "candidates": "int(2)"},
            r"^max_loss: none of 4 compressed models loses 0 or less; the nearest",
        ),
        ({"max_loss": 0.1, "modules": "tabel"}, r"^modules: no embedding is named 'tabel'; did you mean 'table'\?$"),
    ],
)
def test_what_cannot_be_done_is_one_line(model: Model, options: dict[str, object], message: str) -> None:
    with pytest.raises(AutoDPQError, match=message):
        autodpq.shrink(model, COUNTS, evaluate=Evaluate(model), **options)


def test_an_evaluation_that_is_no_number_is_told(model: Model) -> None:
    with pytest.raises(AutoDPQError, match=r"^evaluate: it gave nan, a number is needed$"):
        autodpq.shrink(model, COUNTS, evaluate=lambda model: math.nan, max_loss=0.1)


def test_bands_are_those_of_compress(model: Model) -> None:
    found = autodpq.shrink(
        model, COUNTS, evaluate=Evaluate(model), max_loss=9, steps=1, candidates="others,int(2)", bands=(100,)
    )
    assert [table.n_rows for table in found.get_submodule("table").table.spec.tables] == [301, 99]
