"""A table of plans: what every plan of a small space comes to, trained with several seeds; one parquet file.

What the table is of stands in the file's metadata, sealed, with a digest of the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import fsum, prod
from pathlib import Path
from typing import Any

from autodpq.choices import Choice, read_choice
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan, Field
from autodpq.records.files import damage_told
from autodpq.records.parquet import read_rows, write_rows
from autodpq.records.result import Floors
from autodpq.records.schema import AUC, Count, DataEntries, Entries, Few, Loss, RecipeEntries, Seconds

FORMAT = 1
_KIND = "autodpq.table"
_ADVICE = "copy it again, or have autodpq-study tabulate write it anew"


def every_plan(space: Mapping[str, Sequence[Choice]]) -> Iterator[CompressionPlan]:
    """Every plan of a space, the last band's candidates changing fastest."""
    return (CompressionPlan(dict(zip(space, chosen, strict=True))) for chosen in product(*space.values()))


class TableRow(Entries):
    """What a plan came to with a seed.

    Attributes:
        seed: The seed.
        plan: The plan, as :meth:`autodpq.plan.CompressionPlan.to_json` writes it.
        valid_auc: Validation AUC of the best epoch, which is what a search sees; None where training failed.
        valid_logloss: Validation logloss of that epoch; None where training failed.
        valid_aucs: Validation AUC after each epoch.
        stored_valid_auc: Validation AUC of the model as it is stored; other than ``valid_auc`` in the wide space alone,
            whose floats are rounded; None where there is none.
        stored_valid_logloss: Its validation logloss.
        test_auc: Its AUC on test rows.
        test_logloss: Its logloss on test rows.
        parameters: What the plan costs, as the paper counts.
        bytes: What it costs, as stored.
        epochs: Epochs trained.
        seconds: Of training, k-means included.
        error: Why training failed; None unless it did.
    """

    seed: Few
    plan: str
    valid_auc: AUC | None
    valid_logloss: Loss | None
    valid_aucs: tuple[AUC, ...]
    stored_valid_auc: AUC | None
    stored_valid_logloss: Loss | None
    test_auc: AUC | None
    test_logloss: Loss | None
    parameters: Count
    bytes: Count
    epochs: Few
    seconds: Seconds
    error: str | None


class SeedEntries(Entries):
    """What all plans of a seed share: FE, from which they are trained, and what models have to be better than.

    Attributes:
        seed: The seed: of FE's weights and of all trainings.
        split_seed: Of the split of the rows.
        valid_auc: FE's AUC on validation rows.
        valid_logloss: FE's logloss on validation rows.
        test_auc: FE's AUC on test rows.
        test_logloss: FE's logloss on test rows.
        parameters: FE's, as the paper counts.
        bytes: FE's, as stored.
        epochs: Of FE's training.
        seconds: Of FE's training.
        floors: Of the split.
    """

    seed: Few
    split_seed: int
    valid_auc: AUC
    valid_logloss: Loss
    test_auc: AUC
    test_logloss: Loss
    parameters: Count
    bytes: Count
    epochs: Few
    seconds: Seconds
    floors: Floors


class FieldEntries(Entries):
    """A field, as :class:`autodpq.plan.Field` has it."""

    name: str
    cardinality: Count
    head: Count
    cuts: tuple[int, ...]
    columns: Few = 1


class Maker(Entries):
    """Where a part of a table was trained.

    Attributes:
        machine: The machine.
        versions: Versions of what was used.
    """

    machine: str
    versions: dict[str, str]


class TableOf(Entries):
    """What a table is of: all that decides its numbers.

    Attributes:
        data: The data set, its split and its counting; the split's seed is that of seed 0.
        resplit: Whether every seed has a split of its own.
        model: The model's name.
        recipe: All of the recipe.
        init: Where plans are trained from.
        candidates: What rare values may become, as text.
        space: What plans decide on: paper or wide.
        bands: Of the wide space: auto, or falling counts.
        device: Where it was trained.
        optimizer: The optimizer of the tables.
        compiled: Whether training steps were compiled.
        sources: Digests of the code of plug-ins.
    """

    data: DataEntries
    resplit: bool
    model: str
    recipe: RecipeEntries
    init: str
    candidates: tuple[str, ...]
    space: str
    bands: str | tuple[int, ...]
    device: str
    optimizer: str
    compiled: bool
    sources: dict[str, str | None]


class TableFile(Entries):
    """The metadata of a table.

    Attributes:
        of: What it is of.
        asked: The options that ask for its data, model, recipe and space.
        fields: The fields, in the order of the ids' columns.
        searched: The candidates of each band, as text.
        seeds: What all plans of each seed share, from seed 0.
        makers: Where it was trained.
        licence: Under which it may be used.
    """

    of: TableOf
    asked: dict[str, Any]
    fields: tuple[FieldEntries, ...]
    searched: dict[str, tuple[str, ...]]
    seeds: tuple[SeedEntries, ...]
    makers: tuple[Maker, ...]
    licence: str

    @property
    def n_plans(self) -> int:
        """How many plans there are."""
        return prod(map(len, self.searched.values()))


@dataclass(frozen=True)
class PlanTable:
    """A table that was read, or is to be written.

    Attributes:
        about: What it is of.
        rows: Of every plan and seed one.
        name: What it is called: that of a table that comes with the package, else where its file lies.
    """

    about: TableFile
    rows: tuple[TableRow, ...]
    name: str = "table"

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields, with their bands."""
        return tuple(
            Field(field.name, field.cardinality, field.head, field.cuts, field.columns) for field in self.about.fields
        )

    @cached_property
    def space(self) -> dict[str, tuple[Choice, ...]]:
        """The candidates of each band."""
        return {name: tuple(map(read_choice, texts)) for name, texts in self.about.searched.items()}

    @property
    def searched(self) -> dict[str, tuple[str, ...]]:
        """The candidates of the bands that have several, as text: what a search decides on."""
        return {name: texts for name, texts in self.about.searched.items() if len(texts) > 1}

    def rows_of(self, choices: Mapping[str, str]) -> tuple[TableRow, ...]:
        """The rows of a plan, from seed 0.

        Args:
            choices: What becomes of each band, as text; a band of one candidate may be left out.

        Raises:
            AutoDPQError: The plan is not in the table; says which candidates there are.
        """
        alone = {name: texts[0] for name, texts in self.about.searched.items() if len(texts) == 1}
        plan = CompressionPlan.from_json(json.dumps({**alone, **choices}), known=False)
        self.check(plan)
        return self.plans[plan]

    @cached_property
    def plans(self) -> dict[CompressionPlan, tuple[TableRow, ...]]:
        """By plan its rows, from seed 0."""
        by_text: dict[str, list[TableRow]] = {}
        for row in sorted(self.rows, key=lambda row: row.seed):
            by_text.setdefault(row.plan, []).append(row)
        return {CompressionPlan.from_json(text, known=False): tuple(rows) for text, rows in by_text.items()}

    @cached_property
    def worth(self) -> dict[CompressionPlan, float]:
        """By plan its test AUC, the mean over seeds; plans of which a training came to nothing are left out."""
        found = {}
        for plan, rows in self.plans.items():
            aucs = [row.test_auc for row in rows if row.test_auc is not None]
            if len(aucs) == len(rows):
                found[plan] = fsum(aucs) / len(aucs)
        return found

    def check(self, plan: CompressionPlan) -> None:
        """Refuses a plan that is not in the table.

        Raises:
            AutoDPQError: Says of the first band that is in the way which candidates there are.
        """
        if plan in self.plans:
            return
        for band, candidates in self.space.items():
            given = plan.get(band)
            if given not in candidates:
                raise AutoDPQError(
                    f"{self.name}: no plan with {band} = {given} is in the table; its candidates there: "
                    + ", ".join(map(str, candidates))
                )
        unknown = next(name for name in plan if name not in self.space)
        raise AutoDPQError(f"{self.name}: no plan with {unknown} is in the table; it has {', '.join(self.space)}")


def write_table(path: Path, table: PlanTable) -> None:
    """Writes a table whole or not at all, plan by plan, each from seed 0.

    Raises:
        AutoDPQError: It cannot be written.
    """
    import pyarrow as pa

    text, number, count = pa.string(), pa.float64(), pa.int64()
    kinds = {
        "seed": count, "plan": text, "valid_auc": number, "valid_logloss": number, "valid_aucs": pa.list_(number),
        "stored_valid_auc": number, "stored_valid_logloss": number, "test_auc": number, "test_logloss": number,
        "parameters": count, "bytes": count, "epochs": count, "seconds": number, "error": text,
    }  # fmt: skip
    rows = [row for own in table.plans.values() for row in own]
    write_rows(path, _KIND, FORMAT, table.about, rows, pa.schema(kinds))


def read_table(path: Path, name: str | None = None) -> PlanTable:
    """Reads a table and checks that it is whole.

    Args:
        path: Its file.
        name: What it is called; its file's path unless given.

    Raises:
        AutoDPQError: It cannot be read, was cut short or altered, is of another format, or lacks plans.
    """
    about, rows = read_rows(path, _KIND, FORMAT, _ADVICE, "autodpq-study tabulate")
    with damage_told(path, _ADVICE):
        known = TableFile.model_validate_json(json.dumps(about))
        table = PlanTable(known, tuple(map(TableRow.model_validate, rows)), name or str(path))
    _check_whole(path, table)
    return table


def _check_whole(path: Path, table: PlanTable) -> None:
    with damage_told(path, _ADVICE):
        n_seeds = len(table.about.seeds)
        wanted = table.about.n_plans * n_seeds
        found = {(row.plan, row.seed) for row in table.rows}
        every = ((plan.to_json(), seed) for plan in every_plan(table.space) for seed in range(n_seeds))
        missing = next((place for place in every if place not in found), None)
    if missing is not None:
        plan, seed = missing
        raise AutoDPQError(
            f"{path}: of {wanted:,} trainings {len(found):,} are there, and that of {plan} with seed {seed} is "
            "missing; autodpq-study tabulate, called as before, trains it"
        )
    if len(table.rows) != wanted:
        raise AutoDPQError(f"{path}: {len(table.rows):,} rows, {wanted:,} trainings are expected; {_ADVICE}")
