"""torchfm's DeepFM, trained on MovieLens-1M, compressed to a tenth, fine-tuned, exported and loaded."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from movielens import evaluate, load_movielens, parse_arguments, show, train
from torch import Tensor, nn
from torchfm.model.dfm import DeepFactorizationMachineModel

import autodpq

arguments = parse_arguments(__doc__)
torch.set_num_threads(1)
data = load_movielens(arguments.data_dir)


def make_model() -> nn.Module:
    torch.manual_seed(arguments.seed)
    return DeepFactorizationMachineModel(data.sizes, embed_dim=16, mlp_dims=(16, 16), dropout=0.2)


def forward(model: nn.Module, ids: Tensor) -> Tensor:
    return model(ids)


model = make_model()
train(model, data, forward)
before = evaluate(model, data.test, forward)

# All that compression takes. torchfm keeps the rows of all fields in one table.
counts = {"*": np.concatenate(data.counts)}
finetune = partial(train, data=data, forward=forward, learning_rate=3e-4)
compressed = autodpq.compress(model, counts, budget=0.1, finetune=finetune)
packed = autodpq.export(compressed, arguments.out)
loaded = autodpq.load(arguments.out, make_model())

show(before, evaluate(loaded, data.test, forward), model, packed)
