"""A delta makes the new files of the old ones, byte for byte, or nothing at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from support.packed_models import WORDS, vocabulary, write_model

from autodpq.calibration import Calibration
from autodpq.errors import AutoDPQError
from autodpq.packed.file import map_arrays, open_packed, write_arrays, write_packed
from autodpq.packed.updating.delta import apply_delta, write_delta
from autodpq.serving import open_model


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models of other widths and vocabularies."""
    folder = tmp_path_factory.mktemp("pair")
    old, new = folder / "old.safetensors", folder / "new.safetensors"
    write_model(old)
    write_model(new, "deepfm", (20, 7), Calibration(0.5, 0.1), values=vocabulary().filter(pl.col("value") != "shop 9"))
    return old, new


def moved(old: Path, tmp_path: Path) -> Path:
    """The old files in a folder of their own, under other names where they may have any."""
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(old.with_suffix(".vocabulary.parquet"), folder)
    return Path(shutil.copy(old, folder / "in-use.safetensors"))


def content(path: Path) -> tuple[bytes, bytes]:
    side = open_packed(path).manifest.vocabulary
    assert side is not None
    return path.read_bytes(), path.with_name(side.name).read_bytes()


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("back", [True, False])
def test_byte_for_byte(pair: tuple[Path, Path], tmp_path: Path, in_place: bool, back: bool) -> None:
    old, new = reversed(pair) if back else pair
    delta = tmp_path / "d.safetensors"
    assert write_delta(delta, old, new) == delta.stat().st_size
    used = moved(old, tmp_path)
    before = used.read_bytes()
    out = used if in_place else tmp_path / "server" / "next.safetensors"
    apply_delta(delta, used, out)
    assert content(out) == content(new)
    assert (used.read_bytes() == before) is not in_place
    assert open_model(out).predict({name: words[:1] for name, words in WORDS.items()}) == pytest.approx(
        open_model(new).predict({name: words[:1] for name, words in WORDS.items()}), abs=0
    )


def test_what_stays_takes_next_to_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    write_model(old, hidden=(400, 400))
    packed = open_packed(old)
    tables = {
        table.spec.name: {name: np.array(array) for name, array in table.arrays.items()} for table in packed.tables
    }
    tables["shop"]["centroids"][1, 2] += 1
    write_packed(new, packed.manifest, tables, packed.dense)
    delta = tmp_path / "d.safetensors"
    assert write_delta(delta, old, new) < 3000 < old.stat().st_size / 100
    apply_delta(delta, old, old)
    assert old.read_bytes() == new.read_bytes()


def test_for_other_files_it_is_refused_and_nothing_is_written(pair: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = pair
    delta, out = tmp_path / "d.safetensors", tmp_path / "server" / "out.safetensors"
    write_delta(delta, old, new)
    used = moved(old, tmp_path)
    files = sorted((tmp_path / "server").iterdir())

    def refused(which: Path, message: str) -> None:
        with pytest.raises(AutoDPQError, match=message) as error:
            apply_delta(delta, which, out)
        assert "\n" not in str(error.value) and sorted((tmp_path / "server").iterdir()) == files

    refused(new, "new.safetensors: it is what the delta makes already")
    other = tmp_path / "other.safetensors"
    write_model(other, "pnn")
    refused(other, "other.safetensors: the delta was made for another file")
    refused(tmp_path / "none.safetensors", "none.safetensors: cannot be read: No such file")
    used.with_name("old.vocabulary.parquet").write_bytes(b"other")
    refused(used, "old.vocabulary.parquet: this is not the model's vocabulary")
    files.remove(used.with_name("old.vocabulary.parquet"))
    used.with_name("old.vocabulary.parquet").unlink()
    refused(used, "old.vocabulary.parquet: the vocabulary of the model is missing")


def edited(delta: Path, change: Any) -> None:
    """A delta that says something else, its checksum right."""
    text, arrays, _ = map_arrays(delta)
    manifest, own = json.loads(text), {name: np.array(array) for name, array in arrays.items()}
    change(manifest, own)
    write_arrays(delta, lambda: json.dumps(manifest), own)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest, arrays: manifest.pop("delta"), "this is no delta that 'update' wrote"),
        (lambda manifest, arrays: manifest.update(delta=2), "it is of format 2, this version reads format 1"),
        (lambda manifest, arrays: manifest["model"].pop("makes"), "it does not say what a delta says"),
        (lambda manifest, arrays: manifest["model"]["pieces"][0].append(1), "it does not say what a delta says"),
        (lambda manifest, arrays: manifest.update(model=3), "it does not say what a delta says"),
        (lambda manifest, arrays: arrays.pop("model"), "it does not say what a delta says"),
        (lambda manifest, arrays: manifest["vocabulary"].update(name="../v"), "is no name of a file beside this one"),
        (lambda manifest, arrays: manifest["model"].update(makes="0" * 64), "what it makes of .* is not .* as it was"),
        (lambda manifest, arrays: manifest["model"]["pieces"].append([1 << 40, 8]), "behind the end of"),
        (lambda manifest, arrays: manifest["model"]["pieces"].append([-1, 1 << 40]), "it ends before .* does"),
        (lambda manifest, arrays: arrays.update(model=arrays["model"][:50]), "it ends before .* does"),
        (lambda manifest, arrays: arrays.update(model=arrays["model"][::-1].copy()), "it ends before .* does"),
    ],
)
def test_a_delta_that_is_none_is_refused(pair: tuple[Path, Path], tmp_path: Path, change: Any, message: str) -> None:
    old, new = pair
    delta, out = tmp_path / "d.safetensors", tmp_path / "out.safetensors"
    write_delta(delta, old, new)
    edited(delta, change)
    with pytest.raises(AutoDPQError, match=message) as error:
        apply_delta(delta, old, out)
    assert str(error.value).startswith(f"{delta}: ") and "\n" not in str(error.value)
    assert not out.exists()


def test_every_byte_of_a_delta_is_checked(pair: tuple[Path, Path], tmp_path: Path) -> None:
    delta = tmp_path / "d.safetensors"
    write_delta(delta, *pair)
    whole = delta.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(whole), 20).tolist():
        delta.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(AutoDPQError, match=r"d\.safetensors: "):
            apply_delta(delta, pair[0], tmp_path / "out.safetensors")
    delta.write_bytes(pair[0].read_bytes())
    with pytest.raises(AutoDPQError, match="this is no delta that 'update' wrote"):
        apply_delta(delta, pair[0], tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
