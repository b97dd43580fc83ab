"""Parts of a data set: memory-mapped from the cache, shared by processes, written again where they are damaged."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from autodpq.data import EncodedDataset, Samples

N_ROWS = 5000


def dataset(folder: Path | None) -> EncodedDataset:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 50, (N_ROWS, 3), np.int32)
    counts = tuple(np.bincount(column, minlength=50).astype(np.int64) for column in ids.T)
    labels = rng.integers(0, 2, N_ROWS, np.uint8)
    return EncodedDataset("made", ("a", "b", "c"), ids, labels, counts, None, None, "00", folder=folder)


ROWS = np.arange(3, N_ROWS, 2)


def same(samples: Samples, data: EncodedDataset, rows: np.ndarray) -> bool:
    return np.array_equal(samples.ids, data.ids[rows]) and np.array_equal(samples.labels, data.labels[rows])


def test_rows_are_mapped_and_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autodpq.data.dataset.BATCH_ROWS", 700)
    data = dataset(tmp_path)
    samples = data.rows(ROWS)
    assert isinstance(samples.ids, np.memmap) and same(samples, data, ROWS)
    with pytest.raises(ValueError, match="read-only"):
        samples.ids[0, 0] = 1
    assert not list(tmp_path.glob("**/.partial-*"))


def test_rows_that_were_selected_before_are_found_and_others_are_not_mistaken_for_them(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    (first,) = {path: path.stat().st_mtime_ns for path in _files(data, ROWS, tmp_path)}.items()
    assert same(data.rows(ROWS), data, ROWS) and first[0].stat().st_mtime_ns == first[1]
    others = ROWS[::-1].copy()
    assert same(data.rows(others), data, others) and len(list(tmp_path.glob("parts/*/ids.npy"))) == 2


def _files(data: EncodedDataset, rows: np.ndarray, folder: Path) -> list[Path]:
    data.rows(rows)
    return list(folder.glob("parts/*/ids.npy"))


def test_a_part_that_was_cut_short_is_written_again(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    (path,) = _files(data, ROWS, tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    assert same(data.rows(ROWS), data, ROWS)


@pytest.mark.parametrize("file", ["ids.npy", "meta.json"])
@pytest.mark.parametrize("kind", ["parts", "recounted"])
def test_bits_that_were_flipped_are_noticed(tmp_path: Path, kind: str, file: str) -> None:
    data, sound = dataset(tmp_path), dataset(None)

    def derived(data: EncodedDataset) -> np.ndarray:
        return data.rows(ROWS).ids if kind == "parts" else data.recounted(ROWS).ids

    for place in (0, 10, 60, 100):
        assert np.array_equal(derived(data), derived(sound))
        (path,) = tmp_path.glob(f"{kind}/*/{file}")
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(bytes(content))
    assert np.array_equal(derived(data), derived(sound))


def test_another_process_gets_the_file_and_not_the_rows(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    samples = data.rows(ROWS)
    sent = pickle.dumps(samples)
    assert len(sent) < samples.labels.nbytes + 1000
    arrived: Samples = pickle.loads(sent)
    assert isinstance(arrived.ids, np.memmap) and same(arrived, data, ROWS)


def test_rows_for_another_machine_are_copied(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    samples = data.rows(ROWS).in_memory()
    assert not isinstance(samples.ids, np.memmap) and same(pickle.loads(pickle.dumps(samples)), data, ROWS)


def test_rows_of_data_in_memory_stay_there() -> None:
    data = dataset(None)
    samples = data.rows(ROWS)
    assert not isinstance(samples.ids, np.memmap) and same(samples, data, ROWS)


def test_recounting_maps_what_it_counts_in_memory(tmp_path: Path) -> None:
    here, mapped = dataset(None).recounted(ROWS), dataset(tmp_path).recounted(ROWS)
    assert isinstance(mapped.ids, np.memmap) and np.array_equal(mapped.ids, here.ids)
    assert mapped.fingerprint == here.fingerprint
    assert all(np.array_equal(*counts) for counts in zip(mapped.counts, here.counts, strict=True))
