from __future__ import annotations

import datetime
import gzip
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.packed_models import WORDS, random_ids, torch_logits, values_of, write_model

from autodpq.errors import AutoDPQError
from autodpq.models import MODELS, DeepFM
from autodpq.packed.file import open_packed, write_packed
from studies.exported import predict
from studies.exported.predict import predict_file

Expected = npt.NDArray[np.float64]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model(tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


@pytest.fixture
def clicks(model: Path) -> tuple[pl.DataFrame, Expected]:
    """Raw values between columns that are no fields, and what the network makes of them."""
    ids = random_ids(23)
    network = write_model(model)
    frame = values_of(ids).with_columns(
        pl.Series("request", [f"r, {number:04}" for number in range(23)]),
        pl.Series("click", [number % 2 for number in range(23)]),
        pl.Series("note", ["", *[f'"{number}"' for number in range(22)]]),
    )
    order = ("request", "user", "city", "click", "device", "shop", "note", "day")
    return frame.select(order), torch.from_numpy(torch_logits(network, ids)).double().sigmoid().numpy()


@pytest.mark.parametrize("out", ["o.csv", "o.parquet", "O.CSV"])
@pytest.mark.parametrize("name", ["c.csv", "c.csv.gz", "c.parquet"])
def test_rows_get_their_probability_and_keep_what_is_no_field(
    model: Path, clicks: tuple[pl.DataFrame, Expected], tmp_path: Path, name: str, out: str
) -> None:
    frame, expected = clicks
    path = tmp_path / name
    if name.endswith(".parquet"):
        frame.write_parquet(path)
    else:
        text = frame.write_csv().encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert predict_file(model, path, tmp_path / out).n_rows == len(frame)
    is_text = out.lower().endswith("csv")
    found = pl.read_csv(tmp_path / out, infer_schema=False) if is_text else pl.read_parquet(tmp_path / out)
    assert found.columns == ["request", "click", "note", "probability"]
    assert np.allclose(found["probability"].cast(pl.Float64), expected, atol=1e-6)
    if not is_text:
        assert found["probability"].dtype == pl.Float64
        assert found["click"].dtype == (pl.Int64 if name == "c.parquet" else pl.String)
    assert found["click"].cast(pl.String).to_list() == frame["click"].cast(pl.String).to_list()
    assert found["request"].to_list() == frame["request"].to_list()
    assert found["note"].fill_null("").to_list() == frame["note"].to_list()


def test_text_says_every_digit_and_leaves_empty_values_empty(
    model: Path, clicks: tuple[pl.DataFrame, Expected], tmp_path: Path
) -> None:
    clicks[0].write_parquet(tmp_path / "c.parquet")
    predict_file(model, tmp_path / "c.parquet", tmp_path / "o.csv")
    predict_file(model, tmp_path / "c.parquet", tmp_path / "o.parquet")
    exact = pl.read_parquet(tmp_path / "o.parquet")["probability"]
    assert pl.read_csv(tmp_path / "o.csv")["probability"].to_list() == exact.to_list()
    lines = (tmp_path / "o.csv").read_text().splitlines()
    assert lines[0] == "request,click,note,probability"
    assert lines[1].startswith('"r, 0000",0,,0.')
    assert lines[2].startswith('"r, 0001",1,"""0""",0.')


def test_types_of_kept_columns_stay(model: Path, tmp_path: Path) -> None:
    values = {name: pa.array([words[0], words[1]]) for name, words in WORDS.items()}
    kept = {
        "when": pa.array([datetime.datetime(2024, 5, 31, 12)] * 2, pa.timestamp("ms", "Europe/Berlin")),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
        "tags": pa.array([["x"], None], pa.list_(pa.string())),
        "price": pa.array([None, None], pa.decimal128(9, 2)),
        "small": pa.array([1, None], pa.int8()),
        "raw": pa.array([b"\x00", b"\xff"]),
        "a.b": pa.array([1.5, float("nan")], pa.float32()),
        "user.id": pa.array([1, 2]),
    }
    pq.write_table(pa.table({**kept, **values}), tmp_path / "c.parquet")
    assert predict_file(model, tmp_path / "c.parquet", tmp_path / "o.parquet").n_rows == 2
    found = pq.read_table(tmp_path / "o.parquet")
    assert found.schema.names == [*kept, "probability"]
    for name, column in kept.items():
        assert found.schema.field(name).type == column.type, name
        assert found[name].combine_chunks().equals(column) or name == "a.b"
    with pytest.raises(AutoDPQError, match=r"o\.csv: column 'tags': a CSV has no place for type List[^\n]*\.parquet$"):
        predict_file(model, tmp_path / "c.parquet", tmp_path / "o.csv")
    assert not (tmp_path / "o.csv").exists()


def test_pandas_files_are_read_and_joined(model: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame({name: words[:2] for name, words in WORDS.items()}, index=pd.Index(["x", "y"], name="key"))
    frame["user"] = [7, 987654321]
    frame.to_parquet(tmp_path / "c.parquet")
    predict_file(model, tmp_path / "c.parquet", tmp_path / "o.parquet")
    found = pd.read_parquet(tmp_path / "o.parquet")
    assert list(found.columns) == ["key", "probability"] and found["key"].tolist() == ["x", "y"]


def test_files_are_read_in_batches(
    model: Path, clicks: tuple[pl.DataFrame, Expected], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, expected = clicks
    monkeypatch.setattr("autodpq.data.readers.arrow.BATCH_ROWS", 4)
    frame.write_parquet(tmp_path / "c.parquet")
    sizes: list[int] = []
    score = predict.ServedModel.score
    monkeypatch.setattr(
        predict.ServedModel, "score", lambda self, ids, columns: sizes.append(len(ids)) or score(self, ids)
    )
    for out in ("o.parquet", "o.csv"):
        assert predict_file(model, tmp_path / "c.parquet", tmp_path / out).n_rows == 23
        read = pl.read_csv if out == "o.csv" else pl.read_parquet
        assert np.allclose(read(tmp_path / out)["probability"], expected, atol=1e-6)
    assert sizes == [4, 4, 4, 4, 4, 3] * 2


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("out", ["o.csv", "o.parquet"])
def test_no_rows_give_no_rows(model: Path, tmp_path: Path, text: bool, out: str) -> None:
    header = ",".join(["id", *WORDS])
    if not text:
        values_of(random_ids(0)).cast(pl.String).with_columns(id=pl.lit(1, pl.Int64)).write_parquet(
            tmp_path / "c.parquet"
        )
    for content in (header, header + "\n", header + "\r\n\r\n"):
        (tmp_path / "c.csv").write_text(content)
        assert predict_file(model, tmp_path / ("c.csv" if text else "c.parquet"), tmp_path / out).n_rows == 0
        found = pl.read_csv(tmp_path / out) if out == "o.csv" else pl.read_parquet(tmp_path / out)
        assert found.columns == ["id", "probability"] and len(found) == 0


def test_files_of_fields_alone_give_probabilities_alone(model: Path, tmp_path: Path) -> None:
    values_of(random_ids(7)).write_csv(tmp_path / "c.csv")
    for out in ("o.csv", "o.parquet"):
        assert predict_file(model, tmp_path / "c.csv", tmp_path / out).n_rows == 7
        found = pl.read_csv(tmp_path / out) if out == "o.csv" else pl.read_parquet(tmp_path / out)
        assert found.columns == ["probability"] and len(found) == 7


def rows_of(header: str, *lines: str) -> bytes:
    return "\n".join([header, *lines, ""]).encode()


GOOD = "user,city,device,shop,day"


def test_a_column_of_a_type_that_polars_does_not_know_is_named(model: Path, tmp_path: Path) -> None:
    columns = {name: ["7"] for name in GOOD.split(",")[1:]}
    user = pa.array([Decimal(7)], pa.decimal256(60, 0))
    pq.write_table(pa.table({"user": user, **columns}), tmp_path / "c.parquet")
    with pytest.raises(AutoDPQError, match=r"c\.parquet, column 'user': values of type decimal256.* cannot be used"):
        predict_file(model, tmp_path / "c.parquet", tmp_path / "o.csv")


@pytest.mark.parametrize(
    ("name", "content", "out", "words"),
    [
        (
            "c.csv",
            rows_of(GOOD, "7,,,,"),
            "o.json",
            r"o\.json: this kind of file cannot be written; .*\.csv, \.parquet$",
        ),
        ("c.csv", rows_of(GOOD, "7,,,,"), "c.csv", r"c\.csv: this is the input too; give another file to --out$"),
        ("c.csv", rows_of(GOOD, "7,,,,"), "nowhere/o.csv", r"nowhere/o\.csv: cannot be written"),
        ("c.dat", rows_of(GOOD), "o.csv", r"c\.dat: this kind of file cannot be read"),
        ("c.csv", rows_of("user,town,device,shop,day"), "o.csv", r"c\.csv: column 'city', a field of the model, is"),
        ("c.csv", rows_of("Probability," + GOOD.replace("day", "Day")), "o.csv", r"'day'.*did you mean 'Day'\?$"),
        ("c.csv", rows_of("probability," + GOOD), "o.csv", r"c\.csv: column 'probability' is there already"),
        ("c.csv", rows_of(GOOD, "7,,,,", "7,,,"), "o.csv", r"c\.csv, line 3: 4 columns where 5 are expected"),
        ("c.csv", rows_of(GOOD, '7,,,,"open', "7,,,,"), "o.csv", r"c\.csv.*row 1, column 'day': a line break"),
        ("c.csv", rows_of(GOOD) + b"7,\xff,,,\n", "o.csv", r"c\.csv, line 2, column 'city': not UTF-8"),
        ("c.csv", b"", "o.csv", r"c\.csv: the file is empty"),
        (
            "c.csv.gz",
            gzip.compress(rows_of(GOOD, *["7,,,,"] * 999), mtime=0)[:-9],  # the same name of the test in every process
            "o.csv",
            r"c\.csv\.gz: the gzip file is cut",
        ),
        ("c.parquet", b"PAR1", "o.csv", r"c\.parquet: this is no parquet file"),
        ("none.csv", None, "o.csv", r"none\.csv: cannot be read"),
    ],
)
def test_what_cannot_be_predicted_is_one_line_and_leaves_nothing(
    model: Path, tmp_path: Path, name: str, content: bytes | None, out: str, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(AutoDPQError, match=rf"^[^\n]*{words}[^\n]*$"):
        predict_file(model, tmp_path / name, tmp_path / out)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_values_of_lists_are_refused(model: Path, tmp_path: Path) -> None:
    values_of(random_ids(2)).with_columns(city=[["a"], ["b"]]).write_parquet(tmp_path / "c.parquet")
    with pytest.raises(AutoDPQError, match=r"c\.parquet, column 'city': values of type List"):
        predict_file(model, tmp_path / "c.parquet", tmp_path / "o.parquet")
    assert not (tmp_path / "o.parquet").exists()


class Mine(DeepFM):
    name: ClassVar[str] = "mine"


def test_models_of_plug_ins_are_scored_by_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MODELS.add(Mine)
    monkeypatch.setattr("autodpq.packed.load.EVALUATION_BATCH", 10)
    path, ids = tmp_path / "mine.safetensors", random_ids(23)
    expected = torch.from_numpy(torch_logits(write_model(path, "mine"), ids)).double().sigmoid().numpy()
    assert not predict.open_model(path).scores
    values_of(ids).with_columns(id=pl.int_range(23)).write_csv(tmp_path / "c.csv")
    assert predict_file(path, tmp_path / "c.csv", tmp_path / "o.parquet").n_rows == 23
    assert np.allclose(pl.read_parquet(tmp_path / "o.parquet")["probability"], expected, atol=1e-6)


def test_modules_take_no_raw_values(model: Path, tmp_path: Path) -> None:
    path, packed = tmp_path / "modules.safetensors", open_packed(model)
    tables = {table.spec.name: table.arrays for table in packed.tables}
    write_packed(path, replace(packed.manifest, kind="modules", model=None), tables, packed.dense)
    (tmp_path / "c.csv").write_bytes(rows_of(GOOD, "7,,,,"))
    with pytest.raises(AutoDPQError, match=r"modules\.safetensors: it holds tables of a torch model"):
        predict_file(path, tmp_path / "c.csv", tmp_path / "o.csv")


def test_torch_is_not_imported_for_this_project_s_models(model: Path, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes(rows_of(GOOD, "7,,,,", "never,,,,"))
    program = (
        "import sys\nfrom pathlib import Path\nfrom studies.exported.predict import predict_file\n"
        "assert predict_file(*map(Path, sys.argv[1:])).n_rows == 2\nassert 'torch' not in sys.modules"
    )
    arguments = [str(model), str(tmp_path / "c.csv"), str(tmp_path / "o.csv")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c.parquet", "c.csv"])
def test_memory_is_bounded_whatever_the_file(model: Path, tmp_path: Path, name: str) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process is read from /proc")
    # Blocks of a sixteenth, so that what a reader reads ahead (32 of them) is little and a small file shows it.
    program = (
        "import sys\nfrom pathlib import Path\nfrom autodpq.data.readers import arrow, text\n"
        "from studies.exported.predict import predict_file\n"
        "text._BLOCK_BYTES, text.BATCH_ROWS, arrow.BATCH_ROWS = 1 << 20, 30_000, 30_000\n"
        "rows = predict_file(*map(Path, sys.argv[1:])).n_rows\n"
        "print(rows, *[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    part = values_of(random_ids(250_000)).with_columns(request=pl.int_range(250_000).cast(pl.String) + "-of-this-part")
    peaks = []
    for n_parts in (4, 20):
        path = tmp_path / f"{n_parts}-{name}"
        frame = pl.concat([part] * n_parts)
        frame.write_parquet(path) if name == "c.parquet" else frame.write_csv(path)
        arguments = [str(model), str(path), str(tmp_path / "o.parquet")]
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
        rows, peak = map(int, done.stdout.split())
        assert rows == n_parts * 250_000
        peaks.append(peak)
    assert peaks[1] < 1.25 * peaks[0], peaks
