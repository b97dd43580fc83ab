"""A study's results as types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autodpq.choices import Choice
from autodpq.plan import CompressionPlan, Field
from autodpq.records.result import FittedCalibration, FrequencyBucket, Headroom, ReliabilityBin
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
class RunResult:
    """One finished run.

    Attributes:
        run: The run's identifier.
        dataset: Name of the data set.
        model: Name of the model.
        strategy: Name of the strategy.
        seed: Seed of initialisation and order.
        fingerprint: Of the encoded data.
        fe_seconds: FE's training time for this dataset, model and seed.
        curve: Incumbents by time.
        constant_logloss: Test logloss of the click rate of the training rows; nan for runs whose result did not say.
        headroom: How much the rare values can matter.
        frequency: Test AUC by how often a sample's rarest value occurs, rarest first; empty for runs that were
            measured before it was.
        reliability: Clicks by prediction, lowest first; empty for runs that were measured before it was.
        calibration: What was done to the logits; None where it was nothing.
        fields: Choice and cost per field.
        truth: Of generated data; None for real data.
        epochs: Epochs trained per phase; empty for runs whose result did not say.
        test_auc: AUC on test rows; None where it was not measured.
        predictions: Digest of its file of predictions; None for runs whose result did not say.
    """

    run: str
    dataset: str
    model: str
    strategy: str
    seed: int
    fingerprint: str
    fe_seconds: float
    curve: tuple[CurvePoint, ...]
    constant_logloss: float
    headroom: Headroom
    frequency: tuple[FrequencyBucket, ...]
    reliability: tuple[ReliabilityBin, ...]
    calibration: FittedCalibration | None
    fields: tuple[FieldResult, ...]
    truth: Truth | None
    epochs: Mapping[str, int]
    test_auc: float | None
    predictions: str | None


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
            units of FE's training time, and ``constant_logloss``.
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
