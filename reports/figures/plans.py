"""What each strategy chose for each field with rare values, per seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autodpq.choices.base import FLOAT_BITS
from reports.names import choice_label, in_order, without_budget
from reports.results import FieldResult, RunResult, StudyResults


@dataclass(frozen=True, slots=True)
class Tile:
    """What one run chose for a field's rare values: the choice as it is shown, and the bits stored per value."""

    label: str
    bits: float


@dataclass(frozen=True, slots=True)
class RareField:
    """A field with rare values: its name, and how many they are (of all runs, rising)."""

    name: str
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """A strategy's choices.

    Attributes:
        strategy: The strategy.
        seeds: Its seeds, rising.
        tiles: Per field a tile for each seed; None where the run does not have the field.
    """

    strategy: str
    seeds: tuple[int, ...]
    tiles: Mapping[str, tuple[Tile | None, ...]]


@dataclass(frozen=True, slots=True)
class Plans:
    """The plans of one data set and model.

    Attributes:
        where: The data set and the model.
        fields: The fields with rare values.
        panels: The strategies' choices, in the order of the tables.
        uniform: The fields without rare values, which are always full.
        most: Bits of a full row, the end of the scale of colours: it begins at one bit. A plan can store more per value
            than a full row where a field has few rare values.
    """

    where: str
    fields: tuple[RareField, ...]
    panels: tuple[Panel, ...]
    uniform: tuple[str, ...]
    most: int


def rare_bits_per_value(result: FieldResult) -> float:
    """Bits stored per value: codes, and the field's centroids or shared row spread over its rare values.

    Args:
        result: A field with rare values.
    """
    return (result.bits - FLOAT_BITS * result.field.head * result.embedding_dim) / result.field.tail


def study_plans(study: StudyResults, dataset: str, model: str) -> Plans | None:
    """The plans of a dataset and model; None where no field has rare values.

    Where runs are held to budgets, those of what compresses nothing are left out: they have other bands, all full.
    """
    runs = study.runs_of(dataset, model)
    runs = [run for run in runs if without_budget(run.strategy) != run.strategy] or runs
    entries = [entry for run in runs for entry in run.fields]
    rare = [entry for entry in entries if entry.field.tail]
    names = list(dict.fromkeys(entry.field.name for entry in rare))
    if not names:
        return None
    return Plans(
        f"{dataset}, {model}",
        tuple(RareField(name, tuple(sorted({e.field.tail for e in rare if e.field.name == name}))) for name in names),
        tuple(
            _panel(strategy, [run for run in runs if run.strategy == strategy], names)
            for strategy in in_order(run.strategy for run in runs)
        ),
        tuple(dict.fromkeys(entry.field.name for entry in entries if entry.field.name not in names)),
        FLOAT_BITS * max(entry.embedding_dim for entry in entries),
    )


def _panel(strategy: str, runs: Sequence[RunResult], names: Sequence[str]) -> Panel:
    chosen = [{entry.field.name: _tile(entry) for entry in run.fields if entry.field.tail} for run in runs]
    return Panel(
        strategy,
        tuple(run.seed for run in runs),
        {name: tuple(tiles.get(name) for tiles in chosen) for name in names},
    )


def _tile(entry: FieldResult) -> Tile:
    return Tile(choice_label(entry.choice), rare_bits_per_value(entry))
