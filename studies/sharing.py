"""What the runs of a study share: what is asked for, and, of one model and seed, rows and the pretrained network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from autodpq import __version__
from autodpq.choices import Choice, Full, Others
from autodpq.errors import AutoDPQError
from autodpq.models import MODELS
from autodpq.plugins.loading import file_places
from autodpq.plugins.registry import source_digest
from autodpq.records.folder import read_result, read_trials
from autodpq.records.result import Floors
from autodpq.records.schema import TrialLine
from autodpq.search.sensitivity import rises
from autodpq.search.task import Executor
from autodpq.training.fit import DeviceRows
from autodpq.training.recipes import Recipe
from autodpq.training.step import MIN_ROWS, MIN_ROWS_WIDE, why_not
from autodpq.training.trainer import Trainer
from autodpq.trial import Rises, Space
from studies.config import RunConfig
from studies.folder.comparable import Compile
from studies.given_weights import given_weights
from studies.isolation import shared_digest
from studies.options import StudyConfig
from studies.prepared import Prepared
from studies.pretraining import SharedPretraining, pretrain
from studies.watch.progress import Progress
from studies.workers.known import KnownTrials
from studies.workers.local import LocalExecutor
from studies.workers.messages import TrainerSpec, to_arrays

if TYPE_CHECKING:
    from studies.watch.dashboard import Mirror, MirroredRun  # which imports sqlalchemy: few studies are mirrored


class Workers(Protocol):
    """What trains trials side by side; it lives as long as the study."""

    def executor(self, spec: TrainerSpec, here: LocalExecutor) -> Executor:
        """An executor for one run; ``here`` is the one of this process."""
        ...


@dataclasses.dataclass(frozen=True)
class Context:
    """What all runs of a study share.

    Attributes:
        config: What is asked for.
        candidates: What rare values may become.
        out: The study's folder.
        workers: What trains trials side by side; None where they are trained here, one after another.
        mirror: Where trials are copied to; None for nowhere.
        progress: Is told how far it is.
    """

    config: StudyConfig
    candidates: tuple[Choice, ...]
    out: Path
    workers: Workers | None
    mirror: Mirror | None
    progress: Progress

    def folder(self, run: RunConfig) -> Path:
        """The folder of a run."""
        return self.out / "runs" / run.run_id

    def copies(self, run: RunConfig, searched: Iterable[str]) -> TrialCopies | None:
        """What copies the trials of a run, if anything does; ``searched`` are the fields with rare values."""
        if self.mirror is None:
            return None
        name = "/".join((self.out.resolve().name, run.data["name"], run.model, run.strategy, str(run.seed)))
        choices = tuple(dict.fromkeys((str(Full()), str(Others()), *run.candidates)))
        attributes = {"recipe": run.recipe["name"], "init": run.init, "version": __version__}
        return TrialCopies(self.mirror, name, run.run_id, attributes, dict.fromkeys(searched, choices))

    def copy_finished(self, run: RunConfig) -> None:
        """Copies the trials of a run that was finished before."""
        lines = read_trials(self.folder(run) / "trials.jsonl")
        if lines and self.mirror is not None:
            fields = read_result(self.folder(run) / "result.json").fields
            copies = self.copies(run, [field.name for field in fields if field.head < field.cardinality])
            assert copies is not None, "there is a mirror"
            copies(*lines)


class TrialCopies:
    """Copies the trials of a run as they are recorded; an Optuna study is made when there is something to copy.

    It holds no rows, for a strategy can come by it through its task.

    Args:
        mirror: Where to.
        name: Of the Optuna study.
        run: The run's id.
        attributes: Of the Optuna study.
        choices: What a plan may hold per field.
    """

    def __init__(
        self,
        mirror: Mirror,
        name: str,
        run: str,
        attributes: dict[str, str],
        choices: dict[str, tuple[str, ...]],
    ) -> None:
        self._open = partial(mirror.open, name, run, attributes, choices)
        self._mirrored: MirroredRun | None = None
        self._lines: list[TrialLine] = []

    def begin(self) -> None:
        """Makes or finds the Optuna study.

        Raises:
            AutoDPQError: The storage holds another run under the name.
        """
        self._mirrored = self._mirrored or self._open()

    def __call__(self, *lines: TrialLine) -> None:
        """Copies lines of ``trials.jsonl``, and what an outage has left out before."""
        self._lines += lines
        if self._lines:
            self.begin()
            assert self._mirrored is not None, "it has begun"
            self._mirrored.copy(self._lines)


@dataclasses.dataclass(frozen=True)
class Shared:
    """What all strategies of one model and seed share.

    Attributes:
        name: Of the pretrained network.
        prepared: The rows.
        trainer: Has trained the pretrained network; each search and each final training has one of its own.
        pretraining: The pretrained network.
        spec: What workers train with.
        wide: The same in the wide space; None in a study of the paper's.
        digest: Of what must stay as it is.
        floors: What the models of this split have to be better than.
    """

    name: str
    prepared: Prepared
    trainer: Trainer
    pretraining: SharedPretraining
    spec: TrainerSpec
    wide: TrainerSpec | None
    digest: str
    floors: Floors
    # What compresses nothing has no bands, and so other networks and another space than the others of a wide study.
    _rises: dict[bool, Rises] = dataclasses.field(default_factory=dict, init=False)
    _known: dict[bool, KnownTrials] = dataclasses.field(default_factory=dict, init=False)

    def rises(self, trainer: Trainer, space: Space) -> Rises:
        """How much the loss rises under each candidate, found once: whatever their budget, runs start from one network.

        Args:
            trainer: Of a run, which no strategy holds.
            space: Candidates of each band.
        """
        if trainer.compact not in self._rises:
            self._rises[trainer.compact] = rises(trainer, self.pretraining.pretrained.state, space)
        return self._rises[trainer.compact]

    def known(self, run: RunConfig) -> KnownTrials:
        """What has been trained for runs of the same bands."""
        return self._known.setdefault(run.compact, KnownTrials())

    def spec_for(self, run: RunConfig) -> TrainerSpec:
        """What workers train a run's plans with."""
        if not run.compact:
            return self.spec
        assert self.wide is not None, "a study of the wide space has it"
        return self.wide

    def is_sound(self) -> bool:
        """Whether no strategy has changed what all of them share."""
        rows = self.prepared.train, self.prepared.valid
        return shared_digest(rows, self.pretraining.pretrained.state) == self.digest

    def new_trainer(self, run: RunConfig) -> Trainer:
        """A trainer like the first, of a run's bands, which nobody else holds."""
        known, rows, spec = self.trainer, (self.prepared.train, self.prepared.valid), self.spec_for(run)
        compiled = known.compilation or False
        return Trainer(
            spec.fields, known.model, known.recipe, known.seed, known.device, *rows, additive=self.prepared.additive,
            compiled=compiled, compact=spec.compact,
        )  # fmt: skip


def share(
    context: Context,
    run: RunConfig,
    model: str,
    prepared: Prepared,
    floors: Floors,
    recipe: Recipe,
    device: torch.device,
    compiling: Compile,
) -> Shared:
    """Trains the network that compresses nothing, or reads it, and gathers what the runs of a model and seed share.

    Args:
        context: What all runs share.
        run: One of them.
        model: The model's name, or what it is loaded from.
        prepared: The rows.
        floors: Of the rows.
        recipe: How models are trained, its optimizer decided.
        device: Where.
        compiling: Whether training steps are compiled.

    Raises:
        AutoDPQError: Steps were compiled before and cannot be here, or pretraining comes to nothing.
    """
    config, progress = context.config, context.progress
    rows = prepared.train, prepared.valid
    recipe = recipe.with_penalty_of(prepared.additive)
    compiled = is_compiled(compiling, config.space, len(prepared.train), device)
    trainer = Trainer(
        prepared.fields, MODELS.find(model), recipe, run.seed, device, *rows, additive=prepared.additive,
        compiled=compiled,
    )  # fmt: skip
    if trainer.compilation is not None:
        progress.compiled(trainer.compilation)
        if trainer.compilation.failure is not None and compiling == "on" != config.compile:
            raise AutoDPQError(
                f"--compile: training steps of the runs in {context.out} are compiled, and cannot be here; go on where "
                "they can, or name another --out"
            )
    test = DeviceRows.load(prepared.test(), device)

    def given() -> dict[str, torch.Tensor] | None:
        if config.pretrained is None:
            return None
        found = given_weights(Path(config.pretrained), trainer, prepared.source)
        progress.given(config.pretrained, found.n_known, found.n_values)
        return found.state

    pretraining = pretrain(context.out / "pretrained", run.pretrained_id, trainer, test, progress.epoch, given)
    start = to_arrays(pretraining.pretrained.state) if config.init == "pretrained" else None
    there = str(device) if config.executor == "local" else "cuda" if config.gpus_per_trial else "cpu"
    spec = TrainerSpec(
        prepared.fields, model, recipe, run.seed, there, *rows, start, trainer.compiled, config.trial_timeout,
        kinds=file_places(map(type, context.candidates)),
    )  # fmt: skip
    wide = None
    if config.space == "wide":
        wide = dataclasses.replace(spec, fields=prepared.source.banded(config.bands), compact=True)
    digest = shared_digest(rows, pretraining.pretrained.state)
    return Shared(run.pretrained_id, prepared, trainer, pretraining, spec, wide, digest, floors)


def is_compiled(compiling: Compile, space: str, n_rows: int, device: torch.device) -> bool:
    """Whether training steps are compiled: as asked, or where it pays.

    Args:
        compiling: What is asked.
        space: Which space is searched.
        n_rows: Of training.
        device: Where it trains.
    """
    pays = why_not(device) is None and n_rows >= (MIN_ROWS_WIDE if space == "wide" else MIN_ROWS)
    return compiling == "on" or (compiling == "auto" and pays)


def sources(model: type, strategy: type, candidates: Iterable[Choice]) -> dict[str, str | None]:
    """What tells whether the code of plug-ins is still the one that was measured."""
    kinds = {f"choice {choice.name}": source_digest(type(choice)) for choice in candidates}
    brought = {name: digest for name, digest in kinds.items() if digest is not None}
    return {"model": source_digest(model), "strategy": source_digest(strategy), **brought}
