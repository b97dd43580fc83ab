"""What a plan costs: parameters as the paper counts them, bits as stored (pure arithmetic, no torch here)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autodpq.choices import Choice, Full
from autodpq.choices.base import FLOAT_BITS, Cost, Kept, layout_bytes, narrowed
from autodpq.choices.codes import words_size
from autodpq.choices.weights import MOST_WEIGHT_BITS, weight_bits
from autodpq.errors import AutoDPQError
from autodpq.plan import Band, CompressionPlan, Field, bands_of

HALF_BITS = 16
SCALE_BYTES = 2
"""Of a band's first-order weights, where these are integers."""
MATRIX_SCALE_BYTES = 2
"""Of a row of a matrix, where its numbers are integers."""


@dataclass(frozen=True, slots=True)
class BandLedger:
    """A band's share of a ledger; the frequent rows of a field are counted with its first band.

    Attributes:
        name: The band's name, which is the field's where it has no other.
        parameters: Parameters as the paper counts them: a code is a whole parameter.
        bits: Bits as stored: rows of their own as floats, others as their choice has it.
        rows: Rows of an id-indexed vector beside the embedding (the first-order weights).
        weight_bits: Bits of a first-order weight where all is stored compactly.
    """

    name: str
    parameters: int
    bits: int
    rows: int
    weight_bits: int = MOST_WEIGHT_BITS


def is_matrix(shape: Sequence[int]) -> bool:
    """Whether a weight beside the embeddings has 8 bits a number and a scale a row, where all is stored compactly."""
    return len(shape) == 2 and shape[1] > MATRIX_SCALE_BYTES


@dataclass(frozen=True, slots=True)
class Dense:
    """The weights that inference needs beside embeddings and first-order weights.

    Attributes:
        floats: How many numbers.
        in_matrices: How many of them stand in matrices, see :func:`is_matrix`.
        matrix_rows: How many rows these have.
    """

    floats: int = 0
    in_matrices: int = 0
    matrix_rows: int = 0

    @classmethod
    def of(cls, shapes: Iterable[Sequence[int]]) -> Dense:
        """Of weights of some shapes."""
        every = list(shapes)
        matrices = [shape for shape in every if is_matrix(shape)]
        return cls(sum(map(math.prod, every)), sum(map(math.prod, matrices)), sum(shape[0] for shape in matrices))


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a plan costs.

    Attributes:
        bands: Their shares, in the data set's order.
        first_order_rows: First-order weights, one per row; 0 where the model has none. The paper leaves them out.
        dense: Other weights that inference needs (MLP, BatchNorm statistics). The paper leaves them out.
        compact: Whether floats have 16 bits, matrices beside the embeddings 8 with a scale a row, first-order weights
            few with a scale a band; else all have 32.
    """

    bands: tuple[BandLedger, ...]
    first_order_rows: int = 0
    dense: Dense = Dense()
    compact: bool = False

    @property
    def parameters(self) -> int:
        """The paper's Space."""
        return sum(band.parameters for band in self.bands)

    @property
    def embedding_bytes(self) -> int:
        """Bytes of the packed embedding tables; each band's codes start at a byte of their own."""
        return sum(-(-band.bits // 8) for band in self.bands)

    @property
    def first_order_bytes(self) -> int:
        """Bytes of the first-order weights."""
        if not self.compact or not self.first_order_rows:
            return self.first_order_rows * FLOAT_BITS // 8
        return sum(words_size(band.rows, 1, band.weight_bits) + SCALE_BYTES for band in self.bands)

    @property
    def dense_bytes(self) -> int:
        """Bytes of the remaining weights."""
        dense = self.dense
        if not self.compact:
            return dense.floats * FLOAT_BITS // 8
        halves = dense.floats - dense.in_matrices
        return halves * HALF_BITS // 8 + dense.in_matrices + dense.matrix_rows * MATRIX_SCALE_BYTES

    @property
    def bytes(self) -> int:
        """All bytes that inference needs."""
        return self.embedding_bytes + self.first_order_bytes + self.dense_bytes


def band_cost(choice: Choice, n_rows: int, embedding_dim: int, compact: bool) -> Cost:
    """What the rows of a band cost under a choice.

    Args:
        choice: What becomes of them.
        n_rows: How many there are.
        embedding_dim: X.
        compact: Whether floats have 16 bits instead of 32, each array whole bytes.
    """
    cost = choice.cost(n_rows, embedding_dim)
    if not compact:
        return cost
    kept = choice.modulus(n_rows) * embedding_dim if isinstance(choice, Kept) else 0
    arrays = layout_bytes(narrowed(choice.layout(n_rows, embedding_dim)))
    return Cost(cost.parameters, HALF_BITS * kept + 8 * arrays)


def band_ledgers(
    field: Field, plan: CompressionPlan, embedding_dim: int, compact: bool = False
) -> tuple[BandLedger, ...]:
    """The cost of a field's bands under their choices.

    Args:
        field: The field.
        plan: A plan that holds its bands.
        embedding_dim: X.
        compact: Whether floats have 16 bits instead of 32.

    Raises:
        AutoDPQError: The plan lacks a band, or a choice does not fit X.
    """
    return tuple(
        _share(band, field.head if band.start == field.head else 0, plan, embedding_dim, compact)
        for band in field.bands
    )


def _share(band: Band, head: int, plan: CompressionPlan, embedding_dim: int, compact: bool) -> BandLedger:
    choice = chosen(band, plan)
    choice.check(embedding_dim, f"field {band.name!r}")
    cost, own = band_cost(choice, band.n_rows, embedding_dim, compact), head * embedding_dim
    bits = (HALF_BITS if compact else FLOAT_BITS) * own + cost.bits
    n_weights = head + choice.modulus(band.n_rows)
    return BandLedger(band.name, own + cost.parameters, bits, n_weights, weight_bits(choice, embedding_dim))


def band_bytes(band: Band, choice: Choice, embedding_dim: int, *, first_order: bool, compact: bool) -> int:
    """What a band adds to a ledger's bytes under a choice; the frequent rows of its field are not counted.

    Args:
        band: The band.
        choice: What becomes of its rows.
        embedding_dim: X.
        first_order: Whether there are first-order weights.
        compact: Whether floats have 16 bits instead of 32, and first-order weights few.
    """
    share = _share(band, 0, CompressionPlan({band.name: choice}), embedding_dim, compact)
    return Ledger((share,), share.rows if first_order else 0, compact=compact).bytes


def prices(
    fields: Sequence[Field],
    space: Mapping[str, Sequence[Choice]],
    embedding_dim: int,
    *,
    first_order: bool,
    dense: Dense,
    compact: bool,
) -> tuple[dict[str, list[int]], int]:
    """Bytes of each band's candidates, and of all that no choice changes: their sum is a ledger's.

    Args:
        fields: All fields.
        space: Candidates of each band.
        embedding_dim: X.
        first_order: Whether there are first-order weights.
        dense: Other weights that inference needs.
        compact: Whether floats have 16 bits instead of 32, and first-order weights few.
    """
    own = {
        band.name: [
            band_bytes(band, choice, embedding_dim, first_order=first_order, compact=compact)
            for choice in space[band.name]
        ]
        for band in bands_of(fields)
    }
    plan = CompressionPlan({name: space[name][0] for name in own})
    costs = ledger(fields, plan, embedding_dim, first_order=first_order, dense=dense, compact=compact)
    return own, costs.bytes - sum(row[0] for row in own.values())


def chosen(band: Band, plan: CompressionPlan) -> Choice:
    """What a plan says of a band; ``Full()`` where it has no rows.

    Raises:
        AutoDPQError: The plan says nothing of it.
    """
    if band.name not in plan:
        raise AutoDPQError(f"field {band.name!r}: the plan has no choice for it")
    return plan[band.name] if band.n_rows else Full()


def ledger(
    fields: Sequence[Field],
    plan: CompressionPlan,
    embedding_dim: int,
    *,
    first_order: bool = False,
    dense: Dense = Dense(),
    compact: bool = False,
) -> Ledger:
    """The cost of a plan.

    Args:
        fields: All fields of the data set.
        plan: One choice per band.
        embedding_dim: X.
        first_order: Whether the model has one first-order weight per row.
        dense: Other weights that inference needs.
        compact: Whether floats have 16 bits instead of 32, and first-order weights few.

    Raises:
        AutoDPQError: A band is missing from the plan, or a choice does not fit X.
    """
    shares = tuple(share for field in fields for share in band_ledgers(field, plan, embedding_dim, compact))
    rows = sum(share.rows for share in shares) if first_order else 0
    return Ledger(shares, rows, dense, compact)
