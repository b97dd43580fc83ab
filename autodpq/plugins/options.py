"""Options of strategies: ``name(option=value)`` on the command line, tables in TOML; the constructor is the schema."""

from __future__ import annotations

import inspect
import json
import operator
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

from autodpq.errors import AutoDPQError, in_words, nearest, one_line

Thing = TypeVar("Thing")
_WORDS = frozenset({"none", "null", "true", "false", "nan", "inf", "infinity"})
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def split_names(text: str) -> list[str]:
    """Splits at commas that stand in no brackets and no quotes; what is empty is left out.

    Raises:
        AutoDPQError: Brackets or quotes do not match.
    """
    parts, start, waiting, quote, escaped = [], 0, [""], "", False
    for place, letter in enumerate(text):
        if escaped:
            escaped = False
        elif quote:
            escaped = quote == '"' and letter == "\\"
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in _PAIRS:
            waiting.append(_PAIRS[letter])
        elif letter == waiting[-1]:
            waiting.pop()
        elif letter in _PAIRS.values():
            raise AutoDPQError(f"{text!r}: {letter!r} closes nothing")
        elif letter == "," and len(waiting) == 1:
            parts.append(text[start:place])
            start = place + 1
    if quote or len(waiting) > 1:
        raise AutoDPQError(f"{text!r}: {quote or waiting[-1]!r} is missing")
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def parse_call(text: str) -> tuple[str, dict[str, str]]:
    """Parts ``reference(option=value, ...)`` into the reference and the options' texts, quotes and all.

    Raises:
        AutoDPQError: It is not of that form, or an option is given twice.
    """
    reference, bracket, rest = text.strip().partition("(")
    if not bracket:
        return reference.strip(), {}
    if not rest.endswith(")"):
        raise AutoDPQError(f"{text!r}: expected name(option=value, ...)")
    options: dict[str, str] = {}
    for part in split_names(rest[:-1]):
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not option.isidentifier() or not value:
            raise AutoDPQError(f"{text!r}: {part!r} given, option=value is needed")
        if option in options:
            raise AutoDPQError(f"{text!r}: the option {option!r} is given twice")
        options[option] = value
    return reference.strip(), options


def construct(
    kind: type[Thing], texts: Mapping[str, str], values: Mapping[str, Any] | None = None, name: str | None = None
) -> Thing:
    """Makes an object of options, checked against its constructor's signature.

    Args:
        kind: The class; its constructor takes keyword options and stores them.
        texts: Options as the command line gives them.
        values: Options that have types already; those of ``texts`` stand before them.
        name: What errors call it; else the class's name.

    Raises:
        AutoDPQError: An option is unknown, missing, or not of its type; names the class and the option.
    """
    name = name or getattr(kind, "name", kind.__name__)
    parameters = signature(kind)
    hashable: Any = kind  # as classes are, whatever their objects are
    given: dict[str, Any] = {}
    for option in {**(values or {}), **texts}:
        if option not in parameters:
            known = nearest(option, parameters) if parameters else "; it has none"
            raise AutoDPQError(f"{name}: unknown option {option!r}{known}")
        try:
            adapter = _adapter(hashable, option)
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation) as error:
            raise AutoDPQError(f"{name}: option {option!r} cannot be given: {one_line(error)}") from None
        value = texts[option] if option in texts else (values or {})[option]
        try:
            given[option] = _read(adapter, texts[option]) if option in texts else _check(adapter, value)
            # Records are JSON, which knows neither infinities nor objects of one's own.
            json.dumps(given[option], allow_nan=False)
        except ValidationError as error:
            raise AutoDPQError(f"{name}: option {option}={value!r}: {in_words(error.errors()[0]['msg'])}") from None
        except (TypeError, ValueError) as error:
            raise AutoDPQError(f"{name}: option {option}={value!r}: {one_line(error)}") from None
    missing = [
        option
        for option, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and option not in given
    ]
    if missing:
        raise AutoDPQError(f"{name}: option {missing[0]!r} is needed, as {name}({missing[0]}=...)")
    try:
        return kind(**given)
    except AutoDPQError:
        raise
    except Exception as error:
        raise AutoDPQError(f"{name}: its constructor fails: {one_line(error)}") from error


def signature(kind: type) -> Mapping[str, inspect.Parameter]:
    """The options of a class, by its constructor's signature.

    Raises:
        AutoDPQError: It takes something else than named options, or its annotations cannot be read.
    """
    hashable: Any = kind
    return _signature(hashable)


@cache
def _signature(kind: type) -> Mapping[str, inspect.Parameter]:
    try:
        parameters = inspect.signature(kind, eval_str=True).parameters
    except Exception as error:
        raise AutoDPQError(
            f"{getattr(kind, 'name', kind.__name__)}: its constructor's annotations cannot be read: {error}"
        ) from None
    for parameter in parameters.values():
        if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise AutoDPQError(
                f"{getattr(kind, 'name', kind.__name__)}: its constructor takes {parameter}; every option needs a name"
            )
    return parameters


def options_of(thing: object) -> dict[str, Any]:
    """The options that an object stores.

    Raises:
        AutoDPQError: Its constructor does not store one.
    """
    options = {}
    for option in signature(type(thing)):
        if not hasattr(thing, option):
            name = getattr(thing, "name", type(thing).__name__)
            raise AutoDPQError(f"{name}: its constructor does not store the option {option!r} under its name")
        options[option] = getattr(thing, option)
    return options


def label(thing: object) -> str:
    """The name, and in parentheses the options that are not at their defaults: what tells two variants apart."""
    defaults = {option: parameter.default for option, parameter in signature(type(thing)).items()}
    return call_text(thing.name, options_of(thing), defaults)  # type: ignore[attr-defined]


def call_text(name: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """A name, and in parentheses the options that differ from some defaults, as :func:`parse_call` reads it."""
    changed = [
        f"{option}={_shown(value)}"
        for option, value in options.items()
        if value != defaults[option] or type(value) is not type(defaults[option])
    ]
    return f"{name}({', '.join(changed)})" if changed else name


def check_options(thing: object) -> None:
    """Checks the options that an object stores against its constructor's annotations.

    Raises:
        AutoDPQError: One does not fit; names the object and the option.
    """
    kind: Any = type(thing)
    for option, value in options_of(thing).items():
        try:
            _adapter(kind, option).validate_python(value, strict=True)
        except ValidationError as error:
            told = f"{thing.name}: {option}={value!r}: {in_words(error.errors()[0]['msg'])}"  # type: ignore[attr-defined]
            raise AutoDPQError(told) from None


@cache
def _adapter(kind: type, option: str) -> TypeAdapter[Any]:
    return TypeAdapter(_type_of(signature(kind)[option]))


def _type_of(parameter: inspect.Parameter) -> Any:
    """The annotation, else the default's type."""
    if parameter.annotation is not parameter.empty:
        return parameter.annotation
    return Any if parameter.default in (parameter.empty, None) else type(parameter.default)


def _shown(value: object) -> str:
    """A value as :func:`_read` reads it: quoted where it would be taken for something else than a text."""
    plain = isinstance(value, str) and value.isidentifier() and value.isascii() and value.casefold() not in _WORDS
    return str(value) if plain else json.dumps(value)


def _read(adapter: TypeAdapter[Any], text: str) -> Any:
    """A text as the type: JSON where that is of the type, else what the type makes of the bare word."""
    if text[0] == "'" == text[-1] and len(text) > 1:
        text = json.dumps(text[1:-1])
    if text[0] == "(" and text[-1] == ")":  # a tuple as Python writes it
        text = f"[{text[1:-1].rstrip().removesuffix(',')}]"
    try:
        return adapter.validate_json("null" if text in ("None", "none") else text, strict=True)
    except ValidationError as error:
        if text[0] in "[{" and error.errors()[0]["type"] != "json_invalid":
            raise
        quoted = text[0] == '"' == text[-1] and len(text) > 1
        return adapter.validate_strings(json.loads(text) if quoted else text)


def _check(adapter: TypeAdapter[Any], value: object) -> Any:
    """A value as TOML gives it; arrays stand for tuples, whole numbers of any type for plain ones."""
    return adapter.validate_json(json.dumps(value, default=operator.index), strict=True)
