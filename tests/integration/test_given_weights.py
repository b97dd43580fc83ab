"""Studies whose FE starts from the weights of a packed file: of an earlier study, or of a model trained elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support.command_line import call_here

import autodpq
from autodpq.errors import AutoDPQError
from autodpq.models import DeepFM
from autodpq.serving import open_model
from autodpq.training.recipes import find_recipe
from autodpq.training.trainer import Trainer
from studies.given_weights import given_weights
from studies.prepared import load_rows, prepare

pytestmark = pytest.mark.usefixtures("nothing_is_drawn")

RECIPE = "robust(batch_size=512, max_epochs=3, hidden=(8,8), embedding_dim=8)"
FIELDS = ("user", "item", "city", "device")


def run(csv: Path, out: Path, *more: str | Path, recipe: str = RECIPE) -> list[str | Path]:
    asked = ["run", "--dataset", csv, "--threshold", "5", "--recipe", recipe, "--seeds", "1", "--out", out]
    return [*asked, "--K", "4", "--D", "2", *more]


@pytest.fixture(scope="module")
def priced_csv(own_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows with a field of numbers, some of them missing."""
    clicks, rng = pd.read_csv(own_csv), np.random.default_rng(3)
    clicks["price"] = rng.gamma(2.0, 10.0, len(clicks)).round(2)
    clicks.loc[rng.random(len(clicks)) < 0.1, "price"] = np.nan
    path = tmp_path_factory.mktemp("priced") / "shop.csv"
    clicks.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def trained(priced_csv: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FE of an earlier study."""
    folder = tmp_path_factory.mktemp("trained")
    done = call_here(*run(priced_csv, folder / "study", "--strategies", "fe"), cache=cache)
    assert done.code == 0, done.err
    (kept,) = (folder / "study" / "runs").iterdir()
    taken = call_here("export", kept, "--out", folder / "fe.safetensors", cache=cache)
    assert taken.code == 0, taken.err
    return folder / "fe.safetensors"


def test_fe_is_trained_on_and_compressed(priced_csv: Path, cache: Path, trained: Path, tmp_path: Path) -> None:
    asked = run(priced_csv, tmp_path / "study", "--strategies", "fe,grid", "--pretrained", trained)
    done = call_here(*asked, cache=cache)
    assert done.code == 0, done.err
    before = pd.read_csv(trained.parent / "study" / "records.csv").iloc[0]
    records = pd.read_csv(tmp_path / "study" / "records.csv").set_index("strategy")
    assert f"FE starts from {trained}, which knows" in " ".join(done.out.split())
    knows, of = done.out.split("which knows ")[1].split(" values")[0].split(" of ")
    assert knows == of
    # Where no epoch is better than what was given, that is kept.
    assert records.loc["fe", "valid_auc"] >= before["valid_auc"]
    assert records.loc["fe", "run"] != before["run"] and records.loc["grid", "parameters"] < before["parameters"]
    again = call_here(*asked, cache=cache)
    assert again.code == 0 and "2 of them done before" in again.out
    other = call_here(*run(priced_csv, tmp_path / "study", "--strategies", "fe"), cache=cache)
    assert other.code == 2 and "--pretrained" in other.err and len(other.err.strip().splitlines()) == 1


def test_a_model_trained_elsewhere_is_what_it_was(own_csv: Path, cache: Path, tmp_path: Path) -> None:
    clicks = pd.read_csv(own_csv)
    torch.manual_seed(0)
    model, rng = DeepFM(len(FIELDS), 8, (8, 8), 0.0).eval(), np.random.default_rng(0)
    # In an order of its own, as another toolkit has it; of a user nothing is known.
    values = {name: rng.permutation(clicks[name].unique()) for name in FIELDS}
    values["user"] = values["user"][values["user"] != 1]
    tables = {name: (own, rng.normal(size=(len(own), 8))) for name, own in values.items()}
    weights = {name: rng.normal(size=len(own)) for name, own in values.items()}
    path = tmp_path / "elsewhere.safetensors"
    autodpq.export_network(path, model, (8, 8), tables, first_order=weights, unseen={"user": values["user"][3]})

    rows = clicks.loc[:50, list(FIELDS)]
    assert (rows["user"] == 1).any()
    places = {name: {value: place for place, value in enumerate(own)} for name, own in values.items()}
    ids = {name: [places[name].get(value, 3) for value in rows[name]] for name in FIELDS}
    embeddings = torch.tensor(np.stack([tables[name][1][ids[name]] for name in FIELDS], 1), dtype=torch.float32)
    with torch.no_grad():
        logits = model(embeddings).numpy() + sum(weights[name][ids[name]] for name in FIELDS)
    served = open_model(path).predict({name: rows[name].tolist() for name in FIELDS})
    np.testing.assert_allclose(served, 1 / (1 + np.exp(-logits)), rtol=1e-4)

    # FE starts from just that, though its ids go by frequency.
    prepared = prepare(
        lambda: load_rows({"dataset": str(own_csv), "cache_dir": str(cache)}),
        threshold=5, split_method="random", split_seed=2023, frequency_scope="all",
    )  # fmt: skip
    parts = prepared.train, prepared.valid
    trainer = Trainer(prepared.fields, DeepFM, find_recipe(RECIPE), 0, torch.device("cpu"), *parts)
    given = given_weights(path, trainer, prepared.source)
    assert given.n_values == given.n_known + 1, "one user is new"
    network = trainer.build(trainer.full_plan()).eval()
    network.load_state_dict(given.state)
    dataset = load_rows({"dataset": str(own_csv), "cache_dir": str(cache)})
    with torch.no_grad():
        found = network(network.embedding.flatten(torch.from_numpy(np.array(dataset.ids[:51]))))
    np.testing.assert_allclose(found.sigmoid().numpy(), served, rtol=1e-5)


@pytest.mark.parametrize(
    ("more", "recipe", "said"),
    [
        (["--models", "pnn"], RECIPE, "its model is deepfm, the study's is pnn; give --models deepfm"),
        (
            [],
            RECIPE.replace("(8,8)", "(9,)"),
            "its hidden is (8,8), the study's is (9,); give hidden=(8,8) in --recipe",
        ),
        ([], RECIPE.replace("dim=8", "dim=4"), "its embedding_dim is 8, the study's is 4; give embedding_dim=8"),
        (
            ["--exclude", "city"],
            RECIPE,
            "its fields are user, item, city, device, price, those of the data user, item, device, price; choose",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(
    priced_csv: Path, cache: Path, trained: Path, tmp_path: Path, more: list[str], recipe: str, said: str
) -> None:
    asked = run(priced_csv, tmp_path / "study", "--strategies", "fe", "--pretrained", trained, *more, recipe=recipe)
    done = call_here(*asked, cache=cache)
    (line,) = done.err.strip().splitlines()
    assert done.code == 2 and line.startswith(f"Error: --pretrained: {trained}: ") and said in line
    assert not (tmp_path / "study").exists()


def test_a_file_that_is_none_is_one_line(priced_csv: Path, cache: Path, trained: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    shutil.copyfile(trained, alone)
    for path, said in (
        (tmp_path / "missing.safetensors", "cannot be read"),
        (priced_csv, "is no file that autodpq exported"),
        (alone, "vocabulary"),
    ):
        done = call_here(*run(priced_csv, tmp_path / path.stem, "--pretrained", path), cache=cache)
        (line,) = done.err.strip().splitlines()
        assert done.code == 2 and line.startswith("Error: --pretrained: ") and said in line, line
        assert not (tmp_path / path.stem).exists()


ROWS = np.zeros((2, 4))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tables": {}}, "tables: none is given"),
        ({"tables": {"user": ([], np.zeros((0, 4)))}}, "tables: 'user' has no values"),
        ({"tables": {"user": ([7, "7.0"], ROWS)}}, "tables: 'user' has the value '7' twice"),
        ({"tables": {"user": ([1, 2, 3], ROWS)}}, r"tables: 'user': an array of \[2, 4\] given, \[3, X\] is needed"),
        ({"tables": {"user": ([1, 2], ROWS + np.nan)}}, "tables: 'user': a number is not finite"),
        ({"first_order": None}, "first_order: the model deepfm needs the values' first-order weights"),
        ({"first_order": {"user": [1.0]}}, r"first_order: 'user': an array of \[1\] given, \[2\] is needed"),
        ({"unseen": {"user": 3}}, "unseen: 'user' has no value 3"),
        ({"hidden": (5,)}, "hidden: the model has other weights than one of 1 fields, X = 4 and an MLP of 5"),
        (
            {
                "tables": {"user": ([1, 2], ROWS), "item": ([1], ROWS[:1, :3])},
                "first_order": dict(user=[1, 2], item=[1]),
            },
            "tables: 'user' has rows of 4, 'item' of 3 numbers; all need as many",
        ),
    ],
)
def test_what_is_no_network_is_refused(tmp_path: Path, given: dict[str, object], said: str) -> None:
    known = {"hidden": (4,), "tables": {"user": ([1, None], ROWS)}, "first_order": {"user": [0.5, 0.25]}, **given}
    with pytest.raises(AutoDPQError, match=said):
        autodpq.export_network(tmp_path / "a.safetensors", DeepFM(1, 4, (4,), 0.0), **known)
    assert not list(tmp_path.iterdir())
