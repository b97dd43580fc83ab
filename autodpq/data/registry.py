"""The data sets by name, and the one way to load them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autodpq.data.dataset import EncodedDataset
from autodpq.data.options import LoadOptions
from autodpq.data.readers.files import SUFFIXES, files_beside, find_files, is_pattern
from autodpq.data.sets.avazu import load_avazu
from autodpq.data.sets.criteo import load_criteo
from autodpq.data.sets.movielens import load_movielens1m
from autodpq.data.sets.own import load_table
from autodpq.data.sets.synthetic import THRESHOLD, load_synthetic
from autodpq.errors import AutoDPQError, nearest
from autodpq.plugins.registry import Registry, home_expanded

_PUBLISHED = frozenset({"data_dir", "cache_dir", "fields", "exclude"})
_OWN = frozenset(
    {
        "cache_dir", "label", "fields", "exclude", "numeric", "missing", "multi", "split_column", "time_column",
        "weight_column",
    }
)  # fmt: skip


@dataclass(frozen=True)
class DatasetSpec:
    """A data set and the settings that suit it.

    Attributes:
        name: Its name.
        description: One line for lists.
        threshold: A value that occurs at least this often is frequent.
        K: Numbers of centroids that candidates have.
        D: Numbers of subspaces that candidates have.
        split_method: How it is split unless asked otherwise: "random", "time", "column" or "auto".
        load: Loads it.
        options: The options of :func:`load_dataset` that apply to it.
        embedding_dim: X.
        is_printed: Whether there are printed numbers of it that must come out again.
    """

    name: str
    description: str
    threshold: int
    K: tuple[int, ...]
    D: tuple[int, ...]
    split_method: str
    load: Callable[[LoadOptions], EncodedDataset]
    options: frozenset[str]
    embedding_dim: int = 16
    is_printed: bool = False

    @property
    def recipe(self) -> str:
        """The recipe that models are trained by unless asked otherwise."""
        return "paper" if self.is_printed else "robust"


def _check(thing: object) -> str | None:
    return None if isinstance(thing, DatasetSpec) else f"{thing!r} is no autodpq.data.DatasetSpec"


DATASETS: Registry[DatasetSpec] = Registry("data set", "autodpq.datasets", _check)
for _spec in (
    DatasetSpec(
        name="synthetic",
        description="generated clicks in the shape of MovieLens-1M, 150,000 rows, the truth known",
        threshold=THRESHOLD,
        K=(8, 16, 32),
        D=(2, 4, 8),
        split_method="random",
        load=load_synthetic,
        options=frozenset({"cache_dir"}),
        is_printed=True,
    ),
    DatasetSpec(
        name="movielens1m",
        description="MovieLens-1M: 1,000,209 ratings of movies, 8 fields",
        threshold=40,
        K=(8, 16, 32),
        D=(2, 4, 8),
        split_method="random",
        load=load_movielens1m,
        options=_PUBLISHED | {"label_above"},
        is_printed=True,
    ),
    DatasetSpec(
        name="avazu",
        description="Avazu: 40 million advertisements shown on phones, 22 fields",
        threshold=7,
        K=(8, 16),
        D=(2, 4),
        split_method="random",
        load=load_avazu,
        options=_PUBLISHED,
        is_printed=True,
    ),
    DatasetSpec(
        name="criteo",
        description="Criteo: 46 million advertisements shown on web pages, 39 fields",
        threshold=10,
        K=(8, 16),
        D=(2, 4),
        split_method="random",
        load=load_criteo,
        options=_PUBLISHED,
        is_printed=True,
    ),
):
    DATASETS.add(_spec, "built in")


def dataset_spec(name_or_path: str | os.PathLike[str]) -> DatasetSpec:
    """The data set of a name or plug-in, or the one that a file, folder or pattern of one's own is.

    Raises:
        AutoDPQError: It is neither a known name, nor a plug-in, nor a file that can be read.
    """
    text = os.fspath(name_or_path)
    if text in DATASETS.names():
        return DATASETS.find(text)
    files = find_files(text) if text else None
    if files is None:
        if ":" in text:
            return DATASETS.find(text)
        if is_pattern(text):
            raise AutoDPQError(f"{text}: no file matches this pattern")
        raise AutoDPQError(f"{text!r} is neither a data set nor a file{nearest(text, _nameable(text))}")
    return DatasetSpec(
        name=files.name,
        description=f"one's own data in {files.where}",
        threshold=10,
        K=(8, 16, 32),
        D=(2, 4, 8),
        split_method="auto",
        load=lambda options: load_table(files, options),
        options=_OWN,
    )


def _nameable(text: str) -> list[str]:
    """What a person may have meant: a data set, or, by the looks of it, a file of the same folder."""
    return files_beside(home_expanded(text)) if text.lower().endswith(SUFFIXES) else list(DATASETS.names())


def load_dataset(
    name_or_path: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    label: str = "click",
    fields: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    numeric: Sequence[str] = (),
    missing: Sequence[str] = (),
    multi: Sequence[str] = (),
    split_column: str | None = None,
    time_column: str | None = None,
    weight_column: str | None = None,
    label_above: float = 3,
) -> EncodedDataset:
    """Loads a data set by its name, or one's own.

    One's own is delimited text (compressed or not), a parquet or an Arrow file (Feather of version 2), a folder of text
    or of parquet files or a pattern as ``clicks/*.parquet`` (in the order of their names; folders as
    ``day=2024-05-31`` are columns).
    Columns of decimal numbers are binned by quantiles, as :mod:`autodpq.data.binning` says.

    Args:
        name_or_path: A name of :data:`DATASETS`, a path, or a pattern.
        data_dir: The folder of the publisher's files; else the environment's ``AUTODPQ_DATA``.
        cache_dir: The folder of encoded data; else the environment's ``AUTODPQ_CACHE``, else ``~/.cache/autodpq``.
        label: The label column of one's own file; its values must be 0 and 1, or words for them.
        fields: The fields to use; all columns but the label, the split, the time and the weight by default.
        exclude: The fields to leave out; not together with ``fields``.
        numeric: Columns of one's own file that are binned though their numbers are whole, or are text.
        missing: Texts of one's own file that stand for a missing value, in every field.
        multi: Fields of one's own file of several values a row, as ``tags:|`` or, where what stands between them is to
            be found, ``tags``; lists need none.
        split_column: The column of one's own file that says train, valid or test.
        time_column: The column of one's own file that says when: numbers, dates or times.
        weight_column: The column of one's own file that says how much a row counts, in training and in metrics.
        label_above: A MovieLens rating above this is a click.

    Raises:
        AutoDPQError: There is no such data set, its source cannot be used, or an option does not apply to it.
    """
    spec = dataset_spec(name_or_path)
    options = LoadOptions(
        data_dir=data_dir,
        cache_dir=cache_dir,
        label=label,
        fields=None if fields is None else _names("fields", fields),
        exclude=_names("exclude", exclude),
        numeric=_names("numeric", numeric),
        missing=_names("missing", missing),
        multi=_names("multi", multi),
        split_column=split_column,
        time_column=time_column,
        weight_column=weight_column,
        label_above=label_above,
    )
    if options.fields is not None and options.exclude:
        raise AutoDPQError(f"data set {spec.name!r}: 'fields' and 'exclude' are given; give one of them")
    unused = LoadOptions()
    for option in (field.name for field in dataclasses.fields(options)):
        if option not in spec.options and getattr(options, option) != getattr(unused, option):
            allowed = ", ".join(sorted(spec.options))
            raise AutoDPQError(
                f"data set {spec.name!r}: the option {option!r} does not apply to it; it takes {allowed}"
            )
    return spec.load(options)


def _names(option: str, names: Sequence[str]) -> tuple[str, ...]:
    """Names as a tuple; a lone string would be taken for a sequence of letters."""
    if isinstance(names, str):
        raise AutoDPQError(f"option {option!r}: a sequence of names is expected, not the text {names!r}")
    return tuple(names)
