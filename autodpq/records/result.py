"""What a run came to: its ``result.json``, and its row in ``records.csv``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Self

from pydantic import Field

from autodpq.metrics import Bin
from autodpq.records.schema import AUC, MOST, TICK, AUCOfSome, Count, CurvePoint, Entries, Loss, Seconds, Share


class Record(Entries):
    """A run's row in ``records.csv``; what was not measured is None.

    Attributes:
        run: The run's identifier.
        study: The study's name.
        dataset: Name of the data set.
        model: Name of the model.
        strategy: Name of the strategy.
        seed: Seed of initialisation and order.
        recipe: Name of the recipe.
        test_auc: AUC on test rows.
        test_logloss: Logloss on test rows.
        test_click_rate: Share of clicks among the test rows; None in what did not know it, as the three after it.
        test_mean_prediction: Mean of the probabilities of the test rows.
        test_ece: Expected calibration error on test rows, :func:`autodpq.metrics.calibration_error`.
        test_normalized_entropy: Logloss on test rows in units of that of the training rows' click rate (X. He et al.,
            Practical lessons from predicting clicks on ads at Facebook, ADKDD 2014).
        valid_auc: AUC on validation rows.
        valid_logloss: Logloss on validation rows.
        parameters: What the plan costs, as the paper counts.
        bytes: What it costs, as stored.
        vocabulary_bytes: Of the file beside the model that says what ids stand for, not counted in ``bytes``; None
            where there is none, and in what did not know it.
        space: What plans decide on, paper or wide; None in what knew the paper's alone.
        budget: Bytes that the plan might cost at most; None for any.
        seconds: Of all phases.
        seconds_pretrain: Of FE's training.
        seconds_search: Of the search.
        seconds_retrain: Of the final training.
        epochs: Of all phases.
        trials: How many there were.
        failed_trials: How many of them failed.
        pruned_trials: How many of them were pruned.
        restarted_trials: How many of them were begun more than once.
        plan: The plan as JSON; empty where the run came to nothing.
        optimizer: The optimizer of the tables.
        compiled: Whether training steps were compiled.
        calibrated: Whether its logits are calibrated; None in what could not be.
        device: Where it was trained.
        machine: The machine.
        version: The version of this project.
        error: Why the run came to nothing; None unless it did.
    """

    run: str
    study: str
    dataset: str
    model: str
    strategy: str
    seed: Count
    recipe: str
    test_auc: AUC | None
    test_logloss: Loss | None
    test_click_rate: Share | None = None
    test_mean_prediction: Share | None = None
    test_ece: Share | None = None
    test_normalized_entropy: Loss | None = None
    valid_auc: AUC | None
    valid_logloss: Loss | None
    parameters: Count | None
    bytes: Count | None
    vocabulary_bytes: Count | None = None
    space: str | None = None
    budget: Count | None = None
    seconds: Seconds
    seconds_pretrain: Seconds
    seconds_search: Seconds
    seconds_retrain: Seconds
    epochs: Count
    trials: Count
    failed_trials: Count
    pruned_trials: Count | None = None
    restarted_trials: Count | None = None
    plan: str
    optimizer: str | None = None
    compiled: bool | None = None
    calibrated: bool | None = None
    device: str
    machine: str
    version: str
    error: str | None = None


RECORD_COLUMNS = tuple(Record.model_fields)


class Headroom(Entries):
    """How much the rare values can matter (nan for an AUC of samples of one class).

    Attributes:
        samples: Test samples.
        rare_samples: Test samples that hold a rare value.
        auc_rare: Test AUC on these.
        auc_other: Test AUC on the others.
        auc_oracle: Test AUC if the samples that hold a rare value were predicted perfectly.
    """

    samples: Count
    rare_samples: Count
    auc_rare: AUCOfSome
    auc_other: AUCOfSome
    auc_oracle: AUCOfSome


class FrequencyBucket(Entries):
    """Test samples by how often the rarest of their values occurs.

    Attributes:
        least: The rarest value occurs at least so often.
        most: And at most so often.
        samples: Test samples.
        auc: Test AUC on these; nan where they are of one class.
    """

    least: Count
    most: Count
    samples: Count
    auc: AUCOfSome


class ReliabilityBin(Entries):
    """Test samples of neighbouring predictions: a :class:`autodpq.metrics.Bin`.

    Attributes:
        samples: How many there are.
        mean_prediction: Mean of their probabilities.
        click_rate: Share of clicks among them.
        weight: What they count for beside those of other bins; there is none where samples have no weights.
        effective: How many samples of one weight would tell as much; likewise.
    """

    samples: Annotated[int, Field(ge=1, le=int(MOST))]
    mean_prediction: Share
    click_rate: Share
    weight: Annotated[float, Field(gt=0, le=MOST)] | None = None
    effective: Annotated[float, Field(gt=0, le=MOST)] | None = None

    @classmethod
    def of(cls, own: Bin) -> Self:
        """What is written of a bin."""
        return cls(**{name: value for name, value in asdict(own).items() if value is not None})

    @property
    def bin(self) -> Bin:
        """The bin that was written."""
        return Bin(self.samples, self.mean_prediction, self.click_rate, self.weight, self.effective)


class FittedCalibration(Entries):
    """What was done to the logits of the final network.

    Attributes:
        scale: What they are multiplied by.
        shift: What is added then.
        note: Why the scale is not the one of least logloss; None where it is.
    """

    scale: Annotated[float, Field(gt=0)]
    shift: float
    note: str | None


class FieldSize(Entries):
    """A field of a run's data.

    Attributes:
        name: The column's name.
        cardinality: Number of distinct values.
        head: Number of frequent values.
    """

    name: str
    cardinality: Annotated[int, Field(ge=1, le=int(MOST))]
    head: Count


class FieldCost(FieldSize):
    """A field, what was chosen for its rare values, and what it costs.

    Attributes:
        choice: The choice, as ``str`` writes it.
        parameters: As the paper counts.
        bits: As stored.
    """

    choice: str
    parameters: Count
    bits: Count


class Truth(Entries):
    """What is known of a generated data set.

    Attributes:
        bayes_auc: The AUC that no model can pass.
        plan: The plan behind the data, as JSON.
    """

    bayes_auc: AUC
    plan: str


class Floor(Entries):
    """What a floor reaches on the test rows.

    Attributes:
        auc: Test AUC.
        logloss: Test logloss.
    """

    auc: AUC
    logloss: Loss


class Floors(Entries):
    """What a model of a data set and split has to be better than, or it has not learnt what can be had in seconds.

    Attributes:
        constant: The click rate of the training rows.
        additive: The additive model (:mod:`autodpq.training.additive`); None in what did not know it.
    """

    constant: Floor
    additive: Floor | None


class _Head(Entries):
    run: str
    record: Record
    epochs: dict[str, Count] = Field(default_factory=dict)
    constant_logloss: Loss | None = None
    floors: Floors | None = None

    @property
    def known_floors(self) -> Floors | None:
        """What the result knows of its floors: earlier versions knew the constant at most."""
        if self.floors is None and self.constant_logloss is not None:
            return Floors(constant=Floor(auc=0.5, logloss=self.constant_logloss), additive=None)
        return self.floors


class Result(_Head):
    """A ``result.json``, as far as every run has one; all there is of one that came to nothing.

    Attributes:
        run: The run's identifier.
        record: The run's row in ``records.csv``.
        epochs: Epochs trained per phase.
        fields: The fields of the data.
        traceback: Of the code that ended the run; None where a person's mistake did, or nothing.
    """

    fields: tuple[FieldSize, ...]
    traceback: str | None = None


class FinishedResult(_Head):
    """A ``result.json`` of a run that came to something.

    Attributes:
        run: The run's identifier.
        record: The run's row in ``records.csv``.
        epochs: Epochs trained per phase.
        constant_logloss: Test logloss of the click rate of the training rows, where ``floors`` does not say it: ask
            ``known_floors``.
        floors: What its model has to be better than; None in what did not know it.
        curve: Incumbents by time.
        fe_seconds: FE's training time for this data set, model and seed.
        headroom: How much the rare values can matter.
        frequency: Test AUC by how often a sample's rarest value occurs, rarest first.
        reliability: Clicks by prediction, lowest first; empty in what did not know it.
        calibration: What was done to the logits; None where it was nothing.
        fields: Choice and cost per band.
        compact: Whether floats are stored in 16 bits, and first-order weights in few.
        truth: Of generated data; None for real data.
        predictions: Digest of ``predictions.parquet``; None for runs of earlier versions.
    """

    curve: tuple[CurvePoint, ...]
    fe_seconds: Annotated[float, Field(ge=TICK, le=MOST)]
    headroom: Headroom
    frequency: tuple[FrequencyBucket, ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    calibration: FittedCalibration | None = None
    fields: tuple[FieldCost, ...]
    compact: bool = False
    truth: Truth | None
    predictions: str | None = None
