"""What is built for others: the source distribution, and the wheel that is made from it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from support.patience import PATIENCE

from autodpq import __version__

pytestmark = pytest.mark.slow  # building takes seconds; that the package installs is what the tests begin with
HERE = Path(__file__).parents[3]
PACKAGES = ("autodpq", "baselines", "reports", "studies")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both, the wheel built from the source as ``python -m build`` does; nothing is fetched for it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(HERE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == [
        f"autodpq-{__version__}-py3-none-any.whl",
        f"autodpq-{__version__}.tar.gz",
    ]
    return folder


def test_the_wheel_holds_the_four_packages_whole_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    here = {
        str(path.relative_to(HERE))
        for package in PACKAGES
        for path in (HERE / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert inside == here
    assert {f"{package}/py.typed" for package in PACKAGES} <= inside


def test_the_wheel_says_what_it_is(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        (path,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        told = Parser().parsestr(wheel.read(path).decode())
        points = wheel.read(path.replace("METADATA", "entry_points.txt")).decode()
        names = wheel.namelist()
    assert (told["Name"], told["Version"], told["License-Expression"]) == ("autodpq", __version__, "Apache-2.0")
    assert "autodpq-study = studies.cli.main:main" in points
    assert any(name.endswith("licenses/LICENSE") for name in names)
    needed = [text for text in told.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert not [text for text in needed if text.split(">")[0] in ("ray", "tensorboard", "onnx", "pytest")]


def test_the_source_distribution_can_be_tested(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "mkdocs.yml"):
        assert name in inside
    tests = {str(path.relative_to(HERE)) for path in (HERE / "tests").rglob("test_*.py")}
    assert len(tests) > 50 and tests <= inside
    assert "examples/quickstart.py" in inside
