"""Options of a study as options of commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar, get_args

import typer
from pydantic.fields import FieldInfo

from autodpq.errors import AutoDPQError
from studies.options import CommandLine, StudyConfig

Command = TypeVar("Command", bound=Callable[..., None])

FOLDERS = ("data_dir", "cache_dir")
COLUMNS = ("label", "fields", "exclude", "numeric", "missing", "multi", "split_column", "time_column", "weight_column")


def takes(*options: str) -> Callable[[Command], Command]:
    """Decorator: the command takes these options of a study, before options of its own, by name or as ``**options``.

    Args:
        options: Fields of :class:`studies.options.StudyConfig`; none for all that stand on the command line.
    """
    shared = list(_parameters(options or tuple(StudyConfig.model_fields)))

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        known = {parameter.name for parameter in shared}
        own = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.kind != parameter.VAR_KEYWORD and parameter.name not in known
        ]
        first = sum(parameter.kind == parameter.POSITIONAL_OR_KEYWORD for parameter in own)
        # Which typer makes the command of.
        command.__signature__ = signature.replace(parameters=[*own[:first], *shared, *own[first:]])  # type: ignore[attr-defined]
        return command

    return decorate


def is_given(context: typer.Context, option: str) -> bool:
    """Whether the command line gives an option."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _parameters(options: tuple[str, ...]) -> Iterator[inspect.Parameter]:
    for name in options:
        field = StudyConfig.model_fields[name]
        line = next((found for found in field.metadata if isinstance(found, CommandLine)), None)
        if line is None:
            continue
        flag = f"--{name.replace('_', '-')}"
        both = f"{flag}/--no-{flag[2:]}" if field.annotation is bool else flag
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        read = _reading(flag, line)
        option = typer.Option(both, help=line.help, rich_help_panel=line.panel, callback=read)
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[_kind(field, line), option]
        )


def _kind(field: FieldInfo, line: CommandLine) -> Any:
    """What typer reads: numbers, flags and paths; all else is text."""
    parts = get_args(field.annotation) or (field.annotation,)
    kind = line.kind or next((kind for kind in (bool, int, float) if kind in parts), str)
    return kind | None if type(None) in parts else kind


def _reading(flag: str, line: CommandLine) -> Callable[[Any], Any] | None:
    """What makes of an option's text what its field holds; an option that is not given stays None."""
    parse = line.parse
    if parse is None:
        return None

    def read(value: Any) -> Any:
        try:
            return None if value is None else parse(value)
        except AutoDPQError as error:
            raise AutoDPQError(f"{flag}: {error}") from None

    return read
