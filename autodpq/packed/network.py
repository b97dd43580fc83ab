"""A trained network as packed tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from autodpq.choices import Arrays
from autodpq.choices.base import as_stored, narrow_floats
from autodpq.choices.weights import rounded_weights, stored_weights, weight_bits
from autodpq.embedding.planned import PlanEmbedding
from autodpq.models import CTRModel
from autodpq.packed.dense import rounded_dense, stored_dense
from autodpq.packed.module import to_array
from autodpq.packed.spec import AnySpec, BandedSpec, TableSpec, band_part
from autodpq.training.network import Network

Packed = tuple[tuple[AnySpec, ...], dict[str, Arrays], Arrays]


def pack_network(network: Network, fallbacks: Sequence[int]) -> Packed:
    """The tables of a trained network, as they are stored, and the rest of its weights.

    Args:
        network: The network of a plan.
        fallbacks: Per field, the id that stands for values never seen.

    Returns:
        What the tables are; their arrays by field; the click-through model's float weights by name.
    """
    embedding = network.embedding
    assert isinstance(embedding, PlanEmbedding), "candidates are no plan yet"
    if embedding.distinct:
        return _pack_compactly(network, embedding, fallbacks)
    specs: list[AnySpec] = []
    tables = {}
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
    return tuple(specs), tables, dense_weights(network.model)


def dense_weights(model: CTRModel) -> Arrays:
    """The click-through model's weights; counters of batches are none: inference does not read them."""
    return {name: to_array(value) for name, value in model.state_dict().items() if value.is_floating_point()}


def _pack_compactly(network: Network, embedding: PlanEmbedding, fallbacks: Sequence[int]) -> Packed:
    specs: list[AnySpec] = []
    tables: dict[str, Arrays] = {}
    numbers, by_band = iter(range(len(embedding.bands))), embedding.rows_of_bands()
    for field, fallback in zip(embedding.fields, fallbacks, strict=True):
        own = [next(numbers) for _ in field.bands]
        bands = tuple((embedding.bands[number].n_rows, embedding.choices[number]) for number in own)
        has_weights = embedding.first_order is not None
        spec = BandedSpec(field.name, embedding.embedding_dim, bands, fallback, has_weights)
        tables[field.name] = {}
        for place, (number, table) in enumerate(zip(own, spec.tables, strict=True)):
            rows = by_band[number].long()
            arrays = {"rows": narrow_floats(to_array(embedding.table[rows[: table.n_stored]]))}
            if number in embedding.quantized:
                arrays |= {part: narrow_floats(array) for part, array in embedding.packed(number).items()}
            if embedding.first_order is not None:
                arrays |= stored_weights(to_array(embedding.first_order[rows[: table.n_weights]]), table.weight_bits)
            tables[field.name] |= {band_part(place, part): array for part, array in arrays.items()}
        specs.append(spec)
    dense: Arrays = {}
    for name, array in dense_weights(network.model).items():
        dense |= stored_dense(name, array)
    return tuple(specs), tables, dense


@torch.no_grad()
def round_compactly(network: Network) -> None:
    """Makes a trained network what a compact file holds of it: floats of 16 bits, matrices beside the embeddings of 8,
    first-order weights of few.

    Codes follow from what is rounded, so that a network that is rounded stays as it is when it is rounded again.

    Args:
        network: The network of a plan whose embedding is compact.
    """
    embedding = network.embedding
    assert isinstance(embedding, PlanEmbedding) and embedding.distinct, "it is stored in 32 bits"
    rounded: list[Tensor] = [embedding.table]
    if embedding.quantizers is not None:
        rounded += list(embedding.quantizers.parameters())
    for value in rounded:
        value.copy_(torch.from_numpy(as_stored(to_array(value))))
    for value in network.model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.from_numpy(rounded_dense(to_array(value))).to(value))
    if embedding.first_order is None:
        return
    for rows, choice in zip(embedding.rows_of_bands(), embedding.choices, strict=True):
        own = torch.unique(rows.long())
        bits = weight_bits(choice, embedding.embedding_dim)
        weights = rounded_weights(to_array(embedding.first_order[own]), bits)
        embedding.first_order[own] = torch.from_numpy(weights).to(own.device)


def fallback_ids(network: Network, uncounted: Mapping[str, int]) -> tuple[int, ...]:
    """Per field, the id that stands for values never seen: the data's own where it has one, else the typical rare id.

    Typical is the id whose embedding and first-order weight, each in units of how these vary, are nearest to the mean
    of the field's rare values, or of all its values where none is rare; the more frequent one of equals.

    Args:
        network: The network of a plan.
        uncounted: The ids that training data never held, of the fields that have one.
    """
    embedding = network.embedding
    assert isinstance(embedding, PlanEmbedding), "candidates are no plan yet"
    all_rows, found = embedding.decoded(), []
    for field, numbers in zip(embedding.fields, embedding.rows_of_ids(), strict=True):
        first = field.head if field.tail else 0
        own = numbers[first:].long()
        distances = _distances(all_rows[own])
        if embedding.first_order is not None:
            distances += _distances(embedding.first_order.detach()[own, None])
        found.append(uncounted.get(field.name, first + int(distances.argmin())))
    return tuple(found)


def _distances(rows: Tensor) -> Tensor:
    """Squared distances from the mean, float [n], by their mean; zeros where all are there."""
    distances = (rows - rows.mean(0)).square().sum(1)
    return distances / distances.mean().clamp(min=torch.finfo(distances.dtype).tiny)
