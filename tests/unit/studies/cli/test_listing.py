from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.installed import Site, installing

from autodpq.data import DATASETS
from autodpq.models import MODELS
from studies.cli.listing import list_lines


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with installing(tmp_path, monkeypatch) as made:
        yield made


def test_strategies_are_listed_with_their_options() -> None:
    lines = list(list_lines("strategies"))
    names = [line.split()[0] for line in lines]
    assert names[:6] == ["autodpq", "fe", "fe-continued", "grid", "others", "random"]
    assert {"tpe", "nsga2", "random-ray", "asha"} <= set(names)
    assert "search_epochs=2" in lines[0] and "Options" not in lines[1]
    assert all(len(line.split()) > 4 and "\n" not in line for line in lines)
    assert all(line.split()[1:3] == ["built", "in"] for line in lines[:6])
    (nsga2,) = (line for line in lines if line.startswith("nsga2 "))
    assert nsga2.endswith(" Options: population_size=5.")


def test_texts_are_plain() -> None:
    assert not any(
        letter in line for what in ("strategies", "models", "datasets") for line in list_lines(what) for letter in "`~"
    )


@pytest.mark.parametrize("what", ["strategies", "models", "datasets"])
@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_long_texts_go_on_below_themselves(what: str, width: int) -> None:
    whole, folded = list(list_lines(what)), list(list_lines(what, width))
    assert all(len(line) <= width for line in folded) and len(folded) > len(whole)
    entries: list[list[str]] = []
    for line in folded:
        if line[0] != " ":
            entries.append([])
        entries[-1].append(line)
    assert [" ".join(" ".join(entry).split()) for entry in entries] == [" ".join(line.split()) for line in whole]
    for entry in entries:
        below = {len(line) - len(line.lstrip()) for line in entry[1:]}
        assert below <= {4} or below == {len(entry[0]) - len(entry[0].split("built in")[1].lstrip())}


def test_wide_terminals_have_one_line_for_each() -> None:
    assert list(list_lines("strategies", 1000)) == list(list_lines("strategies"))


def test_models_and_data_sets_are_listed() -> None:
    assert [line.split()[0] for line in list_lines("models")] == list(MODELS)
    lines = list(list_lines("datasets"))
    assert [line.split()[0] for line in lines] == list(DATASETS)
    assert "threshold 40" in next(line for line in lines if line.startswith("movielens1m"))


SOUND = """
from autodpq.data import DatasetSpec
from autodpq.models import CTRModel
from autodpq.search.strategy import Strategy

class Mine(Strategy):
    '''Does all of :class:`~autodpq.search.strategy.Strategy` in ``ask_it``.

    In a way of its own.
    '''

    name = "mine"

    def __init__(self, *, size: int, word: str = "a") -> None:
        self.size, self.word = size, word

    def search(self, task):
        return None

class Sum(CTRModel):
    '''Adds it all up.'''

    name = "sum"

    def forward(self, embeddings):
        return embeddings.sum((1, 2))

SHOP = DatasetSpec("shop", "a shop's clicks", 5, (8,), (2,), "random", None, frozenset())
"""


@pytest.mark.parametrize(
    ("what", "kind", "name", "value", "text", "built_in"),
    [
        ("strategies", "strategy", "mine", "Mine", "Does all of Strategy in ask_it. Options: size, word='a'.", "fe"),
        ("models", "model", "sum", "Sum", "Adds it all up.", "deepfm"),
        ("datasets", "data set", "shop", "SHOP", "a shop's clicks (threshold 5)", "avazu"),
    ],
)
def test_plug_ins_are_listed_with_their_origin_and_broken_ones_with_their_error(
    site: Site, what: str, kind: str, name: str, value: str, text: str, built_in: str
) -> None:
    before = {line.split()[0]: " ".join(line.split()) for line in list_lines(what)}
    site.install("sound-things", SOUND, {f"autodpq.{what}": {name: f"sound_things:{value}"}}, version="2.5")
    # One of them has a name that is taken.
    points = {"late": f"broken_things:{value}", built_in: f"broken_things:{value}"}
    site.install("broken-things", "raise RuntimeError('made to\\n  fail')\n", {f"autodpq.{what}": points})
    lines = list(list_lines(what))
    sound = {line.split()[0]: line for line in lines if "cannot be used" not in line}
    assert sound[name].split()[:3] == [name, "sound-things", "2.5"] and sound[name].endswith(text)
    broken = [line for line in lines if line not in sound.values()]
    assert [line.split()[0] for line in broken] == [built_in, "late"]
    for line in broken:
        entry = line.split()[0]
        assert line.split()[1:3] == ["broken-things", "1.0"]
        message = f"{kind} {entry!r} of broken-things 1.0 does not load: RuntimeError: made to fail"
        assert line.endswith(f"cannot be used: {message}")
        assert line.index("cannot be used") == sound[name].index(text), "columns are not aligned"
    # All others are listed as ever.
    assert {entry: " ".join(line.split()) for entry, line in sound.items() if entry != name} == before


CONSTRUCTORS = """
from autodpq.search.strategy import Strategy

class Swallows(Strategy):
    '''Takes anything.'''

    name = "swallows"

    def __init__(self, **options):
        pass

    def search(self, task):
        return None
"""


def test_strategy_whose_options_cannot_be_read_is_listed_with_the_reason(site: Site) -> None:
    site.install("odd-things", CONSTRUCTORS, {"autodpq.strategies": {"swallows": "odd_things:Swallows"}})
    (line,) = (line for line in list_lines("strategies") if line.startswith("swallows "))
    assert line.endswith("Takes anything. swallows: its constructor takes **options; every option needs a name")
