from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from autodpq.choices import (
    CHOICES,
    DPQ,
    Choice,
    Float16,
    Full,
    Hashed,
    Int,
    Kept,
    Layout,
    Narrow,
    Others,
    parse_candidates,
    parse_choice,
    register,
)
from autodpq.choices.probe import probe
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan


def test_all_kinds_have_their_names() -> None:
    assert {"full", "others", "hashed", "dpq", "int", "float16", "narrow"} <= set(CHOICES.names())
    for name in CHOICES.names():
        assert CHOICES.find(name).name == name


@pytest.mark.parametrize(
    ("text", "choice"),
    {
        "full": Full(), "others": Others(), "hashed(7)": Hashed(7), "dpq(32,8)": DPQ(32, 8), "int(4)": Int(4),
        "float16": Float16(), "narrow(2)": Narrow(2),
    }.items(),
)  # fmt: skip
def test_text_is_read_as_it_is_written(text: str, choice: Choice) -> None:
    assert str(choice) == text and parse_choice(text) == choice and parse_candidates(text) == (choice,)
    spread = text.replace("(", " ( ").replace(",", " , ").replace(")", " )")
    assert parse_choice(f" {spread}\n") == choice


@pytest.mark.parametrize(
    ("texts", "candidates"),
    [
        ("dpq(8|16,2|4),int(4),others", (DPQ(8, 2), DPQ(8, 4), DPQ(16, 2), DPQ(16, 4), Int(4), Others())),
        ("int(2|4|8)", (Int(2), Int(4), Int(8))),
        (" dpq( 8 | 16 , 2 ) , full ", (DPQ(8, 2), DPQ(16, 2), Full())),
        (["dpq(8,2)", "others, int(4)"], (DPQ(8, 2), Others(), Int(4))),
        (("full",), (Full(),)),
        ("dpq(16,8),dpq(8,16)", (DPQ(16, 8), DPQ(8, 16))),
        ("others,", (Others(),)),
    ],
)
def test_candidates_are_every_combination_in_the_order_given(
    texts: str | list[str], candidates: tuple[Choice, ...]
) -> None:
    assert parse_candidates(texts) == candidates


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("", "at least one choice is needed, as in dpq(8|16,2|4),others"),
        ([], "at least one choice is needed, as in dpq(8|16,2|4),others"),
        ("others,others", "others is given twice"),
        ("dpq(8|16,2),dpq(16,2)", "dpq(16,2) is given twice"),
        ("int(4|4)", "int(4) is given twice"),
        (["full", "full"], "full is given twice"),
        ("dqp(8,2)", "unknown choice 'dqp'; did you mean 'dpq'?"),
        ("dpq(8|16)", "dpq(8): dpq(K,D) is needed"),
        ("dpq(8|,2)", "choice 'dpq': a parameter is empty"),
        ("dpq(|8,2)", "choice 'dpq': a parameter is empty"),
        ("dpq(8|16,)", "choice 'dpq(8|16,)': a parameter is empty"),
        ("dpq(8,2", "'dpq(8,2': ')' is missing"),
        ("int(3)", "int: bits=3: 2, 4, 8 are possible"),
    ],
)
def test_candidates_that_are_none_are_told_in_one_line(texts: str | list[str], message: str) -> None:
    with pytest.raises(AutoDPQError) as error:
        parse_candidates(texts)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        (DPQ, (np.int64(8), np.uint8(2)), "dpq(8,2)"),
        (Hashed, (np.int32(7),), "hashed(7)"),
        (Int, (np.array(4),), "int(4)"),
        (Narrow, (np.int64(2),), "narrow(2)"),
    ],
)
def test_whole_numbers_of_any_type_make_the_choice_that_plain_ones_make(
    kind: type[Choice], values: tuple[int, ...], text: str
) -> None:
    choice, plain = kind(*values), kind(*map(int, values))
    assert str(choice) == text and choice == plain and hash(choice) == hash(plain)
    assert CompressionPlan({"a": choice}).to_json() == f'{{"a":"{text}"}}'
    assert {type(getattr(choice, name)) for name in kind.parameters()} == {int}
    assert json.dumps(choice.cost(10, 8).bits) == json.dumps(plain.cost(10, 8).bits)
    assert choice.layout(10, 8) == plain.layout(10, 8)


@pytest.mark.parametrize("wrong", [8.0, True, "8", None, np.float64(8), np.True_, np.array([8, 2])])
@pytest.mark.parametrize(
    ("make", "parameter"),
    [
        (lambda value: DPQ(value, 2), "dpq: K="),
        (lambda value: DPQ(8, value), "dpq: D="),
        (Hashed, "hashed: m="),
        (Int, "int: bits="),
        (Narrow, "narrow: d="),
    ],
)
def test_what_is_no_whole_number_is_no_parameter(
    make: Callable[[object], Choice], parameter: str, wrong: object
) -> None:
    with pytest.raises(AutoDPQError) as error:
        make(wrong)
    assert str(error.value) == f"{parameter}{wrong!r}: a whole number is needed"


def test_a_kind_of_ones_own_takes_whole_numbers_of_any_type_too_and_leaves_the_rest_alone() -> None:
    @dataclass(frozen=True)
    class Mine(Kept):
        name: ClassVar[str] = "mine"
        rows: Any
        share: float
        word: str

    mine = Mine(np.int64(3), 0.5, "x")
    assert str(mine) == "mine(3,0.5,x)" and type(mine.rows) is int
    assert str(Mine(2.5, 0.5, "x")) == "mine(2.5,0.5,x)"


def test_a_kind_of_ones_own_is_named_by_its_file_on_the_command_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "halved.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom autodpq.choices import Kept\n\n"
        "@dataclass(frozen=True, slots=True)\nclass Halved(Kept):\n"
        '    name: ClassVar[str] = "halved"\n    by: int = 2\n\n'
        "    def modulus(self, n_rows: int) -> int:\n        return -(-n_rows // self.by)\n"
    )
    for text, by in ((f"{path}:Halved", 2), (f"{path}:Halved(5)", 5)):
        (choice,) = parse_candidates(text)
        assert choice.modulus(11) == -(-11 // by)
        with pytest.raises(AutoDPQError, match="it is code to load, which only the command line may name"):
            parse_choice(text)


def test_another_kind_of_a_known_name_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class Again(Kept):
        name: ClassVar[str] = "others"

    with pytest.raises(AutoDPQError, match="others"):
        register(Again)
    assert CHOICES.find("others") is Others


def test_an_array_that_every_table_may_have_is_no_kind_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def layout(self: Others, n_rows: int, dim: int) -> Layout:
        return {"rows": Narrow(1).layout(n_rows, dim)["factors"]}

    probe(Others(), 16)
    monkeypatch.setattr(Others, "layout", layout)
    with pytest.raises(AutoDPQError, match="others: no array of its layout can be called rows"):
        probe(Others(), 16)
