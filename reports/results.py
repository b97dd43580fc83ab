"""A study's results as types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from autodpq.choices import Choice
from autodpq.plan import CompressionPlan, Field
from autodpq.records.result import FittedCalibration, Floors, FrequencyBucket, Headroom, ReliabilityBin
from autodpq.records.schema import CurvePoint

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class FieldResult:
    """One field of a run.

    Attributes:
        field: The field.
        choice: What was chosen for its rare values.
        parameters: What it costs, as the paper counts.
        bits: What it costs, as stored.
        embedding_dim: X.
    """

    field: Field
    choice: Choice
    parameters: int
    bits: int
    embedding_dim: int


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of a generated data set: the AUC that no model can pass, and the plan behind the data."""

    bayes_auc: float
    plan: CompressionPlan


@dataclass(frozen=True, slots=True)
class Scored:
    """What a finished run has reached, and the floors of its split.

    Attributes:
        dataset: Name of the data set.
        model: Name of the model.
        strategy: Name of the strategy.
        split: What tells its split from others of the data set.
        test_auc: AUC on test rows; None where it was not measured.
        test_logloss: Logloss on test rows; None where it was not measured.
        floors: What its model has to be better than; None where no run of the data set and split says it.
    """

    dataset: str
    model: str
    strategy: str
    split: str
    test_auc: float | None
    test_logloss: float | None
    floors: Floors | None


_Run = TypeVar("_Run", bound=Scored)


def with_floors(runs: Sequence[_Run]) -> list[_Run]:
    """Runs with the floors of their data set and split, where any run of these knows them; else with their own."""
    known: dict[tuple[str, str], Floors] = {}
    for run in runs:
        if run.floors is not None and run.floors.additive is not None:
            known.setdefault((run.dataset, run.split), run.floors)
    return [replace(run, floors=known.get((run.dataset, run.split), run.floors)) for run in runs]


@dataclass(frozen=True, slots=True)
class RunResult(Scored):
    """One finished run; what it has reached is said by the attributes of ``Scored``.

    Attributes:
        run: The run's identifier.
        seed: Seed of initialisation and order.
        fingerprint: Of the encoded data.
        fe_seconds: FE's training time for this dataset, model and seed.
        curve: Incumbents by time.
        headroom: How much the rare values can matter.
        frequency: Test AUC by how often a sample's rarest value occurs, rarest first; empty for runs that were
            measured before it was.
        reliability: Clicks by prediction, lowest first; empty for runs that were measured before it was.
        calibration: What was done to the logits; None where it was nothing.
        fields: Choice and cost per field.
        truth: Of generated data; None for real data.
        epochs: Epochs trained per phase; empty for runs whose result did not say.
        predictions: Digest of its file of predictions; None for runs whose result did not say.
    """

    run: str
    seed: int
    fingerprint: str
    fe_seconds: float
    curve: tuple[CurvePoint, ...]
    headroom: Headroom
    frequency: tuple[FrequencyBucket, ...]
    reliability: tuple[ReliabilityBin, ...]
    calibration: FittedCalibration | None
    fields: tuple[FieldResult, ...]
    truth: Truth | None
    epochs: Mapping[str, int]
    predictions: str | None

    @property
    def is_weighted(self) -> bool:
        """Whether samples counted by weights of their own."""
        return any(own.weight is not None for own in self.reliability)


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that came to nothing: it has no numbers.

    Attributes:
        dataset: Name of the data set.
        model: Name of the model.
        strategy: Name of the strategy.
        seed: Seed of initialisation and order.
        reason: Why.
    """

    dataset: str
    model: str
    strategy: str
    seed: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class StudyResults:
    """All finished runs of a study.

    Two of them are never equal: data frames have no one answer to that.

    Attributes:
        folder: The study's folder.
        name: The study's name.
        records: One row per run: the columns of ``records.csv``, ``fe_seconds``, ``time_in_fe``, the run's seconds in
            units of FE's training time, and of the floors of the run's split ``constant_logloss``, ``additive_auc`` and
            ``additive_logloss``.
        runs: The runs' results, in the order of the records.
        failures: The runs that came to nothing; they are in neither of the two.
    """

    folder: Path
    name: str
    records: pd.DataFrame
    runs: tuple[RunResult, ...]
    failures: tuple[Failure, ...] = ()

    def pairs(self) -> list[tuple[str, str]]:
        """Each (dataset, model) once, in the order of the records."""
        return list(dict.fromkeys((run.dataset, run.model) for run in self.runs))

    def attempted(self) -> list[str]:
        """The strategies of all runs, with those of failed ones."""
        return [*self.records["strategy"], *(failure.strategy for failure in self.failures)]

    def failures_of(self, dataset: str, model: str) -> list[Failure]:
        """The failed runs of a dataset and model, in the order of the records."""
        return [failure for failure in self.failures if (failure.dataset, failure.model) == (dataset, model)]

    def records_of(self, dataset: str, model: str | None = None) -> pd.DataFrame:
        """The records of a dataset, or of a dataset and model alone."""
        records = self.records[self.records["dataset"] == dataset]
        return records if model is None else records[records["model"] == model]

    def runs_of(self, dataset: str, model: str) -> list[RunResult]:
        """The runs of a dataset and model, by seed."""
        return sorted((r for r in self.runs if (r.dataset, r.model) == (dataset, model)), key=lambda run: run.seed)
