"""What processes send one another: what to train with, what happens, what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autodpq.choices import CHOICES
from autodpq.data import Samples
from autodpq.errors import AutoDPQError
from autodpq.models import MODELS, CTRModel
from autodpq.plan import Field
from autodpq.training.fit import Epoch
from autodpq.training.recipes import Recipe
from autodpq.training.trainer import Trainer
from autodpq.trial import Outcome


@dataclass(frozen=True)
class TrainerSpec:
    """All that another process needs to build the same trainer, in arrays.

    Attributes:
        fields: The fields.
        model: The model's name, or what it was loaded from.
        recipe: How to train.
        seed: The seed.
        device: Where to train there.
        train: Training rows.
        valid: Validation rows.
        pretrained: Where plans start; None from nothing.
        compiled: Whether training steps are compiled.
        timeout: Seconds after which training a plan counts as failed; None for no limit.
        kinds: The files that kinds of choices were loaded from, as ``file.py:Class``.
        compact: Whether plans are stored as the wide space has it.
    """

    fields: tuple[Field, ...]
    model: str
    recipe: Recipe
    seed: int
    device: str
    train: Samples
    valid: Samples
    pretrained: dict[str, npt.NDArray[Any]] | None
    compiled: bool = False
    timeout: float | None = None
    kinds: tuple[str, ...] = ()
    compact: bool = False

    def build(self, model: type[CTRModel] | None = None) -> tuple[Trainer, dict[str, Tensor] | None]:
        """The trainer, and where its plans start; ``model`` is given where its name would not be known.

        Raises:
            AutoDPQError: Steps are to be compiled, and cannot be here: trials must not differ in the last digits.
        """
        for reference in self.kinds:
            CHOICES.find(reference)  # before a plan arrives that holds one
        device = torch.device(self.device)
        model = model or MODELS.find(self.model)
        rows = self.train, self.valid
        trainer = Trainer(
            self.fields, model, self.recipe, self.seed, device, *rows, compiled=self.compiled, compact=self.compact
        )
        if self.compiled and trainer.compilation is not None and trainer.compilation.failure is not None:
            raise AutoDPQError(f"--compile: {trainer.compilation.failure}; use --compile off")
        return trainer, None if self.pretrained is None else from_arrays(self.pretrained, device)


def to_arrays(state: Mapping[str, Tensor]) -> dict[str, npt.NDArray[Any]]:
    """Weights to send: tensors would go through shared memory, which containers are short of."""
    return {name: value.detach().cpu().numpy() for name, value in state.items()}


def from_arrays(state: Mapping[str, npt.NDArray[Any]], device: torch.device) -> dict[str, Tensor]:
    """Weights that were sent; copied, for what arrives may be read-only."""
    return {name: torch.from_numpy(np.array(value)).to(device) for name, value in state.items()}


@dataclass(frozen=True)
class SentOutcome:
    """An outcome on its way between processes, its weights as arrays."""

    outcome: Outcome
    arrays: dict[str, npt.NDArray[Any]] | None

    @classmethod
    def pack(cls, outcome: Outcome) -> SentOutcome:
        """Makes an outcome ready to send."""
        arrays = None if outcome.state is None else to_arrays(outcome.state)
        return cls(replace(outcome, state=None), arrays)

    def unpack(self) -> Outcome:
        """The outcome as it was, on the CPU."""
        state = None if self.arrays is None else from_arrays(self.arrays, torch.device("cpu"))
        return replace(self.outcome, state=state)


@dataclass(frozen=True)
class Ready:
    """A process has done what a specification asks for before a plan can be trained."""


@dataclass(frozen=True)
class EpochEnded:
    """A trial waits for the word on whether to go on.

    Attributes:
        position: Of its plan.
        epoch: The epoch.
        valid_aucs: So far.
    """

    position: int
    epoch: Epoch
    valid_aucs: tuple[float, ...]


@dataclass(frozen=True)
class TrialEnded:
    """A trial is over.

    Attributes:
        position: Of its plan.
        outcome: What it came to.
    """

    position: int
    outcome: Outcome


@dataclass(frozen=True)
class TrialLost:
    """The process or machine that trained a trial is gone.

    It may begin again, but no trial waits for it any more: they could hold what it needs to begin.

    Attributes:
        position: Of its plan.
    """

    position: int
