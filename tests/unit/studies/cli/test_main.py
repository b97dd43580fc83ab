from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from studies.cli.main import main


@pytest.mark.parametrize(("encoding", "town"), [("ascii", "K?ln"), ("cp1252", "Köln"), ("utf-8", "Köln")])
def test_what_a_terminal_has_no_sign_for_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, town: str
) -> None:
    path = tmp_path / "shop.csv"
    path.write_text("click,stadt\n" + "1,Köln\n0,日本\n" * 40, "utf-8")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setenv("AUTODPQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "argv", ["autodpq-study", "data", "inspect", str(path)])
    with pytest.raises(SystemExit) as ended:
        main()
    terminal.flush()
    shown = terminal.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert ended.value.code == 0 and town in shown and "80 rows" in shown
    assert ("日本" in shown) == (encoding == "utf-8")


def test_name_that_is_not_utf_8_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["autodpq-study", "run", "--strategies", "fe", "--out", "st\udcfcdie"])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out, list(tmp_path.iterdir())) == (2, "", [])
    assert err == "Error: 'st\\udcfcdie' is not UTF-8, as names in files are: rename it, or set LC_ALL=C.UTF-8\n"
