"""A side file with more values behind those of another one, whose bytes it begins with (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from autodpq.packed.vocabulary.side_file import encoded


def extended_vocabulary(source: Path, added: Mapping[str, tuple[int, pl.Series]]) -> bytes:
    """The content of a side file of texts with more values.

    The values of each field get ids one after another. They stand in a row group behind those that are there, which are
    written as they were: a delta to the file holds the new ones alone.

    Args:
        source: A side file of texts.
        added: Per field that has new values the first of their ids, and the values, String [values], rising and without
            nulls, none of them there. Where ids are those of runs, the first one is the number of values that the field
            has.

    Returns:
        The parquet file.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(source) as file:
        groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
        schema = file.schema_arrow
    # A field's next run has its ids behind all others, in the order of its values.
    by_runs = "run" in schema.names
    last: dict[str, int] = {}
    if by_runs:
        for group in groups:
            runs = (
                pl.DataFrame(pl.from_arrow(group.select(["field", "run"]))).group_by("field").agg(pl.col("run").max())
            )
            last |= {name: max(run, last.get(name, -1)) for name, run in runs.iter_rows()}
    parts = []
    for name in sorted(added):
        first, values = added[name]
        number = pl.lit(last.get(name, -1) + 1) if by_runs else pl.int_range(pl.len()) + first
        frame = pl.DataFrame({"value": values}).select(
            pl.lit(name).alias("field"), number.cast(pl.Int32).alias(schema.names[1]), pl.col("value")
        )
        parts.append(frame.with_columns(pl.lit(None, pl.Float64).alias(more) for more in schema.names[3:]))
    return encoded([*groups, pl.concat(parts).to_arrow().cast(schema)] if parts else groups)
