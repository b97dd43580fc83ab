from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import autodpq
from autodpq.choices import DPQ, Choice, Float16, Full, Hashed, Int, Narrow, Others
from autodpq.errors import AutoDPQError
from autodpq.packed.compress import compress
from autodpq.packed.drop_in import CompressedEmbedding, CompressedEmbeddingBag
from autodpq.packed.file import open_packed
from autodpq.packed.module import PackedEmbedding
from autodpq.packed.trainable import TrainableTable

N_USERS, N_WORDS, DIM = 300, 120, 8


class Model(nn.Module):
    """Two kinds of table, a first-order table, and layers that are left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.user = nn.Embedding(N_USERS, DIM, padding_idx=3)
        self.words = nn.EmbeddingBag(N_WORDS, DIM, mode="mean")
        self.linear = nn.Embedding(N_USERS, 1)
        self.norm = nn.BatchNorm1d(2 * DIM)
        self.output = nn.Linear(2 * DIM, 1)

    def forward(self, user: Tensor, words: Tensor) -> Tensor:
        deep = self.output(self.norm(torch.cat([self.user(user), self.words(words)], 1)))
        return (deep + self.linear(user)).squeeze(1)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Model().eval()


def counts_of(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    users = np.sort(rng.zipf(1.5, N_USERS).clip(max=10_000))[::-1]
    return {"user": users, "linear": users, "words": rng.integers(1, 50, N_WORDS)}


PLAN = {"user": DPQ(16, 4), "words": DPQ(5, 2), "linear": DPQ(8, 1)}


def inputs(n: int = 64) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.integers(0, N_USERS, n)), torch.from_numpy(rng.integers(0, N_WORDS, (n, 4)))


def test_tables_are_what_their_codes_stand_for_and_the_model_stays(model: nn.Module) -> None:
    before = copy.deepcopy(model.state_dict())
    compressed = compress(model, counts_of(), PLAN)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert isinstance(compressed.user, CompressedEmbedding) and isinstance(compressed.words, CompressedEmbeddingBag)
    assert isinstance(compressed.user.table, PackedEmbedding) and not compressed.training
    user, words = inputs()
    rows = compressed.user.weight
    assert torch.equal(compressed.user(user), rows[user])
    assert torch.equal(compressed.user(user[:0].view(0, 3)), rows[:0].view(0, 3, DIM))
    parts = [rows[torch.arange(N_USERS) != 3][:, 2 * d : 2 * d + 2] for d in range(4)]
    assert [len(part.unique(dim=0)) <= 16 for part in parts] == [True] * 4
    assert torch.allclose(compressed.words(words), compressed.words.weight[words].mean(1), atol=1e-6)
    assert compressed(user, words).shape == (64,)
    assert torch.equal(rows[3], torch.zeros(DIM)), "the padding row stays zero"


def test_frequent_rows_are_kept_wherever_they_are(model: nn.Module) -> None:
    counts = counts_of()
    counts["user"] = np.random.default_rng(2).permutation(counts["user"])
    compressed = compress(model, counts, PLAN, threshold=20)
    frequent = torch.from_numpy(counts["user"] >= 20)
    assert 0 < frequent.sum() < N_USERS
    assert torch.equal(compressed.user.weight[frequent], model.user.weight[frequent])
    others = compress(model, counts, {"*": Others()}, threshold=20)
    shared = others.user.weight[~frequent & (torch.arange(N_USERS) != 3)]
    assert len(shared.unique(dim=0)) == 1 and torch.equal(others.user.weight[frequent], model.user.weight[frequent])


def test_rows_count_as_often_as_they_occur(model: nn.Module) -> None:
    counts = counts_of()
    counts["user"] = np.ones(N_USERS)
    counts["user"][:10] = 1e6
    plan = {"user": DPQ(16, 1), "*": Full()}
    heavy = compress(model, counts, plan).user.weight
    even = compress(model, {**counts, "user": np.zeros(N_USERS)}, plan).user.weight
    errors = [((weight - model.user.weight)[:10] ** 2).sum() for weight in (heavy, even)]
    assert errors[0] < 1e-3 * errors[1]


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding_idx", [None, 5])
@pytest.mark.parametrize("last", [False, True])
def test_bags_are_called_as_torch_s_own(mode: str, padding_idx: int | None, last: bool) -> None:
    torch.manual_seed(0)
    own = nn.EmbeddingBag(30, 4, mode=mode, padding_idx=padding_idx, include_last_offset=last)
    model = nn.ModuleDict({"bag": own})
    compressed = compress(model, {"bag": np.ones(30)}, {"bag": DPQ(256, 2)})["bag"]
    # With more centroids than rows, every row is its own.
    assert torch.allclose(compressed.weight, own.weight, atol=1e-6)
    flat = torch.tensor([1, 5, 2, 29, 5, 5, 7], dtype=torch.int32)
    offsets = torch.tensor([0, 3, 4, 6, *([7] if last else [])])
    calls: list[dict[str, Any]] = [{"input": flat, "offsets": offsets}, {"input": flat[:6].view(2, 3)}]
    if mode == "sum":
        calls.append({"input": flat, "offsets": offsets, "per_sample_weights": torch.rand(7)})
    for call in calls:
        if last and "offsets" not in call:
            continue
        expected = own(**{**call, "input": call["input"].long(), **({"offsets": offsets} if "offsets" in call else {})})
        assert torch.allclose(compressed(**call), expected, atol=1e-6)


def fit(model: nn.Module) -> None:
    """Learns to tell even users from odd ones."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    user, words = torch.arange(N_USERS).repeat(2), inputs(2 * N_USERS)[1]
    model.train()
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(user, words), (user % 2).float()).backward()
        optimizer.step()


def accuracy(model: nn.Module) -> float:
    user, words = torch.arange(N_USERS), inputs(N_USERS)[1]
    with torch.no_grad():
        return float(((model.eval()(user, words) > 0) == (user % 2 == 1)).float().mean())


def test_fine_tuning_moves_rows_to_other_codes(model: nn.Module) -> None:
    fit(model)
    assert accuracy(model) > 0.95
    seen: list[nn.Module] = []

    def finetune(compressed: nn.Module) -> None:
        assert isinstance(compressed.user.table, TrainableTable)
        assert torch.equal(compressed.user.table.weight, model.user.weight), "the rows themselves go on"
        fit(compressed)
        seen.append(compressed)

    plan = {"user": DPQ(4, 2), "linear": DPQ(2, 1), "words": Full()}
    cut = compress(model, counts_of(), plan)
    tuned = compress(model, counts_of(), plan, finetune=finetune)
    assert seen == [tuned] and not tuned.training
    assert accuracy(tuned) > accuracy(cut) and accuracy(tuned) > 0.9
    assert isinstance(tuned.user.table, PackedEmbedding)
    assert torch.equal(tuned.user.weight[3], torch.zeros(DIM)), "padding gets no gradient"
    assert isinstance(tuned.words, nn.EmbeddingBag)


def test_what_fine_tuning_evaluates_is_what_is_packed(model: nn.Module) -> None:
    user, words = inputs()
    kept: list[Tensor] = []

    def finetune(compressed: nn.Module) -> None:
        fit(compressed)
        kept.append(compressed.eval()(user, words).detach())

    assert torch.equal(compress(model, counts_of(), PLAN, threshold=9, finetune=finetune)(user, words), kept[0])


def test_a_budget_is_kept_and_spent_well(model: nn.Module) -> None:
    errors, sizes = [], []
    full = 4 * (N_USERS * DIM + N_WORDS * DIM + N_USERS)
    for share in (0.2, 0.35, 0.6, 1.5 * full):
        compressed = compress(model, counts_of(), budget=share)
        total, error = 0, 0.0
        for name in PLAN:
            module, own = compressed.get_submodule(name), model.get_submodule(name)
            if isinstance(module, nn.Embedding | nn.EmbeddingBag):
                total += own.weight.numel() * 4
                continue
            total += sum(array.nbytes for array in module.table.table().arrays.values())
            counts = torch.from_numpy(np.array(counts_of()[name], dtype=float))[:, None]
            error += float((counts * (module.weight - own.weight.detach()) ** 2).sum())
        assert total <= (share * full if share < 1 else share)
        sizes.append(total)
        errors.append(error)
    assert errors == sorted(errors, reverse=True) and errors[-1] == 0 and sizes[0] > 0.15 * full


def test_same_seed_same_table(model: nn.Module) -> None:
    weights = [compress(model, counts_of(), PLAN, seed=seed).user.weight for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_one_module_in_two_places_stays_one(model: nn.Module) -> None:
    model.again = model.user
    compressed = compress(model, counts_of(), PLAN)
    assert compressed.again is compressed.user


def test_export_and_load_give_the_same_outputs(model: nn.Module, tmp_path: Path) -> None:
    fit(model)
    user, words = inputs()
    for threshold in (None, 9):
        compressed = compress(model.eval(), counts_of(), PLAN, threshold=threshold)
        packed = autodpq.export(compressed, tmp_path / "a.safetensors")
        assert packed.manifest.kind == "modules" and packed.manifest.about["plan"]["user"] == "dpq(16,4)"
        loaded = autodpq.load(tmp_path / "a.safetensors", Model())
        assert torch.equal(loaded(user, words), compressed(user, words))
        assert torch.equal(loaded.norm.num_batches_tracked, model.norm.num_batches_tracked)
        from autodpq.serving import open_model

        found = open_model(tmp_path / "a.safetensors").lookup("user", user.numpy())
        assert np.array_equal(found, compressed.user(user).numpy())
    small = autodpq.export(compressed, tmp_path / "b.safetensors", head_dtype="int8")
    assert sum(small.sizes.values()) < sum(open_packed(tmp_path / "a.safetensors").sizes.values())


def test_another_model_cannot_be_loaded_into(model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    autodpq.export(compress(model, counts_of(), PLAN), path)
    other, lacking = Model(), Model()
    other.user = nn.Embedding(7, DIM)
    lacking.user = nn.Identity()  # type: ignore[assignment]
    more = Model()
    more.extra = nn.Linear(1, 1)
    for wrong, message in {
        None: "give the model, not compressed",
        other: r"'user' has 300 rows of 8 numbers, the model's 7 of 8",
        lacking: "the model has no embedding 'user'",
        more: "'extra.weight' is missing",
    }.items():
        with pytest.raises(AutoDPQError, match=message) as error:
            autodpq.load(path, wrong)
        assert str(error.value).startswith(str(path))
    with pytest.raises(AutoDPQError, match="nothing in it is compressed"):
        autodpq.export(Model(), tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plan": None}, "give either a plan or a budget"),
        ({"budget": 0.5}, "give either a plan or a budget"),
        ({"modules": "usr"}, "no embedding is named 'usr'.*'user'"),
        ({"counts": {}}, "counts: nothing is given for module 'user'"),
        ({"counts": {**counts_of(), "usr": [1]}}, "counts: 'usr' is none of the modules"),
        ({"counts": {**counts_of(), "user": [1, 2]}}, r"counts of 'user': .* 300 rows"),
        ({"counts": {**counts_of(), "user": -np.ones(300)}}, "negative"),
        ({"counts": {**counts_of(), "user": np.full(300, np.nan)}}, "no number"),
        ({"counts": {**counts_of(), "user": ["a"] * 300}}, "numbers?"),
        ({"plan": {"user": DPQ(4, 2)}}, "plan: nothing is given for module"),
        ({"plan": {**PLAN, "other": Full()}}, "plan: 'other' is none of the modules"),
        ({"plan": {**PLAN, "user": DPQ(4, 3)}}, "plan: module 'user': D=3 does not divide the embedding dimension 8"),
        (
            {"plan": {**PLAN, "user": "dpq(4,2)"}},
            r"plan: 'dpq\(4,2\)' given for 'user'; DPQ\(K, D\), Full\(\) or the like is needed",
        ),
        ({"plan": {"*r": DPQ(4, 1), "[ulw]*": DPQ(4, 1)}}, "both match module 'user'"),
        ({"plan": None, "budget": 40}, "budget: 40 bytes of 14,640 are too few; no choice is below"),
        ({"candidates": "others"}, "candidates: a plan chooses itself; they go with a budget"),
        ({"plan": None, "budget": 0.5, "candidates": "dqp(4,2)"}, r"unknown choice 'dqp'; did you mean 'dpq'\?"),
        ({"plan": None, "budget": 0.5, "candidates": "dpq(4,3)"}, "candidates: module 'user': D=3 does not divide"),
        ({"plan": None, "budget": float("inf")}, "budget: inf given, a number of bytes or a share below 1 is needed"),
    ],
)
def test_what_does_not_fit_is_told(model: nn.Module, changes: dict[str, Any], message: str) -> None:
    arguments = {"counts": counts_of(), "plan": PLAN, **changes}
    with pytest.raises(AutoDPQError, match=message) as error:
        compress(model, **arguments)
    assert "\n" not in str(error.value)


def test_what_cannot_be_kept_is_refused(model: nn.Module) -> None:
    model.user.max_norm = 1.0
    with pytest.raises(AutoDPQError, match="module 'user': max_norm cannot be kept"):
        compress(model, counts_of(), PLAN)
    model.user.max_norm = None
    tied = nn.Linear(DIM, N_USERS, bias=False)
    tied.weight = model.user.weight
    model.tied = tied
    with pytest.raises(AutoDPQError, match="module 'tied' shares the weight"):
        compress(model, counts_of(), PLAN)
    with pytest.raises(AutoDPQError, match="compress the model in float32"):
        compress(Model().half(), counts_of(), PLAN)


class Scaled(nn.Embedding):
    """Gives other rows than its weight's, as some language models' embeddings do."""

    def forward(self, input: Tensor) -> Tensor:
        return 4 * super().forward(input)


def test_a_module_that_gives_other_rows_than_its_weight_s_is_refused(model: nn.Module) -> None:
    changed = copy.deepcopy(model)
    changed.user = Scaled(N_USERS, DIM)
    with pytest.raises(AutoDPQError, match=r"module 'user': Scaled changes what it looks up"):
        compress(changed, counts_of(), PLAN)
    hooked = copy.deepcopy(model)
    hooked.user.register_forward_hook(lambda module, inputs, rows: 4 * rows)
    with pytest.raises(AutoDPQError, match="module 'user': Embedding changes what it looks up"):
        compress(hooked, counts_of(), PLAN)
    normed = copy.deepcopy(model)
    nn.utils.parametrizations.weight_norm(normed.user)
    with pytest.raises(AutoDPQError, match="module 'user': ParametrizedEmbedding changes what it looks up"):
        compress(normed, counts_of(), PLAN)
    left = compress(normed, {"words": counts_of()["words"]}, {"words": DPQ(5, 2)}, modules="words")
    assert isinstance(left.words, CompressedEmbeddingBag) and isinstance(left.user, nn.Embedding)


def test_a_row_that_is_no_number_does_not_spoil_the_others(model: nn.Module) -> None:
    model.user.weight.data[7, 2] = float("nan")
    with pytest.raises(AutoDPQError, match="module 'user': its weight has entries that are no finite numbers"):
        compress(model, counts_of(), PLAN)


@pytest.mark.parametrize("choice", [Others(), Hashed(5)])
def test_one_rare_row_that_is_listed_is_compressed_like_many(model: nn.Module, choice: Choice) -> None:
    counts = np.full(N_USERS, 100)
    counts[7] = 1
    compressed = compress(model, {"user": counts}, {"user": choice}, modules="user", threshold=20)
    assert not compressed.user.table.spec.ranked
    assert torch.equal(compressed.user(torch.arange(N_USERS)), model.user.weight)


@pytest.mark.parametrize("choice", [Hashed(7), Int(8), Int(2), Float16(), Narrow(3)], ids=str)
def test_every_kind_is_fine_tuned_and_packed_as_it_evaluates(model: nn.Module, choice: Choice) -> None:
    user, words = inputs()
    kept: list[Tensor] = []

    def finetune(compressed: nn.Module) -> None:
        fit(compressed)
        kept.append(compressed.eval()(user, words).detach())

    plan = {"user": choice, "words": choice, "linear": Full()}
    tuned = compress(model, counts_of(), plan, threshold=9, finetune=finetune)
    assert torch.equal(tuned(user, words), kept[0])
    # Even and odd users share the seven rows.
    assert accuracy(tuned) > (0.6 if choice == Hashed(7) else 0.9)


@pytest.mark.parametrize("choice", [DPQ(4, 1), DPQ(5, 2), Others(), Hashed(3), Int(4), Narrow(2)], ids=str)
@pytest.mark.parametrize("threshold", [None, 20])
def test_ids_beyond_the_table_are_refused_as_torch_does(
    model: nn.Module, choice: Choice, threshold: int | None
) -> None:
    # A short last byte of codes, zeros behind it, and the shared row could all be read for an id that is none.
    compressed = compress(model, counts_of(), {"*": choice, "linear": Full()}, threshold=threshold)
    for bad in (-1, N_USERS, N_USERS + 3):
        with pytest.raises(IndexError, match=f"id {bad} given"):
            compressed.user(torch.tensor([0, bad]))
    with pytest.raises(IndexError, match="given"):
        compressed.words(torch.tensor([[0, N_WORDS]]))
