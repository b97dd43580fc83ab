from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from autodpq.errors import AutoDPQError
from autodpq.kernels import native

SOURCES = sorted(path.stem for path in native.FOLDER.glob("*.cpp"))
needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="there is no C++ compiler")


@pytest.fixture
def _nothing_compiled_before() -> Iterator[None]:
    native.library.cache_clear()
    yield
    native.library.cache_clear()


@needs_compiler
@pytest.mark.usefixtures("_nothing_compiled_before")
def test_a_compiler_that_fails_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken.cpp").write_text("not C++")
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    with pytest.raises(AutoDPQError, match=r"--compile: .* does not compile .*broken\.cpp: .*; choose --compile off"):
        native.library("broken")


@pytest.mark.usefixtures("_nothing_compiled_before")
def test_without_a_compiler_there_is_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "compiler", lambda: None)
    with pytest.raises(AutoDPQError, match=r"there is no C\+\+ compiler .*; choose --compile off"):
        native.library("rows")


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", SOURCES)
def test_sources_compile_without_a_warning(name: str, tmp_path: Path) -> None:
    program = native.compiler()
    assert program is not None and SOURCES == ["mixture", "rows", "straight_through"]
    source = native.FOLDER / f"{name}.cpp"
    command = [program, *native.FLAGS, "-Wall", "-Wextra", str(source), "-o", str(tmp_path / "made.so")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
