"""Lines of ``autodpq-study status``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from autodpq.errors import AutoDPQError
from autodpq.records.folder import check_exists, read_asked, read_config, read_curve, read_result, read_trials
from autodpq.records.schema import CurveLine, TrialLine
from reports.names import within
from reports.results import Scored, with_floors
from reports.tables.floors import floor_lines
from studies.folder.lock import is_held

_SIGNS = ("config.json", "trials.jsonl", "curve.jsonl")


def run_name(dataset: str, model: str, seed: int, strategy: str) -> str:
    """What a run is called."""
    return f"{dataset} {model} seed {seed} {strategy}"


def status_lines(study: Path, now: float | None = None) -> Iterator[str]:
    """One line per run, those of the last command in its order, the floors and who is below them, then a count.

    Args:
        study: The study's folder.
        now: Seconds since the epoch, for how long ago something was heard of a run; None for the present.

    Raises:
        AutoDPQError: The folder is no study, or something in it is damaged.
    """
    check_exists(study)
    if not (study / "study.json").exists():
        raise AutoDPQError(f"{study}: no study (it has no study.json)")
    present = time.time() if now is None else now
    asked = study / "asked.json"
    names = read_asked(asked) if asked.exists() else {}
    begun = {path.parent.name: path.parent for path in sorted((study / "runs").glob("*/config.json"))}
    counts = dict.fromkeys(("done", "failed", "begun", "waiting"), 0)
    scored: list[Scored] = []
    for run in dict.fromkeys([*names, *begun]):
        state, line, own = ("waiting", names.get(run, ""), None) if run not in begun else _line(begun[run], present)
        counts[state] += 1
        scored += [] if own is None else [own]
        yield f"{state:8} {line}"
    yield from floor_lines(with_floors(scored))
    done, failed = counts["done"] + counts["failed"], counts["failed"]
    left = sum(counts.values()) - done
    told = f"{done} of {done + left} runs are done{f', {failed} of them failed' if failed else ''}"
    if left:
        told += "; a process is at work" if is_held(study) else "; stopped: the same command goes on"
    yield told


def _line(run: Path, now: float) -> tuple[str, str, Scored | None]:
    """The state of a run that was begun, what is known of it, and what it has reached if it is done."""
    config = read_config(run / "config.json")
    strategy = within(config.strategy, config.budget)
    name = run_name(config.data.name, config.model, config.seed, strategy)
    result = run / "result.json"
    if not result.exists():
        return "begun", f"{name}: {_so_far(run)}, last sign {_age(run, now)} ago", None
    head = read_result(result)
    record = head.record
    if record.test_auc is None:
        return "failed", f"{name}: {record.error}", None
    scored = Scored(
        config.data.name, config.model, strategy, config.data.split_name, record.test_auc, record.test_logloss,
        head.known_floors,
    )  # fmt: skip
    return "done", f"{name}: test AUC {record.test_auc:.4f}, {record.seconds:.0f} s", scored


def _so_far(run: Path) -> str:
    trials, points = read_trials(run / "trials.jsonl"), read_curve(run / "curve.jsonl")
    parts = [f"{len(trials)} trials"] if trials or not points else []
    if points:
        phase = points[-1].phase
        epochs = sum(point.phase == phase for point in points)
        # A black box' points are its trials, of which the line tells already.
        parts += [] if trials and phase == "search" else [f"{phase}, epoch {epochs}"]
    reached: list[TrialLine | CurveLine] = [*trials, *points]
    best = max((one.valid_auc or 0.0 for one in reached), default=None)
    return ", ".join([*parts, *([] if best is None else [f"best validation AUC {best:.4f}"])])


def _age(run: Path, now: float) -> str:
    """How long ago something of a run was written."""
    seconds = max(0.0, now - max((run / name).stat().st_mtime for name in _SIGNS if (run / name).exists()))
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
