"""The options of a study, each declared once for the command line, TOML and Python (no torch here: help is fast)."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from autodpq.errors import AutoDPQError
from autodpq.plugins.options import split_names

# The groups of options in the help; what a command is about stands before them.
DATA, TRAINING, RARE, MACHINE, OUTPUT = "Data", "Training", "Bands, candidates and budgets", "Machine", "Output"


@dataclass(frozen=True)
class CommandLine:
    """How a field stands on the command line, as ``--its-name``.

    Attributes:
        help: What the help says.
        panel: The group of the help that it stands in; None for what the command is about.
        parse: Makes of what is given what the field holds; raises an AutoDPQError that leaves out the option's name.
        kind: What the shell takes it for, where that is neither a number nor a flag nor plain text.
    """

    help: str
    panel: str | None = None
    parse: Callable[[Any], object] | None = None
    kind: type | None = None


def names(text: str) -> tuple[str, ...]:
    """Names between commas that are outside of parentheses."""
    return tuple(split_names(text))


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers between commas.

    Raises:
        AutoDPQError: The text is something else.
    """
    try:
        found = tuple(int(part) for part in names(text))
    except ValueError:
        found = ()
    if not found:
        raise AutoDPQError(f"{text!r} given, whole numbers as 8,16 are needed")
    return found


def columns(text: str) -> tuple[str, ...]:
    """Names of columns between commas, as a line of CSV has them.

    Raises:
        AutoDPQError: There is no name.
    """
    return _between_commas(text, "names of columns as user,item")


def values(text: str) -> tuple[str, ...]:
    """Values of columns between commas, as a line of CSV has them.

    Raises:
        AutoDPQError: There is none, or an empty one.
    """
    return _between_commas(text, "texts as -,NA")


def _between_commas(text: str, needed: str) -> tuple[str, ...]:
    found = tuple(text.strip() for text in next(csv.reader([text], skipinitialspace=True), []))
    if not all(found) or not found:
        raise AutoDPQError(f"{text!r} given, {needed} are needed")
    return found


def _bands(text: str) -> Literal["auto"] | tuple[int, ...]:
    """Falling counts, or auto."""
    return "auto" if text.strip() == "auto" else numbers(text)


def _texts(value: object) -> object:
    """One text stands for a list of it alone."""
    return (value,) if isinstance(value, str) else value


class StudyConfig(BaseModel):
    """The options of a study, with their help; those without are for TOML and Python alone.

    Attributes:
        options: Options of strategies by name; those in ``strategies`` stand before them.
    """

    # Help needs the declarations alone; what checks values is built when there are some.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    dataset: Annotated[
        str,
        CommandLine(
            "A name (list datasets); a CSV, TSV (also .gz), parquet or Arrow file, a folder of such or a pattern as "
            "'clicks/*.parquet'; module:NAME or file.py:NAME.",
            DATA,
        ),
    ] = "synthetic"
    strategies: Annotated[
        tuple[str, ...],
        CommandLine(
            "Names (list strategies), module:Class or file.py:Class, each with options as name(option=value), "
            "commas between; all are the paper's.",
            parse=names,
        ),
    ] = ("all",)
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    models: Annotated[
        tuple[str, ...],
        CommandLine("Names (list models), module:Class or file.py:Class, with commas.", parse=names),
    ] = ("deepfm",)
    seeds: Annotated[int, Field(ge=1), CommandLine("Number of seeds.")] = 3
    recipe: Annotated[
        str | dict[str, Any] | None,
        CommandLine(
            "How models are trained: a recipe (list recipes), with settings as strong(hidden=(400,400),l2=1e-4), or a "
            "file of them as tune writes it; else paper for published data, robust for one's own.",
            TRAINING,
        ),
    ] = None
    trials: Annotated[
        int | None,
        Field(ge=1),
        CommandLine("Trials of each search; else 20, and grid tries all."),
    ] = None
    timeout: Annotated[
        float | None,
        Field(gt=0),
        CommandLine(
            "Seconds after which the study ends: what is finished is kept and reported, and the same command goes on; "
            "else no limit."
        ),
    ] = None
    trial_timeout: Annotated[
        float | None,
        Field(gt=0),
        CommandLine(
            "Seconds of training after which a trial counts as failed; else no limit. Steps that do not end are ended "
            "with --jobs 2 or more; with --jobs 1 and on Ray, time is looked at between steps alone."
        ),
    ] = None
    threshold: Annotated[
        int | None, Field(ge=1), CommandLine("Values that occur at least so often are frequent.", RARE)
    ] = None
    K: Annotated[
        tuple[int, ...] | None, CommandLine("Numbers of centroids of the candidates, as 8,16,32.", RARE, numbers)
    ] = None
    D: Annotated[
        tuple[int, ...] | None, CommandLine("Numbers of subspaces of the candidates, as 2,4,8.", RARE, numbers)
    ] = None
    candidates: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(_texts),
        CommandLine(
            "What rare values may become, commas between and | between the values of a parameter, as "
            "dpq(8|32,2|8),others; instead of --K and --D.",
            RARE,
        ),
    ] = None
    space: Annotated[
        Literal["paper", "wide"],
        CommandLine(
            "paper: rare rows alone, in 32-bit floats; wide: every row in bands by frequency, any choice for each, all "
            "stored in 16 bits and fewer.",
            RARE,
        ),
    ] = "paper"
    bands: Annotated[
        Literal["auto"] | tuple[int, ...],
        CommandLine(
            "Bands of the wide space, by falling counts as 1000,200,40,10; auto: by shares of each field's values.",
            RARE,
            _bands,
        ),
    ] = "auto"
    budget: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(_texts),
        CommandLine(
            "Bytes that a model may take, as 100kB,50kB or 10%,5% (of FE's); one run of each strategy for each.",
            RARE,
            names,
        ),
    ] = None
    pretrained: Annotated[
        str | None,
        CommandLine(
            "Packed file of a trained network, its vocabulary beside it, whose weights FE is trained on from.",
            TRAINING,
        ),
    ] = None
    init: Annotated[
        Literal["pretrained", "scratch"],
        CommandLine("Train plans from the pretrained table, or from scratch.", TRAINING),
    ] = "pretrained"
    calibrate: Annotated[
        bool,
        CommandLine(
            "Fit a scale and a shift of the final network's logits on validation rows, for probabilities that come "
            "true; AUC stays.",
            TRAINING,
        ),
    ] = False
    split: Annotated[
        Literal["random", "time", "column", "auto"] | None,
        CommandLine("random, time, column or auto; else the data set's way.", DATA),
    ] = None
    resplit: Annotated[bool, CommandLine("A split of its own for every seed.", DATA)] = False
    frequency_scope: Annotated[
        Literal["all", "train"], CommandLine("Count values over all rows, or over train rows.", RARE)
    ] = "all"
    optimizer: Annotated[
        Literal["auto", "adam", "lazy-adam"],
        CommandLine("adam, lazy-adam (the batch's rows of the tables alone), or auto: by the tables' size.", TRAINING),
    ] = "auto"
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        CommandLine("cpu, cuda, or auto: where there is a GPU, run takes what a few steps are faster on.", MACHINE),
    ] = "auto"
    compile: Annotated[
        Literal["auto", "on", "off"],
        CommandLine("Compile training steps: on, off, or auto, where it pays.", MACHINE),
    ] = "auto"
    executor: Annotated[
        Literal["local", "ray"],
        CommandLine("Train trials on this machine (local) or on a Ray cluster (ray).", MACHINE),
    ] = "local"
    jobs: Annotated[
        int | None,
        Field(ge=1),
        CommandLine(
            "Processes of this machine that train trials side by side; else one, or of the command run the physical "
            "cores, where there are 100,000 rows or more.",
            MACHINE,
        ),
    ] = None
    ray_address: Annotated[str, CommandLine("The Ray cluster, as host:port; auto finds one here.", MACHINE)] = "auto"
    cpus_per_trial: Annotated[
        float, Field(gt=0), CommandLine("Cores that a trial takes on the Ray cluster.", MACHINE)
    ] = 1
    gpus_per_trial: Annotated[
        float, Field(ge=0), CommandLine("GPUs that a trial takes on the Ray cluster.", MACHINE)
    ] = 0
    mirror: Annotated[
        str | None,
        CommandLine("Optuna storage (sqlite:///FILE, postgresql://..., FILE.log) to copy trials to.", OUTPUT),
    ] = None
    tensorboard: Annotated[bool, CommandLine("Write scalars for TensorBoard into OUT/tensorboard.", OUTPUT)] = False
    log_level: Annotated[
        Literal["debug", "info", "warning"],
        CommandLine(
            "debug tells every epoch and trial, and where an error came from; info every run; warning what goes wrong.",
            OUTPUT,
        ),
    ] = "info"
    data_dir: Annotated[
        str | None, CommandLine("Folder of the publisher's files; else $AUTODPQ_DATA.", DATA, str, Path)
    ] = None
    cache_dir: Annotated[
        str | None,
        CommandLine("Folder of encoded data; else $AUTODPQ_CACHE, else ~/.cache/autodpq.", DATA, str, Path),
    ] = None
    label: Annotated[str, CommandLine("Label column of one's own data: 0 and 1, true and false, yes and no.", DATA)] = (
        "click"
    )
    fields: Annotated[
        tuple[str, ...] | None,
        CommandLine(
            "Fields to use, with commas; else all but the label, the split, the time and the weight.", DATA, columns
        ),
    ] = None
    exclude: Annotated[
        tuple[str, ...] | None,
        CommandLine("Fields to leave out, with commas; instead of --fields.", DATA, columns),
    ] = None
    numeric: Annotated[
        tuple[str, ...] | None,
        CommandLine(
            "Columns of one's own data to be binned by quantiles though their numbers are whole, with commas; decimal "
            "numbers always are.",
            DATA,
            columns,
        ),
    ] = None
    missing: Annotated[
        tuple[str, ...] | None,
        CommandLine(
            "Texts of one's own data that stand for a missing value, with commas, as -,NA; empty cells always do.",
            DATA,
            values,
        ),
    ] = None
    multi: Annotated[
        tuple[str, ...] | None,
        CommandLine(
            "Fields of one's own data of several values a row, with commas, as tags:| (tags alone: what stands between "
            "them is found and said); their mean is embedded.",
            DATA,
            columns,
        ),
    ] = None
    split_column: Annotated[str | None, CommandLine("Column of one's own data: train, valid, test.", DATA)] = None
    time_column: Annotated[
        str | None, CommandLine("Column of one's own data that says when: the newest rows test.", DATA)
    ] = None
    weight_column: Annotated[
        str | None,
        CommandLine("Column of one's own data that says how much a row counts, in training and in metrics.", DATA),
    ] = None

    @property
    def processes(self) -> int:
        """Processes that train trials, where it is not the rows that decide it."""
        return self.jobs or 1
