"""The data sets by name, and the one way to load them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autodpq.data.avazu import load_avazu
from autodpq.data.criteo import load_criteo
from autodpq.data.dataset import EncodedDataset
from autodpq.data.movielens import load_movielens1m
from autodpq.data.options import LoadOptions
from autodpq.data.synthetic import THRESHOLD, load_synthetic
from autodpq.data.table import load_table, table_name
from autodpq.errors import AutoDPQError
from autodpq.nearest import nearest
from autodpq.plugins import Registry, home_expanded

_PUBLISHED = frozenset({"data_dir", "cache_dir", "fields", "exclude"})
_OWN = frozenset({"cache_dir", "label", "fields", "exclude", "split_column", "time_column"})


@dataclass(frozen=True)
class DatasetSpec:
    """A data set and the settings that suit it.

    Attributes:
        name: Its name.
        description: One line for lists.
        threshold: A value that occurs at least this often is frequent.
        K: Numbers of centroids that candidates have.
        D: Numbers of subspaces that candidates have.
        embedding_dim: X.
        split_method: How it is split unless asked otherwise: "random", "time", "column" or "auto".
        load: Loads it.
        options: The options of :func:`load_dataset` that apply to it.
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
    ),
):
    DATASETS.add(_spec, "built in")


def dataset_spec(name_or_path: str | os.PathLike[str]) -> DatasetSpec:
    """The data set of a name or plug-in, or the one that a file of one's own is.

    Raises:
        AutoDPQError: It is neither a known name, nor a plug-in, nor a file.
    """
    text = os.fspath(name_or_path)
    path = home_expanded(text)
    try:
        exists = path.exists()
    except OSError as error:
        raise AutoDPQError(f"{path}: cannot be read: {error.strerror}") from None
    if text in DATASETS.names() or (":" in text and not exists):
        return DATASETS.find(text)
    if not text or not exists:
        raise AutoDPQError(f"{text!r} is neither a data set nor a file{nearest(text, DATASETS.names())}")
    return DatasetSpec(
        name=table_name(path),
        description=f"one's own file {path.name}",
        threshold=10,
        K=(8, 16, 32),
        D=(2, 4, 8),
        split_method="auto",
        load=lambda options: load_table(path, options),
        options=_OWN,
    )


def load_dataset(
    name_or_path: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    label: str = "click",
    fields: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    split_column: str | None = None,
    time_column: str | None = None,
    label_above: float = 3,
) -> EncodedDataset:
    """Loads a data set by its name, or a file of one's own (CSV, compressed or not, or parquet).

    Args:
        name_or_path: A name of :data:`DATASETS`, or a path.
        data_dir: The folder of the publisher's files; else the environment's ``AUTODPQ_DATA``.
        cache_dir: The folder of encoded data; else the environment's ``AUTODPQ_CACHE``, else ``~/.cache/autodpq``.
        label: The label column of one's own file; its values must be 0 and 1.
        fields: The fields to use; all by default.
        exclude: The fields to leave out.
        split_column: The column of one's own file that says train, valid or test.
        time_column: The column of one's own file that says when: integers, dates or times.
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
        split_column=split_column,
        time_column=time_column,
        label_above=label_above,
    )
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
