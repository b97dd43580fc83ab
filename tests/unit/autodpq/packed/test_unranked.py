"""Tables of bands whose ids are in any order."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.packed_files import arrays_of, crafted, parts_of, refused

from autodpq.choices import DPQ, Choice, Float16, Full, Hashed, Int, Narrow, Others
from autodpq.choices.base import narrow_floats
from autodpq.choices.codes import pack_words
from autodpq.choices.weights import stored_weights
from autodpq.errors import AutoDPQError
from autodpq.packed.file import open_packed, write_packed
from autodpq.packed.lookup import look_up
from autodpq.packed.manifest import Manifest
from autodpq.packed.module import PackedEmbedding
from autodpq.packed.spec import BAND_NUMBERS, BandedSpec, band_part
from autodpq.packed.table import PackedTable
from autodpq.packed.torch_operations import TracedOperations

X = 8
CHOICES = [Full(), Others(), Hashed(2), Int(2), Int(4), Float16(), Narrow(3), DPQ(2, 1), DPQ(5, 4), DPQ(300, 2)]


def make_table(bands: list[tuple[int, Choice]], seed: int = 0) -> tuple[PackedTable, np.ndarray]:
    """A table of ids in any order, and of each id its band."""
    spec = BandedSpec("a", X, tuple(bands), 0, True, ranked=False)
    arrays = {}
    for number, table in enumerate(spec.tables):
        plain = dataclasses.replace(table, compact=False, head_dtype="float32")
        own = {part: narrow_floats(array) for part, array in arrays_of(plain, seed + number).items()}
        weights = np.random.default_rng(seed).normal(size=table.n_weights).astype(np.float32)
        own |= stored_weights(weights, table.weight_bits)
        arrays |= {band_part(number, part): array for part, array in own.items()}
    numbers = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(bands)), [n for n, _ in bands]))
    arrays[BAND_NUMBERS] = pack_words(numbers[:, None], (len(bands) - 1).bit_length())
    return PackedTable(spec, arrays), numbers


tables = st.lists(st.tuples(st.integers(1, 30), st.sampled_from(CHOICES)), min_size=2, max_size=6)


@settings(max_examples=25)
@given(tables, st.integers(0, 9))
def test_an_id_is_as_far_in_its_band_as_the_band_has_smaller_ones(bands: list[tuple[int, Choice]], seed: int) -> None:
    table, numbers = make_table(bands, seed)
    of_bands = table.bands()
    ids = np.random.default_rng(seed).integers(0, len(numbers), (12, 2))
    places = [[int((numbers[:i] == numbers[i]).sum()) for i in row] for row in ids]
    expected = [
        [of_bands[numbers[i]].lookup(np.array(place)) for i, place in zip(*pair, strict=True)]
        for pair in zip(ids, places, strict=True)
    ]
    weights = [
        [of_bands[numbers[i]].first_order(np.array(place)) for i, place in zip(*pair, strict=True)]
        for pair in zip(ids, places, strict=True)
    ]
    assert np.array_equal(table.lookup(ids), np.array(expected))
    assert np.array_equal(table.first_order(ids), np.array(weights))
    module = PackedEmbedding(table)
    assert np.array_equal(module(torch.from_numpy(ids)).numpy(), np.array(expected))
    assert np.array_equal(module.first_order_of(torch.from_numpy(ids)).numpy(), np.array(weights))
    back = module.table()
    assert back.spec == table.spec and back.arrays.keys() == table.arrays.keys()
    assert all(np.array_equal(back.arrays[part], array) for part, array in table.arrays.items())


BANDS: list[tuple[int, Choice]] = [(7, Full()), (12, DPQ(5, 4)), (21, Others())]


def test_bands_of_ranks_in_order_need_no_numbers() -> None:
    table, numbers = make_table(BANDS)
    ranked = dataclasses.replace(table.spec, ranked=True)
    arrays = {part: array for part, array in table.arrays.items() if part != BAND_NUMBERS}
    order = np.argsort(numbers, kind="stable")
    assert np.array_equal(PackedTable(ranked, arrays).lookup(np.arange(40)), table.lookup(order))
    assert table.arrays[BAND_NUMBERS].nbytes == 10, "two bits for each of 40 ids"


def test_a_state_of_other_numbers_is_another_table() -> None:
    (one, _), (other, _) = make_table(BANDS, 1), make_table(BANDS, 2)
    module, ids = PackedEmbedding(one), np.arange(40)
    kept = copy.deepcopy(module)
    module.load_state_dict(PackedEmbedding(other).state_dict())
    assert np.array_equal(module(torch.from_numpy(ids)).numpy(), other.lookup(ids))
    assert np.array_equal(kept(torch.from_numpy(ids)).numpy(), one.lookup(ids))
    assert not np.array_equal(one.lookup(ids), other.lookup(ids))


def test_a_look_up_in_a_graph_is_the_plain_one() -> None:
    table, _ = make_table(BANDS)
    module, ids = PackedEmbedding(table), torch.arange(40)
    found = look_up(table.spec, module._arrays(), ids, TracedOperations())
    assert np.array_equal(found.numpy(), table.lookup(ids.numpy()))


@pytest.mark.slow  # it is torch that compiles it
def test_a_compiled_look_up_is_the_plain_one() -> None:
    table, _ = make_table(BANDS)
    ids = torch.arange(40)
    compiled = torch.compile(PackedEmbedding(table), backend="aot_eager", fullgraph=True)
    assert np.array_equal(compiled(ids).numpy(), table.lookup(ids.numpy()))
    with pytest.raises(IndexError):
        compiled(torch.full((40,), 40))


def test_ids_outside_are_refused() -> None:
    table, _ = make_table(BANDS)
    for wrong in (-1, 40):
        with pytest.raises(AutoDPQError, match=rf"table 'a': id {wrong} given, 0\.\.39 are possible"):
            table.lookup(np.array([0, wrong]))
        with pytest.raises(IndexError, match=f"id {wrong} given"):
            PackedEmbedding(table)(torch.tensor([0, wrong]))


@pytest.mark.parametrize("change", [(0, 1), (2, 0), (1, 3)])
def test_numbers_that_do_not_fill_the_bands_are_refused(change: tuple[int, int], tmp_path: Path) -> None:
    table, numbers = make_table(BANDS)
    wrong = numbers.copy()
    wrong[np.flatnonzero(numbers == change[0])[0]] = change[1]
    arrays = {**table.arrays, BAND_NUMBERS: pack_words(wrong[:, None], 2)}
    message = "table 'a': its band_numbers do not give each band as many ids as it has"
    with pytest.raises(AutoDPQError, match=message):
        PackedTable(table.spec, arrays)
    manifest = Manifest("modules", (table.spec,), None, None, "0.1.0", {})
    write_packed(tmp_path / "a", manifest, {"a": table.arrays}, {})
    opened = open_packed(tmp_path / "a")
    assert opened.manifest.format == 3
    assert np.array_equal(opened.tables[0].lookup(np.arange(40)), table.lookup(np.arange(40)))
    header, data = parts_of(tmp_path / "a")
    place = header[f"tables.a.{BAND_NUMBERS}"]["data_offsets"][0]
    changed = data[:place] + arrays[BAND_NUMBERS].tobytes() + data[place + 10 :]
    assert message in refused(tmp_path / "b", crafted(header, changed))


def test_one_band_is_in_order() -> None:
    with pytest.raises(AutoDPQError, match="table 'a': of one band, ids are ranked"):
        BandedSpec("a", X, ((5, Full()),), 0, ranked=False)
