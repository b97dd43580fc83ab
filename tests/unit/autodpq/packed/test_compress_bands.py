"""Tables of torch models whose rows are parted into bands; weights that modules share; what a compressed model says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import autodpq
from autodpq.choices import DPQ, Choice, Full, Hashed, Int, Narrow, Others
from autodpq.errors import AutoDPQError
from autodpq.packed.compress import compress
from autodpq.packed.spec import BandedSpec
from autodpq.serving import open_model
from reports.tables.file_audit import file_audit_text

N_USERS, N_WORDS, DIM = 200, 30, 8


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.user = nn.Embedding(N_USERS, DIM, padding_idx=3)
        self.words = nn.EmbeddingBag(N_WORDS, DIM, mode="sum")
        self.output = nn.Linear(DIM, 1)

    def forward(self, user: Tensor, words: Tensor) -> Tensor:
        logits: Tensor = self.output(self.user(user) * self.words(words)).squeeze(1)
        return logits


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model().eval()


# Every count once, so that bands are known; the ids of no band follow one another.
COUNTS = {"user": np.random.default_rng(0).permutation(N_USERS), "words": np.arange(N_WORDS)}
PLAN = {"user/1": Full(), "user/2": Int(4), "user/3": DPQ(16, 4), "user/4": Others(), "words": DPQ(4, 2)}


def inputs(n: int = 64) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.integers(0, N_USERS, n)), torch.from_numpy(rng.integers(0, N_WORDS, (n, 4)))


def fit(model: nn.Module) -> None:
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    user, words = inputs(256)
    model.train()
    for _ in range(8):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(user, words), (user % 2).float()).backward()
        optimizer.step()


def sizes(module: nn.Module) -> list[tuple[int, Choice]]:
    spec = module.table.spec
    assert isinstance(spec, BandedSpec)
    return list(spec.bands)


def test_each_band_is_what_its_choice_makes_of_it(model: Model) -> None:
    compressed = compress(model, COUNTS, PLAN, bands="auto")
    # 5, 15, 30 and 50 % of the rows but the one of padding, which is kept behind them.
    assert sizes(compressed.user) == [(10, Full()), (30, Int(4)), (60, DPQ(16, 4)), (99, Others()), (1, Full())]
    assert sizes(compressed.words) == [(30, DPQ(4, 2))], "a small table is one band"
    rank = np.argsort(np.argsort(-np.delete(COUNTS["user"], 3)))
    others = np.delete(np.arange(N_USERS), 3)
    before, after = model.user.weight.detach(), compressed.user.weight
    assert torch.equal(after[others[rank < 10]], before[others[rank < 10]].half().float())
    assert len(after[others[rank >= 100]].unique(dim=0)) == 1
    assert all(len(after[others[(rank >= 40) & (rank < 100)], d : d + 2].unique(dim=0)) <= 16 for d in (0, 2, 4, 6))
    error = (after - before)[others[(rank >= 10) & (rank < 40)]]
    assert 0 < error.abs().max() < 0.5
    assert torch.equal(after[3], torch.zeros(DIM)), "the padding row"


def test_bands_begin_at_counts_and_frequent_rows_are_kept(model: Model) -> None:
    counts = {**COUNTS, "words": np.full(N_WORDS, 60)}
    compressed = compress(model, counts, {"*": Hashed(7)}, bands=(150, 50), threshold=180)
    padding = COUNTS["user"][3]
    expected = [30, 100, 50, 20]
    expected[0 if 150 <= padding < 180 else 1 if 50 <= padding < 150 else 2 if padding < 50 else 3] -= 1
    expected[3] += padding < 180
    assert [n_rows for n_rows, _ in sizes(compressed.user)] == expected
    assert [choice for _, choice in sizes(compressed.user)] == [Hashed(7)] * 3 + [Full()]
    kept = torch.from_numpy(COUNTS["user"] >= 180)
    assert torch.equal(compressed.user.weight[kept], model.user.weight[kept].half().float())
    assert sizes(compressed.words) == [(N_WORDS, Hashed(7))], "all between two counts"


def test_tables_in_order_of_frequency_store_no_numbers_of_bands() -> None:
    model = nn.Sequential(nn.Embedding(100, 4))
    for order, ranked in ((np.arange(100)[::-1], True), (np.arange(100), False)):
        table = compress(model, {"0": order}, {"0": DPQ(4, 2)}, bands=(50, 20))[0].table.table()
        assert table.spec.ranked is ranked and ("band_numbers" in table.arrays) is not ranked


@pytest.mark.parametrize("choice", [Hashed(7), Int(8), Narrow(3), DPQ(16, 2), Full()], ids=str)
def test_what_fine_tuning_evaluates_is_what_is_packed_and_read(model: Model, choice: Choice, tmp_path: Path) -> None:
    user, words = inputs()
    seen: list[Tensor] = []

    def finetune(compressed: nn.Module) -> None:
        before = [part.clone() for part in compressed.user.table.parameters()]
        fit(compressed)
        assert not any(map(torch.equal, before, compressed.user.table.parameters())), "all bands are trained"
        seen.append(compressed.eval()(user, words).detach())

    plan = {**PLAN, "user/2": choice, "words": choice}
    tuned = compress(model, COUNTS, plan, bands="auto", finetune=finetune)
    assert torch.equal(tuned(user, words), seen[0])
    path = tmp_path / "a.safetensors"
    packed = autodpq.export(tuned, path)
    assert packed.manifest.format == 3
    assert packed.manifest.about["plan"] == {
        "user/1": "full", "user/2": str(choice), "user/3": "dpq(16,4)", "user/4": "others", "user/5": "full",
        **({} if choice == Full() else {"words": str(choice)}),
    }  # fmt: skip
    assert torch.equal(autodpq.load(path, Model())(user, words), seen[0])
    assert np.array_equal(open_model(path).lookup("user", user.numpy()), tuned.user(user).numpy())
    assert "numbers of ids' bands" in file_audit_text(path)


def test_a_budget_is_kept_by_bands_and_more_of_it_is_no_worse(model: Model) -> None:
    full, errors, uniform = 4 * (N_USERS + N_WORDS) * DIM, [], []
    candidates = "dpq(16,2|4),int(2|4),others"
    for share in (0.1, 0.2):
        of_bands = []
        for bands, found in (("auto", errors), (None, uniform)):
            compressed, error = compress(model, COUNTS, budget=share, candidates=candidates, bands=bands), 0.0
            tables = [compressed.get_submodule(name).table.table() for name in COUNTS]
            assert sum(array.nbytes for table in tables for array in table.arrays.values()) <= share * full
            of_bands.append([len(table.spec.tables) for table in tables])
            for name, counts in COUNTS.items():
                change = compressed.get_submodule(name).weight - model.get_submodule(name).weight.detach()
                error += float((torch.from_numpy(counts)[:, None] * change**2).sum())
            found.append(error)
        assert of_bands == [[5, 1], [1, 1]]
    assert errors == sorted(errors, reverse=True)
    assert sum(errors) < sum(uniform), "bands that are used more get more bytes"


def test_what_names_a_band_goes_before_what_names_its_module(model: Model) -> None:
    def chosen(plan: dict[str, Choice]) -> list[str]:
        compressed = compress(model, COUNTS, plan, bands=(100, 50))
        return [str(choice) for _, choice in sizes(compressed.user)][:3]

    first, second, third = Int(8), Int(4), Int(2)
    assert chosen({"*": first}) == ["int(8)"] * 3
    assert chosen({"user": first, "*": second}) == ["int(8)"] * 3
    assert chosen({"*/1": second, "*": first}) == ["int(4)", "int(8)", "int(8)"]
    assert chosen({"user/2": third, "user/*": second, "*": first}) == ["int(4)", "int(2)", "int(4)"]
    assert chosen({"user/[12]": third, "user": second, "w*": first}) == ["int(2)", "int(2)", "int(4)"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": "some"}, "bands: 'some' given, 'auto' or falling counts"),
        ({"bands": ()}, r"bands: \(\) given, 'auto' or falling counts"),
        ({"bands": (5, 0)}, r"bands: \(5, 0\) given"),
        ({"bands": ("5",)}, r"bands: \('5',\) given"),
        ({"bands": 5}, "bands: 5 given"),
        ({"bands": np.array([5, 2])}, r"bands: array\(\[5, 2\]\) given"),
        ({"bands": (5, 5)}, "bands 5, 5: counts must fall"),
        ({"bands": (1000, 5)}, r"bands: no row to compress occurs 1,000 times \(most: 199\)"),
        ({"plan": {**PLAN, "user/5": Int(4)}}, r"plan: 'user/5' is none of the modules to compress; did you mean"),
        ({"plan": {"user/1": Int(4), "words": Full()}}, "plan: nothing is given for module 'user/2'"),
        ({"plan": {**PLAN, "user/3": DPQ(4, 3)}}, "plan: module 'user/3': D=3 does not divide"),
        ({"plan": {"user/*": Int(4), "*/1": Full(), "*": Int(2)}}, "both match module 'user/1'; name it itself"),
        (
            {"plan": None, "budget": 100, "candidates": "int(4)"},
            "budget: 100 bytes of 7,360 are too few; no choice is below",
        ),
    ],
)
def test_what_does_not_fit_is_told(model: Model, changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"plan": PLAN, "bands": "auto", **changes}
    with pytest.raises(AutoDPQError, match=message) as error:
        compress(model, COUNTS, **arguments)
    assert "\n" not in str(error.value)


def test_one_file_holds_tables_with_bands_or_without(model: Model, tmp_path: Path) -> None:
    first = compress(model, {"user": COUNTS["user"]}, {"user": Int(4)}, bands="auto", modules="user")
    second = compress(first, {"words": COUNTS["words"]}, {"words": Int(4)}, modules="words")
    with pytest.raises(AutoDPQError, match="'user' was compressed with bands, 'words' without; one file holds either"):
        autodpq.export(second, tmp_path / "a.safetensors")
    with pytest.raises(AutoDPQError, match=r"^Model: head_dtype: its tables have bands, whose rows are float16"):
        autodpq.export(first, tmp_path / "a.safetensors", head_dtype="int8")


class Tied(nn.Module):
    """Two modules of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.EmbeddingBag(N_USERS, DIM, mode="sum")
        self.asked = nn.Embedding(N_USERS, DIM)
        self.asked.weight = self.seen.weight

    def forward(self, asked: Tensor, seen: Tensor) -> Tensor:
        return (self.asked(asked) * self.seen(seen)).sum(1)


@pytest.mark.parametrize("bands", [None, "auto"])
def test_weights_that_modules_share_are_compressed_once(bands: Any, tmp_path: Path) -> None:
    model, (asked, seen) = Tied(), inputs()
    compressed = compress(model, {"*": COUNTS["user"]}, {"*": DPQ(16, 4)}, bands=bands, finetune=fit)
    assert compressed.asked.table is compressed.seen.table
    packed = autodpq.export(compressed, tmp_path / "a.safetensors")
    assert [table.spec.name for table in packed.tables] == ["seen"]
    loaded = autodpq.load(tmp_path / "a.safetensors", Tied())
    assert loaded.asked.table is loaded.seen.table
    assert torch.equal(loaded(asked, seen), compressed(asked, seen))
    small = compress(model, {"*": COUNTS["user"]}, budget=0.2, candidates="int(2|4)", bands=bands)
    assert sum(array.nbytes for array in small.seen.table.table().arrays.values()) <= 0.2 * 4 * N_USERS * DIM


def test_weights_that_modules_share_need_the_same_settings() -> None:
    model, counts = Tied(), {"*": COUNTS["user"]}
    with pytest.raises(AutoDPQError, match="plan: modules 'seen' and 'asked' share a weight; give both the same"):
        compress(model, counts, {"seen": Int(4), "asked": Int(8)})
    with pytest.raises(AutoDPQError, match="modules 'seen' and 'asked' share a weight: both need the same padding_idx"):
        compress(model, {"seen": COUNTS["user"], "asked": COUNTS["user"][::-1]}, {"*": Int(4)})
    with pytest.raises(AutoDPQError, match="module 'seen' shares the weight of an embedding; choose both"):
        compress(model, counts, {"*": Int(4)}, modules="asked")
    model.asked.padding_idx = 3
    with pytest.raises(AutoDPQError, match="both need the same padding_idx"):
        compress(model, counts, {"*": Int(4)})


def test_a_compressed_model_says_what_it_is(model: Model) -> None:
    said: list[str] = []
    compressed = compress(model, COUNTS, PLAN, bands="auto", finetune=lambda model: said.append(repr(model)))
    assert repr(compressed).splitlines()[1:3] == [
        "  (user): CompressedEmbedding(200, 8; rows: 10 full, 30 int(4), 60 dpq(16,4), 99 others, 1 full; bytes: 823, "
        "as Embedding 6,400)",
        "  (words): CompressedEmbeddingBag(30, 8; rows: 30 dpq(4,2); bytes: 79, as EmbeddingBag 960)",
    ]
    assert said == [repr(compressed)]
    plain = compress(model, COUNTS, {"user": Int(4), "words": Full()}, threshold=150)
    assert "rows: 149 int(4), 51 full; bytes: 2,730, as Embedding 6,400" in repr(plain.user)


def test_torch_jit_is_refused(model: Model) -> None:
    compressed = compress(model, COUNTS, {"*": Int(4)})
    for make in (lambda: torch.jit.trace(compressed, inputs()), lambda: torch.jit.script(compressed)):
        with pytest.raises(AutoDPQError, match=r"^torch\.jit: .*; use torch\.compile or torch\.export$"):
            make()
