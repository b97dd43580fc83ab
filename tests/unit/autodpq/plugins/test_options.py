from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field, PositiveInt

from autodpq.errors import AutoDPQError
from autodpq.plugins.options import construct, label, options_of, parse_call, signature, split_names

if TYPE_CHECKING:
    from nowhere import Missing


def refused(call: Any, *arguments: Any) -> str:
    """The message of an error, which is one line."""
    with pytest.raises(AutoDPQError) as error:
        call(*arguments)
    assert "\n" not in str(error.value), str(error.value)
    return str(error.value)


class Many:
    """Options of every type that can be given."""

    name = "many"

    def __init__(
        self,
        *,
        count: int = 3,
        rate: float = 0.5,
        on: bool = False,
        text: str = "plain",
        mode: Literal["step", "by epoch", 'in "quotes"'] = "step",
        most: PositiveInt | None = None,
        note: str | None = None,
        least: float | None = 1.5,
        sizes: tuple[int, ...] = (),
        words: tuple[str, ...] = ("a",),
        pair: tuple[int, float] | None = (1, 2.0),
        choice: int | str = 0,
        bare=7,  # type: ignore[no-untyped-def]
        bare_list=(1, 2),  # type: ignore[no-untyped-def]
    ) -> None:
        self.count = count
        self.rate = rate
        self.on = on
        self.text = text
        self.mode = mode
        self.most = most
        self.note = note
        self.least = least
        self.sizes = sizes
        self.words = words
        self.pair = pair
        self.choice = choice
        self.bare = bare
        self.bare_list = bare_list


class Plain:
    """Has no options."""

    name = "plain"


class Unannotated:
    name = "unannotated"

    def __init__(self, *, whole=2, part=0.5, on=True, text="a", row=(), anything=None, needed) -> None:  # type: ignore[no-untyped-def]
        self.whole = whole
        self.part = part
        self.on = on
        self.text = text
        self.row = row
        self.anything = anything
        self.needed = needed


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        (" , ,", []),
        ("fe", ["fe"]),
        (" fe , grid,", ["fe", "grid"]),
        ("a(x=1,y=2),b", ["a(x=1,y=2)", "b"]),
        ("a(x=[1,2],y={3,(4,5)}),b", ["a(x=[1,2],y={3,(4,5)})", "b"]),
        ("a(x='1,)2'),b", ["a(x='1,)2')", "b"]),
        ("""a(x="it's, so",y='"'),b""", ["""a(x="it's, so",y='"')""", "b"]),
        (r'a(x="\",\\"),b', [r'a(x="\",\\")', "b"]),
        ("a/b.py:C(x=1),d", ["a/b.py:C(x=1)", "d"]),
    ],
)
def test_names_are_split_outside_of_brackets_and_quotes(text: str, names: list[str]) -> None:
    assert split_names(text) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a(x=1", "'a(x=1': ')' is missing"),
        ("a(x=[1)", "'a(x=[1)': ')' closes nothing"),
        ("a)", "'a)': ')' closes nothing"),
        ("a(x='1)", """"a(x='1)": "'" is missing"""),
        ('a(x="1)', """'a(x="1)': '"' is missing"""),
        ("[a", "'[a': ']' is missing"),
        (r'a(x="\")', "is missing"),
    ],
)
def test_brackets_and_quotes_must_match(text: str, message: str) -> None:
    assert message in refused(split_names, text)


def test_calls_are_parted() -> None:
    assert parse_call("fe") == ("fe", {})
    assert parse_call(" fe ( ) ") == ("fe", {})
    assert parse_call("path/mine.py:Mine( shift = 1 ,row=[1, 2])") == (
        "path/mine.py:Mine",
        {"shift": "1", "row": "[1, 2]"},
    )
    assert parse_call("a(x=y=z)") == ("a", {"x": "y=z"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a(x=1)b", "'a(x=1)b': expected name(option=value, ...)"),
        ("a(x=1", "expected name(option=value, ...)"),
        ("a(x)", "'a(x)': 'x' given, option=value is needed"),
        ("a(x=)", "'x=' given, option=value is needed"),
        ("a(=1)", "'=1' given, option=value is needed"),
        ("a(1=2)", "'1=2' given, option=value is needed"),
        ("a(x y=2)", "'x y=2' given, option=value is needed"),
        ("a(x=1,x=2)", "the option 'x' is given twice"),
        ("a(x=(1)", "')' is missing"),
    ],
)
def test_what_is_no_call_is_refused(text: str, message: str) -> None:
    assert message in refused(parse_call, text)


TEXTS = [
    ("", {}, "many"),
    ("count=3", {"count": 3}, "many"),
    ("count=+7", {"count": 7}, "many(count=7)"),
    ("count=-7", {"count": -7}, "many(count=-7)"),
    ("rate=1e-3", {"rate": 1e-3}, "many(rate=0.001)"),
    ("rate=2", {"rate": 2.0}, "many(rate=2.0)"),
    ("on=true", {"on": True}, "many(on=true)"),
    ("on=True", {"on": True}, "many(on=true)"),
    ("on=1", {"on": True}, "many(on=true)"),
    ("on=no", {"on": False}, "many"),
    ("text=a", {"text": "a"}, "many(text=a)"),
    ("text=a b", {"text": "a b"}, 'many(text="a b")'),
    ("text='a, b'", {"text": "a, b"}, 'many(text="a, b")'),
    ("text=3", {"text": "3"}, 'many(text="3")'),
    ("text=''", {"text": ""}, 'many(text="")'),
    ("text=none", {"text": "none"}, 'many(text="none")'),
    ("text=a=b", {"text": "a=b"}, 'many(text="a=b")'),
    (r"text='C:\new'", {"text": r"C:\new"}, r'many(text="C:\\new")'),
    (r'text="a\"b"', {"text": 'a"b'}, r'many(text="a\"b")'),
    ("mode=by epoch", {"mode": "by epoch"}, 'many(mode="by epoch")'),
    ("mode='by epoch'", {"mode": "by epoch"}, 'many(mode="by epoch")'),
    ("most=5", {"most": 5}, "many(most=5)"),
    ("most=none", {"most": None}, "many"),
    ("most=None", {"most": None}, "many"),
    ("most=null", {"most": None}, "many"),
    ("least=none", {"least": None}, "many(least=null)"),
    ("note=a", {"note": "a"}, "many(note=a)"),
    ("note=none", {"note": None}, "many"),
    ("note='none'", {"note": "none"}, 'many(note="none")'),
    ("sizes=[1,2]", {"sizes": (1, 2)}, "many(sizes=[1, 2])"),
    ("sizes=[]", {"sizes": ()}, "many"),
    ('words=["a","b c"]', {"words": ("a", "b c")}, 'many(words=["a", "b c"])'),
    ("pair=[3,0.5]", {"pair": (3, 0.5)}, "many(pair=[3, 0.5])"),
    ("pair=none", {"pair": None}, "many(pair=null)"),
    ("choice=5", {"choice": 5}, "many(choice=5)"),
    ("choice='5'", {"choice": "5"}, 'many(choice="5")'),
    ("choice=five", {"choice": "five"}, "many(choice=five)"),
    ("bare=9", {"bare": 9}, "many(bare=9)"),
    ("bare_list=[1,2]", {"bare_list": (1, 2)}, "many"),
    ("count=1,rate=2,text=b", {"count": 1, "rate": 2.0, "text": "b"}, "many(count=1, rate=2.0, text=b)"),
    ("text=b,count=1", {"count": 1, "text": "b"}, "many(count=1, text=b)"),
]


@pytest.mark.parametrize(("text", "values", "shown"), TEXTS, ids=[text for text, _, _ in TEXTS])
def test_texts_become_values_of_their_types_and_the_label_tells_what_differs(
    text: str, values: dict[str, Any], shown: str
) -> None:
    made = construct(Many, parse_call(f"many({text})")[1])
    expected = {**vars(Many()), **values}
    assert vars(made) == expected
    assert {name: type(value) for name, value in vars(made).items()} == {
        name: type(value) for name, value in expected.items()
    }
    assert label(made) == shown


WRONG = [
    (Many, "count=1.5", "many: option count='1.5': a whole number is needed"),
    (Many, "count=x", "many: option count='x': a whole number is needed"),
    (Many, "count=true", "many: option count='true': a whole number is needed"),
    (Many, "count=none", "many: option count='none': a whole number is needed"),
    (Many, "count=[1]", "many: option count='[1]': a whole number is needed"),
    (Many, "rate=x", "many: option rate='x': a number is needed"),
    (Many, "rate=nan", "many: option rate='nan': "),
    (Many, "rate=inf", "many: option rate='inf': "),
    (Many, "rate=-Infinity", "many: option rate='-Infinity': "),
    (Many, "rate=1e999", "many: option rate='1e999': "),
    (Many, "pair=[1,NaN]", "many: option pair='[1,NaN]': "),
    (Many, "on=maybe", "many: option on='maybe': true or false is needed"),
    (Many, "mode=epoch", "many: option mode='epoch': 'step', 'by epoch' or "),
    (Many, "most=0", "many: option most='0': a number above 0 is needed"),
    (Many, "sizes=1", "many: option sizes='1': a list is needed"),
    (Many, "sizes=1,sizes=2", "the option 'sizes' is given twice"),
    (Many, "sizes=[1.5]", "many: option sizes='[1.5]': "),
    (Many, 'sizes=["1"]', "many: option sizes="),
    (Many, "sizes=[1", "']' is missing"),
    (Many, "pair=[1]", "many: option pair='[1]': "),
    (Many, "bare=x", "many: option bare='x': a whole number is needed"),
    (Many, "cuont=3", "many: unknown option 'cuont'; did you mean 'count'?"),
    (Many, "zzz=3", "many: unknown option 'zzz'; known: count, rate, on, text"),
    (Plain, "count=3", "plain: unknown option 'count'; it has none"),
    (Unannotated, "", "unannotated: option 'needed' is needed, as unannotated(needed=...)"),
    (Unannotated, "needed=1,whole=x", "unannotated: option whole='x': a whole number is needed"),
]


@pytest.mark.parametrize(("kind", "text", "message"), WRONG, ids=[text or "nothing" for _, text, _ in WRONG])
def test_what_is_not_of_its_type_is_refused(kind: type, text: str, message: str) -> None:
    assert message in refused(lambda: construct(kind, parse_call(f"{kind.name}({text})")[1]))  # type: ignore[attr-defined]


def test_unannotated_options_take_the_type_of_their_default() -> None:
    texts = {"whole": "3", "part": "4", "on": "false", "text": "5", "row": "[1]", "anything": "7", "needed": "8"}
    made = construct(Unannotated, texts)
    assert vars(made) == {
        "whole": 3,
        "part": 4.0,
        "on": False,
        "text": "5",
        "row": (1,),
        "anything": 7,
        "needed": 8,
    }
    assert type(made.part) is float  # type: ignore[attr-defined]
    assert label(construct(Unannotated, {"needed": "x"})) == "unannotated(needed=x)"


def test_values_of_toml_keep_their_types() -> None:
    values = {
        "count": 4,
        "rate": 2,
        "on": True,
        "text": 'it\'s (a), "b" = \\c',
        "most": 3,
        "sizes": [1, 2],
        "words": [],
        "pair": [1, 2],
        "choice": "5",
        "bare_list": [[1], 2],
    }
    made = construct(Many, {}, values)
    expected = {**values, "sizes": (1, 2), "words": (), "pair": (1, 2.0), "bare_list": ([1], 2)}
    assert {name: value for name, value in vars(made).items() if name in values} == expected
    assert type(made.rate) is float and type(made.pair) is tuple and type(made.pair[1]) is float


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("count", "3"),
        ("count", 3.0),
        ("count", True),
        ("count", [3]),
        ("rate", "0.5"),
        ("rate", float("nan")),
        ("rate", float("inf")),
        ("on", 1),
        ("on", "true"),
        ("text", 3),
        ("mode", "epoch"),
        ("most", 0),
        ("most", "none"),
        ("note", 1),
        ("sizes", 1),
        ("sizes", ["1"]),
        ("sizes", [1.5]),
        ("pair", [1, 2, 3]),
        ("bare", "7"),
    ],
)
def test_values_of_toml_are_not_converted(option: str, value: object) -> None:
    message = refused(construct, Many, {}, {option: value})
    assert message.startswith(f"many: option {option}={value!r}: ")


def test_whole_numbers_of_any_type_are_plain_ones() -> None:
    made = construct(Many, {}, {"count": np.int64(4), "sizes": (np.uint8(1), 2)})
    assert (made.count, made.sizes, type(made.count), type(made.sizes[0])) == (4, (1, 2), int, int)
    assert label(made) == "many(count=4, sizes=[1, 2])"


def test_objects_that_toml_knows_and_json_does_not_are_refused() -> None:
    import datetime

    for option in ("text", "bare", "choice"):
        assert f"option {option}=" in refused(construct, Many, {}, {option: datetime.date(2026, 1, 2)})


def test_texts_stand_before_values() -> None:
    made = construct(Many, {"count": "5"}, {"count": 4, "rate": 0.25})
    assert (made.count, made.rate) == (5, 0.25)
    # A value that a text stands before is not read.
    assert construct(Many, {"count": "5"}, {"count": "nonsense"}).count == 5
    assert "unknown option 'cont'" in refused(construct, Many, {"count": "5"}, {"cont": 1})


class Required:
    name = "required"

    def __init__(self, *, size: Annotated[int, Field(ge=2)], word: str) -> None:
        self.size = size
        self.word = word


def test_required_options_must_be_given_and_are_in_the_label() -> None:
    assert refused(construct, Required, {}) == "required: option 'size' is needed, as required(size=...)"
    assert refused(construct, Required, {"size": "2"}) == "required: option 'word' is needed, as required(word=...)"
    made = construct(Required, {"word": "b"}, {"size": 2})
    assert vars(made) == {"size": 2, "word": "b"} and label(made) == "required(size=2, word=b)"
    assert "size='1': a number of at least 2 is needed" in refused(construct, Required, {"size": "1"})


class Swallows:
    name = "swallows"

    def __init__(self, **options: int) -> None:
        self.options = options


class Listed:
    name = "listed"

    def __init__(self, *options: int) -> None:
        self.options = options


class First:
    name = "first"

    def __init__(self, size: int = 1, /) -> None:
        self.size = size


class Forgets:
    name = "forgets"

    def __init__(self, *, size: int = 1) -> None:
        self.sizes = size


class Unreadable:
    name = "unreadable"

    def __init__(self, *, size: Missing = 1) -> None:
        self.size = size


class Opaque:
    name = "opaque"

    def __init__(self, *, other: Plain | None = None) -> None:
        self.other = other


class Picky:
    name = "picky"

    def __init__(self, *, size: int = 1) -> None:
        if size > 2:
            raise ValueError("size is too large;\nuse 2")
        if size < 0:
            raise AutoDPQError("picky: size is at least 0")
        self.size = size


class NoName:
    def __init__(self, *, size: int = 1) -> None:
        self.size = size


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Swallows, "swallows: its constructor takes **options: int; every option needs a name"),
        (Listed, "listed: its constructor takes *options: int; every option needs a name"),
        (First, "first: its constructor takes size: int = 1; every option needs a name"),
        (Unreadable, "unreadable: its constructor's annotations cannot be read: name 'Missing' is not defined"),
    ],
)
def test_constructors_that_are_no_schema_are_refused(kind: type, message: str) -> None:
    for call in (lambda: signature(kind), lambda: construct(kind, {}), lambda: construct(kind, {"size": "1"})):
        assert refused(call) == message


def test_constructor_that_does_not_store_an_option_is_refused() -> None:
    made = construct(Forgets, {"size": "2"})
    for function in (options_of, label):
        message = refused(function, made)
        assert message == "forgets: its constructor does not store the option 'size' under its name"


def test_option_of_a_type_that_cannot_be_written_is_refused_where_it_is_given() -> None:
    assert vars(construct(Opaque, {})) == {"other": None}
    for given_ in ({"other": "x"}, {}):
        assert refused(construct, Opaque, given_, {"other": 1}).startswith("opaque: option 'other' cannot be given: ")


def test_what_the_constructor_refuses_is_one_line_too() -> None:
    assert (
        refused(construct, Picky, {"size": "3"}) == "picky: its constructor fails: ValueError: size is too large; use 2"
    )
    assert refused(construct, Picky, {"size": "-1"}) == "picky: size is at least 0"


def test_class_without_a_name_is_called_by_its_own() -> None:
    assert refused(construct, NoName, {"sise": "1"}) == "NoName: unknown option 'sise'; did you mean 'size'?"


def test_options_are_those_of_the_signature_in_its_order() -> None:
    made = Many(words=("b",), count=1)
    made.other = 3  # type: ignore[attr-defined]
    assert options_of(made) == {**vars(Many()), "count": 1, "words": ("b",)}
    assert list(options_of(made)) == list(signature(Many))
    assert options_of(Plain()) == {} and label(Plain()) == "plain"


def test_label_tells_values_of_other_types_apart() -> None:
    assert label(Many(choice="0")) == 'many(choice="0")' != label(Many(choice=0)) == "many"
    assert label(Many(count=3.0)) != label(Many())  # type: ignore[arg-type]


plain_words = st.sampled_from(["None", "none", "null", "true", "3", "1e5", "NaN", "", " ", "-", "a", "_b1", "é", "[1]"])
hard_words = st.text(alphabet="ab ,'\"()[]{}=\\/\t\n:é漢😀\u2028\x00-", max_size=8)
any_words = plain_words | hard_words | st.text(max_size=8)
whole = st.integers(-(2**62), 2**62)
parts = st.floats(allow_nan=False, allow_infinity=False)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "count": whole,
        "rate": parts,
        "on": st.booleans(),
        "text": any_words,
        "mode": st.sampled_from(["step", "by epoch", 'in "quotes"']),
        "most": st.none() | st.integers(1, 2**62),
        "note": st.none() | any_words,
        "least": st.none() | parts,
        "sizes": st.lists(whole, max_size=3).map(tuple),
        "words": st.lists(any_words, max_size=3).map(tuple),
        "pair": st.none() | st.tuples(whole, parts),
        "choice": whole | any_words,
        "bare": whole,
        "bare_list": st.lists(st.none() | whole | any_words, max_size=3).map(tuple),
    },
)


def typed(thing: object) -> list[tuple[str, str, object]]:
    """Options with their types, and negative zero told from zero."""
    return [(name, repr(value), type(value)) for name, value in options_of(thing).items()]


@given(OPTIONS)
@example({"text": 'a"b'})
@example({"text": "it's"})
@example({"text": "\\"})
@example({"text": '"'})
@example({"text": "a\nb"})
@example({"note": "none"})
@example({"note": None, "least": None, "pair": None})
@example({"choice": "3"})
@example({"words": ("a,b", ")", "'", '"', "\\")})
def test_labels_construct_what_they_label(values: dict[str, Any]) -> None:
    made = Many(**values)
    shown = label(made)
    assert "\n" not in shown
    reference, texts = parse_call(shown)
    assert reference == "many"
    assert typed(construct(Many, texts)) == typed(made)


@given(OPTIONS, OPTIONS)
def test_labels_can_stand_side_by_side_and_tell_variants_apart(one: dict[str, Any], two: dict[str, Any]) -> None:
    first, second = Many(**one), Many(**two)
    labels = [label(first), label(second)]
    assert split_names(", ".join(["fe", *labels, "grid"])) == ["fe", *labels, "grid"]
    assert (labels[0] == labels[1]) == (typed(first) == typed(second))


@given(OPTIONS)
def test_options_come_back_from_toml_and_from_json(values: dict[str, Any]) -> None:
    made = Many(**values)
    recorded = json.loads(json.dumps({name: value for name, value in options_of(made).items() if value is not None}))
    # TOML has no null: what is None is left out, where None is the default.
    nulls = {name: "none" for name, value in options_of(made).items() if value is None}
    assert typed(construct(Many, nulls, recorded)) == typed(made)


@given(st.text(alphabet="ab=,'\"()[]{} \\:1", max_size=14))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        names = split_names(text)
        for name in names:
            construct(Many, parse_call(name)[1])
    except AutoDPQError as error:
        assert "\n" not in str(error)
    else:
        assert split_names(",".join(names)) == names
