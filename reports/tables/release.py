"""An old and a new model on the same rows, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from autodpq.metrics import N_BINS
from reports.numbers.delong import Estimate
from reports.numbers.release import Release, Scored, Side, Slice
from reports.tables.render import Cell, Grid, Table

_COLUMNS = (
    "model", "file", "slice", "value", "values", "rows", "click_rate", "auc", "auc_low", "auc_high", "logloss",
    "logloss_low", "logloss_high", "normalized_entropy", "mean_prediction", "ece", "unseen", "bytes",
    "vocabulary_bytes",
)  # fmt: skip
_WIDEST = 24  # letters of a value


def release_table(release: Release, input: str) -> Table:
    """Both models on all rows and on slices of them.

    Args:
        release: The numbers.
        input: What the rows are called.

    Returns:
        One grid for all rows and one for each column that they are sliced by; three tidy rows for each: of the old
        model, of the new one, and new minus old.
    """
    columns = dict.fromkeys(own.column for own in release.slices)
    grids = (_whole(release, input), *(_sliced(release, column) for column in columns))
    return Table(grids, _COLUMNS, tuple(_records(release)))


def _whole(release: Release, input: str) -> Grid:
    (old, new), (first, second) = release.scored, release.sides
    size = f"{new.bytes / old.bytes - 1:+.1%}"
    rows = (
        ("AUC", _interval(first.auc), _interval(second.auc), _interval(release.auc, signed=True)),
        ("Logloss", f"{first.logloss:.4f}", f"{second.logloss:.4f}", _interval(release.logloss, signed=True)),
        ("NE", *_both(first.normalized_entropy, second.normalized_entropy)),
        ("Predicted", *_both(first.mean_prediction, second.mean_prediction)),
        ("ECE", *_both(first.ece, second.ece)),
        ("Rows with unseen values", f"{old.unseen:.1%}", f"{new.unseen:.1%}", ""),
        ("Bytes", f"{old.bytes:,}", f"{new.bytes:,}", size),
        ("Vocabulary, bytes", f"{old.vocabulary_bytes:,}", f"{new.vocabulary_bytes:,}", ""),
    )
    notes = (
        f"Old: {old.name}; new: {new.name}.",
        "In brackets, 95 % intervals: of AUC by DeLong's method, of differences by the same rows.",
        "NE, normalised entropy: logloss in units of that of a constant, the click rate of these rows.",
        f"Predicted: the mean prediction; the click rate is {release.click_rate:.4f}.",
        f"ECE, expected calibration error, in {N_BINS} bins; of perfect probabilities about "
        f"{second.ece_by_chance:.4f}, by chance.",
    )
    title = f"{input}: {release.rows:,} rows"
    return Grid(title, ("", "Old", "New", "New - old"), tuple(tuple(map(Cell, row)) for row in rows), notes=notes)


def _sliced(release: Release, column: str) -> Grid:
    rows = tuple(
        (
            Cell(_named(own)),
            Cell(f"{own.rows:,}"),
            Cell(f"{own.click_rate:.4f}"),
            *(Cell(f"{mean:.4f}") for mean in own.mean_predictions),
            *(Cell(f"{loss:.4f}") for loss in own.loglosses),
            Cell(_interval(own.difference, signed=True)),
        )
        for own in release.slices
        if own.column == column
    )
    header = (column, "Rows", "Clicks", "Pred. old", "Pred. new", "Loss old", "Loss new", "New - old")
    notes = ("Values of fewer than 100 rows, or than 1 % of all, are one line.",)
    return Grid(f"Logloss by {column}", header, rows, notes=notes)


def _named(own: Slice) -> str:
    if own.value is None:
        return f"{own.values:,} others"
    text = own.value or "(missing)"
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _interval(own: Estimate, *, signed: bool = False) -> str:
    value, low, high = (f"{number:+.4f}" if signed else f"{number:.4f}" for number in (own.value, own.low, own.high))
    return f"{value} [{low}, {high}]"


def _both(old: float, new: float) -> tuple[str, str, str]:
    return f"{old:.4f}", f"{new:.4f}", f"{new - old:+.4f}"


def _records(release: Release) -> Iterator[Mapping[str, object]]:
    whole = {"rows": release.rows, "click_rate": release.click_rate}
    for name, model, side in zip(("old", "new"), release.scored, release.sides, strict=True):
        yield {"model": name, **whole, **_of_model(model, side)}
    (old, new), (first, second) = release.scored, release.sides
    yield {
        "model": "difference",
        **whole,
        **_ends("auc", release.auc),
        **_ends("logloss", release.logloss),
        "normalized_entropy": second.normalized_entropy - first.normalized_entropy,
        "mean_prediction": second.mean_prediction - first.mean_prediction,
        "ece": second.ece - first.ece,
        "unseen": new.unseen - old.unseen,
        "bytes": new.bytes - old.bytes,
        "vocabulary_bytes": new.vocabulary_bytes - old.vocabulary_bytes,
    }
    for own in release.slices:
        of_slice: Mapping[str, object] = {
            "slice": own.column,
            "value": own.value,
            "values": own.values,
            "rows": own.rows,
            "click_rate": own.click_rate,
        }
        means = own.mean_predictions
        for name, mean, loss in zip(("old", "new"), means, own.loglosses, strict=True):
            yield {"model": name, **of_slice, "mean_prediction": mean, "logloss": loss}
        difference = {"mean_prediction": means[1] - means[0], **_ends("logloss", own.difference)}
        yield {"model": "difference", **of_slice, **difference}


def _of_model(model: Scored, side: Side) -> Mapping[str, object]:
    return {
        "file": model.name,
        **_ends("auc", side.auc),
        "logloss": side.logloss,
        "normalized_entropy": side.normalized_entropy,
        "mean_prediction": side.mean_prediction,
        "ece": side.ece,
        "unseen": model.unseen,
        "bytes": model.bytes,
        "vocabulary_bytes": model.vocabulary_bytes,
    }


def _ends(name: str, own: Estimate) -> Mapping[str, object]:
    return {name: own.value, f"{name}_low": own.low, f"{name}_high": own.high}
