from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from autodpq.errors import AutoDPQError
from studies.cli.options import is_given, takes
from studies.options import CommandLine, StudyConfig, columns, names, numbers


def given(*arguments: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a command gets of a command line."""
    app, seen = typer.Typer(pretty_exceptions_enable=False), {}

    @app.command()
    @takes(*options)
    def command(
        context: typer.Context, *, own: int = 3, seeds: int, K: tuple[int, ...] | None = None, **others: Any
    ) -> None:
        seen.update(
            others, seeds=seeds, own=own, K=K, given={name for name in context.params if is_given(context, name)}
        )

    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return seen


def test_options_that_are_not_given_are_the_study_s_own() -> None:
    values = given()
    assert values.pop("own") == 3 and values.pop("given") == set()
    assert set(values) == set(StudyConfig.model_fields) - {"options"}
    assert StudyConfig(**values) == StudyConfig()


def test_options_are_read_as_their_fields_hold_them() -> None:
    text = (
        "--strategies fe,tpe(batch_size=2,x=1) --models pnn --seeds 2 --trial-timeout 1.5 --K 8,16 --resplit "
        "--no-tensorboard --candidates dpq(8,2),others --data-dir here --fields a,b"
    )
    values = given(*text.split(), "--exclude", '"a, b", c', "--own", "4")
    assert (values["strategies"], values["models"]) == (("fe", "tpe(batch_size=2,x=1)"), ("pnn",))
    assert (values["seeds"], values["trial_timeout"], values["own"]) == (2, 1.5, 4)
    assert (values["K"], values["D"], values["candidates"]) == ((8, 16), None, "dpq(8,2),others")
    assert (values["resplit"], values["tensorboard"], values["data_dir"]) == (True, False, "here")
    assert (values["fields"], values["exclude"]) == (("a", "b"), ("a, b", "c"))
    asked = "strategies models seeds trial_timeout K resplit tensorboard candidates data_dir fields exclude own"
    assert values["given"] == set(asked.split())


def test_a_command_takes_the_options_that_it_names_alone() -> None:
    taken = ("label", "seeds", "K")
    assert set(given("--label", "x", options=taken)) == {*taken, "own", "given"}
    with pytest.raises(AssertionError, match="No such option"):
        given("--models", "pnn", options=taken)


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--K", "8,x", "--K: '8,x' given, whole numbers as 8,16 are needed"),
        ("--D", "", "--D: '' given, whole numbers as 8,16 are needed"),
        ("--numeric", "a,,b", "--numeric: 'a,,b' given, names of columns as user,item are needed"),
        ("--strategies", "tpe(x", "--strategies: 'tpe(x': ')' is missing"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_its_option(option: str, text: str, message: str) -> None:
    with pytest.raises(AutoDPQError) as error:
        given(option, text)
    assert str(error.value) == message


def test_every_option_but_those_of_strategies_has_a_help_of_its_own() -> None:
    lines = {
        name: [line.help for line in field.metadata if isinstance(line, CommandLine)]
        for name, field in StudyConfig.model_fields.items()
    }
    assert lines.pop("options") == []
    assert all(len(line) == 1 and line[0].endswith(".") for line in lines.values())
    assert len({line[0] for line in lines.values()}) == len(lines)


def test_texts_between_commas() -> None:
    assert names(" fe, tpe(a=1,b=2) ,") == ("fe", "tpe(a=1,b=2)")
    assert numbers("8, 16") == (8, 16)
    assert columns('a, "b,c" ,d') == ("a", "b,c", "d")
