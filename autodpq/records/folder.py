"""Reads and writes the files of a study's folder.

Each ``read_*`` raises AutoDPQError where the file is damaged or cannot be read, each ``write_*`` and ``append_*`` where
it cannot be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from autodpq.errors import AutoDPQError
from autodpq.records.files import append_line, read_json, read_lines, write_json
from autodpq.records.result import FinishedResult, Record, Result
from autodpq.records.schema import ConfigFile, CurveLine, PretrainedFile, StudyFile, TrialLine

_STUDY = TypeAdapter(StudyFile)
_ASKED = TypeAdapter(dict[str, str])
_CONFIG = TypeAdapter(ConfigFile)
_TRIAL = TypeAdapter(TrialLine)
_CURVE = TypeAdapter(CurveLine)
_RESULT = TypeAdapter(Result)
_FINISHED = TypeAdapter(FinishedResult)
_PRETRAINED = TypeAdapter(PretrainedFile)


def check_exists(folder: Path) -> None:
    """Refuses the folder of a study or of a run that is not there.

    Raises:
        AutoDPQError: It is not there.
    """
    if not folder.exists():
        raise AutoDPQError(f"{folder}: there is no such folder")


def read_study(path: Path) -> StudyFile:
    """Reads a study's ``study.json``."""
    return read_json(path, _STUDY, "delete it to have it written anew")


def write_study(path: Path, study: StudyFile) -> None:
    """Writes a study's ``study.json``."""
    _write(path, study)


def read_asked(path: Path) -> dict[str, str]:
    """Reads a study's ``asked.json``: the names of the runs that the last command asked for, by their identifiers."""
    return read_json(path, _ASKED, "delete it")


def write_asked(path: Path, names: Mapping[str, str]) -> None:
    """Writes a study's ``asked.json``."""
    write_json(path, dict(names))


def read_config(path: Path) -> ConfigFile:
    """Reads a run's ``config.json``."""
    return read_json(path, _CONFIG)


def write_config(path: Path, config: ConfigFile) -> None:
    """Writes a run's ``config.json``."""
    _write(path, config)


def read_trials(path: Path) -> list[TrialLine]:
    """Reads a run's ``trials.jsonl``; no trials where there is none."""
    return read_lines(path, _TRIAL)


def append_trial(path: Path, trial: TrialLine) -> None:
    """Appends to a run's ``trials.jsonl``, for good."""
    append_line(path, entries(trial))


def read_curve(path: Path) -> list[CurveLine]:
    """Reads a run's ``curve.jsonl``; no points where there is none."""
    return read_lines(path, _CURVE)


def append_curve(path: Path, point: CurveLine) -> None:
    """Appends to a run's ``curve.jsonl``, which a resumed run writes anew."""
    append_line(path, entries(point), for_good=False)


def read_result(path: Path) -> Result:
    """Reads a run's ``result.json``, as far as every run has one."""
    return read_json(path, _RESULT)


def read_finished(path: Path) -> FinishedResult:
    """Reads the ``result.json`` of a run that came to something."""
    return read_json(path, _FINISHED)


def read_records(study: Path) -> dict[Path, Record]:
    """The records of a study's finished runs by their files, in the order of data set, model, strategy and seed."""
    records = {path: read_result(path).record for path in sorted((study / "runs").glob("*/result.json"))}
    return dict(sorted(records.items(), key=lambda item: _place(item[1])))


def _place(record: Record) -> tuple[str, str, str, int]:
    return record.dataset, record.model, record.strategy, record.seed


def write_result(path: Path, result: Result | FinishedResult) -> None:
    """Writes a run's ``result.json``, which makes the run done."""
    _write(path, result)


def read_pretrained(path: Path) -> PretrainedFile:
    """Reads the file beside a pretrained network."""
    return read_json(path, _PRETRAINED, "delete it to train the network anew")


def write_pretrained(path: Path, pretrained: PretrainedFile) -> None:
    """Writes the file beside a pretrained network."""
    _write(path, pretrained)


def entries(model: BaseModel) -> dict[str, Any]:
    """What a file holds, as it is written: without what was not there when it was read."""
    return model.model_dump(exclude_unset=True)


def _write(path: Path, model: BaseModel) -> None:
    write_json(path, entries(model))
