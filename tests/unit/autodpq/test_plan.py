from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.choices import DPQ, Full, Others, parse_choice
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan, Field, band_cuts, uniform_plan

CHOICES = st.one_of(
    st.just(Full()), st.just(Others()), st.builds(DPQ, st.integers(2, 1 << 24), st.integers(1, 999_999_999))
)
PLANS = st.dictionaries(st.text(max_size=8), CHOICES, max_size=6)


@given(CHOICES)
def test_a_choice_reads_back_as_it_was_written(choice):
    assert parse_choice(str(choice)) == choice


def test_choices_are_written_as_documented():
    assert [str(choice) for choice in (Full(), Others(), DPQ(32, 8))] == ["full", "others", "dpq(32,8)"]
    assert parse_choice("dpq(32, 8)") == DPQ(32, 8)


@pytest.mark.parametrize(
    "text",
    "|Full|other|dpq|dpq()|dpq(8)|dpq(8,)|dpq(8,8|dpq(8,8)x|dpq(-8,8)|dpq(8.0,8)|dpq(8,8,8)|dpq(eight,8)|(8,8)"
    "|dpq(1234567890,8)|dpq(8,,8)|dpq(,8,8)|dpq(8,8))|dpq((8,8))|dpq(8 8,8)|dpq(1_6,8)|dpq(8e0,8)|dpq(+8,8)"
    '|dpq(K=8,D=8)|dpq(true,8)|dpq("8",8)|dpq(8|16,8)|dpq[8,8]|full()|full(1)|others,full|dpq(\u0668,8)'.split("|"),
)
def test_text_that_is_no_choice_is_refused(text):
    with pytest.raises(AutoDPQError) as error:
        parse_choice(text)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Full", "unknown choice 'Full'; did you mean 'full'?"),
        ("dqp(8,8)", "unknown choice 'dqp'; did you mean 'dpq'?"),
        ("dpq(8)", "dpq(8): dpq(K,D) is needed"),
        ("dpq(8,8,8)", "dpq(8,8,8): dpq(K,D) is needed"),
        ("dpq(8,)", "choice 'dpq(8,)': a parameter is empty"),
        ("dpq(8,8)x", "choice 'dpq(8,8)x': expected name(parameters)"),
        ("dpq()", "choice 'dpq()': expected name(parameters)"),
        ("full(1)", "full(1): full is needed"),
        ("dpq(8.0,8)", "dpq(8.0,8): K is a whole number, written in digits alone"),
        ("dpq(-8,8)", "K=-8: a code needs at least 2 centroids; use the choice 'others' for one"),
        ("dpq(1234567890,8)", "K=1234567890 given, at most 16777216 is possible"),
        ("dpq(a\nb)", "'dpq(a\\nb)': dpq(K,D) is needed"),
        ("a.py:B", "choice 'a.py:B': it is code to load, which only the command line may name"),
    ],
)
def test_what_is_wrong_with_a_choice_is_told(text, message):
    with pytest.raises(AutoDPQError) as error:
        parse_choice(text)
    assert str(error.value) == message


@pytest.mark.parametrize("K", [1, 0, -3])
def test_fewer_than_two_centroids_are_refused(K):
    with pytest.raises(AutoDPQError, match=f"K={K}"):
        DPQ(K, 2)


@pytest.mark.parametrize("D", [0, -1])
def test_less_than_one_subspace_is_refused(D):
    with pytest.raises(AutoDPQError, match=f"D={D}"):
        DPQ(2, D)


def test_the_smallest_quantizer_is_allowed():
    assert DPQ(2, 1) == parse_choice("dpq(2,1)")


@pytest.mark.parametrize("text", ["dpq(1,8)", "dpq(8,0)"])
def test_refusals_hold_for_text_too(text):
    with pytest.raises(AutoDPQError):
        parse_choice(text)


@given(PLANS)
def test_a_plan_reads_back_as_it_was_written(choices):
    plan = CompressionPlan(choices)
    again = CompressionPlan.from_json(plan.to_json())
    assert again == plan
    assert dict(again) == choices
    assert again.key == plan.key
    assert hash(again) == hash(plan)


@given(PLANS, st.randoms())
def test_the_order_of_the_fields_changes_nothing(choices, random):
    items = list(choices.items())
    random.shuffle(items)
    plan, shuffled = CompressionPlan(choices), CompressionPlan(dict(items))
    assert plan == shuffled
    assert hash(plan) == hash(shuffled)
    assert plan.to_json() == shuffled.to_json()
    assert plan.key == shuffled.key


@given(PLANS, PLANS)
def test_plans_share_key_and_json_exactly_when_they_are_equal(one, other):
    first, second = CompressionPlan(one), CompressionPlan(other)
    assert (first == second) == (one == other)
    assert (first.key == second.key) == (one == other)
    assert (first.to_json() == second.to_json()) == (one == other)


def test_the_same_digits_in_another_order_are_another_plan():
    one, other = CompressionPlan({"user": DPQ(16, 8)}), CompressionPlan({"user": DPQ(8, 16)})
    assert one.key != other.key
    assert one != other
    # Nor may digits move from one number to the next, or a choice from one field to the next.
    assert CompressionPlan({"user": DPQ(11, 1)}).key != CompressionPlan({"user": DPQ(2, 11)}).key
    swapped = CompressionPlan({"a": DPQ(2, 4), "b": Full()}), CompressionPlan({"a": Full(), "b": DPQ(2, 4)})
    assert swapped[0].key != swapped[1].key


def test_a_key_is_twelve_hexadecimal_digits_and_the_same_everywhere():
    key = CompressionPlan({"user": DPQ(32, 8), "genres": Others(), "age": Full()}).key
    # Records and folders are named by it: it may not change between versions.
    assert key == "95d3a7780485"
    assert len(key) == 12 and set(key) <= set("0123456789abcdef")


def test_the_json_is_one_canonical_line():
    plan = CompressionPlan({"user": DPQ(32, 8), "genres": Others(), "age": Full()})
    assert plan.to_json() == '{"age":"full","genres":"others","user":"dpq(32,8)"}'


def test_a_plan_is_a_mapping():
    plan = CompressionPlan({"b": Full(), "a": DPQ(4, 2)})
    assert list(plan) == ["b", "a"]
    assert len(plan) == 2
    assert plan["a"] == DPQ(4, 2)
    assert "c" not in plan
    with pytest.raises(KeyError):
        plan["c"]
    assert plan == {"a": DPQ(4, 2), "b": Full()}
    assert len({plan, CompressionPlan({"a": DPQ(4, 2), "b": Full()})}) == 1
    assert plan != {"a": DPQ(4, 2)}


def test_a_plan_cannot_be_changed():
    choices = {"a": Full()}
    plan = CompressionPlan(choices)
    choices["a"] = Others()
    assert plan["a"] == Full()
    with pytest.raises(TypeError):
        plan["a"] = Others()
    quantizer = DPQ(4, 2)
    with pytest.raises(AttributeError):
        quantizer.K = 8


@pytest.mark.parametrize("value", ["full", "dpq(8,8)", None, (8, 8), 8, Full, DPQ])
def test_values_that_are_no_choices_are_refused(value):
    with pytest.raises(AutoDPQError, match="'user'"):
        CompressionPlan({"age": Full(), "user": value})


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '"full"', "null", '{"a":1}', '{"a":null}', '{"a":{"K":8}}'])
def test_json_that_is_no_plan_is_refused(text):
    with pytest.raises(AutoDPQError, match="plan"):
        CompressionPlan.from_json(text)


def test_json_with_an_unknown_choice_is_refused():
    with pytest.raises(AutoDPQError, match="unknown choice 'dbq'; did you mean 'dpq'"):
        CompressionPlan.from_json(json.dumps({"a": "full", "b": "dbq"}))
    with pytest.raises(AutoDPQError, match=r"dpq\(\): dpq\(K,D\) is needed"):
        CompressionPlan.from_json(json.dumps({"a": "full", "b": "dpq"}))


def test_a_uniform_plan_leaves_fields_without_rare_values_alone():
    fields = [Field("user", 10, 4), Field("gender", 2, 2), Field("zip", 5, 0)]
    assert [field.tail for field in fields] == [6, 0, 5]
    assert uniform_plan(fields, DPQ(4, 2)) == {"user": DPQ(4, 2), "gender": Full(), "zip": DPQ(4, 2)}
    assert uniform_plan(fields, Full()) == {"user": Full(), "gender": Full(), "zip": Full()}


@given(
    st.lists(st.integers(0, 50), max_size=90).map(lambda counts: sorted(counts, reverse=True)),
    st.sets(st.integers(1, 50), min_size=1, max_size=4).map(lambda bands: sorted(bands, reverse=True)),
)
def test_a_band_ends_with_the_last_value_that_occurs_so_often(counts, bands):
    if not counts or bands[0] > counts[0]:
        with pytest.raises(AutoDPQError, match="bands: no value of 'x' occurs"):
            band_cuts([np.array(counts)], bands, "value of 'x'")
        return
    (cuts,) = band_cuts([np.array(counts)], bands, "value of 'x'")
    field = Field("x", len(counts), 0, cuts)
    of_bands = [[sum(count < least for least in bands) for count in counts[band.start : band.stop]]
                for band in field.bands]  # fmt: skip
    assert all(len(set(own)) == 1 for own in of_bands), "no band crosses a count"
    assert [own[0] for own in of_bands] == sorted({number for own in of_bands for number in own}), "and none is parted"


def test_bands_by_themselves_are_few_where_a_field_is_small():
    assert band_cuts([np.arange(63), np.arange(64), np.arange(1000)], "auto", "value") == [
        (), (3, 13, 32), (50, 200, 500),
    ]  # fmt: skip
