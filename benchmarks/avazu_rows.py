"""Generated rows in the shape of Avazu's training file: its columns, numbers of distinct values and kinds of values.

    python benchmarks/avazu_rows.py FOLDER --rows 40000000

Writes FOLDER/avazu/train.csv, which ``--dataset avazu --data-dir FOLDER`` reads: at 40 million rows 9.4 million values
and 5.9 GB. Every value occurs at least once, the others by a power law; clicks depend on the values.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as arrow_csv

from autodpq.data.sets.avazu import FIELDS

# As counted over the full file, 9,449,445 in all; a file of fewer rows has fewer.
CARDINALITIES = dict(
    zip(
        FIELDS,
        (240, 7, 7, 4737, 7745, 26, 8552, 559, 36, 2686408, 6729486, 8251, 5, 4, 2626, 8, 9, 435, 4, 68, 172, 60),
        strict=True,
    )
)
HASHED = frozenset(name for name in FIELDS if name.split("_")[0] in ("site", "app", "device") and "_type" not in name)
CHUNK = 500_000
HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
EXPONENT = 1.1

Ints = npt.NDArray[np.int64]


def draw(rows: Ints, cardinality: int, n_rows: int, rng: np.random.Generator) -> Ints:
    """A field's values of some rows, from 0: new ones at an even rate, the others by a power law."""
    cardinality = min(cardinality, n_rows)
    upto = (rows + 1) * cardinality // n_rows
    is_new = upto > rows * cardinality // n_rows
    # The inverse of the distribution function of a continuous power law from 1 to the number of values.
    top = (cardinality + 1.0) ** (1 - EXPONENT)
    drawn = (1 - rng.random(len(rows)) * (1 - top)) ** (1 / (1 - EXPONENT))
    return np.where(is_new, upto - 1, np.minimum(drawn.astype(np.int64), cardinality) - 1)


def mixed(values: Ints, salt: int) -> npt.NDArray[np.uint32]:
    """A number for every value that looks like chance; no two values share one."""
    numbers = (values.astype(np.uint32) + np.uint32(salt)) * np.uint32(2654435761)
    numbers ^= numbers >> np.uint32(15)
    numbers *= np.uint32(2246822519)
    return numbers ^ (numbers >> np.uint32(13))


def hexadecimal(numbers: npt.NDArray[np.uint32]) -> pa.Array:
    """Eight hexadecimal digits each."""
    digits = HEX[(numbers[:, None] >> np.arange(28, -4, -4, dtype=np.uint32)) & np.uint32(15)]
    ends = pa.py_buffer(np.arange(0, 8 * len(numbers) + 8, 8, dtype=np.int32))
    return pa.StringArray.from_buffers(len(numbers), ends, pa.py_buffer(np.ascontiguousarray(digits)))


def chunks(n_rows: int) -> Iterator[pa.RecordBatch]:
    """The rows, some at a time."""
    for start in range(0, n_rows, CHUNK):
        rng = np.random.default_rng([start, n_rows])
        rows = np.arange(start, min(start + CHUNK, n_rows))
        columns: dict[str, pa.Array | Ints] = {}
        logit = np.full(len(rows), -1.6)
        for salt, (name, cardinality) in enumerate(CARDINALITIES.items()):
            values = draw(rows, cardinality, n_rows, rng)
            numbers = mixed(values, salt << 24)
            logit += 0.35 * (numbers / 2**31 - 1)
            columns[name] = hexadecimal(numbers) if name in HASHED else values
        columns["hour"] = 14102100 + rows * 240 // n_rows // 24 * 100 + rows * 240 // n_rows % 24
        click = (rng.random(len(rows)) < 1 / (1 + np.exp(-logit))).astype(np.int64)
        yield pa.record_batch({"id": rows, "click": click, **columns})


def generate(folder: Path, n_rows: int) -> Path:
    """Writes the file; returns its path."""
    path = folder / "avazu" / "train.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    batches = chunks(n_rows)
    first = next(batches)
    with arrow_csv.CSVWriter(path, first.schema, write_options=arrow_csv.WriteOptions(quoting_style="none")) as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=40_428_967)
    options = parser.parse_args()
    print(generate(options.folder, options.rows))
