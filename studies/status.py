"""Lines of ``autodpq-study status``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autodpq.errors import AutoDPQError
from studies.files import ANEW, LINE_ANEW, damage_told, read_json, read_lines


def status_lines(study: Path) -> Iterator[str]:
    """One line per run that was begun, then a count.

    Raises:
        AutoDPQError: The folder is no study.
    """
    if not (study / "study.json").exists():
        raise AutoDPQError(f"{study}: no study (it has no study.json)")
    done = begun = failed = 0
    for path in sorted((study / "runs").glob("*/config.json")):
        config = read_json(path)
        begun += 1
        with damage_told(str(path), ANEW):
            name = f"{config['data']['name']} {config['model']} seed {config['seed']} {config['strategy']}"
        result = path.with_name("result.json")
        if result.exists():
            done += 1
            whole = read_json(result)
            with damage_told(str(result), ANEW):
                record = whole["record"]
                error = record.get("error")
                came_to = error or f"test AUC {record['test_auc']:.4f}, {record['seconds']:.0f} s"
            failed += bool(error)
            yield f"{'failed' if error else 'done':8} {name}: {came_to}"
        else:
            trials = list(_valid_aucs(path.with_name("trials.jsonl")))
            best = f", best validation AUC {max(trials):.4f}" if trials else ""
            yield f"begun    {name}: {len(trials)} trials{best}"
    yield f"{done} of {begun} runs that were begun are done{f', {failed} of them failed' if failed else ''}"


def _valid_aucs(path: Path) -> Iterator[float]:
    """Validation AUC of every trial; 0 for one that has none."""
    for number, line in enumerate(read_lines(path), 1):
        with damage_told(f"{path}, line {number}", LINE_ANEW):
            valid_auc = float(line["valid_auc"] or 0.0)
        yield valid_auc
