"""A table of a torch model while it is fine-tuned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from autodpq.choices import Arrays, Choice, Full, Made
from autodpq.choices.base import LARGEST_HALF, narrow_floats
from autodpq.choices.codes import pack_words
from autodpq.embedding.groups import Group, group_of, mean_rows
from autodpq.embedding.options import QuantizerOptions
from autodpq.kernels.kmeans import kmeans_compiles
from autodpq.packed.module import to_array
from autodpq.packed.spec import BAND_NUMBERS, AnySpec, BandedSpec, TableSpec, band_part
from autodpq.packed.table import PackedTable


class TrainableTable(nn.Module):
    """A table while it is fine-tuned: rows are what the choice of their band makes of them, on the fly.

    Args:
        weight: The trained rows, float32 [n, X]; the module's own parameter, so that whoever holds it trains it still.
        numbers: Which band each row is of, int64 [n], on the weight's device.
        choices: What becomes of each band's rows; under ``Full`` they stay.
        padding_idx: The row that gets no gradient.
        banded: Whether it is stored as a :class:`BandedSpec`; it is then trained in 32 bits and evaluated in those that
            are stored. Else it is a :class:`TableSpec`, of two bands: rows that are kept, and all others.
    """

    numbers: Tensor
    places: Tensor

    def __init__(
        self, weight: nn.Parameter, numbers: Tensor, choices: Sequence[Choice], padding_idx: int | None, banded: bool
    ) -> None:
        super().__init__()
        self.weight = weight
        self.padding_idx = padding_idx
        self.banded = banded
        places, sizes = torch.zeros_like(numbers), []
        for number in range(len(choices)):
            own = numbers == number
            sizes.append(int(own.sum()))
            places[own] = torch.arange(sizes[-1], device=numbers.device)
        self.register_buffer("numbers", numbers, persistent=False)
        self.register_buffer("places", places, persistent=False)  # of each row, its number in its band
        self.ranked = bool((numbers[1:] >= numbers[:-1]).all())
        # Rows of a table move to other centroids while it is fine-tuned.
        options = QuantizerOptions(scores="euclidean", gradient="centroid", compact=banded)
        sized = zip(sizes, choices, strict=True)
        self.bands = nn.ModuleList(_Band(weight, n_rows, choice, options) for n_rows, choice in sized)

    @property
    def spec(self) -> AnySpec:
        """What it is when it is stored; as there is no vocabulary, id 0 stands for values never seen."""
        n_rows, dim = self.weight.shape
        bands = tuple((band.n_rows, band.choice) for band in self._bands())
        if self.banded:
            return BandedSpec("table", dim, bands, 0, ranked=self.ranked)
        (head, _), (_, choice) = bands
        return TableSpec("table", n_rows, dim, head, choice, 0, self.ranked)

    @torch.no_grad()
    def start(self, weights: Tensor, seed: int, n_iterations: int = 25) -> None:
        """Starts what is trained beside the rows.

        Args:
            weights: float [n], how often each row is used.
            seed: Seeds k-means.
            n_iterations: Rounds of k-means.
        """
        for number, band in enumerate(self._bands()):
            own = self.numbers == number
            band.start(self.weight.detach()[own], weights[own], seed, n_iterations)

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings of ids, integer of any shape; gives float32 [*ids.shape, X]."""
        flat = ids.reshape(-1).long()
        rows = nn.functional.embedding(flat, self.weight, self.padding_idx)
        rounds, numbers = self.banded and not self.training, self.numbers[flat]
        for number, band in enumerate(self._bands()):
            if band.is_full and not rounds:
                continue
            places = (numbers == number).nonzero().squeeze(1)
            if len(places):
                ids_here = flat[places]
                made = band(self.weight, ids_here, self.places, rounds)
                rows = rows.index_put((places,), made)
        return rows.view(*ids.shape, rows.shape[1])

    @torch.no_grad()
    def packed(self) -> PackedTable:
        """The table as it is stored."""
        weight, spec = self.weight.detach(), self.spec
        of_bands = [
            band.packed(weight[self.numbers == number], self.banded) for number, band in enumerate(self._bands())
        ]
        if isinstance(spec, TableSpec):
            kept, others = of_bands
            arrays = {**others, "rows": np.concatenate([kept["rows"], others["rows"]])}
            if not spec.ranked:
                arrays["head_ids"] = (self.numbers == 0).nonzero().squeeze(1).int().cpu().numpy()
            return PackedTable(spec, arrays)
        arrays = {
            band_part(number, part): narrow_floats(array)
            for number, of_band in enumerate(of_bands)
            for part, array in of_band.items()
        }
        if not spec.ranked:
            arrays[BAND_NUMBERS] = pack_words(self.numbers.cpu().numpy()[:, None], spec.band_bits)
        return PackedTable(spec, arrays)

    def _bands(self) -> list[_Band]:
        return [band for band in self.bands if isinstance(band, _Band)]


class _Band(nn.Module):
    """What the rows of a band become, and what they share.

    Args:
        weight: The rows of the table, float32 [n, X].
        n_rows: How many of them are the band's.
        choice: What becomes of them.
        options: How codes are chosen.
    """

    def __init__(self, weight: Tensor, n_rows: int, choice: Choice, options: QuantizerOptions) -> None:
        super().__init__()
        self.n_rows = n_rows
        self.choice = choice
        self.is_full = choice == Full()
        self.modulus = choice.modulus(n_rows)
        self.shared: nn.Parameter | None = None
        self.group: Group | None = None
        if isinstance(choice, Made):
            with torch.random.fork_rng(devices=[]):  # what is drawn here is started anew
                group = group_of([[choice]], weight.shape[1], options, compiled=kmeans_compiles())
                self.group = group.to(weight.device)
        elif not self.is_full:
            self.shared = nn.Parameter(weight.new_zeros(self.modulus, weight.shape[1]))

    def start(self, rows: Tensor, weights: Tensor, seed: int, n_iterations: int) -> None:
        """Starts what the band's rows, float32 [n, X], share."""
        if self.group is not None:
            self.group.start(rows, 0, 0, seed, weights, n_iterations)
        elif self.shared is not None:
            self.shared.copy_(mean_rows(rows, self.modulus, weights))

    def forward(self, weight: Tensor, ids: Tensor, places: Tensor, rounds: bool) -> Tensor:
        """What becomes of the rows of ids of the band, int64 [m]; gives float32 [m, X].

        Args:
            weight: float32 [n, X].
            ids: int64 [m].
            places: Of each row of the table its number in its band, int64 [n].
            rounds: Whether floats are those that are stored in 16 bits.
        """
        if self.group is not None:
            distinct, inverse = torch.unique(ids, return_inverse=True)
            arguments = weight[distinct][None], places[distinct][None]
            if rounds:
                parts = {name: _rounded(part) for name, part in self.group.named_parameters()}
                made: Tensor = torch.func.functional_call(self.group, parts, arguments)
            else:
                made = self.group(*arguments)
            return made[0, 0][inverse]
        rows = weight[ids] if self.shared is None else nn.functional.embedding(places[ids] % self.modulus, self.shared)
        return _rounded(rows) if rounds else rows

    def packed(self, rows: Tensor, rounds: bool) -> Arrays:
        """What is stored of the band's rows, float32 [n, X], in 32 bits: ``rows`` of their own, and what is made."""
        if isinstance(self.choice, Made) and self.group is not None:
            if rounds:  # before codes are chosen, which then are those of what is stored
                for part in self.group.parameters():
                    part.copy_(_rounded(part))
            return {"rows": to_array(rows[:0]), **self.choice.pack(to_array(rows), self.group.shared(rows, 0, 0))}
        return {"rows": to_array(rows if self.shared is None else self.shared)}


def _rounded(values: Tensor) -> Tensor:
    """Floats as they are after they were stored in 16 bits, as :func:`autodpq.choices.base.as_stored` has it."""
    return values.clamp(-LARGEST_HALF, LARGEST_HALF).half().to(values.dtype)
