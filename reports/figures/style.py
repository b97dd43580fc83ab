"""How strategies look in every figure: one colour and one marker each, told apart by the colour-blind too."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autodpq.files import whole_file
from reports import paper
from reports.names import BUILT_IN, in_order, without_budget
from reports.results import StudyResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# After Okabe and Ito's colours (a darker blue, further from the light one); plug-ins take what is left, in order.
_BUILT_IN_LOOKS = {
    "fe": ("#000000", "s"),
    "fe-continued": ("#CC79A7", "D"),
    "others": ("#56B4E9", "v"),
    "grid": ("#009E73", "^"),
    "random": ("#00558F", "X"),
    "tpe": ("#E69F00", "P"),
    "nsga2": ("#7A5C00", "*"),
    "random-ray": ("#7F7F7F", "<"),
    "asha": ("#4B0082", ">"),
    "sensitivity": ("#B22222", "p"),
    "autodpq": ("#D55E00", "o"),
}
_PLUG_IN_COLORS = (
    "#8FBC00", "#5F9EA0", "#17BECF", "#FF7FBF", "#6B8E8E", "#3D5A00", "#9370DB", "#A0522D", "#0000CD", "#B8A9C9",
)  # fmt: skip
_PLUG_IN_MARKERS = ("h", "p", "d", "8", "H", "s", "^", "D", "v")  # ten colours by nine markers: 90 that differ

_STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "autodpq",  # identifiers in the SVG are then the same each time
    "svg.fonttype": "none",
}


def figure_style(**changes: object) -> AbstractContextManager[None]:
    """The settings that every figure is drawn and saved with.

    Args:
        changes: Changes to them, with two underscores for a dot.
    """
    import matplotlib as mpl

    settings: Any = {**_STYLE, **{name.replace("__", "."): value for name, value in changes.items()}}
    return mpl.rc_context(settings)


def looks(strategies: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each strategy; a built-in one's are always the same, and the same whatever its budget.

    Args:
        strategies: The study's strategies in the order of the tables.
    """
    plug_ins = list(dict.fromkeys(name for name in map(without_budget, strategies) if name not in BUILT_IN))
    extra = {
        name: (_PLUG_IN_COLORS[index % len(_PLUG_IN_COLORS)], _PLUG_IN_MARKERS[index % len(_PLUG_IN_MARKERS)])
        for index, name in enumerate(plug_ins)
    }
    return {name: _BUILT_IN_LOOKS.get(without_budget(name)) or extra[without_budget(name)] for name in strategies}


def study_looks(study: StudyResults) -> dict[str, tuple[str, str]]:
    """Colour and marker of each strategy of a study, and of those whose curves the paper prints beside."""
    printed = (name.lower() for pair in study.pairs() for name in paper.figure3_curves(*pair))
    return looks(in_order([*study.records["strategy"], *printed]))


def plot_label(text: str) -> str:
    """Text that matplotlib shows as it is: a dollar would start a formula."""
    return text.replace("$", r"\$")


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Writes a figure as PNG and SVG, each whole or not at all, and the same bytes each time.

    Args:
        figure: The figure.
        stem: The path without its ending.

    Returns:
        The two paths.
    """
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg")]
    with figure_style():
        for path in paths:
            metadata: Any = {"Software": None} if path.suffix == ".png" else {"Date": None}
            with whole_file(path) as temporary:
                figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=metadata)
    return paths
