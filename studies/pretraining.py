"""The FE network, trained once per data set, model, recipe and seed, and shared by all strategies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autodpq.network import Network
from autodpq.trainer import Trainer
from autodpq.training import DeviceRows, Epoch, evaluate
from autodpq.trial import Pretrained
from studies.files import read_json, write_json
from studies.records import load_state, save_state


@dataclass(frozen=True)
class SharedPretraining:
    """The FE network and its curve.

    Attributes:
        pretrained: What strategies get.
        curve: Points where the validation AUC rose, as in ``result.json``.
    """

    pretrained: Pretrained
    curve: list[dict[str, Any]]


def pretrain(
    folder: Path, name: str, trainer: Trainer, test: DeviceRows, on_epoch: Callable[[Epoch], None]
) -> SharedPretraining:
    """Trains the FE network, or reads it where an earlier run of the study left it.

    Args:
        folder: Where the study keeps pretrained networks.
        name: The network's name.
        trainer: Trains.
        test: Test rows, for the curve; read after each epoch, outside the clock, and told to no strategy.
        on_epoch: Called after every epoch.
    """
    state_path, log_path = folder / f"{name}.safetensors", folder / f"{name}.json"
    if not log_path.exists():
        curve: list[dict[str, Any]] = []

        def record(epoch: Epoch, network: Network) -> None:
            if epoch.best:
                point = {"seconds": epoch.seconds, "phase": "pretrain", "valid_auc": epoch.metrics.auc}
                curve.append({**point, "test_auc": evaluate(network, test).auc})
            on_epoch(epoch)

        network, result = trainer.pretrain(record)
        folder.mkdir(parents=True, exist_ok=True)
        save_state(state_path, network.state_dict())
        write_json(log_path, {"seconds": result.seconds, "epochs": result.epochs, "curve": curve})
    log = read_json(log_path)
    state = {key: value.to(trainer.device) for key, value in load_state(state_path).items()}
    return SharedPretraining(Pretrained(state, log["seconds"], log["epochs"]), log["curve"])
