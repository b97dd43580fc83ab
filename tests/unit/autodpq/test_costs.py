from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.choices import DPQ, Full, Others
from autodpq.choices.dpq import code_bits
from autodpq.costs import Dense, band_ledgers, ledger
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan, Field, uniform_plan

CARDINALITIES = (6040, 3706, 2, 7, 21, 3403, 301, 81)
HEADS = (4737, 2673, 2, 7, 21, 2898, 295, 78)
NAMES = ("user", "movie", "gender", "age", "occupation", "zip", "genres", "year")
MOVIELENS = [Field(*values) for values in zip(NAMES, CARDINALITIES, HEADS, strict=True)]

X = 16
FIELD = st.builds(lambda head, tail: Field("a", head + tail, head), st.integers(0, 10_000), st.integers(0, 10_000))
TAILED = FIELD.filter(lambda field: field.tail > 0)
QUANTIZED = st.builds(DPQ, st.integers(2, 600), st.sampled_from([1, 2, 4, 8, 16]))
CHOICE = st.one_of(st.just(Full()), st.just(Others()), QUANTIZED)


def cost(field, choice, embedding_dim=X):
    (share,) = band_ledgers(field, CompressionPlan({field.name: choice}), embedding_dim)
    return share


def test_a_field_counted_by_hand():
    # 3 frequent and 5 rare rows of 4 floats.
    field = Field("a", 8, 3)
    full = cost(field, Full(), 4)
    assert (full.parameters, full.bits, full.rows) == (32, 32 * 32, 8)
    others = cost(field, Others(), 4)
    assert (others.parameters, others.bits, others.rows) == (12 + 4, 32 * 16, 4)
    # 5 x 2 codes of 2 bits, 3 centroids of 4 floats.
    quantized = cost(field, DPQ(3, 2), 4)
    assert (quantized.parameters, quantized.bits, quantized.rows) == (12 + 10 + 12, 32 * 24 + 10 * 2, 8)
    assert cost(field, DPQ(3, 2), 4).name == "a"


def test_a_ledger_counted_by_hand():
    fields = [Field("a", 8, 3), Field("b", 2, 2), Field("c", 4, 1)]
    plan = CompressionPlan({"c": Others(), "a": DPQ(3, 2), "b": Full()})
    costs = ledger(fields, plan, 4, first_order=True, dense=Dense(10))
    assert [share.name for share in costs.bands] == ["a", "b", "c"]
    assert costs.parameters == 34 + 8 + 8
    # The 20 bits of a's codes take 3 bytes.
    assert costs.embedding_bytes == (24 * 4 + 3) + 8 * 4 + 8 * 4
    assert costs.first_order_rows == 8 + 2 + 2
    assert costs.first_order_bytes == 48
    assert costs.dense_bytes == 40
    assert costs.bytes == costs.embedding_bytes + 48 + 40


def test_codes_of_each_field_start_at_a_byte_of_their_own():
    # One code of 1 bit each: 2 fields need 2 bytes.
    fields = [Field("a", 1, 0), Field("b", 1, 0)]
    costs = ledger(fields, uniform_plan(fields, DPQ(2, 1)), 1)
    assert costs.embedding_bytes == 2 * (2 * 4 + 1)


@pytest.mark.parametrize(
    ("choice", "parameters"),
    [(Full(), 216_976), (Others(), 171_456), (DPQ(8, 8), 194_816), (DPQ(32, 2), 179_636), (DPQ(32, 8), 196_736)],
)
def test_movielens_as_the_paper_prints_it(choice, parameters):
    assert ledger(MOVIELENS, uniform_plan(MOVIELENS, choice), X).parameters == parameters


def test_movielens_has_as_many_rows_as_the_design_says():
    assert sum(CARDINALITIES) == 13_561
    assert sum(HEADS) == 10_711
    shared = sum(field.tail > 0 for field in MOVIELENS)
    others = ledger(MOVIELENS, uniform_plan(MOVIELENS, Others()), X)
    assert others.parameters - shared * X == 171_376


def test_movielens_codes_take_8550_bytes():
    costs = ledger(MOVIELENS, uniform_plan(MOVIELENS, DPQ(8, 8)), X)
    head_floats, centroid_floats = sum(HEADS) * X, 5 * 8 * X
    assert costs.embedding_bytes - 4 * (head_floats + centroid_floats) == 8_550
    assert 2_850 * 8 * 3 == 8_550 * 8


def test_movielens_first_order_weights():
    full = ledger(MOVIELENS, uniform_plan(MOVIELENS, Full()), X, first_order=True)
    quantized = ledger(MOVIELENS, uniform_plan(MOVIELENS, DPQ(8, 8)), X, first_order=True)
    others = ledger(MOVIELENS, uniform_plan(MOVIELENS, Others()), X, first_order=True)
    assert (full.first_order_rows, quantized.first_order_rows, others.first_order_rows) == (13_561, 13_561, 10_716)
    assert ledger(MOVIELENS, uniform_plan(MOVIELENS, Full()), X).first_order_rows == 0
    assert full.parameters == 216_976


@given(st.integers(2, 10**9))
def test_a_code_has_the_least_bits_that_tell_centroids_apart(K):
    assert 2 ** (code_bits(K) - 1) < K <= 2 ** code_bits(K)


@pytest.mark.parametrize(("K", "bits"), [(2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (256, 8), (257, 9)])
def test_bits_of_a_code(K, bits):
    assert code_bits(K) == bits == math.ceil(math.log2(K))


@given(TAILED, QUANTIZED)
def test_the_quantized_formula(field, choice):
    costs = cost(field, choice)
    n, h = field.tail, field.head
    assert costs.parameters == h * X + n * choice.D + choice.K * X
    assert costs.bits == 32 * h * X + n * choice.D * math.ceil(math.log2(choice.K)) + 32 * choice.K * X


@given(TAILED, QUANTIZED, st.integers(1, 500))
def test_more_centroids_subspaces_or_values_cost_more(field, choice, more):
    costs = cost(field, choice)
    wider = cost(field, DPQ(choice.K + more, choice.D))
    assert wider.parameters > costs.parameters and wider.bits > costs.bits
    longer = cost(Field("a", field.cardinality + more, field.head), choice)
    assert longer.parameters > costs.parameters and longer.bits > costs.bits
    if choice.D < 16:
        deeper = cost(field, DPQ(choice.K, choice.D * 2))
        assert deeper.parameters > costs.parameters and deeper.bits > costs.bits


@given(TAILED, QUANTIZED)
def test_others_costs_least_and_a_code_less_than_a_row(field, choice):
    others, quantized, full = (cost(field, each) for each in (Others(), choice, Full()))
    assert others.parameters <= full.parameters
    assert others.bits < quantized.bits
    assert quantized.parameters - choice.K * X <= full.parameters
    assert (quantized.parameters < full.parameters) == (field.tail * choice.D + choice.K * X < field.tail * X)


@given(st.builds(lambda head: Field("a", head, head), st.integers(1, 10_000)), CHOICE, CHOICE)
def test_a_field_without_rare_values_costs_the_same_whatever_is_chosen(field, one, other):
    assert cost(field, one) == cost(field, other)
    assert cost(field, one).parameters == field.cardinality * X
    assert cost(field, one).rows == field.cardinality


@given(st.lists(st.tuples(FIELD, CHOICE), min_size=1, max_size=5), st.integers(0, 1000), st.booleans())
def test_the_sum_of_the_shares(pairs, dense_floats, first_order):
    fields = [Field(f"f{number}", field.cardinality, field.head) for number, (field, _) in enumerate(pairs)]
    plan = CompressionPlan({field.name: choice for field, (_, choice) in zip(fields, pairs, strict=True)})
    costs = ledger(fields, plan, X, first_order=first_order, dense=Dense(dense_floats))
    shares = [share for field in fields for share in band_ledgers(field, plan, X)]
    assert costs.bands == tuple(shares)
    assert costs.parameters == sum(share.parameters for share in shares)
    bits = sum(share.bits for share in shares)
    assert bits <= 8 * costs.embedding_bytes < bits + 8 * len(fields)
    # A code is a whole parameter to the paper, less than a float on disk; floats are 4 bytes to both.
    assert costs.embedding_bytes <= 4 * costs.parameters
    codes = sum(field.tail * plan[field.name].D for field in fields if field.tail and isinstance(plan[field.name], DPQ))
    assert costs.embedding_bytes >= 4 * (costs.parameters - codes)
    assert costs.bytes == costs.embedding_bytes + 4 * dense_floats + 4 * costs.first_order_rows
    assert costs.first_order_rows == (sum(share.rows for share in shares) if first_order else 0)


@pytest.mark.parametrize("D", [3, 5, 32])
def test_subspaces_that_do_not_divide_the_dimension_are_refused(D):
    fields = [Field("user", 10, 4), Field("zip", 5, 1)]
    with pytest.raises(AutoDPQError, match=rf"'zip'.*D={D}.*16"):
        ledger(fields, CompressionPlan({"user": Full(), "zip": DPQ(4, D)}), X)
    with pytest.raises(AutoDPQError, match="here: "):
        DPQ(4, D).check(X, "here")


def test_a_missing_field_is_refused():
    with pytest.raises(AutoDPQError, match="'zip'"):
        ledger([Field("user", 10, 4), Field("zip", 5, 1)], CompressionPlan({"user": Full()}), X)


@pytest.mark.parametrize("module", ["autodpq.costs", "autodpq.plan"])
def test_no_torch_is_loaded(module):
    code = f"import sys, {module}; print(sorted({{'torch', 'sklearn', 'polars', 'pandas'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
