"""deepctr-torch's DeepFM, trained on MovieLens-1M, compressed to a tenth, fine-tuned, exported and loaded."""

from __future__ import annotations

from functools import partial

import torch
from deepctr_torch.inputs import SparseFeat
from deepctr_torch.models import DeepFM
from movielens import evaluate, load_movielens, parse_arguments, show, train
from torch import Tensor, nn

import autodpq

arguments = parse_arguments(__doc__)
torch.set_num_threads(1)
data = load_movielens(arguments.data_dir)


def make_model() -> nn.Module:
    columns = [SparseFeat(name, size, embedding_dim=16) for name, size in zip(data.names, data.sizes, strict=True)]
    return DeepFM(columns, columns, dnn_hidden_units=(16, 16), dnn_dropout=0.2, seed=arguments.seed)


def forward(model: nn.Module, ids: Tensor) -> Tensor:
    return model(ids.float()).squeeze(1)


def penalty(model: nn.Module) -> Tensor:
    return model.get_regularization_loss().sum()


model = make_model()
train(model, data, forward, penalty)
before = evaluate(model, data.test, forward)

# All that compression takes. deepctr-torch keeps two tables per field.
counts = {f"*embedding_dict.{name}": occurrences for name, occurrences in zip(data.names, data.counts, strict=True)}
finetune = partial(train, data=data, forward=forward, penalty=penalty, learning_rate=3e-4)
compressed = autodpq.compress(model, counts, budget=0.1, finetune=finetune)
packed = autodpq.export(compressed, arguments.out)
loaded = autodpq.load(arguments.out, make_model())

show(before, evaluate(loaded, data.test, forward), model, packed)
