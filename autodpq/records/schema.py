"""What the files of a study's folder hold.

Entries are written in the order in which they stand here. One with a default is missing from what versions before 0.2
wrote; what was not there when a file was read is not written again either.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PositiveInt,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from autodpq.trial import PHASES, Phase

# Within these, sums, squares and ratios of what a file says stay finite.
MOST = 1e15
TICK = 1e-9  # seconds; no clock tells less


def _ticks(seconds: float) -> float:
    if 0 < seconds < TICK:
        raise ValueError("no clock tells so little time")
    return seconds


def _nan_for_none(value: Any, check: ValidatorFunctionWrapHandler) -> float:
    return math.nan if value is None else float(check(value))


def _none_for_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


AUC = Annotated[float, Field(ge=0, le=1)]
# Of samples that may be of one class: None where it is made and null in a file, nan once it is there.
AUCOfSome = Annotated[AUC, WrapValidator(_nan_for_none), PlainSerializer(_none_for_nan)]
Share = Annotated[float, Field(ge=0, le=1)]
Loss = Annotated[float, Field(ge=0, le=MOST)]
Seconds = Annotated[float, Field(ge=0, le=MOST), AfterValidator(_ticks)]
Count = Annotated[int, Field(ge=0, le=int(MOST))]
Few = Annotated[int, Field(ge=0, le=1_000_000)]
_PhaseName = Annotated[str, Field(pattern=f"^({'|'.join(PHASES)})$")]


class Entries(BaseModel):
    """What a file, or a part of one, holds."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class StudyFile(Entries):
    """``study.json``: what all runs of a study have in common.

    Attributes:
        study: The study's name.
        recipe: Name of the recipe.
        init: Where plans are trained from.
        resplit: Whether every seed has a split of its own.
    """

    study: str | None = None
    recipe: str | None = None
    init: str | None = None
    resplit: bool | None = None


class DataEntries(Entries):
    """What a run's ``config.json`` says of its data.

    Attributes:
        name: The data set's name.
        fingerprint: Of the encoded data.
        threshold: A value that occurs at least this often is frequent.
        split: How the data is split.
        split_seed: Seed of a split at random.
        frequency_scope: Rows that frequencies are counted over.
    """

    model_config = ConfigDict(extra="allow")

    name: str
    fingerprint: str
    threshold: int
    split: str
    split_seed: int
    frequency_scope: str

    @property
    def split_name(self) -> str:
        """What tells a split of the data set from others."""
        return f"{self.split} {self.split_seed}"


class RecipeEntries(Entries):
    """What a run's ``config.json`` says of its recipe; all entries beside these two are kept as they are.

    Attributes:
        name: The recipe's name.
        embedding_dim: X.
    """

    model_config = ConfigDict(extra="allow")

    name: str
    embedding_dim: PositiveInt


class ConfigFile(Entries):
    """A run's ``config.json``: what was asked, and what it ran on; entries of other versions are kept as they are.

    Attributes:
        data: The data set, its split and its counting.
        model: The model's name.
        strategy: The strategy's name, with the options that are not at their defaults.
        options: All of the strategy's options.
        seed: The seed.
        recipe: All of the recipe.
        init: Where plans are trained from.
        candidates: The choices that plans were made of, as text.
        trials: Trials of the search; None where it was left to the strategy.
        calibrate: Whether the logits of final networks are calibrated.
        space: What plans decide on: paper or wide.
        bands: Of the wide space: auto, or falling counts.
        budget: Bytes that the plan may cost at most; None for any.
        pretrained: Digest of the file whose weights FE started from; None where it started from nothing.
        executor: Where trials were trained.
        jobs: Processes that trained them side by side.
        cpus_per_trial: Cores that a trial took on a cluster.
        gpus_per_trial: GPUs that a trial took on a cluster.
        device: Where everything else was trained.
        threads: Threads of a process.
        optimizer: The optimizer of the tables.
        compiled: Whether training steps were compiled.
        sources: Digests of the code of plug-ins: of the model, of the strategy.
        loading: Where the rows came from.
        machine: The machine.
        versions: Versions of what was used.
    """

    model_config = ConfigDict(extra="allow")

    data: DataEntries
    model: str
    strategy: str
    options: dict[str, Any]
    seed: int
    recipe: RecipeEntries
    init: str
    candidates: tuple[str, ...]
    trials: int | None
    calibrate: bool = False
    space: str = "paper"
    bands: str | tuple[int, ...] = "auto"
    budget: int | None = None
    pretrained: str | None = None
    executor: str | None = None
    jobs: int
    cpus_per_trial: int | float | None = None
    gpus_per_trial: int | float | None = None
    device: str
    threads: int
    optimizer: str | None = None
    compiled: bool | None = None
    sources: dict[str, str | None] = {}
    loading: dict[str, Any] = {}
    machine: str
    versions: dict[str, str]


class TrialLine(Entries):
    """A line of ``trials.jsonl``.

    Attributes:
        number: From 0, in the order of asking.
        plan: The plan, as :meth:`autodpq.plan.CompressionPlan.to_json` writes it.
        state: How it ended.
        valid_auc: Validation AUC of the best epoch; None unless complete.
        valid_logloss: Validation logloss of that epoch; None unless complete.
        parameters: What the plan costs, as the paper counts.
        bytes: What it costs, as stored.
        seconds: Seconds per phase.
        epochs: Epochs trained.
        error: Why the trial failed; None unless it did.
        valid_aucs: Validation AUC after each epoch.
        attempts: How often it was begun; never where an earlier trial had the same plan, whose values it has.
        traceback: Of the code that ended it; None where a person's mistake did, or nothing.
    """

    number: Few
    plan: str
    state: Literal["complete", "pruned", "failed"]
    valid_auc: AUC | None
    valid_logloss: Loss | None
    parameters: Count
    bytes: Count
    seconds: dict[_PhaseName, Seconds]
    epochs: Few
    error: str | None
    valid_aucs: tuple[AUC, ...] = ()
    attempts: Few = 1
    traceback: str | None = None


class CurveLine(Entries):
    """A line of ``curve.jsonl``.

    Attributes:
        seconds: Since the run's start.
        phase: pretrain, search or retrain.
        valid_auc: Validation AUC reached.
    """

    seconds: Seconds
    phase: Phase
    valid_auc: AUC


class CurvePoint(CurveLine):
    """A new incumbent: the validation AUC rose.

    Attributes:
        test_auc: Of the incumbent; computed after the search.
    """

    test_auc: AUC


class PretrainedFile(Entries):
    """The file beside a pretrained network.

    Attributes:
        seconds: What training it took.
        epochs: Epochs trained.
        curve: Points where the validation AUC rose.
    """

    seconds: Seconds
    epochs: Few
    curve: tuple[CurvePoint, ...]
