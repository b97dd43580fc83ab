"""What a replay asks for: who searches, and nothing that its table is not of."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autodpq.choices.unknown import Unknown
from autodpq.data import dataset_spec
from autodpq.errors import AutoDPQError, nearest
from autodpq.models import MODELS, CTRModel
from autodpq.plan import Field
from autodpq.plugins.options import label
from autodpq.records.folder import entries
from autodpq.records.table import PlanTable
from autodpq.search.strategy import Strategy
from autodpq.training.recipes import Recipe, find_recipe
from studies.budgets import budget_bytes, check_budgets
from studies.config import (
    check_config,
    check_names,
    make_strategies,
    refuse_code,
    run_config,
    study_candidates,
    typed_options,
)
from studies.folder.comparable import first_difference
from studies.options import StudyConfig
from studies.prepared import LOADING, load_rows
from studies.sharing import sources
from studies.tables.tabulate import ASKED

# Beside what a table is of: who searches, how often and how long, and where what trains for itself does.
_OWN = ("strategies", "options", "seeds", "trials", "budget", "device", "compile", "log_level")
_CANDIDATES = ("candidates", "K", "D")


@dataclass(frozen=True)
class Asked:
    """What a replay asks for, checked against its table.

    Attributes:
        table: The table, its choices all known.
        config: The options of the replay itself.
        given: All options that are given.
        strategies: Who searches.
        model: The model.
        recipe: How it is trained.
        budgets: Bytes that plans may take; None for any.
    """

    table: PlanTable
    config: StudyConfig
    given: Mapping[str, Any]
    strategies: tuple[Strategy, ...]
    model: type[CTRModel]
    recipe: Recipe
    budgets: tuple[int | None, ...]

    def study(self) -> StudyConfig:
        """The study that a replay stands for, of which a search that trains for itself is a run.

        Raises:
            AutoDPQError: The data or the model are code to load, or cannot be had.
        """
        return _study(self.table, self.given)


def check_asked(table: PlanTable, given: Mapping[str, Any]) -> Asked:
    """Checks what is asked of a table; its data need not be there, unless an option of theirs is given.

    Args:
        table: The table.
        given: The options of a study that are given; all others are the table's.

    Raises:
        AutoDPQError: An option is none of a replay, or asks for other data, another model, recipe or space.
    """
    for name in given:
        if name not in StudyConfig.model_fields:
            raise AutoDPQError(f"unknown option {name!r}{nearest(name, StudyConfig.model_fields)}")
        if name not in (*ASKED, *LOADING, *_OWN):
            raise AutoDPQError(f"--{name.replace('_', '-')}: not together with --replay, which trains no trials")
    config = typed_options({name: value for name, value in given.items() if name in _OWN})
    strategies = tuple(make_strategies(config))
    check_names("--strategies", [label(strategy) for strategy in strategies])
    if given.keys() & {*ASKED, *LOADING}:
        _check_same(table, given)
    table = dataclasses.replace(table)  # choices of which the code was named just now are known from here on
    for band, candidates in table.space.items():
        unknown = next((choice for choice in candidates if isinstance(choice, Unknown)), None)
        if unknown is not None:
            raise AutoDPQError(f"{table.name}: {band}: {unknown} is not known here; name its code by --candidates")
    models = given.get("models", (table.about.of.model,))
    model, recipe = MODELS.find(models[0]), _recipe(table)
    bare = [Field(field.name, field.cardinality, 0) for field in table.about.fields]
    budgets = budget_bytes(config.budget or (), bare, model, recipe)
    check_budgets(budgets, table.fields, table.space, model, recipe, table.about.of.space == "wide")
    return Asked(table, config, given, strategies, model, recipe, tuple(budgets) or (None,))


def _recipe(table: PlanTable) -> Recipe:
    """The recipe that a table's trainings had: its name says in what it differs from its base."""
    there = entries(table.about.of)["recipe"]
    settings = {field.name for field in dataclasses.fields(Recipe)} & there.keys()
    values: Any = {name: tuple(there[name]) if isinstance(there[name], list) else there[name] for name in settings}
    return dataclasses.replace(find_recipe(there["name"]), **values)


def _study(table: PlanTable, given: Mapping[str, Any]) -> StudyConfig:
    """The options of a table, with those that are given; a file may come from anybody, and names no code to load."""
    left_out = {*given, *(_CANDIDATES if given.keys() & {*_CANDIDATES} else ())}
    known = {name: value for name, value in table.about.asked.items() if name not in left_out}
    refuse_code(typed_options(known), table.name)
    return check_config({**known, **given})


def _check_same(table: PlanTable, given: Mapping[str, Any]) -> None:
    of, config = table.about.of, _study(table, given)
    if len(config.models) != 1:
        raise AutoDPQError("--models: a table is of one model")
    # Rows are read only where they are asked for: those of a large data set take their time.
    loads = bool(given.keys() & {*LOADING})
    data: Any = load_rows({option: getattr(config, option) for option in LOADING}) if loads else _Known(table)
    model = MODELS.find(config.models[0])
    mine = dataclasses.asdict(run_config(config, data, model.name, make_strategies(config)[0], 0))
    neither = {"trials": None, "calibrate": False}  # what a table has none of
    difference = first_difference({**entries(of), **neither}, json.loads(json.dumps({**mine, **neither})))
    code = sources(model, object, study_candidates(config, dataset_spec(config.dataset)))
    others = (
        ("--models", of.model, model.name),
        ("--resplit", of.resplit, config.resplit),
        ("the code of plug-ins", of.sources, code),
    )
    for option, theirs, ours in others:
        if difference is None and theirs != ours:
            difference = option, str(theirs), str(ours)
    if difference is not None:
        option, there, here = difference
        raise AutoDPQError(
            f"--replay: {table.name} is a table of {option} {there}, and {here} is asked for; leave the option out, or "
            "have autodpq-study tabulate make another table"
        )


class _Known:
    """A data set as far as a table knows it."""

    def __init__(self, table: PlanTable) -> None:
        self.name, self.fingerprint = table.about.of.data.name, table.about.of.data.fingerprint
        self.field_names = tuple(field.name for field in table.about.fields)
        self.counts = tuple(range(field.cardinality) for field in table.about.fields)
