from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from autodpq.data import EncodedDataset, dataset_spec, load_dataset, split_dataset
from autodpq.errors import AutoDPQError

Write = Callable[[dict[str, str]], Path]


def decoded(dataset: EncodedDataset) -> list[tuple[str, ...]]:
    words = dataset.vocabulary()
    columns = []
    for column, name in enumerate(dataset.field_names):
        values = words.filter(pl.col("field") == name)["value"]
        columns.append(values.gather(dataset.ids[:, column]).to_list())
    return list(zip(*columns, strict=True))


def test_fields_labels_and_time(movielens_files: dict[str, str], write_movielens: Write) -> None:
    dataset = load_dataset("movielens1m", data_dir=write_movielens(movielens_files))
    assert dataset.name == "movielens1m"
    assert dataset.field_names == ("user", "movie", "gender", "age", "occupation", "zip", "genres", "year")
    assert decoded(dataset) == [
        ("1", "10", "F", "1", "10", "48067", "Animation|Comedy", "1995"),
        ("2", "10", "M", "56", "16", "70072", "Animation|Comedy", "1995"),
        ("2", "11", "M", "56", "16", "70072", "Drama", "1999"),
        ("1", "12", "F", "1", "10", "48067", "Drama", ""),
    ]
    assert dataset.labels.tolist() == [1, 0, 1, 0]
    assert dataset.time is not None
    assert dataset.time.tolist() == [978300760, 978300761, 978300762, 978300763]


def test_the_cut_of_the_label_is_a_setting(movielens_files: dict[str, str], write_movielens: Write) -> None:
    folder = write_movielens(movielens_files)
    assert load_dataset("movielens1m", data_dir=folder, label_above=2).labels.tolist() == [1, 1, 1, 0]
    with pytest.raises(AutoDPQError, match=r"ml-1m\.zip: every label is 0"):
        load_dataset("movielens1m", data_dir=folder, label_above=5)


def test_a_constant_time_is_none(movielens_files: dict[str, str], write_movielens: Write) -> None:
    for last in "0123":
        movielens_files["ratings.dat"] = movielens_files["ratings.dat"].replace(f"97830076{last}", "0")
    assert load_dataset("movielens1m", data_dir=write_movielens(movielens_files)).time is None


def test_fields_may_be_left_out(movielens_files: dict[str, str], write_movielens: Write) -> None:
    folder = write_movielens(movielens_files)
    assert load_dataset("movielens1m", data_dir=folder, exclude=["year", "zip"]).field_names[-2:] == (
        "occupation",
        "genres",
    )
    assert load_dataset("movielens1m", data_dir=folder, fields=["movie", "user"]).field_names == ("user", "movie")


@pytest.mark.parametrize("place", [".", "ml-1m"])
def test_the_extracted_folder_is_the_same_data(
    movielens_files: dict[str, str], write_movielens: Write, tmp_path: Path, place: str
) -> None:
    archived = load_dataset("movielens1m", data_dir=write_movielens(movielens_files))
    folder = tmp_path / "extracted" / place
    folder.mkdir(parents=True)
    for name, text in movielens_files.items():
        (folder / name).write_bytes(text.encode("latin-1"))
    extracted = load_dataset("movielens1m", data_dir=tmp_path / "extracted", cache_dir=tmp_path / "another")
    assert extracted.fingerprint == archived.fingerprint
    assert decoded(extracted) == decoded(archived)
    (folder / "users.dat").unlink()
    with pytest.raises(AutoDPQError, match=r"users\.dat: cannot be read"):
        load_dataset("movielens1m", data_dir=tmp_path / "extracted", cache_dir=tmp_path / "another")


def test_the_environment_names_the_folder(
    movielens_files: dict[str, str], write_movielens: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTODPQ_DATA", str(write_movielens(movielens_files)))
    assert len(load_dataset("movielens1m")) == 4


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("ratings.dat", "2::11::4", "9::11::4", r"ratings\.dat, row 3: user '9' is not in .*users\.dat"),
        ("ratings.dat", "2::11::4", "2::99::4", r"ratings\.dat, row 3: movie '99' is not in .*movies\.dat"),
        ("ratings.dat", "2::11::4", "2::11::6", r"ratings\.dat, row 3, column 'rating': a rating from 1 to 5"),
        ("ratings.dat", "2::11::4", "2::11::", r"ratings\.dat, row 3, column 'rating': a rating from 1 to 5"),
        ("ratings.dat", "2::11::4", "2::11::x", r"ratings\.dat, row 3, column 'rating': 'x'; an integer"),
        ("ratings.dat", "978300762", "late", r"ratings\.dat, row 3, column 'time': 'late'; a number"),
        ("ratings.dat", "2::11::4", "2::11", r"ratings\.dat, line 3: 3 columns where 4 are expected"),
        ("users.dat", "3::M::25", "1::M::25", r"users\.dat, row 3: user '1' is listed twice"),
        ("movies.dat", "12::No Year Here", "10::No Year Here", r"movies\.dat, row 3: movie '10' is listed twice"),
        ("movies.dat", "::Drama", "::Drama::More", r"movies\.dat, line 2: 4 columns where 3 are expected"),
    ],
)
def test_bad_rows_are_named(
    movielens_files: dict[str, str], write_movielens: Write, cache: Path, file: str, old: str, new: str, message: str
) -> None:
    movielens_files[file] = movielens_files[file].replace(old, new)
    with pytest.raises(AutoDPQError, match=message) as caught:
        load_dataset("movielens1m", data_dir=write_movielens(movielens_files))
    assert "\n" not in str(caught.value)
    assert list((cache / "datasets").iterdir()) == []


def test_an_empty_table_is_named(movielens_files: dict[str, str], write_movielens: Write) -> None:
    movielens_files["users.dat"] = ""
    with pytest.raises(AutoDPQError, match=r"users\.dat: the file has no rows"):
        load_dataset("movielens1m", data_dir=write_movielens(movielens_files))


def test_an_archive_that_is_none_or_is_cut_short(
    movielens_files: dict[str, str], write_movielens: Write, cache: Path
) -> None:
    path = write_movielens(movielens_files) / "ml-1m.zip"
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[60] ^= 0xFF  # within the first member's compressed bytes
    for content in (b"", b"no archive", whole[: len(whole) // 2], whole[:-3], bytes(damaged)):
        path.write_bytes(content)
        with pytest.raises(AutoDPQError, match=r"ml-1m\.zip: no zip archive, or one cut short or damaged; get ml-1m"):
            load_dataset("movielens1m", data_dir=path.parent)
    assert not (cache / "datasets").exists()


def test_members_are_read_by_their_exact_names(
    movielens_files: dict[str, str], write_movielens: Write, tmp_path: Path
) -> None:
    path = write_movielens(movielens_files) / "ml-1m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../ml-1m/ratings.dat", movielens_files["ratings.dat"])
        archive.writestr("users.dat", movielens_files["users.dat"])
    with pytest.raises(AutoDPQError, match=r"ml-1m/ratings\.dat is not in the archive"):
        load_dataset("movielens1m", data_dir=path.parent)
    assert not (tmp_path / "ml-1m").exists()


@pytest.mark.parametrize("name", ["../evil", "/{folder}/evil", "ml-1m/../../evil", "C:\\evil", "ml-1m/link"])
def test_nothing_is_unpacked(
    movielens_files: dict[str, str], write_movielens: Write, tmp_path: Path, cache: Path, name: str
) -> None:
    folder = write_movielens(movielens_files)
    with zipfile.ZipFile(folder / "ml-1m.zip", "a") as archive:
        member = zipfile.ZipInfo(name.format(folder=tmp_path))
        member.external_attr = (0o120777 if name.endswith("link") else 0o100644) << 16
        archive.writestr(member, str(tmp_path / "evil"))
    before = set(tmp_path.rglob("*"))
    assert len(load_dataset("movielens1m", data_dir=folder)) == 4
    assert {path for path in tmp_path.rglob("*") if cache not in (path, *path.parents)} == before


def test_a_member_that_swells_is_refused(movielens_files: dict[str, str], write_movielens: Write) -> None:
    movielens_files["users.dat"] = "\0" * (100 << 20)
    folder = write_movielens(movielens_files)
    assert (folder / "ml-1m.zip").stat().st_size < 1 << 20
    with pytest.raises(
        AutoDPQError, match=r"ml-1m\.zip/users\.dat: larger than 64 MiB, so not the published file; get"
    ):
        load_dataset("movielens1m", data_dir=folder)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_members_of_other_compressions(
    movielens_files: dict[str, str], write_movielens: Write, method: int
) -> None:
    path = write_movielens(movielens_files) / "ml-1m.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, text in movielens_files.items():
            archive.writestr(f"ml-1m/{name}", text)
    whole = path.read_bytes()
    assert len(load_dataset("movielens1m", data_dir=path.parent)) == 4
    for place in range(30, 100, 6):  # the first member's name, its properties, its content
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(AutoDPQError, match=r"ml-1m\.zip: no zip archive, or one cut short or damaged"):
            load_dataset("movielens1m", data_dir=path.parent)


def test_a_folder_without_it_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        AutoDPQError, match=r"neither ml-1m\.zip nor .* get ml-1m\.zip from https://files\.grouplens\.org"
    ):
        load_dataset("movielens1m", data_dir=tmp_path)
    with pytest.raises(AutoDPQError, match=r"nowhere: there is no such folder; data_dir must name"):
        load_dataset("movielens1m", data_dir=tmp_path / "nowhere")


def test_it_is_downloaded_once_and_verified(
    movielens_files: dict[str, str], write_movielens: Write, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_movielens(movielens_files) / "ml-1m.zip"
    monkeypatch.setattr("autodpq.data.sets.movielens.URL", path.as_uri())
    with pytest.raises(AutoDPQError, match="not the published file"):
        load_dataset("movielens1m")
    assert not list(cache.glob("downloads/*"))
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr("autodpq.data.sets.movielens.MD5", md5)
    assert len(load_dataset("movielens1m")) == 4
    path.unlink()
    assert len(load_dataset("movielens1m")) == 4


def test_a_download_without_end_is_refused(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "endless.zip").write_bytes(bytes(3 << 20))
    monkeypatch.setattr("autodpq.data.sets.movielens.URL", (tmp_path / "endless.zip").as_uri())
    monkeypatch.setattr("autodpq.data.sets.download._MOST_BYTES", 2 << 20)
    with pytest.raises(AutoDPQError, match=r"endless\.zip: more than 2 MiB, so not the published file; get ml-1m\.zip"):
        load_dataset("movielens1m")
    assert not list(cache.glob("downloads/*"))


def test_no_network_says_how_to_get_it(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autodpq.data.sets.movielens.URL", (tmp_path / "unreachable.zip").as_uri())
    with pytest.raises(
        AutoDPQError, match=r"cannot be downloaded .*name its folder with data_dir or AUTODPQ_DATA"
    ) as caught:
        load_dataset("movielens1m")
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("downloads/*"))


@pytest.mark.slow
def test_the_real_data_has_the_published_counts() -> None:
    assert os.environ.get("AUTODPQ_DATA"), "name the folder of ml-1m.zip in the environment's AUTODPQ_DATA"
    dataset = load_dataset("movielens1m")
    fields = dataset.fields(dataset_spec("movielens1m").threshold)
    assert len(dataset) == 1_000_209
    assert [field.cardinality for field in fields] == [6040, 3706, 2, 7, 21, 3403, 301, 81]
    assert [field.head for field in fields] == [4737, 2673, 2, 7, 21, 2898, 295, 78]
    assert dataset.labels.mean() == pytest.approx(0.57516, abs=5e-6)
    for column, counts in enumerate(dataset.counts):
        assert np.array_equal(np.bincount(dataset.ids[:, column]), counts)
    split = split_dataset(dataset, 2023, "random")
    assert [len(rows) for rows in split.parts().values()] == [800_167, 100_021, 100_021]
