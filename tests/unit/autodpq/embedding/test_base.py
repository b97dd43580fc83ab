from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autodpq.choices import DPQ, Full, Others
from autodpq.embedding.base import TILE
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.planned import PlanEmbedding
from autodpq.embedding.supernet import SupernetEmbedding
from autodpq.errors import AutoDPQError
from autodpq.kernels.kernels import TENSORS, Kernels
from autodpq.plan import CompressionPlan, Field

X = 4
LAZY = Kernels(lazy=True)
# One without rare values, one without frequent ones.
FIELDS = (Field("a", 6, 2), Field("b", 3, 3), Field("c", 5, 0), Field("d", 7, 4))
MIXES = [
    dict(zip("acd", choices, strict=True)) | {"b": Full()}
    for choices in itertools.product([Full(), Others(), DPQ(3, 2)], repeat=3)
]


def embedding_of(choices, *, first_order=True, kernels=TENSORS, **options):
    torch.manual_seed(0)
    embedding = PlanEmbedding(FIELDS, CompressionPlan(choices), X, first_order, QuantizerOptions(**options), kernels)
    with torch.no_grad():
        for parameter in embedding.parameters():
            parameter.copy_(torch.randn(parameter.shape))
        if embedding.raw is not None:
            embedding.table[-1] = 0
    return embedding


def centroids_of(embedding, number):
    """The centroids of a quantized field."""
    group, place, column = embedding.quantizers.group(number)
    return group.centroids(place, column)


def every_id():
    """A batch that holds every id of every field."""
    most = max(field.cardinality for field in FIELDS)
    return torch.tensor([[number % field.cardinality for field in FIELDS] for number in range(most)], dtype=torch.int32)


def expected_numbers(choices, fields=FIELDS):
    """The row number of each (column, id), by the words of the docstring; the numbers of direct and of raw rows."""
    numbers, next_row = {}, 0
    for column, field in enumerate(fields):
        choice = choices[field.name]
        for value in range(field.cardinality):
            if value < field.head or choice == Full():
                numbers[column, value] = next_row
                next_row += 1
        if choice == Others() and field.tail:
            for value in range(field.head, field.cardinality):
                numbers[column, value] = next_row
            next_row += 1
    n_direct = next_row
    for column, field in enumerate(fields):
        if isinstance(choices[field.name], DPQ):
            for value in range(field.head, field.cardinality):
                numbers[column, value] = next_row
                next_row += 1
    return numbers, n_direct, next_row - n_direct


def choices_of(embedding):
    """Its choices by field."""
    return {field.name: choice for field, choice in zip(embedding.fields, embedding.choices, strict=True)}


def per_value(embedding, column, value):
    """The embedding of one value in evaluation mode, by the words of the plan."""
    choices = choices_of(embedding)
    numbers, n_direct, _ = expected_numbers(choices)
    number = numbers[column, value]
    if number < n_direct:
        return embedding.table[number]
    choice = choices[FIELDS[column].name]
    row = embedding.raw[number - n_direct]
    centroids = centroids_of(embedding, embedding.quantized.index(column))
    parts = []
    for d in range(choice.D):
        part = slice(d * X // choice.D, (d + 1) * X // choice.D)
        best = max(range(choice.K), key=lambda k, part=part: (row[part] @ centroids[k, part]).item())
        parts.append(centroids[best, part])
    return torch.cat(parts)


@pytest.mark.parametrize("choices", MIXES, ids=lambda choices: " ".join(map(str, choices.values())))
def test_every_id_maps_to_the_right_row(choices):
    embedding = embedding_of(choices)
    numbers, n_direct, n_raw = expected_numbers(choices)
    assert (embedding.n_direct, embedding.n_raw) == (n_direct, n_raw)
    ids = every_id()
    flat = embedding.flatten(ids)
    assert flat.dtype == torch.int32
    for row, values in enumerate(ids.tolist()):
        assert flat[row].tolist() == [numbers[column, value] for column, value in enumerate(values)]
    assert embedding.table.shape == (n_direct + (n_raw > 0), X)
    assert (embedding.raw is None) == (n_raw == 0)
    assert embedding.raw is None or embedding.raw.shape == (n_raw, X)
    assert embedding.first_order.shape == (n_direct + n_raw,)


each_choice = st.sampled_from([Full(), Others(), DPQ(2, 2), DPQ(5, 4)])
each_field = st.tuples(st.integers(0, 5), st.integers(0, 5), each_choice).filter(lambda one: one[0] + one[1] > 0)


@given(st.lists(each_field, min_size=1, max_size=5), st.sampled_from([torch.int32, torch.int64]))
def test_row_numbers_of_any_fields_and_choices(drawn, dtype):
    fields = tuple(Field(f"f{n}", head + tail, head) for n, (head, tail, _) in enumerate(drawn))
    # A field without rare values keeps its rows whatever its choice.
    choices = {f"f{n}": choice if tail else Full() for n, (_, tail, choice) in enumerate(drawn)}
    plan = CompressionPlan({f"f{n}": choice for n, (_, _, choice) in enumerate(drawn)})
    embedding = PlanEmbedding(fields, plan, X, True, QuantizerOptions())
    numbers, n_direct, n_raw = expected_numbers(choices, fields)
    assert (embedding.n_direct, embedding.n_raw) == (n_direct, n_raw)
    by_field = embedding.rows_of_ids()
    assert len(by_field) == len(fields)
    for column, (field, rows) in enumerate(zip(fields, by_field, strict=True)):
        assert rows.dtype == torch.int32
        assert rows.tolist() == [numbers[column, value] for value in range(field.cardinality)]
    most = max(field.cardinality for field in fields)
    ids = torch.tensor([[number % field.cardinality for field in fields] for number in range(most)], dtype=dtype)
    flat = embedding.flatten(ids)
    assert flat.dtype == torch.int32
    expected = [[numbers[column, value] for column, value in enumerate(row)] for row in ids.tolist()]
    assert flat.tolist() == expected
    assert torch.cat(by_field).unique().tolist() == sorted(set(numbers.values()))
    assert torch.equal(embedding.double().flatten(ids), flat)


def test_row_numbers_follow_from_the_plan_and_are_not_in_the_state():
    embedding = embedding_of(MIXED)
    assert "numbering" in dict(embedding.named_buffers()) and "numbering" not in embedding.state_dict()
    assert embedding.numbering.dtype == torch.int32 and embedding.numbering.shape == (len(FIELDS), 4)


@pytest.mark.parametrize("choices", MIXES, ids=lambda choices: " ".join(map(str, choices.values())))
def test_the_output_of_every_value(choices):
    embedding = embedding_of(choices).eval()
    ids = every_id()
    outputs = embedding(embedding.flatten(ids))
    assert outputs.shape == (len(ids), len(FIELDS), X)
    for row, values in enumerate(ids.tolist()):
        for column, value in enumerate(values):
            assert torch.equal(outputs[row, column], per_value(embedding, column, value))
    weights = embedding.first_order_sum(embedding.flatten(ids))
    numbers, _, _ = expected_numbers(choices)
    for row, values in enumerate(ids.tolist()):
        each = [embedding.first_order[numbers[column, value]] for column, value in enumerate(values)]
        torch.testing.assert_close(weights[row], torch.stack(each).sum())


MIXED = {"a": DPQ(3, 2), "b": Full(), "c": DPQ(4, 4), "d": Others()}
TWO = {"a": DPQ(3, 2), "b": Full(), "c": Full(), "d": DPQ(2, 2)}


@pytest.mark.parametrize("training", [False, True])
def test_a_row_does_not_depend_on_the_rest_of_the_batch(training):
    embedding = embedding_of(TWO, temperature=0.5).train(training)
    ids = torch.tensor([[0, 0, 0, 0], [5, 1, 1, 6], [4, 2, 2, 1], [5, 0, 3, 2], [1, 0, 0, 5], [3, 0, 0, 4]])
    flat = embedding.flatten(ids)
    whole = embedding(flat)
    for row in range(len(ids)):
        torch.testing.assert_close(embedding(flat[row : row + 1])[0], whole[row])
    # A field alone in the batch with rare values, at several counts.
    for rows in ([0, 3], [0, 4], [1, 2, 3], [3, 2, 1, 0]):
        torch.testing.assert_close(embedding(flat[rows]), whole[rows])


@pytest.mark.parametrize("n", [1, TILE - 1, TILE, TILE + 1, 3 * TILE + 5])
@pytest.mark.parametrize("training", [False, True])
def test_batches_of_several_tiles(n, training):
    embedding = embedding_of(TWO, temperature=0.5).double().train(training)
    generator = torch.Generator().manual_seed(n)
    ids = torch.stack([torch.randint(field.cardinality, (n,), generator=generator) for field in FIELDS], 1)
    # All of a's values are rare, some of d's are.
    ids[:, 0] = ids[:, 0] % 4 + 2
    flat = embedding.flatten(ids)
    weight = torch.randn(n, len(FIELDS), X, dtype=torch.float64)
    parameters = [embedding.table, embedding.raw, *(group.keys for group in embedding.quantizers.groups)]
    whole = embedding(flat)
    one_by_one = torch.cat([embedding(flat[row : row + 1]) for row in range(n)])
    torch.testing.assert_close(whole, one_by_one)
    gradients, expected = (
        torch.autograd.grad((outputs * weight).sum(), parameters, materialize_grads=True)
        for outputs in (whole, one_by_one)
    )
    torch.testing.assert_close(gradients, expected)
    # Codes have no gradient.
    assert (gradients[1] != 0).any() == training and (gradients[2] != 0).any()


def test_a_batch_without_rare_values():
    embedding = embedding_of(TWO)
    flat = embedding.flatten(torch.tensor([[0, 1, 4, 3], [1, 0, 0, 0]]))
    outputs = embedding(flat)
    assert torch.equal(outputs, embedding.table[flat.long()])
    outputs.sum().backward()
    assert (embedding.table.grad[-1] == 0).all()
    assert embedding.table.grad.sum() == 2 * len(FIELDS) * X
    assert embedding.raw.grad is None or (embedding.raw.grad == 0).all()
    assert all(group.keys.grad is None or (group.keys.grad == 0).all() for group in embedding.quantizers.groups)


def test_gradients_reach_the_rows_of_the_batch_alone():
    embedding = embedding_of(MIXED, temperature=0.5)
    # Rare: a's 3 and 4 and c's 1; d's 5 stands for all of its rare values.
    ids = torch.tensor([[3, 0, 1, 5], [4, 2, 1, 0]])
    flat = embedding.flatten(ids)
    (embedding(flat).square().sum() + embedding.first_order_sum(flat).square().sum()).backward()
    numbers, n_direct, _ = expected_numbers(MIXED)
    used = {numbers[column, value] for row in ids.tolist() for column, value in enumerate(row)}
    touched = set((embedding.table.grad != 0).any(1).nonzero().flatten().tolist())
    touched |= {n_direct + row for row in (embedding.raw.grad != 0).any(1).nonzero().flatten().tolist()}
    assert touched == used
    assert (embedding.table.grad[n_direct] == 0).all()
    assert set(embedding.first_order.grad.nonzero().flatten().tolist()) == used
    # The first raw row fills the shorter fields up, and is not in the batch.
    assert (embedding.raw.grad[0] == 0).all()


def test_values_that_share_a_row_share_its_gradient():
    embedding = embedding_of(MIXED)
    flat = embedding.flatten(torch.tensor([[0, 0, 0, 4], [0, 0, 0, 6]]))
    assert flat[0, 3] == flat[1, 3]
    (embedding(flat)[:, 3] * torch.tensor([[1.0], [10.0]])).sum().backward()
    assert (embedding.table.grad[flat[0, 3]] == 11).all()


@pytest.mark.parametrize("choices", MIXES, ids=lambda choices: " ".join(map(str, choices.values())))
def test_load_rows(choices):
    embedding = embedding_of(choices)
    total = sum(field.cardinality for field in FIELDS)
    rows, weights = torch.randn(total, X), torch.randn(total)
    embedding.load_rows(rows, weights)
    numbers, n_direct, n_raw = expected_numbers(choices)
    starts = [sum(field.cardinality for field in FIELDS[:column]) for column in range(len(FIELDS))]
    for number in range(n_direct + n_raw):
        sources = [starts[column] + value for (column, value), row in numbers.items() if row == number]
        loaded = embedding.table[number] if number < n_direct else embedding.raw[number - n_direct]
        torch.testing.assert_close(loaded.detach(), rows[sources].mean(0))
        torch.testing.assert_close(embedding.first_order[number].detach(), weights[sources].mean())
        if len(sources) == 1:
            assert torch.equal(loaded.detach(), rows[sources[0]])
    assert n_raw == 0 or (embedding.table[-1] == 0).all()


def test_load_rows_without_first_order_weights():
    embedding = embedding_of(MIXED, first_order=False)
    assert embedding.first_order is None
    embedding.load_rows(torch.ones(21, X), torch.ones(21))
    assert (embedding.raw == 1).all()
    kept = embedding_of(MIXED)
    before = kept.first_order.detach().clone()
    kept.load_rows(torch.ones(21, X), None)
    assert torch.equal(kept.first_order.detach(), before)


def test_raw_rows_belong_to_their_columns():
    embedding = embedding_of(MIXED | {"d": DPQ(2, 1)})
    numbers, n_direct, _ = expected_numbers(choices_of(embedding))
    for column in embedding.quantized:
        rows = embedding.raw_rows(column)
        field = FIELDS[column]
        expected = [numbers[column, value] - n_direct for value in range(field.head, field.cardinality)]
        assert list(range(rows.start, rows.stop)) == expected


def test_start_rows_leaves_the_placeholder_at_zero():
    embedding = PlanEmbedding(FIELDS, CompressionPlan(MIXED), 64, True, QuantizerOptions())
    embedding.start_rows(0.5)
    assert (embedding.table[-1] == 0).all()
    started = torch.cat([embedding.table[:-1], embedding.raw])
    assert started.std().item() == pytest.approx(0.5, rel=0.1)
    assert (started != 0).all()
    assert (embedding.first_order == 0).all()


def test_start_quantizers_starts_each_field_from_its_own_rows():
    embedding = embedding_of(MIXED)
    with torch.no_grad():
        embedding.raw[embedding.raw_rows(0)] = 1.0
        embedding.raw[embedding.raw_rows(2)] = 2.0
    embedding.start_quantizers(0)
    assert (centroids_of(embedding, 0) == 1).all() and (centroids_of(embedding, 1) == 2).all()
    plain = embedding_of({"a": Full(), "b": Full(), "c": Full(), "d": Others()})
    before = plain.table.detach().clone()
    plain.start_quantizers(0)
    assert torch.equal(plain.table.detach(), before)


def test_the_state_reads_back():
    one = embedding_of(MIXED).eval()
    other = PlanEmbedding(FIELDS, CompressionPlan(MIXED), X, True, QuantizerOptions()).eval()
    other.load_state_dict(one.state_dict())
    flat = one.flatten(every_id())
    assert torch.equal(other.flatten(every_id()), flat)
    assert torch.equal(other(flat), one(flat))
    assert torch.equal(other.first_order_sum(flat), one.first_order_sum(flat))


def test_what_can_be_derived_is_not_in_the_state():
    embedding = embedding_of(MIXED)
    assert set(embedding.state_dict()) == {name for name, _ in embedding.named_parameters()}


def test_centroids_are_penalised_as_the_rows_that_they_stand_for():
    embedding = embedding_of(MIXED)
    penalty = sum(
        FIELDS[column].tail / MIXED[name].K * centroids_of(embedding, number).square().sum()
        for number, (column, name) in enumerate([(0, "a"), (2, "c")])
    )
    keys = [group.keys for group in embedding.quantizers.groups]
    embedding.penalise_centroids(0.3)
    for own, expected in zip(keys, torch.autograd.grad(0.5 * 0.3 * penalty, keys), strict=True):
        torch.testing.assert_close(own.grad, expected)


def test_a_choice_for_a_field_without_rare_values_changes_nothing():
    choices = dict.fromkeys("abcd", DPQ(3, 2))
    embedding = embedding_of(choices)
    assert choices_of(embedding) == choices | {"b": Full()}
    assert embedding.quantized == (0, 2, 3)
    assert embedding.n_direct == 2 + 3 + 0 + 4


def test_plans_that_do_not_fit_are_refused():
    with pytest.raises(AutoDPQError, match="'d'"):
        embedding_of({"a": Full(), "b": Full(), "c": Full()})
    with pytest.raises(AutoDPQError, match="D=3"):
        embedding_of(MIXED | {"a": DPQ(4, 3)})


FULL = dict.fromkeys("abcd", Full())
SHARED = {"a": Others(), "b": Full(), "c": Others(), "d": Others()}
CODES = {"a": DPQ(3, 2), "b": Full(), "c": DPQ(4, 4), "d": DPQ(2, 2)}
PLANS = {"full": FULL, "others": SHARED, "dpq": CODES, "mixed": MIXED, "two": TWO}
SPACE = {"a": (DPQ(3, 2), DPQ(2, 4)), "b": (Full(),), "c": (DPQ(4, 4),), "d": (DPQ(2, 2), DPQ(3, 1))}


def supernet_of(kernels=TENSORS):
    torch.manual_seed(0)
    embedding = SupernetEmbedding(FIELDS, SPACE, X, True, QuantizerOptions(temperature=0.5), kernels)
    embedding.start_rows(1.0)
    embedding.start_quantizers(0)
    with torch.no_grad():
        embedding.first_order.normal_()
    return embedding


MADE = {
    name: lambda kernels=TENSORS, choices=choices: embedding_of(choices, kernels=kernels, temperature=0.5)
    for name, choices in PLANS.items()
}
each_made = pytest.mark.parametrize("make", [*MADE.values(), supernet_of], ids=[*MADE, "supernet"])


def gradients_of(embedding, ids):
    """The gradients of one batch by name, with the noise of one seed."""
    torch.manual_seed(4)
    embedding.zero_grad()
    flat = embedding.flatten(ids)
    scale = torch.randn(len(ids), len(FIELDS), X)
    merge = embedding.merge(flat, embedding.kernels)
    sums = embedding.first_order_sum(flat, merge)
    ((embedding(flat, merge) * scale).sum() + (sums * scale[:, 0, 0]).sum()).backward()
    return {name: parameter.grad for name, parameter in embedding.named_parameters()}


def some_ids(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(field.cardinality, (n,), generator=generator) for field in FIELDS], 1)


@each_made
@pytest.mark.parametrize("n", [2, 9, 3 * TILE])
def test_sparse_gradients_are_the_dense_ones(make, n):
    dense, sparse = make(), make(LAZY)
    ids = some_ids(n, n)
    expected, gradients = gradients_of(dense, ids), gradients_of(sparse, ids)
    for name, gradient in gradients.items():
        if expected[name] is None:
            assert gradient is None
            continue
        assert gradient.is_sparse == (name in ("table", "raw", "first_order")), name
        assert not expected[name].is_sparse
        torch.testing.assert_close(gradient.to_dense(), expected[name], msg=name)
    assert (expected["table"] != 0).any() and (expected["first_order"] != 0).any()


@each_made
def test_sparse_gradients_hold_the_rows_of_the_batch_alone(make):
    embedding = make(LAZY)
    # The first rare value of a, whose row fills tiles up, is not in the batch.
    ids = torch.tensor([[3, 0, 1, 5], [4, 2, 1, 0], [0, 1, 3, 6], [5, 0, 1, 5]])
    flat = embedding.flatten(ids)
    gradients = gradients_of(embedding, ids)
    used = set(flat.flatten().tolist())
    assert set(gradients["first_order"]._indices()[0].tolist()) == used
    assert set(gradients["table"]._indices()[0].tolist()) == {row for row in used if row < embedding.n_direct}
    if embedding.raw is not None:
        raw = {row - embedding.n_direct for row in used if row >= embedding.n_direct}
        assert set(gradients["raw"]._indices()[0].tolist()) == raw


@pytest.mark.parametrize("make", [MADE["dpq"], MADE["two"], supernet_of], ids=["dpq", "two", "supernet"])
def test_a_batch_without_rare_values_has_no_sparse_gradient_of_raw_rows(make):
    embedding = make(LAZY)
    frequent = torch.tensor([[0, 0, 0, 1], [1, 2, 0, 3]])
    if 2 in embedding.quantized:
        # All of c's values are rare: what is embedded is the rest of the row.
        flat = embedding.flatten(frequent)[:, [0, 1, 3, 3]]
    else:
        flat = embedding.flatten(frequent)
    outputs = embedding(flat, embedding.merge(flat, LAZY))
    assert torch.equal(outputs, embedding.table[flat.long()])
    outputs.sum().backward()
    assert embedding.raw.grad is None
    assert all(group.keys.grad is None for group in embedding.quantizers.groups)
    assert embedding.table.grad.is_sparse
    assert set(embedding.table.grad._indices()[0].tolist()) == set(flat.flatten().tolist())


def test_a_batch_of_rare_values_alone_has_an_empty_gradient_of_direct_rows():
    fields = (Field("a", 5, 1), Field("b", 6, 0))
    plan = CompressionPlan({"a": DPQ(3, 2), "b": DPQ(2, 2)})
    embedding = PlanEmbedding(fields, plan, X, True, QuantizerOptions(temperature=0.5), LAZY)
    flat = embedding.flatten(torch.tensor([[2, 0], [1, 5]]))
    embedding(flat, embedding.merge(flat, LAZY)).sum().backward()
    gradient = embedding.table.grad
    assert gradient.is_sparse and gradient.shape == embedding.table.shape == (2, X) and gradient._nnz() == 0


@each_made
def test_sparse_gradients_change_no_output(make):
    dense, sparse = make(), make(LAZY)
    flat = dense.flatten(some_ids(20, 1))
    for training in (True, False):
        outputs = []
        for embedding in (dense, sparse):
            torch.manual_seed(2)
            outputs.append(embedding.train(training)(flat, embedding.merge(flat, embedding.kernels)))
        assert torch.equal(*outputs)
        assert torch.equal(dense.first_order_sum(flat), sparse.first_order_sum(flat, sparse.merge(flat, LAZY)))


def test_frozen_rows_have_no_sparse_gradient():
    embedding = embedding_of(TWO, kernels=LAZY, temperature=0.5)
    embedding.table.requires_grad_(False)
    embedding.first_order.requires_grad_(False)
    flat = embedding.flatten(some_ids(8, 3))
    merge = embedding.merge(flat, LAZY)
    (embedding(flat, merge).sum() + embedding.first_order_sum(flat, merge).sum()).backward()
    assert embedding.table.grad is None and embedding.first_order.grad is None
    assert embedding.raw.grad.is_sparse and embedding.raw.grad._nnz()
