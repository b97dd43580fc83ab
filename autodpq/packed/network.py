"""A trained network as packed tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autodpq.choices import Arrays
from autodpq.embedding.planned import PlanEmbedding
from autodpq.packed.module import to_array
from autodpq.packed.spec import TableSpec
from autodpq.training.network import Network


def pack_network(network: Network, fallbacks: Sequence[int]) -> tuple[tuple[TableSpec, ...], dict[str, Arrays], Arrays]:
    """The tables of a trained network, as they are stored, and the rest of its weights.

    Args:
        network: The network of a plan.
        fallbacks: Per field, the id that stands for values never seen.

    Returns:
        What the tables are; their arrays by field; the click-through model's float weights by name.
    """
    embedding = network.embedding
    assert isinstance(embedding, PlanEmbedding), "candidates are no plan yet"
    specs, tables = [], {}
    for column, (field, numbers) in enumerate(zip(embedding.fields, embedding.rows_of_ids(), strict=True)):
        choice = embedding.choices[column]
        spec = TableSpec(
            field.name,
            field.cardinality,
            embedding.embedding_dim,
            field.head,
            choice,
            fallbacks[column],
            first_order=embedding.first_order is not None,
        )
        arrays = {"rows": to_array(embedding.table[numbers[: spec.n_stored].long()])}
        if column in embedding.quantized:
            arrays |= embedding.packed(column)
        if embedding.first_order is not None:
            arrays["first_order"] = to_array(embedding.first_order[numbers[: spec.n_weights].long()])
        specs.append(spec)
        tables[field.name] = arrays
    # Counters of batches are no weights: inference does not read them.
    state = network.model.state_dict()
    dense = {name: to_array(value) for name, value in state.items() if value.is_floating_point()}
    return tuple(specs), tables, dense


def fallback_ids(network: Network, uncounted: Mapping[str, int]) -> tuple[int, ...]:
    """Per field, the id that stands for values never seen: the data's own where it has one, else the typical rare id.

    Typical is the id whose embedding is nearest to the mean of the field's rare values, or of all its values where none
    is rare; the more frequent one of equals.

    Args:
        network: The network of a plan.
        uncounted: The ids that training data never held, of the fields that have one.
    """
    embedding = network.embedding
    assert isinstance(embedding, PlanEmbedding), "candidates are no plan yet"
    all_rows, found = embedding.decoded(), []
    for field, numbers in zip(embedding.fields, embedding.rows_of_ids(), strict=True):
        first = field.head if field.tail else 0
        rows = all_rows[numbers[first:].long()]
        nearest = (rows - rows.mean(0)).square().sum(1).argmin()
        found.append(uncounted.get(field.name, first + int(nearest)))
    return tuple(found)
