"""A kind of choice in a file of its own, from candidates to serving; and kinds that do not keep their word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.command_line import Call
from support.installed import installing
from support.own_choice import BROKEN, SOUND
from torch import nn

import autodpq
from autodpq.choices import CHOICES
from autodpq.plugins.loading import load as load_class
from autodpq.serving import open_model

pytestmark = pytest.mark.usefixtures("nothing_is_drawn")


def test_from_a_file_to_a_served_model(
    call_here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_csv: Path
) -> None:
    assert len(SOUND.strip().splitlines()) < 30
    with installing(tmp_path, monkeypatch) as site:
        site.write("../mine.py", SOUND)
        options = ["--dataset", own_csv, "--threshold", 20, "--seeds", 1, "--out", "study", "--jobs", 2]
        done = call_here("run", "--strategies", "grid", "--candidates", "mine.py:PowersOfTwo,hashed(5)", *options)
        assert done.code == 0, done.err
        assert "powers-of-two" in (tmp_path / "study/report/index.html").read_text()
        CHOICES.forget("powers-of-two")
        # In another process its kind is not known: records are shown, the model is not used.
        assert call_here("report", "study").code == call_here("status", "study").code == 0
        run = next((tmp_path / "study/runs").iterdir())
        trials = [line for line in (run / "trials.jsonl").read_text().splitlines() if "powers-of-two" in line]
        assert len(trials) == 1
        study = "--strategies grid --candidates mine.py:PowersOfTwo".split()
        assert call_here("run", *study, *options[:-4], "--out", "alone").code == 0
        CHOICES.forget("powers-of-two")
        refused = call_here("export", "alone", "--out", "model.safetensors")
        assert refused.code == 2 and "its choice powers-of-two is of a kind that is not known here" in refused.err
        assert not (tmp_path / "model.safetensors").exists()
        done = call_here("export", "alone", "--out", "model.safetensors", "--kinds", "mine.py:PowersOfTwo")
        assert done.code == 0, done.err
        file = (tmp_path / "model.safetensors").stat().st_size
        assert f"{file:,}" in call_here("audit", "model.safetensors").out
        served, loaded = open_model("model.safetensors"), autodpq.load("model.safetensors")
        ids = np.zeros((4, len(served.field_names)), np.int32)
        assert np.allclose(served.score(ids), loaded(torch.from_numpy(ids)).numpy(), atol=1e-5)


def test_compress_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with installing(tmp_path, monkeypatch) as site:
        kind = load_class(f"{site.write('../mine.py', SOUND)}:PowersOfTwo")
        CHOICES.add(kind)
        model, counts = nn.Sequential(nn.Embedding(50, 8)), {"0": np.ones(50)}
        by_budget = autodpq.compress(model, counts, budget=0.3, candidates=[kind()])
        by_plan = autodpq.compress(model, counts, {"0": kind()})
        rows = by_plan(torch.arange(50))
        assert torch.equal(by_budget(torch.arange(50)), rows)
        assert torch.equal(rows.abs().log2(), rows.abs().log2().round())
        packed = autodpq.export(by_plan, tmp_path / "model.safetensors")
        assert packed.sizes["tables.0.exponents"] == 50 * 8
        assert np.array_equal(open_model(packed.path).lookup("0", np.arange(50)), rows.numpy())


@pytest.mark.parametrize(("found", "instead", "message"), BROKEN.values(), ids=BROKEN)
def test_kinds_that_do_not_keep_their_word(
    call_here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str, instead: str, message: str
) -> None:
    with installing(tmp_path, monkeypatch) as site:
        assert found in SOUND
        site.write("../mine.py", SOUND.replace(found, instead))
        done = call_here("run", "--candidates", "mine.py:PowersOfTwo", "--out", "study")
        assert done.code == 2 and done.err.count("\n") == 1, done
        assert message in done.err
        assert not (tmp_path / "study").exists()


def test_code_that_changed_is_noticed(
    call_here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_csv: Path
) -> None:
    options = ["--dataset", own_csv, "--threshold", 20, "--seeds", 1, "--strategies", "grid", "--out", "study"]
    with installing(tmp_path, monkeypatch) as site:
        site.write("../mine.py", SOUND)
        assert call_here("run", "--candidates", "mine.py:PowersOfTwo", *options).code == 0
    again = tmp_path / "again"
    again.mkdir()
    with installing(again, monkeypatch) as site:
        site.write("../mine.py", SOUND.replace("2.0**3", "2.0**2"))
        done = call_here("run", "--candidates", "mine.py:PowersOfTwo", *options[:-1], tmp_path / "study")
        assert done.code == 2 and "choice powers-of-two: its code is not what" in done.err


def test_a_file_may_name_no_code(call_here: Call, tmp_path: Path) -> None:
    config = tmp_path / "study.toml"
    config.write_text('candidates = ["mine.py:PowersOfTwo"]\n')
    done = call_here("run", "--config", config, "--out", tmp_path / "study")
    assert done.code == 2 and "is code to load, which only the command line may name" in done.err
