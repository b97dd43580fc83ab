"""The figures of a report, described and drawn by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.figures.figure3 import figure3_chart
from reports.figures.plans import study_plans
from reports.figures.plots import draw_chart, draw_plans
from reports.figures.reliability import reliability_chart
from reports.figures.sizes import auc_bytes_chart
from reports.results import StudyResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure3(study: StudyResults, dataset: str, model: str) -> Figure | None:
    """Test AUC of the incumbent by time in units of FE's training time, mean over seeds, least to greatest shaded.

    Args:
        study: The study.
        dataset: A data set of the study.
        model: A model that ran on it.

    Returns:
        The figure; None where no run has a curve.
    """
    chart = figure3_chart(study, dataset, model)
    return None if chart is None else draw_chart(chart)


def auc_bytes_figure(study: StudyResults, dataset: str, model: str) -> Figure | None:
    """Test AUC by bytes: the mean with standard deviations per strategy, each seed as a faint point.

    Args:
        study: The study.
        dataset: A data set of the study.
        model: A model that ran on it.

    Returns:
        The figure; None where no run has both numbers.
    """
    chart = auc_bytes_chart(study, dataset, model)
    return None if chart is None else draw_chart(chart)


def reliability_figure(study: StudyResults, dataset: str, model: str) -> Figure | None:
    """Click rate by mean prediction, one line per strategy, beside the diagonal of perfect probabilities.

    Args:
        study: The study.
        dataset: A data set of the study.
        model: A model that ran on it.

    Returns:
        The figure; None where no run has its predictions by bins.
    """
    chart = reliability_chart(study, dataset, model)
    return None if chart is None else draw_chart(chart)


def plan_chart(study: StudyResults, dataset: str, model: str) -> Figure | None:
    """One panel per strategy, one row per field with rare values, one column per seed; coloured by stored bits.

    Args:
        study: The study.
        dataset: A data set of the study.
        model: A model that ran on it.

    Returns:
        The figure; None where no field has rare values.
    """
    plans = study_plans(study, dataset, model)
    return None if plans is None else draw_plans(plans)
