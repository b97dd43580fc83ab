"""Small source files in the publishers' formats; every row is made up."""

from __future__ import annotations

import gzip
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

AVAZU_HEADER = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,device_ip,"
    "device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"
)


@pytest.fixture(autouse=True)
def cache(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own; no folder of source files, unless the test is of real ones."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("AUTODPQ_CACHE", str(folder))
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.delenv("AUTODPQ_DATA", raising=False)
    return folder


@pytest.fixture
def movielens_files() -> dict[str, str]:
    """Three tables as GroupLens lays them out."""
    users = ["1::F::1::10::48067", "2::M::56::16::70072-1234", "3::M::25::15::55117"]
    movies = [
        "10::Made Up: The Movie (1995)::Animation|Comedy",
        "11::Ano\u00e9 (1999)::Drama",
        "12::No Year Here::Drama",
    ]
    ratings = ["1::10::5::978300760", "2::10::3::978300761", "2::11::4::978300762", "1::12::1::978300763"]
    return {
        "users.dat": "\n".join(users) + "\n",
        "movies.dat": "\n".join(movies) + "\n",
        "ratings.dat": "\n".join(ratings) + "\n",
    }


@pytest.fixture
def write_movielens(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Writes ml-1m.zip into a folder and returns the folder."""

    def write(files: dict[str, str]) -> Path:
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        with zipfile.ZipFile(folder / "ml-1m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(f"ml-1m/{name}", text.encode("latin-1"))
        return folder

    return write


@pytest.fixture
def avazu_text() -> str:
    """Rows as Avazu's training file has them."""
    draw = random.Random(5)
    rows = []
    for number in range(60):
        values = [f"{draw.randrange(16**3):08x}" for _ in range(9)]
        numbers = [str(draw.randrange(4)) for _ in range(10)]
        row = [str(number), str(number % 3 // 2), f"141021{number // 20:02d}", "1005", "0", *values, *numbers]
        rows.append(",".join(row))
    return "\n".join([AVAZU_HEADER, *rows]) + "\n"


@pytest.fixture
def write_table(tmp_path: Path) -> Callable[..., Path]:
    """Writes a text, compressed where the name says so, and returns its path."""

    def write(text: str | bytes, name: str = "own.csv") -> Path:
        path = tmp_path / name
        content = text.encode() if isinstance(text, str) else text
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write
