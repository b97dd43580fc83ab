"""What a plan costs: parameters as the paper counts them, bits as stored (pure arithmetic, no torch here)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autodpq.choices import Full
from autodpq.choices.base import FLOAT_BITS
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan, Field


@dataclass(frozen=True, slots=True)
class FieldLedger:
    """One field's share of a ledger.

    Attributes:
        name: The field's name.
        parameters: Parameters as the paper counts them: a code is a whole parameter.
        bits: Bits as stored: frequent rows in float32, rare ones as their choice has it.
        rows: Rows of an id-indexed vector beside the embedding (the first-order weights).
    """

    name: str
    parameters: int
    bits: int
    rows: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a plan costs.

    Attributes:
        fields: The shares of the fields, in the data set's order.
        first_order_rows: First-order weights, one per row; 0 where the model has none. The paper leaves them out.
        dense_floats: Other floats that inference needs (MLP, BatchNorm statistics). The paper leaves them out.
    """

    fields: tuple[FieldLedger, ...]
    first_order_rows: int = 0
    dense_floats: int = 0

    @property
    def parameters(self) -> int:
        """The paper's Space."""
        return sum(field.parameters for field in self.fields)

    @property
    def embedding_bytes(self) -> int:
        """Bytes of the packed embedding tables; each field's codes start at a byte of their own."""
        return sum(-(-field.bits // 8) for field in self.fields)

    @property
    def first_order_bytes(self) -> int:
        """Bytes of the first-order weights in float32."""
        return self.first_order_rows * FLOAT_BITS // 8

    @property
    def dense_bytes(self) -> int:
        """Bytes of the remaining weights in float32."""
        return self.dense_floats * FLOAT_BITS // 8

    @property
    def bytes(self) -> int:
        """All bytes that inference needs."""
        return self.embedding_bytes + self.first_order_bytes + self.dense_bytes


def field_ledger(field: Field, plan: CompressionPlan, embedding_dim: int) -> FieldLedger:
    """The cost of one field under its choice.

    Args:
        field: The field.
        plan: A plan that holds the field.
        embedding_dim: X.

    Raises:
        AutoDPQError: The plan lacks the field, or its choice does not fit X.
    """
    if field.name not in plan:
        raise AutoDPQError(f"field {field.name!r}: the plan has no choice for it")
    choice = plan[field.name] if field.tail else Full()
    choice.check(embedding_dim, f"field {field.name!r}")
    cost, head = choice.cost(field.tail, embedding_dim), field.head * embedding_dim
    rows = field.head + choice.modulus(field.tail)
    return FieldLedger(field.name, head + cost.parameters, FLOAT_BITS * head + cost.bits, rows)


def ledger(
    fields: Sequence[Field],
    plan: CompressionPlan,
    embedding_dim: int,
    *,
    first_order: bool = False,
    dense_floats: int = 0,
) -> Ledger:
    """The cost of a plan.

    Args:
        fields: All fields of the data set.
        plan: One choice per field.
        embedding_dim: X.
        first_order: Whether the model has one first-order weight per row.
        dense_floats: Other floats that inference needs.

    Raises:
        AutoDPQError: A field is missing from the plan, or a choice does not fit X.
    """
    shares = tuple(field_ledger(field, plan, embedding_dim) for field in fields)
    rows = sum(share.rows for share in shares) if first_order else 0
    return Ledger(shares, rows, dense_floats)
