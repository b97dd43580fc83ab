"""A bit of any file in a study's folder or in the cache is another one: the same digits, or one line with its name."""

from __future__ import annotations

import io
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from autodpq.errors import AutoDPQError
from autodpq.packed.file import open_packed
from autodpq.records.folder import read_pretrained
from autodpq.serving import open_model
from reports import load_study
from reports.numbers.predictions import read_predictions
from reports.page.cards import cards
from studies.config import check_config
from studies.folder.models import records_frame
from studies.folder.records import RunFolder, load_state
from studies.folder.status import status_lines
from studies.prepared import load_rows, prepare
from studies.runner import run_study
from studies.watch.progress import Progress

CLOCK = ["seconds", "seconds_pretrain", "seconds_search", "seconds_retrain"]
LONG_AGO = 1_000_000_000


@dataclass(frozen=True)
class World:
    """A study that is done, the same one interrupted before its last run was finished, and their cache.

    Attributes:
        folder: Of all of them.
        digits: What the study came to.
        made: What its last run left.
    """

    folder: Path
    digits: str
    made: Any

    @property
    def done(self) -> Path:
        return self.folder / "done" / "study"

    @property
    def begun(self) -> Path:
        return self.folder / "begun" / "study"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"


def run(folder: Path, out: Path) -> None:
    options = {
        "dataset": str(folder / "clicks.csv"),
        "cache_dir": str(folder / "cache"),
        "strategies": ["fe", "random"],
    }
    options |= {"seeds": 1, "trials": 3, "K": [2, 4], "D": [2], "threshold": 4, "frequency_scope": "train"}
    run_study(check_config(options), out, Progress(Console(file=io.StringIO())))


def digits_of(study: Path) -> str:
    """What a study came to, but for what a clock says."""
    return str(records_frame(study).drop(columns=CLOCK).to_json())


def made_of(study: Path) -> Any:
    """What the run that was interrupted left: its predictions, and the arrays of its model."""
    frame = records_frame(study)
    (run,) = frame.loc[frame["strategy"] == "random", "run"]
    packed = open_packed(study / "models" / f"{run}.safetensors")
    arrays = [packed.dense, *(table.arrays for table in packed.tables)]
    weights = [{name: array.tobytes() for name, array in part.items()} for part in arrays]
    return (study / "runs" / run / "predictions.parquet").read_bytes(), weights


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("flipped")
    rng = np.random.Generator(np.random.PCG64(5))
    columns = {"user": rng.zipf(1.5, 400) % 60, "item": rng.zipf(1.6, 400) % 30, "price": rng.random(400).round(2)}
    frame = pd.DataFrame({"click": (rng.random(400) < 0.3 + 0.4 * (columns["user"] % 2)).astype(int), **columns})
    frame.to_csv(folder / "clicks.csv", index=False)
    os.utime(folder / "clicks.csv", (LONG_AGO, LONG_AGO))  # so that its digest is remembered
    done, begun = folder / "done" / "study", folder / "begun" / "study"
    finish = RunFolder.finish

    def interrupted(self: RunFolder, result: Any) -> None:
        if result.record.strategy == "random":
            raise KeyboardInterrupt
        finish(self, result)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "finish", interrupted)
        run(folder, begun)
    shutil.copytree(begun, done)
    run(folder, done)
    assert not list(done.glob("runs/*/incumbents")) and list(begun.glob("runs/*/incumbents/*"))
    return World(folder, digits_of(done), made_of(done))


def look_at_cache(world: World) -> Any:
    """What a run gets of the data."""
    dataset = load_rows({"dataset": str(world.folder / "clicks.csv"), "cache_dir": str(world.cache)})
    settings = {"threshold": 4, "split_method": "random", "split_seed": 2023, "frequency_scope": "train"}
    prepared = prepare(lambda: dataset, **settings)  # type: ignore[arg-type]
    parts = [(part.ids.tobytes(), part.labels.tobytes()) for part in (prepared.train, prepared.valid, prepared.test())]
    about = dataset.name, dataset.field_names, dataset.fingerprint, dict(dataset.binned), prepared.fields
    return parts, about, np.array(dataset.ids).tobytes(), prepared.source.vocabulary().write_json()


def look_at_done(world: World) -> Any:
    """What is told of a finished study."""
    study = world.done
    results = load_study(study)
    predictions = [
        array.tobytes()
        for run in results.runs
        for array in read_predictions(study / "runs" / run.run / "predictions.parquet", run)
        if array is not None
    ]
    told = [list(status_lines(study)), repr(results.runs), results.records.to_json(), repr(cards(results))]
    pretrained = [repr(read_pretrained(path)) for path in study.glob("pretrained/*.json")]
    weights = [weights_of(path) for path in study.glob("pretrained/*.safetensors")]
    return told, predictions, pretrained, weights


def look_at_models(world: World) -> Any:
    """What the models that were taken away say."""
    values = {"user": ["1", "2", "never"], "item": ["1", "5", "2"], "price": ["0.5", "0.01", "0.99"]}
    models = map(open_model, sorted(world.done.glob("models/*.safetensors")))
    return [(model.predict(values).tobytes(), model.manifest.to_json()) for model in models]


def look_at_begun(world: World) -> Any:
    """What is told of an interrupted study, and the weights that it goes on from."""
    study = world.begun
    told = [line.split(", last sign")[0] for line in status_lines(study, LONG_AGO)]
    paths = sorted([*study.glob("pretrained/*.safetensors"), *study.glob("runs/*/incumbents/*")])
    return (
        told,
        [weights_of(path) for path in paths],
        [repr(read_pretrained(p)) for p in study.glob("pretrained/*.json")],
    )


def weights_of(path: Path) -> Any:
    return [
        (name, value.dtype, value.shape, value.numpy().tobytes()) for name, value in sorted(load_state(path).items())
    ]


def go_on(world: World) -> Any:
    """What the same command makes of an interrupted study."""
    run(world.folder, world.begun)
    return digits_of(world.begun), made_of(world.begun)


def run_again(world: World) -> Any:
    """What the same command makes of a finished one."""
    run(world.folder, world.done)
    return digits_of(world.done)


Reader = Callable[[World], Any]
# How many flips of the slow test each reader is asked about: those that train take a second.
READERS: dict[str, tuple[tuple[Reader, int], ...]] = {
    "cache": ((look_at_cache, 400), (go_on, 3)),
    "done": ((look_at_done, 400), (run_again, 25)),
    "done/study/models": ((look_at_models, 400), (run_again, 25)),
    "begun": ((look_at_begun, 400), (go_on, 15)),
}


@contextmanager
def as_before(folder: Path) -> Iterator[None]:
    """Puts a folder back as it was."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    try:
        yield
    finally:
        for path in [path for path in folder.rglob("*") if path.is_file() and path not in before]:
            path.unlink()
        for path, content in before.items():
            if not path.is_file() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def check(world: World, part: str, reader: Reader, flips: int, seed: int) -> None:
    """Flips bits of each file of a part of the world that is no other part, one at a time, and asks the reader."""
    folder = world.folder / part
    with as_before(world.folder):
        expected = reader(world)
    if reader is go_on:
        assert expected == (world.digits, world.made)
    draw = random.Random(seed)
    inner = [world.folder / other for other in READERS if other.startswith(f"{part}/")]
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    paths = [path for path in paths if path.parent not in inner]
    assert len(paths) >= 3
    for path in paths:
        size = 8 * path.stat().st_size
        # The last byte, of which a line's end is made, too.
        places = [size - 8, *draw.sample(range(size), min(flips, size))][: max(flips, 2)]
        for place in places:
            with as_before(world.folder):
                content = bytearray(path.read_bytes())
                content[place // 8] ^= 1 << place % 8
                path.write_bytes(bytes(content))
                where = f"{path}, bit {place}, {reader.__name__}"
                try:
                    found = reader(world)
                except AutoDPQError as error:
                    message = str(error)
                    assert path.name in message and "\n" not in message and part != "cache", f"{where}: {message}"
                else:
                    assert found == expected, where


@pytest.mark.parametrize("part", READERS)
def test_some_bits_of_every_file_are_flipped(world: World, part: str) -> None:
    check(world, part, READERS[part][0][0], 2, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "which"), [(part, which) for part in READERS for which in range(2)])
def test_hundreds_of_bits_of_every_file_are_flipped(world: World, part: str, which: int) -> None:
    reader, flips = READERS[part][which]
    check(world, part, reader, flips, 2)
