from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from typing import Any

import pytest
from support.installed import Site, installing

from autodpq.data import DATASETS, dataset_spec
from autodpq.errors import AutoDPQError
from autodpq.models import MODELS
from autodpq.plugins.loading import load
from autodpq.plugins.registry import Registry, is_class_of
from autodpq.search.strategy import STRATEGIES, Strategy
from baselines import FullEmbedding, Grid

GROUP = "tests.strategies"
STRATEGY = """
from autodpq.search.strategy import Strategy

class {kind}(Strategy):
    name = {name!r}

    def search(self, task):
        return None
"""


def strategy_text(kind: str = "Plug", name: object = "plug") -> str:
    return STRATEGY.format(kind=kind, name=name)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with installing(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def registry() -> Registry[type[Strategy]]:
    made: Registry[type[Strategy]] = Registry("strategy", GROUP, is_class_of(Strategy))
    made.add(FullEmbedding)
    return made


def origins(registry: Registry[Any]) -> dict[str, str]:
    return {entry.name: entry.origin for entry in registry.known()}


def refused(call: Callable[[], object]) -> str:
    """The message of an error, which is one line."""
    with pytest.raises(AutoDPQError) as error:
        call()
    assert "\n" not in str(error.value), str(error.value)
    return str(error.value)


def test_installed_plug_in_is_found_by_its_name_and_loaded_when_it_is(
    site: Site, registry: Registry[type[Strategy]]
) -> None:
    module = site.install("some-tools", strategy_text(), {GROUP: {"plug": "some_tools:Plug"}}, version="2.3")
    assert registry.names() == ["fe", "plug"] and list(registry) == ["fe"] and module not in sys.modules
    found = registry.find("plug")
    assert (found.__module__, found.__name__) == (module, "Plug")
    assert registry["plug"] is registry.find("plug") is found and len(registry) == 2
    assert origins(registry) == {"fe": "built in", "plug": "some-tools 2.3"}
    assert all(entry.error is None and entry.thing is registry[entry.name] for entry in registry.known())


def test_one_distribution_may_bring_many(site: Site, registry: Registry[type[Strategy]]) -> None:
    text = strategy_text("One", "one") + strategy_text("Two", "two")
    site.install("some-tools", text, {GROUP: {"two": "some_tools:Two", "one": "some_tools:One"}})
    assert registry.names() == ["fe", "one", "two"]
    assert origins(registry) == {"fe": "built in", "one": "some-tools 1.0", "two": "some-tools 1.0"}


def test_what_is_installed_is_read_anew_only_when_it_has_changed(
    site: Site, registry: Registry[type[Strategy]], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(*, group: str) -> EntryPoints:
        read.append(group)
        return entry_points(group=group)

    monkeypatch.setattr("autodpq.plugins.registry.entry_points", counted)
    site.install("some-tools", strategy_text(), {GROUP: {"plug": "some_tools:Plug"}})
    for _ in range(3):
        assert registry.names() == ["fe", "plug"] and registry.knows("plug")
    assert read == [GROUP]
    site.install("more-tools", strategy_text(), {GROUP: {"more": "more_tools:Plug"}})
    assert registry.names() == ["fe", "more", "plug"] and read == [GROUP, GROUP]


def test_plug_in_that_registers_itself_too_is_one(site: Site) -> None:
    text = strategy_text().replace("import Strategy", "import Strategy, register")
    site.install(
        "some-tools", text.replace("class", "@register\nclass"), {STRATEGIES.group: {"plug": "some_tools:Plug"}}
    )
    assert STRATEGIES.find("plug").__module__ == "some_tools"
    assert next(entry.origin for entry in STRATEGIES.known() if entry.name == "plug") == "some-tools 1.0"


def test_plug_ins_of_another_group_are_not_drawn_in(site: Site, registry: Registry[type[Strategy]]) -> None:
    site.install("some-tools", strategy_text(), {"tests.models": {"plug": "some_tools:Plug"}})
    assert registry.names() == ["fe"] and origins(registry) == {"fe": "built in"}


ABSTRACT = "from autodpq.search.strategy import Strategy\nclass Plug(Strategy):\n    name = 'plug'\n"
# The module, and what its error ends with.
BROKEN = {
    "import": ("import nowhere_at_all\n", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
    "syntax": ("x = 1\ndef broken(:\n", "SyntaxError: invalid syntax (plug_tools.py, line 2)"),
    "exit": ("import sys\nsys.exit(4)\n", "SystemExit: 4"),
    "two lines": ("raise RuntimeError('first\\n  second')\n", "RuntimeError: first second"),
    "ours": ("from autodpq import AutoDPQError\nraise AutoDPQError('needs a sun')\n", "does not load: needs a sun"),
    "no class": ("Plugs = 3\n", "module 'plug_tools' has no attribute 'Plug'"),
    "no strategy": ("class Plug:\n    name = 'plug'\n", "Plug is no subclass of autodpq.search.strategy.Strategy"),
    "no type": ("Plug = 17\n", "17 is no subclass of autodpq.search.strategy.Strategy"),
    "abstract": (ABSTRACT, "Plug does not define search"),
    "no name": (strategy_text().replace("    name = 'plug'\n", ""), "Plug has no name"),
    "another name": (
        strategy_text(name="plugs"),
        "plug_tools:Plug calls itself 'plugs', which its entry point must be",
    ),
    "built in": (strategy_text(name="plug").replace("'plug'", "'fe'"), "calls itself 'fe'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_plug_in_is_listed_with_its_error_and_harms_no_other(
    site: Site, registry: Registry[type[Strategy]], kind: str
) -> None:
    text, message = BROKEN[kind]
    site.install("plug-tools", text, {GROUP: {"plug": "plug_tools:Plug"}})
    site.install("sound-tools", strategy_text("Sound", "sound"), {GROUP: {"sound": "sound_tools:Sound"}})
    entries = {entry.name: entry for entry in registry.known()}
    assert list(entries) == ["fe", "sound", "plug"]
    broken = entries["plug"]
    assert (broken.origin, broken.thing) == ("plug-tools 1.0", None)
    assert broken.error is not None and message in broken.error and "plug-tools 1.0" in broken.error
    assert set(registry) == {"fe", "sound"} and registry.find("sound") is entries["sound"].thing
    assert refused(lambda: registry.find("plug")) == broken.error


def test_all_broken_plug_ins_together_harm_nothing(site: Site, registry: Registry[type[Strategy]]) -> None:
    for number, (text, _) in enumerate(BROKEN.values()):
        site.install(f"tools-{number}", text, {GROUP: {f"plug{number}": f"tools_{number}:Plug"}})
    site.install("sound-tools", strategy_text("Sound", "sound"), {GROUP: {"sound": "sound_tools:Sound"}})
    entries = registry.known()
    assert {entry.name for entry in entries if entry.error is None} == {"fe", "sound"}
    assert len([entry for entry in entries if entry.error is not None]) == len(BROKEN)
    assert registry.find("sound").name == "sound" and registry.find("fe") is FullEmbedding


@pytest.mark.parametrize("value", ["plug_tools", "plug_tools:", "plug_tools:Plug.search", "plug_tools:Plug and more"])
def test_entry_point_that_names_no_class_is_broken(site: Site, registry: Registry[type[Strategy]], value: str) -> None:
    site.install("plug-tools", strategy_text(), {GROUP: {"plug": value}})
    message = refused(lambda: registry.find("plug"))
    assert "plug-tools 1.0" in message or message.startswith("plug-tools 1.0"), message
    assert [entry.name for entry in registry.known() if entry.error is not None] == ["plug"]


def test_plug_in_cannot_take_the_name_of_a_built_in(site: Site, registry: Registry[type[Strategy]]) -> None:
    site.install("plug-tools", strategy_text(name="fe"), {GROUP: {"fe": "plug_tools:Plug"}})
    assert registry.names() == ["fe"] and registry.find("fe") is FullEmbedding
    sound, broken = registry.known()
    assert (sound.origin, sound.thing, sound.error) == ("built in", FullEmbedding, None)
    assert (broken.origin, broken.thing) == ("plug-tools 1.0", None)
    assert broken.error == "strategy 'fe' is there twice: baselines.fe:FullEmbedding and plug-tools 1.0; rename one"
    assert registry.find("fe") is FullEmbedding, "listing changed what the name stands for"


def test_two_distributions_with_one_name(site: Site, registry: Registry[type[Strategy]]) -> None:
    for name in ("one-tools", "two-tools"):
        site.install(name, strategy_text(), {GROUP: {"plug": f"{name.replace('-', '_')}:Plug"}})
    message = refused(lambda: registry.find("plug"))
    assert "'plug' is there twice: one_tools:Plug of one-tools 1.0 and two_tools:Plug of two-tools 1.0" in message
    assert "one_tools" not in sys.modules and "two_tools" not in sys.modules
    broken = [entry for entry in registry.known() if entry.error is not None]
    assert [entry.origin for entry in broken] == ["one-tools 1.0", "two-tools 1.0"]
    assert {entry.error for entry in broken} == {message} and list(registry) == ["fe"]
    # Either can still be said by what it is.
    assert registry.find("two_tools:Plug").__module__ == "two_tools"


def test_one_distribution_that_is_on_the_path_twice_is_one(site: Site, registry: Registry[type[Strategy]]) -> None:
    for version in ("1.0", "1.1"):
        site.install("plug-tools", strategy_text(), {GROUP: {"plug": "plug_tools:Plug"}}, version=version)
    assert registry.find("plug").__module__ == "plug_tools"
    assert [entry.error for entry in registry.known()] == [None, None]


def test_unknown_name_names_the_nearest_even_of_what_is_not_loaded(
    site: Site, registry: Registry[type[Strategy]]
) -> None:
    site.install("plug-tools", strategy_text(name="hill-climb"), {GROUP: {"hill-climb": "plug_tools:Plug"}})
    message = refused(lambda: registry.find("hil-climb"))
    assert message == "unknown strategy 'hil-climb'; did you mean 'hill-climb'?"
    assert "plug_tools" not in sys.modules


def test_module_and_class_from_the_current_folder(
    site: Site, registry: Registry[type[Strategy]], tmp_path: Path
) -> None:
    site.write("../own/__init__.py", "")
    site.write("../own/mine.py", strategy_text("Mine", "mine"))
    found = registry.find("own.mine:Mine")
    assert (found.name, found.__module__) == ("mine", "own.mine")
    assert registry.find("own.mine:Mine") is registry.find("mine") is found
    assert origins(registry) == {"fe": "built in", "mine": "own.mine:Mine"}


def test_class_of_a_file_and_a_module_beside_it(site: Site, registry: Registry[type[Strategy]]) -> None:
    site.write("../far/beside.py", "NAME = 'mine'\n")
    text = strategy_text("Mine", "mine").replace("name = 'mine'", "name = beside.NAME")
    file = site.write("../far/mine file.py", "import beside\n" + text)
    found = registry.find(f"{file}:Mine")
    assert found.name == "mine" and origins(registry)["mine"] == f"{file}:Mine"
    assert found().search(None) is None  # type: ignore[arg-type, func-returns-value]


def test_one_file_is_one_module_however_it_is_written(
    site: Site, registry: Registry[type[Strategy]], monkeypatch: pytest.MonkeyPatch
) -> None:
    count = "import builtins\nbuiltins.times_loaded = getattr(builtins, 'times_loaded', 0) + 1\n"
    file = site.write("../far/mine.py", count + strategy_text("Mine", "mine") + strategy_text("Other", "other"))
    monkeypatch.setattr("builtins.times_loaded", 0, raising=False)
    monkeypatch.setenv("HOME", str(file.parents[1]))
    found = registry.find(f"{file}:Mine")
    for spelled in ("far/mine.py", "./far/mine.py", "far/../far/mine.py", "~/far/mine.py"):
        assert registry.find(f"{spelled}:Mine") is found
        assert registry.find(f"{spelled}:Other").__module__ == found.__module__
    assert sys.modules["builtins"].times_loaded == 1  # type: ignore[attr-defined]


def test_files_of_one_name_are_two_modules(site: Site, registry: Registry[type[Strategy]]) -> None:
    one = site.write("../one/mine.py", strategy_text("Mine", "first"))
    two = site.write("../two/mine.py", strategy_text("Mine", "second"))
    assert registry.find(f"{one}:Mine").name == "first" and registry.find(f"{two}:Mine").name == "second"


REFERENCES = [
    ("gone.py:Mine", "", "gone.py:Mine: there is no file gone.py"),
    ("gone.module:Mine", "", "gone.module:Mine: gone.module does not import: ModuleNotFoundError: No module named"),
    ("mine.py:Mien", "", "mine.py:Mien: mine.py has no 'Mien'; did you mean 'Mine'?"),
    ("mine:Mien", "", "mine:Mien: mine has no 'Mien'; did you mean 'Mine'?"),
    ("mine.py:Strategy", "", "mine.py:Strategy: Strategy does not define search"),
    ("mine.py:number", "number = 3", "mine.py:number: 3 is no subclass of autodpq.search.strategy.Strategy"),
    ("mine.py:dict", "dict = dict", "mine.py:dict: dict is no subclass of autodpq.search.strategy.Strategy"),
    ("mine.py:Mine", "import gone", "mine.py, line 1: ModuleNotFoundError: No module named 'gone'"),
    ("mine.py:Mine", "x = 1\ny = x / 0", "mine.py, line 2: ZeroDivisionError: division by zero"),
    ("mine.py:Mine", "def f():\n    return [][1]\n\nf()", "mine.py, line 2: IndexError: list index out of range"),
    ("mine.py:Mine", "x = 1\ndef f(:", "SyntaxError: invalid syntax (mine.py, line 2)"),
    ("mine.py:Mine", "raise ValueError('one\\ntwo')", "mine.py, line 1: ValueError: one two"),
    ("mine.py:Mine", "import sys\nsys.exit(3)", "mine.py, line 2: SystemExit: 3"),
    ("mine:Mine", "x = 1\ny = x / 0", "mine:Mine: mine does not import: ZeroDivisionError: division by zero"),
    ("mine:Mine", "x = 1\ndef f(:", "mine:Mine: mine does not import: SyntaxError: invalid syntax (mine.py, line 2)"),
    ("mine:Mine", "raise ValueError('one\\ntwo')", "mine:Mine: mine does not import: ValueError: one two"),
    ("mine:Mine", "import sys\nsys.exit(3)", "mine:Mine: mine does not import: SystemExit: 3"),
    ("mine.py:", "", "'mine.py:': expected package.module:Name or path/to/file.py:Name"),
    (":Mine", "", "':Mine': expected package.module:Name or path/to/file.py:Name"),
    ("mine.py:Mine.search", "", "'mine.py:Mine.search': expected package.module:Name or path/to/file.py:Name"),
    ("mine.py", "", "unknown strategy 'mine.py'"),
    ("", "", "unknown strategy ''"),
]


@pytest.mark.parametrize(("reference", "before", "message"), REFERENCES)
def test_reference_that_cannot_be_used_is_refused_in_one_line(
    site: Site, registry: Registry[type[Strategy]], reference: str, before: str, message: str
) -> None:
    site.write("../mine.py", f"{before}\n{strategy_text('Mine', 'mine')}")
    assert message in refused(lambda: registry.find(reference))
    assert dict(registry) == {"fe": FullEmbedding} and origins(registry) == {"fe": "built in"}


def test_error_beside_a_file_names_the_file_s_own_line(site: Site, registry: Registry[type[Strategy]]) -> None:
    site.write("../far/beside.py", "\n\n\n1 / 0\n")
    file = site.write("../far/mine.py", "\nimport beside\n" + strategy_text("Mine", "mine"))
    message = refused(lambda: registry.find(f"{file}:Mine"))
    assert message.endswith("mine.py, line 2: ZeroDivisionError: division by zero")


def test_file_that_was_mended_can_be_loaded(site: Site, registry: Registry[type[Strategy]]) -> None:
    file = site.write("../mine.py", "1 / 0\n")
    refused(lambda: registry.find("mine.py:Mine"))
    file.write_text(strategy_text("Mine", "mine"))
    assert registry.find("mine.py:Mine").name == "mine"


def test_load_gives_whatever_the_name_stands_for(site: Site) -> None:
    site.write("../mine.py", "number = 17\n")
    assert load("mine.py:number") == load("mine:number") == 17
    assert load("collections.abc:Mapping") is Mapping


@pytest.mark.parametrize("first", ["built in", "file", "module", "installed"])
@pytest.mark.parametrize("second", ["file", "other file", "module", "installed"])
def test_names_are_not_taken_twice(site: Site, registry: Registry[type[Strategy]], first: str, second: str) -> None:
    text = strategy_text("Mine", "grid" if first == "built in" else "mine")
    site.write("../a.py", text)
    site.write("../b.py", text)
    site.write("../c.py", text)
    references = {"file": "a.py:Mine", "other file": "./b.py:Mine", "module": "c:Mine", "installed": "mine"}
    if first == "built in":
        references["installed"] = "grid"
        registry.add(Grid)
        kept: type[Strategy] = Grid
    else:
        if first == "installed":
            site.install("plug-tools", text, {GROUP: {"mine": "plug_tools:Mine"}})
        kept = registry.find(references[first])
    before = dict(registry)
    if second == "installed":
        site.install("plug-tools", text, {GROUP: {kept.name: "plug_tools:Mine"}})
        # A name stands for what has it already; the newcomer is listed as broken.
        assert registry.find(references[second]) is kept
        broken = [entry for entry in registry.known() if entry.error is not None]
        assert [entry.origin for entry in broken] == ([] if first == "installed" else ["plug-tools 1.0"])
        assert all("is there twice" in (entry.error or "") for entry in broken)
    elif second == first:
        assert registry.find(references[second]) is kept
    else:
        message = refused(lambda: registry.find(references[second]))
        assert f"strategy {kept.name!r} is there twice: " in message and message.endswith("; rename one")
        assert references[second] in message
    assert dict(registry) == before and registry[kept.name] is kept


@pytest.mark.parametrize("reference", ["a.py:Mine", "a:Mine"])
def test_name_of_an_installed_plug_in_that_is_not_loaded_yet_is_taken_too(
    site: Site, registry: Registry[type[Strategy]], reference: str
) -> None:
    # Else which of the two a study means would depend on the order in which it names them.
    site.install("plug-tools", strategy_text(name="mine"), {GROUP: {"mine": "plug_tools:Plug"}})
    site.write("../a.py", strategy_text("Mine", "mine"))
    message = refused(lambda: registry.find(reference))
    assert "strategy 'mine' is there twice: " in message and reference in message and "plug-tools 1.0" in message
    assert registry.find("mine").__module__ == "plug_tools"


def test_installed_plug_in_may_be_named_by_its_module(site: Site, registry: Registry[type[Strategy]]) -> None:
    site.install("plug-tools", strategy_text(), {GROUP: {"plug": "plug_tools:Plug"}})
    assert registry.find("plug_tools:Plug") is registry.find("plug")
    assert [entry.error for entry in registry.known()] == [None, None]


@pytest.mark.parametrize("name", ["a,b", "", "x(y)", "a b", "a:b", "a/b", "-a", ".a", "a=b", "plug\n", "é", "'a'"])
def test_names_that_could_not_be_given_are_refused(site: Site, registry: Registry[type[Strategy]], name: str) -> None:
    site.write("../mine.py", strategy_text("Mine", name))
    message = refused(lambda: registry.find("mine.py:Mine"))
    assert message == f"mine.py:Mine: a strategy's name is made of letters, digits and -_.+, not {name!r}"
    assert list(registry) == ["fe"]


@pytest.mark.parametrize("name", [3, None, ("a",)])
def test_names_that_are_no_texts_are_refused(site: Site, registry: Registry[type[Strategy]], name: object) -> None:
    site.write("../mine.py", strategy_text("Mine", name))
    assert refused(lambda: registry.find("mine.py:Mine")) == "mine.py:Mine: Mine has no name"


@pytest.mark.parametrize("name", ["a", "A-1", "hill_climb", "dcn.v2", "3+4"])
def test_names_that_can_be_given_are_taken(site: Site, registry: Registry[type[Strategy]], name: str) -> None:
    site.write("../mine.py", strategy_text("Mine", name))
    assert registry.find("mine.py:Mine") is registry[name]


def test_registry_forgets(registry: Registry[type[Strategy]]) -> None:
    registry.add(Grid, "somewhere")
    assert origins(registry) == {"fe": "built in", "grid": "somewhere"}
    registry.forget("grid")
    assert dict(registry) == {"fe": FullEmbedding} and origins(registry) == {"fe": "built in"}
    with pytest.raises(KeyError):
        registry.forget("grid")


REGISTERED = """
from autodpq.search.strategy import Strategy, register

@register
class Left(Strategy):
    name = "left-over"

    def search(self, task):
        return None
"""


@pytest.mark.parametrize("end", ["1 / 0", "import gone", "class Mine: name = 'mine'"])
@pytest.mark.parametrize("reference", ["mine.py:Mine", "mine:Mine"])
def test_what_fails_leaves_nothing_registered(site: Site, reference: str, end: str) -> None:
    before = dict(STRATEGIES)
    site.write("../mine.py", f"{REGISTERED}\n{end}\n")
    refused(lambda: STRATEGIES.find(reference))
    assert dict(STRATEGIES) == before


def test_installed_plug_in_that_fails_leaves_nothing_registered(site: Site) -> None:
    before = dict(STRATEGIES)
    site.install("plug-tools", f"{REGISTERED}\n1 / 0\n", {STRATEGIES.group: {"plug": "plug_tools:Left"}})
    site.install("other-tools", REGISTERED, {STRATEGIES.group: {"other": "other_tools:Left"}})
    for name in ("plug", "other"):
        refused(lambda: STRATEGIES.find(name))  # noqa: B023
    assert dict(STRATEGIES) == before


DATA = """
from autodpq.data import DatasetSpec

def load(options):
    raise NotImplementedError

SHOP = DatasetSpec("shop", "a shop's clicks", 5, (8,), (2,), "random", load, frozenset())
"""
MODEL = """
from autodpq.models import CTRModel

class Sum(CTRModel):
    name = "sum"

    def forward(self, embeddings):
        return embeddings.sum((1, 2))
"""


def test_data_sets_are_plugged_in_alike(site: Site) -> None:
    site.write("../data.py", DATA)
    spec = dataset_spec("data.py:SHOP")
    assert (spec.name, spec.threshold) == ("shop", 5)
    assert DATASETS["shop"] is dataset_spec("shop") is dataset_spec("data:SHOP".replace("data:", "./data.py:")) is spec
    assert next(entry.origin for entry in DATASETS.known() if entry.name == "shop") == "./data.py:SHOP"
    assert "data.py:load: <function load" in refused(lambda: dataset_spec("data.py:load"))
    assert "data.py:Shop: data.py has no 'Shop'; did you mean 'SHOP'?" in refused(lambda: dataset_spec("data.py:Shop"))


def test_installed_data_sets_and_models_are_found_by_name(site: Site) -> None:
    site.install("shop-data", DATA, {DATASETS.group: {"shop": "shop_data:SHOP"}})
    site.install("sum-model", MODEL, {MODELS.group: {"sum": "sum_model:Sum"}})
    site.install("bad-data", "SHOP = 3\n", {DATASETS.group: {"bad": "bad_data:SHOP"}})
    assert dataset_spec("shop").description == "a shop's clicks"
    assert MODELS.find("sum").__module__ == "sum_model"
    assert "did you mean 'shop'" in refused(lambda: dataset_spec("shpo"))
    assert "bad-data 1.0: 3 is no autodpq.data.DatasetSpec" in refused(lambda: dataset_spec("bad"))
    assert {entry.name: entry.origin for entry in MODELS.known()}["sum"] == "sum-model 1.0"


@pytest.mark.parametrize("name", ["a,b", "", "x(y)", 3])
def test_data_sets_need_names_that_can_be_given_too(site: Site, name: object) -> None:
    site.write("../data.py", DATA.replace('"shop"', repr(name)))
    message = refused(lambda: dataset_spec("data.py:SHOP"))
    assert message == f"data.py:SHOP: a data set's name is made of letters, digits and -_.+, not {name!r}"
    assert "shop" not in DATASETS


def test_data_set_cannot_take_the_name_of_another(site: Site) -> None:
    site.write("../data.py", DATA.replace('"shop"', '"avazu"'))
    assert refused(lambda: dataset_spec("data.py:SHOP")) == (
        "data set 'avazu' is there twice: built in and data.py:SHOP; rename one"
    )
    assert dataset_spec("avazu").threshold == 7


def test_installed_data_set_may_be_named_by_its_module(site: Site) -> None:
    site.install("shop-data", DATA, {DATASETS.group: {"shop": "shop_data:SHOP"}})
    spec = dataset_spec("shop_data:SHOP")
    assert spec.name == "shop" and dataset_spec("shop") is spec
    assert [entry.error for entry in DATASETS.known() if entry.name == "shop"] == [None]


def test_installed_class_may_be_named_by_where_it_is_shown_again(
    site: Site, registry: Registry[type[Strategy]]
) -> None:
    site.write("plug_tools_front.py", "from plug_tools import Plug\n")
    site.install("plug-tools", strategy_text(), {GROUP: {"plug": "plug_tools_front:Plug"}})
    for reference in ("plug_tools_front:Plug", "plug"):
        assert registry.find(reference) is registry["plug"]
        registry.forget("plug")


def test_file_of_data_is_no_code(site: Site) -> None:
    # What exists as it is written is read, never run.
    path = site.write("../clicks.py:SHOP", "click,a\n0,1\n")
    site.write("../clicks.py", "raise AssertionError('it was run')\n")
    assert "this kind of file cannot be read" in refused(lambda: dataset_spec(path.name).load(None))  # type: ignore[arg-type]


def test_models_are_plugged_in_alike(site: Site) -> None:
    site.write("../models.py", MODEL)
    model = MODELS.find("models.py:Sum")
    assert MODELS["sum"] is model and model.name == "sum"
    assert "CTRModel does not define forward" in refused(lambda: MODELS.find("models.py:CTRModel"))
    site.write("../more.py", MODEL.replace('"sum"', '"deepfm"'))
    message = refused(lambda: MODELS.find("more.py:Sum"))
    assert message == "model 'deepfm' is there twice: autodpq.models.deepfm:DeepFM and more.py:Sum; rename one"


LATE = """
LOADED = []

class Slow:
    name = "slow"

LOADED.append(Slow)
"""


def late_registry(site: Site) -> Registry[Any]:
    site.write("slow_thing.py", LATE)
    made: Registry[Any] = Registry("thing", "tests.things", lambda thing: None)
    made.add_late("slow", "slow_thing:Slow")
    return made


def test_late_thing_is_named_and_listed_without_being_loaded(site: Site) -> None:
    made = late_registry(site)
    assert made.names() == list(made) == ["slow"] and "slow" in made and len(made) == 1
    (entry,) = made.known()
    assert (entry.name, entry.origin, entry.thing, entry.error) == ("slow", "built in", None, None)
    assert entry.reference == "slow_thing:Slow" and "slow_thing" not in sys.modules


def test_late_thing_is_loaded_when_it_is_used_and_once(site: Site) -> None:
    made = late_registry(site)
    slow = made.find("slow")
    assert slow is made["slow"] is sys.modules["slow_thing"].Slow and dict(made) == {"slow": slow}
    assert sys.modules["slow_thing"].LOADED == [slow]
    (entry,) = made.known()
    assert entry.thing is slow and entry.reference is None
    made.add(slow)
    made.forget("slow")
    assert not made


def test_name_of_a_late_thing_is_taken(site: Site) -> None:
    made = late_registry(site)
    file = site.write("other.py", "class Other:\n    name = 'slow'\n")
    message = refused(lambda: made.find(f"{file}:Other"))
    assert message == f"thing 'slow' is there twice: slow_thing:Slow and {file}:Other; rename one"
    assert made.find("slow").__name__ == "Slow"
