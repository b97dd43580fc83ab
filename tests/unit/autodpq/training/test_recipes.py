from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.embedding.options import QuantizerOptions
from autodpq.errors import AutoDPQError
from autodpq.training.additive import AdditiveModel
from autodpq.training.recipes import RECIPES, SETTINGS, Recipe, changed_recipe, find_recipe, recipe_text, recorded

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "embedding_dim": st.integers(1, 512),
    "hidden": st.lists(st.integers(1, 1000), min_size=1, max_size=4).map(tuple),
    "dropout": st.floats(0, 0.99),
    "learning_rate": st.floats(1e-9, 10),
    "table_learning_rate": st.none() | st.floats(1e-9, 10),
    "l2": st.floats(0, 1e9),
    "penalty": st.sampled_from(["coupled", "proximal"]),
    "stop_by": st.sampled_from(["auc", "logloss"]),
    "output_start": st.sampled_from(["drawn", "click-rate", "additive"]),
    "quantizer_scores": st.sampled_from(["inner", "euclidean"]),
    "patience": st.integers(1, 100),
}
changes = st.fixed_dictionaries({}, optional=VALUES)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("paper", "paper", {}),
        (" strong ( ) ", "strong", {}),
        ("strong(l2=1e-5)", "strong", {}),
        (
            "strong(embedding_dim=32, hidden=(400,400,400), dropout=0.1, batch_size=4096, l2=1e-4, learning_rate=3e-3)",
            "strong(embedding_dim=32, hidden=[400, 400, 400], dropout=0.1, learning_rate=0.003, batch_size=4096, "
            "l2=0.0001)",
            {"embedding_dim": 32, "hidden": (400, 400, 400), "dropout": 0.1, "batch_size": 4096, "l2": 1e-4},
        ),
        ("paper(hidden=(8,))", "paper(hidden=[8])", {"hidden": (8,)}),
        (
            "paper(quantizer_gradient=centroid)",
            "paper(quantizer_gradient=centroid)",
            {"quantizer_gradient": "centroid"},
        ),
        ("strong(first_order_l2=0)", "strong(first_order_l2=0.0)", {"first_order_l2": 0.0}),
    ],
)
def test_settings_are_given_as_options_are(text: str, name: str, expected: dict[str, Any]) -> None:
    recipe = find_recipe(text)
    assert recipe.name == name
    assert {setting: getattr(recipe, setting) for setting in expected} == expected
    base = RECIPES[name.partition("(")[0]]
    rest = set(SETTINGS) - set(expected) - {"learning_rate"}
    assert all(getattr(recipe, setting) == getattr(base, setting) for setting in rest)
    assert find_recipe(name) == recipe


@given(st.sampled_from(sorted(RECIPES)), changes)
def test_a_recipe_s_name_and_its_file_make_it_again(base: str, values: dict[str, Any]) -> None:
    recipe = changed_recipe(changed_recipe(RECIPES[base], {"max_epochs": 7}), values)
    assert {setting: getattr(recipe, setting) for setting in values} == values
    assert find_recipe(recipe.name) == recipe
    if not any(value is None != getattr(RECIPES[base], setting) for setting, value in values.items()):
        assert find_recipe({"base": base, "max_epochs": 7, **values}) == recipe


def test_a_recipe_file_is_read(tmp_path: Path) -> None:
    recipe = find_recipe("robust(hidden=(128,128), l2=3e-7, quantizer_scores=inner, max_epochs=4)")
    path = tmp_path / "mine.toml"
    path.write_text("# found by hand\n" + recipe_text(recipe))
    assert find_recipe(str(path)) == recipe
    assert path.read_text().splitlines()[1:3] == ['base = "robust"', "hidden = [128, 128]"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("papr", "unknown recipe 'papr'; did you mean 'paper'?"),
        ("strong(dropuot=0.1)", "unknown setting of the recipe strong, 'dropuot'; did you mean 'dropout'?"),
        ("strong(name=mine)", "unknown setting of the recipe strong, 'name'"),
        ("strong(hidden=())", "strong: option hidden='()': at least 1 is needed"),
        ("strong(hidden=400)", "strong: option hidden='400': a list is needed"),
        ("strong(hidden=(16,0))", "strong: option hidden='(16,0)': a number of at least 1 is needed"),
        ("strong(dropout=1)", "strong: option dropout='1': a number below 1 is needed"),
        ("strong(l2=-1)", "strong: option l2='-1': a number of at least 0 is needed"),
        ("strong(l2=nan)", "strong: option l2='nan': a finite number is needed"),
        ("strong(batch_size=1)", "strong: option batch_size='1': a number of at least 2 is needed"),
        ("strong(batch_size=2.5)", "strong: option batch_size='2.5': a whole number is needed"),
        ("strong(embedding_dim=0)", "strong: option embedding_dim='0': a number of at least 1 is needed"),
        ("strong(learning_rate=0)", "strong: option learning_rate='0': a number above 0 is needed"),
        ("strong(stop_by=recall)", "strong: option stop_by='recall': 'auc' or 'logloss' is needed"),
        ("strong(l2", "'strong(l2': expected name(option=value, ...)"),
        ("nowhere.toml", "nowhere.toml cannot be read: No such file or directory"),
        ({"base": "strong", "dropuot": 0.1}, "unknown setting of the recipe strong, 'dropuot'"),
        ({"base": "strong", "hidden": "wide"}, "strong: option hidden='wide'"),
        ({"hidden": [16]}, "base = None given, the name of a recipe is needed: paper, strong, robust"),
        ({"base": "os:system"}, "unknown recipe 'os:system'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(given: Any, told: str) -> None:
    with pytest.raises(AutoDPQError) as error:
        find_recipe(given)
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["import os\nos.system('true')\n", "base = 3", "base = 'paper'\n[hidden]\na = 1\n"])
def test_a_recipe_file_holds_no_code_and_nothing_else(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(AutoDPQError) as error:
        find_recipe(str(path))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_recipe_made_in_python_is_checked() -> None:
    with pytest.raises(AutoDPQError, match="mine: dropout=2: a number below 1 is needed"):
        Recipe("mine", dropout=2)
    with pytest.raises(AutoDPQError, match=r"mine: hidden=\[16\]: a list is needed"):
        Recipe("mine", hidden=[16])  # type: ignore[arg-type]


def test_recipes_are_recorded_as_versions_before_recorded_them() -> None:
    once = {"straight_through": False, "gumbel": False, "separate_values": False}
    assert recorded(replace(RECIPES["paper"], optimizer="adam")) == {
        "name": "paper", "embedding_dim": 16, "initial_deviation": 1e-4, "linear_weights": "xavier", "hidden": (16, 16),
        "dropout": 0.2, "embedding_dropout": 0.0, "learning_rate": 1e-3, "continued_learning_rate": 1e-3,
        "batch_size": 2048, "l2": 0.0, "patience": 2, "max_epochs": 100,
        "quantizer": {"temperature": 1e-4, "scores": "inner", **once},
    }  # fmt: skip
    strong = recorded(RECIPES["strong"])
    assert strong["quantizer"] == {"temperature": 1e-4, "scores": "euclidean", **once}
    assert strong["output_start"] == "click-rate" and strong["optimizer"] == "auto" and "penalty" not in strong
    assert recorded(find_recipe("strong(penalty=proximal)"))["penalty"] == "proximal"


@given(st.sampled_from(sorted(RECIPES)), changes)
def test_recipes_that_differ_are_recorded_differently(base: str, values: dict[str, Any]) -> None:
    recipe = changed_recipe(RECIPES[base], values)
    assert (recorded(recipe) == recorded(RECIPES[base])) == (recipe == RECIPES[base])


def test_the_quantizer_s_settings_are_the_recipe_s() -> None:
    assert RECIPES["paper"].quantizer == QuantizerOptions()
    changed = find_recipe("paper(quantizer_temperature=0.5, quantizer_scores=euclidean, quantizer_gradient=centroid)")
    assert changed.quantizer == QuantizerOptions(0.5, "euclidean", "centroid")


def test_trainings_that_go_on_take_their_rate_and_tables_as_much_less() -> None:
    assert RECIPES["strong"].continued() == replace(RECIPES["strong"], learning_rate=3e-4)
    recipe = find_recipe("strong(table_learning_rate=1e-2)").continued()
    assert recipe.learning_rate == 3e-4 and recipe.table_learning_rate == pytest.approx(3e-3)


def test_first_order_weights_rest_where_the_additive_model_is() -> None:
    additive = AdditiveModel(0.0, (), 1e-7, ())
    robust = RECIPES["robust"]
    assert robust.first_order_l2 is None and robust.with_penalty_of(additive).first_order_l2 == 1e-7
    assert find_recipe("robust(first_order_l2=0.5)").with_penalty_of(additive).first_order_l2 == 0.5
    assert RECIPES["strong"].with_penalty_of(additive) == RECIPES["strong"]
