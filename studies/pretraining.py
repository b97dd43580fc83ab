"""The FE network, trained once per data set, model, recipe and seed, and shared by all strategies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from autodpq.errors import AutoDPQError, TrainingError
from autodpq.files import writing
from autodpq.records.folder import read_pretrained, write_pretrained
from autodpq.records.schema import CurvePoint, PretrainedFile
from autodpq.training.fit import DeviceRows, Epoch, evaluate
from autodpq.training.network import Network
from autodpq.training.trainer import Trainer
from autodpq.trial import Pretrained
from studies.folder.records import load_state, save_state


@dataclass(frozen=True)
class SharedPretraining:
    """The FE network and its curve.

    Attributes:
        pretrained: What strategies get.
        curve: Points where the validation AUC rose, as in ``result.json``.
    """

    pretrained: Pretrained
    curve: tuple[CurvePoint, ...]


def pretrain(
    folder: Path,
    name: str,
    trainer: Trainer,
    test: DeviceRows,
    on_epoch: Callable[[Epoch], None],
    given: Callable[[], Mapping[str, Tensor] | None],
) -> SharedPretraining:
    """Trains the FE network, or reads it where an earlier run of the study left it.

    Args:
        folder: Where the study keeps pretrained networks.
        name: The network's name.
        trainer: Trains.
        test: Test rows, for the curve; read after each epoch, outside the clock, and told to no strategy.
        on_epoch: Called after every epoch.
        given: Gives weights that it is trained on from; None for nothing.

    Raises:
        AutoDPQError: Training comes to nothing, what was left is damaged, or a file cannot be written.
    """
    state_path, log_path = folder / f"{name}.safetensors", folder / f"{name}.json"
    if not (log_path.exists() and state_path.exists()):
        curve: list[CurvePoint] = []

        def record(epoch: Epoch, network: Network) -> None:
            if epoch.best:
                aucs = {"valid_auc": epoch.metrics.auc, "test_auc": evaluate(network, test).auc}
                curve.append(CurvePoint(seconds=epoch.seconds, phase="pretrain", **aucs))
            on_epoch(epoch)

        try:
            network, result = trainer.pretrain(record, given())
        except TrainingError as error:
            raise AutoDPQError(f"pretraining of {trainer.model.name}, seed {trainer.seed}: {error}") from None
        with writing(folder):
            folder.mkdir(exist_ok=True)  # in the study's folder, which is not made anew where it has gone
        save_state(state_path, network.state_dict())
        written = PretrainedFile(seconds=result.seconds, epochs=result.epochs, curve=tuple(curve))
        write_pretrained(log_path, written)
    log = read_pretrained(log_path)
    state = {key: value.to(trainer.device) for key, value in load_state(state_path).items()}
    return SharedPretraining(Pretrained(state, log.seconds, log.epochs), log.curve)
