"""A card for every run: what was asked, where it ran, how long each phase took, what came out."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autodpq.records.folder import entries, read_config
from reports.names import choice_label, in_order
from reports.numbers.summary import format_number
from reports.page.trials import Trials, read_trials
from reports.results import RunResult, StudyResults
from reports.tables.render import DASH

_TITLES = {
    "data": "Data", "recipe": "Recipe", "options": "Options of the strategy", "sources": "Code of plug-ins",
    "loading": "Loading", "versions": "Versions",
}  # fmt: skip
_MACHINE = ("machine", "device", "threads", "compiled", "executor", "jobs", "cpus_per_trial", "gpus_per_trial")
_DEEPEST = 4  # objects within objects; what is deeper is shown as JSON
_REST = 0.005  # of the run's time; what the phases leave beyond it is shown

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run's time.

    Attributes:
        name: pretrain, search, retrain, or other for what these leave.
        seconds: How long it took.
        start: Where it begins in a bar of 100.
        share: Its length in that bar.
    """

    name: str
    seconds: float
    start: float
    share: float


@dataclass(frozen=True, slots=True)
class Card:
    """One finished run.

    Attributes:
        run: The run itself.
        facts: Its results, title and value; the first ones stand in the card's head.
        phases: Its time.
        settings: What ``config.json`` holds, in groups: a title, names and values.
        fields: Its plan: name, rows, rare rows, choice, parameters and bytes of each field.
        trials: Its trials; None where there is none.
        command: The command line that takes its model away.
    """

    run: RunResult
    facts: Pairs
    phases: tuple[Phase, ...]
    settings: tuple[tuple[str, Pairs], ...]
    fields: tuple[tuple[str, ...], ...]
    trials: Trials | None
    command: str


def cards(study: StudyResults) -> list[Card]:
    """A card for each finished run, in the order of the tables.

    Raises:
        AutoDPQError: A run's ``config.json`` or ``trials.jsonl`` is damaged.
    """
    rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in study.records.to_dict("records")]
    pairs, strategies = study.pairs(), in_order(run.strategy for run in study.runs)
    found = [_card(study, run, row) for run, row in zip(study.runs, rows, strict=True)]
    return sorted(
        found,
        key=lambda card: (
            pairs.index((card.run.dataset, card.run.model)),
            strategies.index(card.run.strategy),
            card.run.seed,
        ),
    )


def _card(study: StudyResults, run: RunResult, record: Mapping[str, Any]) -> Card:
    folder = study.folder / "runs" / run.run
    return Card(
        run,
        _facts(run, record),
        phases(record),
        settings(entries(read_config(folder / "config.json"))),
        tuple(
            (entry.field.name, f"{entry.field.cardinality:,}", f"{entry.field.tail:,}", choice_label(entry.choice),
             f"{entry.parameters:,}", f"{entry.bits / 8:,.0f}")
            for entry in run.fields
        ),
        read_trials(folder / "trials.jsonl"),
        take_away(folder),
    )  # fmt: skip


def take_away(folder: Path) -> str:
    """The command that takes the model of a run's folder away."""
    return f"autodpq-study export {shlex.quote(_printable(folder))} --out model.safetensors"


def _printable(path: Path) -> str:
    """A path as text that can be written, even where a folder's name is no UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _facts(run: RunResult, record: Mapping[str, Any]) -> Pairs:
    spent = ", ".join(f"{name} {count}" for name, count in run.epochs.items() if count)
    failed, pruned = (_count(record.get(name)) for name in ("failed_trials", "pruned_trials"))
    lost = [f"{number:,} {word}" for number, word in ((failed, "failed"), (pruned, "pruned")) if number]
    return (
        ("Test AUC", _measured(record["test_auc"], 4)),
        ("Bytes", _measured(record["bytes"], 0)),
        ("Time", f"{_measured(record['seconds'], 1)} s"),
        ("Bytes of the vocabulary beside it, not counted", _measured(record["vocabulary_bytes"], 0)),
        ("Test logloss", _measured(record["test_logloss"], 4)),
        ("Validation AUC", _measured(record["valid_auc"], 4)),
        ("Validation logloss", _measured(record["valid_logloss"], 4)),
        ("Mean prediction / click rate, test", f"{_measured(record['test_mean_prediction'], 4)} / "
         f"{_measured(record['test_click_rate'], 4)}"),
        ("Calibration error (ECE), test", _measured(record["test_ece"], 4)),
        ("Normalised entropy, test", _measured(record["test_normalized_entropy"], 4)),
        *_calibration(run),
        ("Test AUC, rare / other samples", f"{_measured(run.headroom.auc_rare, 4)} / "
         f"{_measured(run.headroom.auc_other, 4)}"),
        ("Parameters (the paper's Space)", _measured(record["parameters"], 0)),
        ("Epochs", _measured(record["epochs"], 0) + (f" ({spent})" if spent else "")),
        ("Trials", _measured(record["trials"], 0) + (f" ({', '.join(lost)})" if lost else "")),
        ("Time in units of FE's", f"{_measured(record['time_in_fe'], 2)} x"),
        ("Run", run.run),
    )  # fmt: skip


def _calibration(run: RunResult) -> Pairs:
    fitted = run.calibration
    if fitted is None:
        return ()
    note = f" ({fitted.note})" if fitted.note else ""
    return (("Calibrated on validation rows", f"scale {fitted.scale:.4g}, shift {fitted.shift:.4g}{note}"),)


def _count(value: object) -> int:
    """A count of the records; those that the loader does not check are text."""
    text = str(value).removesuffix(".0")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0


def _measured(value: float, decimals: int) -> str:
    return DASH if math.isnan(value) else format_number(value, decimals) if decimals else f"{value:,.0f}"


def phases(record: Mapping[str, Any]) -> tuple[Phase, ...]:
    """The parts of a run's time, one after the other in a bar of 100; those that took no time are left out.

    Args:
        record: ``seconds`` and ``seconds_<phase>``.
    """
    parts = {name: float(record[f"seconds_{name}"]) for name in ("pretrain", "search", "retrain")}
    parts = {name: seconds for name, seconds in parts.items() if seconds > 0}
    rest = float(record["seconds"]) - math.fsum(parts.values())
    if rest > _REST * float(record["seconds"]):
        parts["other"] = rest
    whole = math.fsum(parts.values())
    found: list[Phase] = []
    for name, seconds in parts.items():
        start = found[-1].start + found[-1].share if found else 0.0
        found.append(Phase(name, seconds, start, 100 * seconds / whole))
    return tuple(found)


def settings(config: Mapping[str, Any]) -> tuple[tuple[str, Pairs], ...]:
    """All that a ``config.json`` says, in groups; nothing is left out, whatever it is."""
    machine = [(name, config[name]) for name in _MACHINE if name in config]
    run = [(name, value) for name, value in config.items() if name not in _MACHINE and not isinstance(value, dict)]
    groups: list[tuple[str, Sequence[tuple[str, object]]]] = [("Run", run)]
    nested = [(name, value) for name, value in config.items() if isinstance(value, dict) and name not in _MACHINE]
    groups += [(_TITLES.get(name, name), list(value.items())) for name, value in nested if name != "versions"]
    groups.append(("Machine", machine))
    groups += [(_TITLES[name], list(value.items())) for name, value in nested if name == "versions"]
    found = ((title, tuple(pair for name, value in own for pair in _flat(name, value, 0))) for title, own in groups)
    return tuple((title, pairs) for title, pairs in found if pairs)


def _flat(name: str, value: object, depth: int) -> list[tuple[str, str]]:
    if isinstance(value, dict) and value and depth < _DEEPEST:
        return [pair for key, inner in value.items() for pair in _flat(f"{name}.{key}", inner, depth + 1)]
    return [(name, _said(value))]


def _said(value: object) -> str:
    if value is None or value in ("", [], (), {}):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple) and not any(isinstance(item, list | tuple | dict) for item in value):
        return ", ".join(_said(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
