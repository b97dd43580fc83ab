"""What must hold on a GPU: the CPU's results within rounding, and the same numbers every time."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from support.packed_files import arrays_of
from support.packed_models import HEADS, WORDS, make_network, write_model
from torch import Tensor, nn

import autodpq
from autodpq.choices import DPQ, Choice, Full, Others
from autodpq.data.dataset import Samples
from autodpq.embedding.kmeans import kmeans_centroids, weighted_centroids
from autodpq.kernels.kmeans import subspaces
from autodpq.kernels.operations import Merge, sum_rows
from autodpq.models import MODELS
from autodpq.packed.compress import compress
from autodpq.packed.load import PackedNetwork, load
from autodpq.packed.module import PackedEmbedding
from autodpq.packed.network import pack_network
from autodpq.packed.spec import TableSpec
from autodpq.packed.table import PackedTable
from autodpq.plan import CompressionPlan, Field
from autodpq.search.bilevel import SearchOptions, alpha_gradient, search, supernet_of
from autodpq.training.fit import evaluate, make_optimizer, predict, training_step
from autodpq.training.recipes import Recipe, find_recipe
from autodpq.training.trainer import Trainer
from studies.workers.machine import torch_settings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FIELDS = (Field("user", 2000, 300), Field("item", 500, 100), Field("sex", 2, 2), Field("shop", 90, 30))
SPACE: dict[str, tuple[Choice, ...]] = {
    field.name: (DPQ(8, 2), DPQ(16, 4), DPQ(4, 8)) if field.tail else (Full(),) for field in FIELDS
}
PLANS = {
    "full": CompressionPlan({field.name: Full() for field in FIELDS}),
    "mixed": CompressionPlan({"user": DPQ(16, 4), "item": Others(), "sex": Full(), "shop": DPQ(8, 8)}),
}
RECIPE = Recipe("cuda", initial_deviation=0.1, batch_size=2048, max_epochs=2)
PLAIN = replace(RECIPE, dropout=0.0)


@pytest.fixture(autouse=True)
def _settings_of_a_study() -> Iterator[None]:
    with torch_settings():
        yield


def samples_of(n: int, seed: int) -> Samples:
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.zipf(1.3, n) % field.cardinality for field in FIELDS], 1).astype(np.int32)
    labels = (np.sin(ids).sum(1) + rng.normal(size=n) > 0).astype(np.uint8)
    return Samples(ids, labels)


TRAIN, VALID = samples_of(7000, 1), samples_of(2500, 2)


def trainer_of(device: torch.device, recipe: Recipe = RECIPE, model: str = "deepfm", seed: int = 0) -> Trainer:
    return Trainer(FIELDS, MODELS.find(model), recipe, seed, device, TRAIN, VALID)


def on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in state.items()}


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    different = [name for name, value in first.items() if not torch.equal(value, second[name])]
    assert different == []


def searched(trainer: Trainer, xi: float, epochs: int = 2) -> dict[str, Tensor]:
    network = trainer.build_supernet(SPACE, scale=True)
    trainer.start(network, None)
    search(network, trainer.train, trainer.valid, trainer.recipe, SearchOptions(epochs=epochs, xi=xi), trainer.seed)
    return network.state_dict()


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("optimizer", ["adam", "lazy-adam"])
def test_training_gives_the_same_numbers_twice(model: str, plan: str, optimizer: Any) -> None:
    states = []
    for _ in range(2):
        trainer = trainer_of(CUDA, replace(find_recipe("strong"), optimizer=optimizer, max_epochs=2), model)
        network, result = trainer.train_plan(PLANS[plan], None)
        assert next(network.parameters()).is_cuda and result.epochs == 2
        states.append(network.state_dict())
    assert_equal(*states)


@pytest.mark.parametrize("xi", [0.0, 1e-3])
@pytest.mark.parametrize("optimizer", ["adam", "lazy-adam"])
def test_search_gives_the_same_numbers_twice(xi: float, optimizer: Any) -> None:
    trainer = trainer_of(CUDA, replace(RECIPE, optimizer=optimizer))
    first, second = searched(trainer, xi), searched(trainer, xi)
    assert first["embedding.alpha"].abs().sum() > 0
    assert_equal(first, second)


def test_another_seed_gives_other_numbers() -> None:
    first, second = (searched(trainer_of(CUDA, seed=seed), 0.0, 1) for seed in (0, 1))
    assert not torch.equal(first["embedding.alpha"], second["embedding.alpha"])


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("optimizer", ["adam", "lazy-adam"])
def test_a_step_has_the_cpus_gradients(model: str, plan: str, optimizer: Any) -> None:
    recipe = replace(PLAIN, optimizer=optimizer, l2=1e-5)
    trainer = trainer_of(CPU, recipe, model)
    here = trainer.build(PLANS[plan])
    trainer.start(here, None)
    here.double()  # in float32, what differs could be rounding
    there = deepcopy(here).to(CUDA)
    for network in (here, there):
        rows = trainer.train if network is here else trainer_of(CUDA, recipe, model).train
        ids, labels, _ = next(rows.batches(network, recipe.batch_size, 0, 1))
        training_step(network.train(), make_optimizer(network, recipe), ids, labels.double(), recipe.l2)
    for name, parameter in here.named_parameters():
        other = dict(there.named_parameters())[name]
        assert (parameter.grad is None) == (other.grad is None)
        if parameter.grad is not None and other.grad is not None:
            expected, found = parameter.grad.to_dense(), other.grad.to_dense().cpu()
            assert torch.allclose(found, expected, rtol=1e-6, atol=1e-12), name
            assert torch.allclose(other.cpu(), parameter, rtol=0, atol=1e-5), name
    for name, buffer in here.named_buffers():
        assert torch.allclose(dict(there.named_buffers())[name].cpu(), buffer, rtol=1e-6, atol=1e-12), name


@pytest.mark.parametrize("xi", [0.0, 1e-2])
def test_alpha_has_the_cpus_gradient(xi: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # No Gumbel noise, which every device draws in its own way.
    monkeypatch.setattr(Tensor, "exponential_", lambda tensor: tensor.fill_(1.0))
    gradients = []
    trainers = [trainer_of(device, PLAIN) for device in (CPU, CUDA)]
    here = trainers[0].build_supernet(SPACE, scale=True)
    trainers[0].start(here, None)
    for trainer, network in zip(trainers, (here, deepcopy(here).to(CUDA)), strict=True):
        network.train()
        train = next(trainer.train.batches(network, RECIPE.batch_size, 0, 1))
        valid = next(trainer.valid.batches(network, RECIPE.batch_size, 1, 1))
        gradients.append(alpha_gradient(network, train, valid, xi).cpu())
        assert supernet_of(network).alpha.device.type == trainer.device.type
    assert gradients[0].abs().max() > 1e-6
    assert torch.allclose(gradients[1], gradients[0], rtol=1e-2, atol=1e-7)


def test_large_batches_give_the_same_numbers_twice() -> None:
    # Thousands of entries to a row: where torch, left alone, adds in any order.
    ids = torch.randint(40, (300_000,), generator=torch.Generator().manual_seed(0)).cuda()
    values = torch.randn(300_000, 16, generator=torch.Generator().manual_seed(1)).cuda()
    sums = [sum_rows(values, ids, 50) for _ in range(5)]
    assert all(torch.equal(sums[0], other) for other in sums[1:])
    expected = values.double().cpu().new_zeros(50, 16).index_add_(0, ids.cpu(), values.double().cpu())
    assert torch.allclose(sums[0].double().cpu(), expected, atol=1e-2)


def test_training_reaches_the_cpus_auc() -> None:
    aucs = []
    for device in (CPU, CUDA):
        trainer = trainer_of(device, replace(PLAIN, max_epochs=6, learning_rate=1e-2))
        network, result = trainer.train_plan(PLANS["mixed"], None)
        aucs.append(evaluate(network, trainer.valid).auc)
        assert aucs[-1] == result.best.metrics.auc
    assert aucs[0] > 0.6 and abs(aucs[0] - aucs[1]) < 3e-3


def test_sums_at_rows_are_exact() -> None:
    rng = torch.Generator().manual_seed(0)
    for n in (1, 3000, 20_000):
        index = torch.randint(7, (n,), generator=rng) ** 2
        values = torch.randint(-8, 8, (n, 5), generator=rng).float()
        for each in (values, values[:, 0]):
            for numbers in (index, index.int()):
                expected = each.new_zeros((40, *each.shape[1:])).index_add_(0, index, each)
                assert torch.equal(sum_rows(each.cuda(), numbers.cuda(), 40).cpu(), expected)


def test_row_numbers_are_merged_as_on_the_cpu() -> None:
    ids = torch.from_numpy(TRAIN.ids)
    here, there = Merge.of(ids), Merge.of(ids.cuda())
    assert torch.equal(here.rows, there.rows.cpu()) and torch.equal(here.places.long(), there.places.cpu())


def test_centroids_are_the_same_twice_and_fit_as_well_as_the_cpus() -> None:
    rows = torch.randn(70_000, 16, generator=torch.Generator().manual_seed(3))
    weights = torch.rand(70_000, generator=torch.Generator().manual_seed(4), dtype=torch.double)
    K, D = 32, 8

    def error(centroids: Tensor) -> float:
        centroids = centroids.cpu()
        distances = torch.cdist(subspaces(rows, D), subspaces(centroids, D)).square()
        return float(distances.min(2).values.sum(0).mean())

    for find in (
        lambda device: kmeans_centroids(rows.to(device), K, D, 0),
        lambda device: weighted_centroids(rows.to(device), weights.to(device), K, D, 0),
    ):
        first = find(CUDA)
        assert first.is_cuda and torch.equal(first, find(CUDA))
        assert error(first) == pytest.approx(error(find(CPU)), rel=0.02)


def packed_table(choice: Choice, ranked: bool, head_dtype: str) -> PackedTable:
    spec = TableSpec("a", 740, 8, 40, choice, 0, ranked, True, head_dtype)
    return PackedTable(spec, arrays_of(spec))


@pytest.mark.parametrize("choice", [Full(), Others(), DPQ(2, 1), DPQ(17, 4), DPQ(32, 8), DPQ(300, 8)], ids=str)
@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("head_dtype", ["float32", "float16", "int8"])
def test_packed_look_ups_are_the_cpus(choice: Choice, ranked: bool, head_dtype: str) -> None:
    if isinstance(choice, Full) and not ranked:
        pytest.skip("a full table has no list of frequent ids")
    table = packed_table(choice, ranked, head_dtype)
    here, there = PackedEmbedding(table), PackedEmbedding(table).cuda()
    n_rows = table.spec.n_rows
    random = torch.randint(n_rows, (64, 3), generator=torch.Generator().manual_seed(1))
    for ids in (torch.arange(n_rows), random.int(), torch.zeros(2, 0, 3, dtype=torch.int16)):
        assert torch.equal(there(ids.cuda()).cpu(), here(ids))
        assert torch.equal(there.first_order_of(ids.cuda()).cpu(), here.first_order_of(ids))
    for wrong in (-1, n_rows):
        with pytest.raises(IndexError, match=f"id {wrong} given"):
            there(torch.tensor([0, wrong], device=CUDA))
    assert there(torch.tensor([0], device=CUDA)).shape == (1, 8), "the device is still usable"
    for name, array in there.table().arrays.items():
        assert np.array_equal(array, table.arrays[name]), name


@pytest.mark.parametrize("model", list(MODELS))
def test_a_packed_network_scores_as_on_the_cpu(model: str, tmp_path: Path) -> None:
    write_model(tmp_path / "model.safetensors", model)
    here, there = load(tmp_path / "model.safetensors"), load(tmp_path / "model.safetensors").to(CUDA)
    assert isinstance(here, PackedNetwork) and isinstance(there, PackedNetwork)
    rng = np.random.default_rng(0)
    ids = np.stack([rng.integers(0, len(words), 20_000) for words in WORDS.values()], 1).astype(np.int32)
    assert np.allclose(there.score(ids), here.score(ids), rtol=1e-4, atol=1e-5)
    values = {name: [words[0], words[-1], "never seen"] for name, words in WORDS.items()}
    assert np.allclose(there.predict(values), here.predict(values), rtol=1e-4)


def test_a_network_is_packed_from_the_gpu_as_it_predicts_there() -> None:
    network = make_network("deepfm")
    from_cpu = pack_network(network, [0] * len(HEADS))
    from_gpu = pack_network(deepcopy(network).to(CUDA), [0] * len(HEADS))
    assert from_cpu[0] == from_gpu[0]
    for name, arrays in from_cpu[1].items():
        assert all(np.array_equal(array, from_gpu[1][name][part]) for part, array in arrays.items()), name
    trainer = trainer_of(CUDA)
    trained, _ = trainer.train_plan(PLANS["mixed"], None)
    probabilities = predict(trained, trainer.valid)
    assert probabilities.std() > 0 and np.isfinite(probabilities).all()
    specs, tables, _ = pack_network(trained, [0] * len(FIELDS))
    looked_up = [PackedTable(spec, tables[spec.name]).lookup(VALID.ids[:, i]) for i, spec in enumerate(specs)]
    trained.eval()
    with torch.no_grad(), trained.embedding.settled():
        embedded = trained.embedding(trained.embedding.flatten(trainer.valid.ids)).cpu().numpy()
    assert np.array_equal(np.stack(looked_up, 1), embedded)


class Clicks(nn.Module):
    """A model of somebody else's."""

    def __init__(self) -> None:
        super().__init__()
        self.user = nn.Embedding(70_000, 8, padding_idx=3)
        self.words = nn.EmbeddingBag(500, 8, mode="mean")
        self.output = nn.Linear(16, 1)

    def forward(self, user: Tensor, words: Tensor) -> Tensor:
        logits: Tensor = self.output(torch.cat([self.user(user), self.words(words)], 1)).squeeze(1)
        return logits


def finetune(model: nn.Module) -> None:
    device = model.output.weight.device
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(5):
        user, words = (
            torch.randint(70_000, (4096,), generator=generator),
            torch.randint(500, (4096, 4), generator=generator),
        )
        loss = nn.functional.binary_cross_entropy_with_logits(
            model(user.to(device), words.to(device)), (user % 2).float().to(device)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize(
    "options",
    [{"plan": {"user": DPQ(16, 4), "words": Others()}}, {"budget": 0.2}, {"budget": 0.2, "bands": "auto"}],
    ids=str,
)
def test_models_are_compressed_on_the_gpu(options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Clicks().eval()
    rng = np.random.default_rng(0)
    counts: dict[str, npt.NDArray[np.int64]] = {"user": rng.zipf(1.5, 70_000), "words": rng.integers(1, 50, 500)}
    user, words = torch.arange(0, 70_000, 7), torch.randint(500, (10_000, 4))
    there = deepcopy(model).cuda()
    first, second = (compress(there, counts, **options, finetune=finetune) for _ in range(2))
    assert all(value.is_cuda for value in first.state_dict().values())
    assert_equal(first.state_dict(), second.state_dict())
    logits = first(user.cuda(), words.cuda()).detach().cpu()
    autodpq.export(first, tmp_path / "compressed.safetensors")
    loaded = autodpq.load(tmp_path / "compressed.safetensors", Clicks())
    assert torch.allclose(loaded(user, words), logits, atol=1e-5)
    expected = compress(model, counts, **options, finetune=finetune)(user, words).detach()
    assert float(torch.corrcoef(torch.stack([logits, expected]))[0, 1]) > 0.9
