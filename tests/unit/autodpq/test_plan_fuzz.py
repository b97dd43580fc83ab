"""Altered plans, by chance: each is refused in one line, or is a plan that is written and read again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autodpq.choices import DPQ, Full, Others, parse_choice
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan

PLAN = CompressionPlan({"user": DPQ(32, 8), "gen\u00e4re": Others(), "age": Full(), "a\nb": DPQ(2, 1)}).to_json()
PIECES = [
    *'"{}[]:,()\\0-e', "NaN", "null", "1e999", "9" * 5000, "[" * 100_000, '{"a":' * 100_000, '"user":"full",',
    "dpq(1,8)", "dpq(8,0)", "dpq(\u0663,\u0662)", "a.py:B", "json:loads",
    "dpq(\n)", "int(4)", "\\ud800", "\ud800", "\0", "\n", "\u2028",
]  # fmt: skip
any_text = st.text(st.characters(exclude_categories=[]), max_size=20)
choices = (
    any_text
    | st.from_regex(r"dpq\(\d{0,12},[-\d]{0,12}\) ?", fullmatch=True)
    | st.from_regex(r"(full|others|hashed|int|float16|narrow|dpq)(\([^:)]{0,9}\))?", fullmatch=True)
)


@st.composite
def altered_plans(draw):
    text = PLAN
    for _ in range(draw(st.integers(1, 3))):
        place, removed = draw(st.integers(0, len(text))), draw(st.sampled_from([0, 0, 1, 2, 12, len(text)]))
        text = text[:place] + draw(st.sampled_from(PIECES) | any_text) + text[place + removed :]
    return text


def check(read, text):
    """What is read of a text; None where it is refused."""
    try:
        return read(text)
    except AutoDPQError as error:
        assert len(str(error).splitlines()) == 1 and str(error).encode()
        return None


def check_plan(text):
    plan = check(CompressionPlan.from_json, text)
    if plan is not None:
        assert CompressionPlan.from_json(plan.to_json()) == plan and len(plan.key) == 12


def check_choice(text):
    choice = check(parse_choice, text)
    assert choice is None or parse_choice(str(choice)) == choice


@given(altered_plans())
def test_altered_plans_are_errors_of_ours(text):
    check_plan(text)


@given(choices)
def test_altered_choices_are_errors_of_ours(text):
    check_choice(text)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(altered_plans())
def test_altered_plans_ten_thousand_times(text):
    check_plan(text)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(choices)
def test_altered_choices_ten_thousand_times(text):
    check_choice(text)
