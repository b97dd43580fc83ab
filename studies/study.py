"""Studies from Python: :func:`run` takes the command line's options, :class:`Study` is what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

import reports
from autodpq.errors import AutoDPQError, nearest
from autodpq.plan import CompressionPlan
from autodpq.records.folder import read_asked
from studies.folder.frames import Frame, keep_frame
from studies.folder.models import best_compressed, records_frame
from studies.main_guard import check_main_guard
from studies.options import StudyConfig
from studies.time_limit import TimeIsUp, time_limit
from studies.watch.console import python_console

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from reports import ModelComparisons, StudyResults, Table


class Study:
    """A study's folder: its records, tables, figures and models.

    Args:
        folder: The folder; at least one of its runs has finished.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @cached_property
    def results(self) -> StudyResults:
        """All that reports are made of.

        Raises:
            AutoDPQError: The folder is no study, no run came to anything, or a file is damaged.
        """
        return reports.load_study(self.folder)

    @cached_property
    def comparisons(self) -> tuple[ModelComparisons, ...]:
        """Each strategy against a reference and against FE; computed once, for the bootstrap takes its time.

        Raises:
            AutoDPQError: A file of predictions is damaged, or does not fit the others of its seed.
        """
        return reports.compare_strategies(self.results)

    @cached_property
    def records(self) -> pd.DataFrame:
        """One row per run, as in ``records.parquet``; of a failed run, ``error`` says why.

        Raises:
            AutoDPQError: No run has finished, or the result of one is damaged.
        """
        records = records_frame(self.folder)
        if records.empty:
            raise AutoDPQError(f"{self.folder}: no study folder, or no run has finished yet")
        return records

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.folder / "report" / "index.html"

    @property
    def missing(self) -> tuple[str, ...]:
        """The runs that were asked for last and have not ended, for time was up or the study was stopped."""
        asked = read_asked(self.folder / "asked.json")
        return tuple(name for run, name in asked.items() if not (self.folder / "runs" / run / "result.json").exists())

    @property
    def failed(self) -> int:
        """How many runs came to nothing."""
        return int(self.records["error"].notna().sum())

    def table1(self) -> Table:
        """Table 1: AUC, logloss, space and time of each strategy, the paper's values beside."""
        return reports.table1(self.results)

    def table2(self) -> Table:
        """Table 2: the strategies under each model."""
        return reports.table2(self.results)

    def budgets(self) -> Table:
        """AUC by budget of bytes."""
        return reports.budgets_table(self.results, self.comparisons)

    def headroom(self) -> Table:
        """How much rare values can matter at all."""
        return reports.headroom_table(self.results)

    def calibration(self) -> Table:
        """How far probabilities are from the clicks."""
        return reports.calibration_table(self.results)

    def statistics(self) -> Table:
        """Differences between strategies, with intervals and tests."""
        return reports.statistics_table(self.results, self.comparisons)

    def verdicts(self) -> tuple[str, ...]:
        """The comparisons in words."""
        return reports.verdicts(self.results, self.comparisons)

    def figure3(self, dataset: str | None = None, model: str | None = None) -> Figure:
        """Figure 3: test AUC by time.

        Args:
            dataset: The data set; may be left out where there is one.
            model: The model; may be left out where there is one.

        Raises:
            AutoDPQError: It is not known which is meant, or there is nothing to draw.
        """
        return self._figure(reports.figure3, dataset, model)

    def auc_bytes(self, dataset: str | None = None, model: str | None = None) -> Figure:
        """Test AUC by bytes; arguments and errors are those of :meth:`figure3`."""
        return self._figure(reports.auc_bytes_figure, dataset, model)

    def reliability(self, dataset: str | None = None, model: str | None = None) -> Figure:
        """Click rate by mean prediction; arguments and errors are those of :meth:`figure3`."""
        return self._figure(reports.reliability_figure, dataset, model)

    def plans(self, dataset: str | None = None, model: str | None = None) -> Figure:
        """What was chosen per field; arguments and errors are those of :meth:`figure3`."""
        return self._figure(reports.plan_chart, dataset, model)

    def best_run(self, dataset: str | None = None, model: str | None = None) -> str:
        """The run of the best validation AUC among those that compress, by its identifier.

        Args:
            dataset: Of this data set alone.
            model: Of this model alone.

        Raises:
            AutoDPQError: No finished run compresses anything.
        """
        return str(self._best(dataset, model)["run"])

    def best_plan(self, dataset: str | None = None, model: str | None = None) -> CompressionPlan:
        """The plan of :meth:`best_run`; arguments and errors are the same."""
        return CompressionPlan.from_json(str(self._best(dataset, model)["plan"]))

    def export(
        self,
        out: str | Path,
        run: str | None = None,
        *,
        head_dtype: Literal["float32", "float16", "int8"] = "float32",
        hashed_vocabulary: bool = False,
        onnx: str | Path | None = None,
    ) -> Path:
        """Takes a compressed model away, as ``autodpq-study export`` does.

        Args:
            out: The file, ``NAME.safetensors``; the vocabulary goes beside it.
            run: The run; else :meth:`best_run`.
            head_dtype: How rows of their own are stored.
            hashed_vocabulary: Whether the vocabulary holds hashes of values, not their texts.
            onnx: Where an ONNX file goes too.

        Returns:
            The file.

        Raises:
            AutoDPQError: The run has no model, or a file cannot be written.
        """
        from studies.folder.models import export_run

        folder = self.folder / "runs" / (run or self.best_run())
        beside = None if onnx is None else Path(onnx)
        export_run(
            folder, Path(out),
            head_dtype=head_dtype, hashed_vocabulary=hashed_vocabulary, onnx=beside, data_dir=None, cache_dir=None,
        )  # fmt: skip
        return Path(out)

    def _best(self, dataset: str | None, model: str | None) -> pd.Series[Any]:
        records = self.records
        for column, value in (("dataset", dataset), ("model", model)):
            if value is not None:
                self._check(column, value)
                records = records[records[column] == value]
        best = best_compressed(records)
        if best is None:
            raise AutoDPQError(f"{self.folder}: no finished run compresses anything")
        return best

    def _check(self, column: str, value: str) -> None:
        known = list(dict.fromkeys(self.records[column]))
        if value not in known:
            raise AutoDPQError(f"{column}: {self.folder} has no run of {value!r}{nearest(value, known)}")

    def _figure(
        self, draw: Callable[[StudyResults, str, str], Figure | None], dataset: str | None, model: str | None
    ) -> Figure:
        pairs = self.results.pairs()
        for place, (column, value) in enumerate((("dataset", dataset), ("model", model))):
            if value is not None:
                self._check(column, value)
                pairs = [pair for pair in pairs if pair[place] == value]
        if len(pairs) != 1:
            raise AutoDPQError(
                f"{self.folder}: {', '.join(' with '.join(pair) for pair in pairs) or 'nothing'} was run; "
                "say which by dataset= and model="
            )
        figure = draw(self.results, *pairs[0])
        if figure is None:
            raise AutoDPQError(f"{self.folder}: there is nothing to draw for {' with '.join(pairs[0])}")
        return figure

    def __repr__(self) -> str:
        return f"Study({str(self.folder)!r})"

    def _repr_markdown_(self) -> str:
        return self.table1().to_markdown()


def run(
    dataset: str | Path | Frame = "synthetic",
    *,
    out: str | Path = "autodpq-study",
    show_progress: bool = True,
    **options: Any,
) -> Study:
    """Runs what is missing of a study and writes its report, as ``autodpq-study run`` does.

    Args:
        dataset: A name, a file, or a frame of pandas, polars or Arrow, which is kept in the study's folder.
        out: Folder of the study; the same call again does what is missing.
        show_progress: Tell on standard output how far it is.
        **options: The command line's, as :class:`studies.options.StudyConfig` declares them:
            ``strategies=["fe", "random"], seeds=3, label="click"``.

    Returns:
        The study.

    Raises:
        AutoDPQError: An option, the data or the folder cannot be used. A run that fails is none: it is in the records.
    """
    folder = Path(out)
    unknown = next((name for name in options if name not in StudyConfig.model_fields), None)
    if unknown is not None:
        raise AutoDPQError(f"unknown option {unknown!r}{nearest(unknown, StudyConfig.model_fields)}")
    if not isinstance(dataset, str | Path):
        _check(options)  # before anything is written
        dataset = keep_frame(dataset, folder)
    # A script would have to be guarded, or each process would run it again.
    given = {"dataset": str(dataset), "jobs": 1, **options}
    return run_and_report(given, folder, python_console(show_progress))


def run_and_report(values: Mapping[str, Any], out: Path, console: Console) -> Study:
    """Checks options, runs what is missing and writes the report.

    Args:
        values: Options of :class:`studies.options.StudyConfig`.
        out: The study's folder.
        console: Where progress is told.

    Returns:
        The study.

    Raises:
        AutoDPQError: As :func:`run`.
    """
    from studies.runner import run_study
    from studies.watch.progress import Progress

    config = _check(values)
    try:
        with Progress(console, config.log_level) as progress, time_limit(config.timeout):
            run_study(config, out, progress)
    except TimeIsUp:
        if not any(out.glob("runs/*/result.json")):
            raise AutoDPQError(f"timeout: no run has ended in {config.timeout:g} s; the same command goes on") from None
    return write_report(out)


def _check(values: Mapping[str, Any]) -> StudyConfig:
    """Checks options, and where processes are asked for, that the program can start them."""
    from studies.config import check_config

    config = check_config(values)
    if config.executor == "local" and config.processes > 1:
        check_main_guard()
    return config


def write_report(folder: Path) -> Study:
    """Writes the report of a study from its records; what is computed for it is there for the caller too.

    Raises:
        AutoDPQError: The folder is no study, a file is damaged, or one cannot be written.
    """
    study = Study(folder)
    reports.write_report(study.results, study.comparisons)
    return study


def open_study(folder: str | Path) -> Study:
    """A study that was run before.

    Raises:
        AutoDPQError: The folder is no study, or no run of it has finished.
    """
    study = Study(folder)
    _ = study.records  # which are kept
    return study
