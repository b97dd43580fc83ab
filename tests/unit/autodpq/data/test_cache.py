from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from autodpq.data import EncodedDataset, load_dataset
from autodpq.data.cache import cache_root, load_cached
from autodpq.data.digest import remembered_digest
from autodpq.data.source import Batch, Source, Table
from autodpq.errors import AutoDPQError

ROWS = 50


class Counted:
    """A source that counts how often it is read."""

    def __init__(self, digest: str = "digest") -> None:
        self.times = 0
        self.source = Source("made up", "made up", digest, {"setting": 1}, self.read)

    def read(self) -> Table:
        self.times += 1
        frame = pl.DataFrame({"field": [str(number % 7) for number in range(ROWS)]})
        labels = (np.arange(ROWS) % 2).astype(np.uint8)
        return Table(("field",), [Batch(frame, labels, time=np.arange(ROWS), split=np.zeros(ROWS, np.int8))])


def same(one: EncodedDataset, other: EncodedDataset) -> bool:
    arrays = ((data.ids, data.labels, data.time, data.split_column, *data.counts) for data in (one, other))
    equal = all(np.array_equal(a, b) for a, b in zip(*arrays, strict=True))
    return equal and one.fingerprint == other.fingerprint and one.vocabulary().equals(other.vocabulary())


def only_folder(cache: Path) -> Path:
    (folder,) = (cache / "datasets").iterdir()
    return folder


def test_a_second_load_reads_the_cache_alone(cache: Path) -> None:
    counted = Counted()
    first = load_cached(counted.source, cache)
    second = load_cached(counted.source, cache)
    assert counted.times == 1
    assert same(first, second)
    assert second.name == "made up"
    assert isinstance(second.ids, np.memmap)
    assert not second.ids.flags.writeable


def test_another_content_or_setting_is_another_folder(cache: Path) -> None:
    one, other = Counted(), Counted("other digest")
    fingerprints = {load_cached(counted.source, cache).fingerprint for counted in (one, other)}
    assert len(fingerprints) == 2
    assert len(list((cache / "datasets").iterdir())) == 2


FILES = [
    *("ids.npy", "labels.npy", "counts.npy", "cardinalities.npy", "time.npy", "split.npy"),
    *("vocabulary.parquet", "meta.json"),
]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_half_written_cache_is_not_used(cache: Path, file: str, damage: str) -> None:
    counted = Counted()
    sound = load_cached(counted.source, cache)
    copy = cache.with_name("copy")
    shutil.copytree(cache, copy)
    path = only_folder(copy) / file
    match damage:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-1])
        case "empty":
            path.write_bytes(b"")
    assert same(load_cached(counted.source, copy), sound)
    assert counted.times == 2
    assert len(list((copy / "datasets").iterdir())) == 1


def flip(path: Path, part: float) -> None:
    """Changes a bit so far into a file."""
    content = bytearray(path.read_bytes())
    content[int(part * (len(content) - 1))] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("file", FILES)
def test_changed_bytes_are_noticed(cache: Path, file: str) -> None:
    counted = Counted()
    sound = load_cached(counted.source, cache)
    for times, part in enumerate((0, 0.3, 0.6, 0.9, 0.99), 2):
        flip(only_folder(cache) / file, part)
        assert same(load_cached(counted.source, cache), sound)
        assert counted.times == times


def test_a_copy_of_an_earlier_version_is_written_again(cache: Path) -> None:
    counted = Counted()
    load_cached(counted.source, cache)
    path = only_folder(cache) / "meta.json"
    meta = json.loads(path.read_text())
    del meta["seal"]  # nothing would tell whether its ids are those that were written
    path.write_text(json.dumps(meta))
    load_cached(counted.source, cache)
    assert counted.times == 2


def test_a_vocabulary_that_changed_since_it_was_opened_is_named(cache: Path) -> None:
    data = load_cached(Counted().source, cache)
    flip(only_folder(cache) / "vocabulary.parquet", 0.5)
    with pytest.raises(AutoDPQError, match=r"vocabulary\.parquet: the vocabulary is gone or damaged; load the data"):
        data.vocabulary()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', "null"])
def test_a_broken_description_is_written_again(cache: Path, text: str) -> None:
    counted = Counted()
    load_cached(counted.source, cache)
    (only_folder(cache) / "meta.json").write_text(text)
    load_cached(counted.source, cache)
    assert counted.times == 2


@pytest.mark.parametrize("error", [AutoDPQError("bad row"), KeyboardInterrupt(), ValueError("defect")])
def test_an_error_leaves_nothing_behind(cache: Path, error: BaseException) -> None:
    def batches() -> Table:
        def rows() -> Iterator[Batch]:
            yield from Counted().read().batches
            raise error

        return Table(("field",), rows())

    with pytest.raises(type(error)):
        load_cached(Source("made", "made", "digest", {}, batches), cache)
    assert list((cache / "datasets").iterdir()) == []


def test_what_killed_processes_left_is_removed_in_time(cache: Path) -> None:
    old, young = cache / "datasets" / ".partial-old", cache / "datasets" / ".partial-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "ids.npy").write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    load_cached(Counted().source, cache)
    assert not old.exists()
    assert young.exists()


def test_another_process_may_finish_first(cache: Path) -> None:
    counted = Counted()

    def read() -> Table:
        load_cached(counted.source, cache)  # what the other one does meanwhile
        return counted.read()

    dataset = load_cached(Source("made up", "made up", "digest", {"setting": 1}, read), cache)
    assert len(dataset) == ROWS
    assert len(list((cache / "datasets").iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(AutoDPQError, match=r"file/datasets: the cache cannot be written: .*AUTODPQ_CACHE") as caught:
        load_cached(Counted().source, blocked)
    assert "\n" not in str(caught.value)


def test_the_cache_is_the_argument_else_the_environment_s_else_the_home_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTODPQ_CACHE", str(tmp_path / "of environment"))
    assert cache_root(tmp_path / "given") == tmp_path / "given"
    assert cache_root(None) == tmp_path / "of environment"
    monkeypatch.delenv("AUTODPQ_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root(None) == tmp_path / ".cache" / "autodpq"


def test_a_file_that_has_not_changed_is_not_read_again(
    write_table: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_table("click,field\n0,a\n1,b\n")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    first = load_dataset(path)
    for function in ("read_header", "file_digest"):
        monkeypatch.setattr(f"autodpq.data.readers.files.{function}", lambda *_: pytest.fail("the source was read"))
    assert same(load_dataset(path), first)


def test_a_file_that_has_changed_is_read_again(write_table: Callable[..., Path]) -> None:
    path = write_table("click,field\n0,a\n1,b\n")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    first = load_dataset(path)
    write_table("click,field\n0,a\n1,c\n")
    os.utime(path, (1_000_000_000, 1_000_000_000))  # neither size nor time of change tells
    second = load_dataset(path)
    assert second.fingerprint != first.fingerprint
    assert second.vocabulary()["value"].to_list() == ["a", "c"]


def test_a_digest_is_remembered_once_the_file_has_settled(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("content")
    seen: list[int] = []

    def compute() -> str:
        seen.append(1)
        return "abc"

    for _ in range(2):
        assert remembered_digest([path], compute, tmp_path / "cache", "kind") == "abc"
    assert len(seen) == 2  # too fresh: a change within the clock's step would not show
    os.utime(path, (1_000_000_000, 1_000_000_000))
    for _ in range(2):
        remembered_digest([path], compute, tmp_path / "cache", "kind")
    assert len(seen) == 3
    remembered_digest([path], compute, tmp_path / "cache", "another kind")
    assert len(seen) == 4
    altered = [lambda text: json.dumps({"state": "damaged"}), lambda text: text.replace("abc", "abd")]
    for times, alter in enumerate(altered, 5):
        for memo in (tmp_path / "cache" / "digests").iterdir():
            memo.write_text(alter(memo.read_text()))
        assert remembered_digest([path], compute, tmp_path / "cache", "kind") == "abc"
        assert len(seen) == times
    with pytest.raises(AutoDPQError, match="missing: cannot be read"):
        remembered_digest([tmp_path / "missing"], compute, tmp_path / "cache", "kind")
