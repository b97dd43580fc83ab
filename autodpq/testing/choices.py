"""The contract that every choice must keep, as tests for the authors of plug-ins (needs pytest).

In a test module of one's own, this is all::

    class TestMine(ChoiceContract):
        choices = (Mine(1), Mine(2))
"""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from autodpq._version import __version__
from autodpq.choices import CHOICES, Choice, Full, Made, Others, parse_choice
from autodpq.choices.base import RESERVED, layout_bytes
from autodpq.costs import band_ledgers
from autodpq.embedding.groups import group_of
from autodpq.errors import AutoDPQError
from autodpq.models.deepfm import DeepFM
from autodpq.packed.compress import compress
from autodpq.packed.export import export
from autodpq.packed.file import open_packed, write_packed
from autodpq.packed.load import PackedNetwork, load
from autodpq.packed.manifest import Manifest, ModelSpec
from autodpq.packed.network import fallback_ids, pack_network
from autodpq.packed.table import PackedTable
from autodpq.plan import CompressionPlan, Field, uniform_plan
from autodpq.search.bilevel import SearchOptions, carry_over, search, supernet_of
from autodpq.serving import open_model
from autodpq.testing.toys import FIELDS, RECIPE, make_samples
from autodpq.training.fit import predict
from autodpq.training.network import Network
from autodpq.training.trainer import Trainer

_NUMBERS = (1, 2, 3, 4, 8, 16)


def examples_of(kind: type[Choice], dim: int) -> list[Choice]:
    """Choices of a kind whose parameters are whole numbers, that fit X; at most four, spread over what is possible."""
    found = []
    for numbers in product(_NUMBERS, repeat=len(kind.parameters())):
        try:
            choice = parse_choice(f"{kind.name}({','.join(map(str, numbers))})" if numbers else kind.name)
            choice.check(dim, "here")
        except AutoDPQError:
            continue
        found.append(choice)
    return found[:: max(1, -(-len(found) // 4))]


def make_trainer(dim: int, seed: int = 0) -> Trainer:
    """Trains networks of X numbers on a few hundred generated rows."""
    recipe = dataclasses.replace(RECIPE, embedding_dim=dim, initial_deviation=0.3)
    rows = make_samples(320, seed=1), make_samples(160, seed=2)
    return Trainer(FIELDS, DeepFM, recipe, seed, torch.device("cpu"), *rows)


@lru_cache(32)
def _trained(choice: Choice, dim: int) -> Network:
    trainer = make_trainer(dim)
    network = trainer.build(uniform_plan(FIELDS, choice))
    trainer.start(network, None)
    trainer.fit(network)
    return network


def keep(network: Network, path: Path) -> PackedNetwork:
    """Writes a network as a study does, and loads it."""
    specs, tables, dense = pack_network(network, fallback_ids(network, {}))
    model = ModelSpec("deepfm", RECIPE.hidden)
    write_packed(path, Manifest("network", specs, model, None, __version__), tables, dense)
    loaded = load(path)
    assert isinstance(loaded, PackedNetwork)
    return loaded


class ChoiceContract:
    """Tests of one kind of choice; a subclass whose name begins with ``Test`` names examples of it.

    Attributes:
        choices: The examples, all of one class.
        dim: X, which they fit.
    """

    choices: ClassVar[Sequence[Choice]]
    dim: ClassVar[int] = 16

    def trained(self, choice: Choice) -> Network:
        """The network of a plan that gives the choice to all rare values, trained for an epoch or two."""
        return copy.deepcopy(_trained(choice, self.dim))

    def test_text_goes_there_and_back(self) -> None:
        for choice in self.choices:
            assert parse_choice(str(choice)) == choice and hash(parse_choice(str(choice))) == hash(choice)
            plan = CompressionPlan({"a": choice})
            assert CompressionPlan.from_json(plan.to_json()) == plan
            assert CHOICES[choice.name] is type(choice)

    def test_whole_numbers_of_numpy_are_plain_ones(self) -> None:
        for choice in self.choices:
            drawn = {
                name: np.int64(value) if type(value) is int else value
                for name, value in ((name, getattr(choice, name)) for name in choice.parameters())
            }
            made = type(choice)(**drawn)
            assert str(made) == str(choice), "a __post_init__ of one's own begins with Choice.__post_init__(self)"
            assert made.layout(7, self.dim) == choice.layout(7, self.dim)
            assert [type(getattr(made, name)) for name in drawn] == [type(getattr(choice, name)) for name in drawn]

    def test_copies_are_equal(self) -> None:
        for choice in self.choices:
            assert pickle.loads(pickle.dumps(choice)) == copy.deepcopy(choice) == choice
            assert len({str(other) for other in self.choices}) == len(self.choices)

    def test_the_ledger_s_bits_are_the_bytes_of_the_layout(self) -> None:
        for choice, n_rows in product(self.choices, (1, 2, 7, 28, 300)):
            cost, kept = choice.cost(n_rows, self.dim), 0
            assert 1 <= choice.modulus(n_rows) <= n_rows
            if choice.keeps:
                kept = 4 * choice.modulus(n_rows) * self.dim
            layout = choice.layout(n_rows, self.dim)
            assert not RESERVED & layout.keys(), "every table has arrays of these names"
            assert kept + layout_bytes(layout) == -(-cost.bits // 8), f"{choice}: {n_rows} rows"
            (share,) = band_ledgers(Field("a", n_rows + 5, 5), CompressionPlan({"a": choice}), self.dim)
            assert (share.parameters, share.rows) == (5 * self.dim + cost.parameters, 5 + choice.modulus(n_rows))

    def test_what_is_packed_has_the_layout(self) -> None:
        rows = np.random.default_rng(0).normal(size=(29, self.dim)).astype(np.float32)
        for choice in self.choices:
            if isinstance(choice, Made):
                group = group_of([[choice]], self.dim, RECIPE.quantizer)
                group.start(torch.from_numpy(rows), 0, 0, 0)
                arrays = choice.pack(rows, group.shared(torch.from_numpy(rows), 0, 0))
                assert {name: (array.dtype, array.shape) for name, array in arrays.items()} == choice.layout(
                    29, self.dim
                )

    def test_numpy_torch_and_training_look_up_the_same(self, tmp_path: Path) -> None:
        ids = make_samples(200, seed=3).ids
        for choice in self.choices:
            network = self.trained(choice)
            packed, served = keep(network, tmp_path / "model.safetensors"), open_model(tmp_path / "model.safetensors")
            network.eval()
            with torch.inference_mode(), network.embedding.settled():
                flat = network.embedding.flatten(torch.from_numpy(ids))
                embeddings, logits = network.embedding(flat), network(flat)
                assert torch.equal(packed.embed(torch.from_numpy(ids)), embeddings), f"{choice}: torch"
                assert torch.equal(packed(torch.from_numpy(ids)), logits), f"{choice}: logits"
            assert np.array_equal(served.embed(ids), embeddings.numpy()), f"{choice}: numpy"
            assert np.allclose(served.score(ids), logits.numpy(), rtol=0, atol=1e-5)
            n_bytes = sum(
                size for name, size in open_packed(tmp_path / "model.safetensors").sizes.items() if "." in name
            )
            assert n_bytes == make_trainer(self.dim).ledger(uniform_plan(FIELDS, choice)).bytes, f"{choice}: bytes"

    def test_quantizing_a_batch_is_looking_up(self) -> None:
        for choice in self.choices:
            network = self.trained(choice).eval()
            flat = network.embedding.flatten(torch.from_numpy(make_samples(200, seed=3).ids))
            with torch.no_grad():
                at_once = network.embedding(flat)
                with network.embedding.settled():
                    settled = network.embedding(flat)
                assert torch.allclose(at_once, settled, rtol=0, atol=1e-6), str(choice)

    def test_some_rows_are_looked_up_as_all_are(self) -> None:
        ids = torch.from_numpy(make_samples(4, seed=3).ids)
        for choice in self.choices:
            network = self.trained(choice).eval()
            flat = network.embedding.flatten(ids)
            with torch.no_grad(), network.embedding.settled():
                settled = network.embedding(flat)
            with torch.no_grad(), network.embedding.settled(ids):
                assert torch.allclose(settled, network.embedding(flat), rtol=0, atol=1e-6), str(choice)

    def test_onnx_looks_up_the_same(self, tmp_path: Path) -> None:
        onnxruntime = pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
        from autodpq.packed.onnx import export_onnx

        ids = make_samples(200, seed=3).ids
        for choice in self.choices[:1]:  # a graph takes seconds to make
            packed = keep(self.trained(choice), tmp_path / "model.safetensors")
            export_onnx(open_packed(tmp_path / "model.safetensors"), tmp_path / "model.onnx")
            session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
            (logits,) = session.run(["logits"], {"ids": ids.astype(np.int64)})
            assert np.allclose(logits, packed.score(ids), rtol=1e-6, atol=1e-6), str(choice)

    def test_training_moves_what_is_looked_up(self) -> None:
        ids = torch.from_numpy(make_samples(320, seed=1).ids)
        for choice in self.choices:
            trainer = make_trainer(self.dim)
            network = trainer.build(uniform_plan(FIELDS, choice))
            trainer.start(network, None)

            def rare_rows(network: Network = network) -> torch.Tensor:
                with torch.no_grad(), network.eval().embedding.settled():
                    embedded = network.embedding(network.embedding.flatten(ids))
                return torch.cat([embedded[ids[:, column] >= f.head, column] for column, f in enumerate(FIELDS)])

            before = rare_rows()
            trainer.fit(network, epochs=4)
            assert (rare_rows() != before).any(1).float().mean() > 0.5, f"{choice}: most rows stay as they began"

    def test_the_union_takes_it_and_the_decided_network_goes_on_from_there(self) -> None:
        for choice in self.choices:
            trainer = make_trainer(self.dim)
            other = Others() if choice != Others() else parse_choice("full")
            space = {field.name: (choice, other) for field in FIELDS}
            union = trainer.build_supernet(space, True)
            trainer.start(union, None)
            search(union, trainer.train, trainer.valid, trainer.recipe, SearchOptions(epochs=1), seed=0)
            supernet = supernet_of(union)
            with torch.no_grad():
                supernet.alpha.zero_()
                supernet.alpha[:, 0] = 100.0
            plan = supernet.decide()
            assert plan == uniform_plan(FIELDS, choice)
            decided = trainer.build(plan)
            decided.model.load_state_dict(union.model.state_dict())
            with torch.no_grad():
                direct = decided.embedding.rows_of_ids()
                for column, field in enumerate(FIELDS):
                    mine, theirs = (rows[column][: field.head].long() for rows in (direct, supernet.rows_of_ids()))
                    decided.embedding.table[mine] = supernet.table[theirs]
            carry_over(union, decided)
            of_union, of_plan = (
                n.embedding(n.embedding.flatten(trainer.valid.ids)) for n in (union.eval(), decided.eval())
            )
            assert torch.allclose(of_union, of_plan, rtol=0, atol=1e-4), str(choice)

    def test_any_torch_model_can_be_compressed_by_it(self, tmp_path: Path) -> None:
        counts = {"0": np.arange(300)[::-1]}
        for choice, threshold in product(self.choices, (None, 250)):
            if choice == Full():
                continue  # such a module is left as it is
            torch.manual_seed(0)
            model = nn.Sequential(nn.Embedding(300, self.dim), nn.Linear(self.dim, 1))
            compressed = compress(model, counts, {"0": choice}, threshold=threshold).eval()
            file = export(compressed, tmp_path / "model.safetensors")
            ids = torch.arange(300)
            torch.manual_seed(0)
            loaded = load(file.path, nn.Sequential(nn.Embedding(300, self.dim), nn.Linear(self.dim, 1)))
            with torch.no_grad():
                assert torch.equal(loaded(ids), compressed(ids)), str(choice)
                weight = loaded[0](ids).numpy()  # type: ignore[index]
            assert np.array_equal(open_model(file.path).lookup("0", np.arange(300)), weight), str(choice)

    def test_a_file_with_a_wrong_byte_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        keep(self.trained(self.choices[0]), path)
        content = bytearray(path.read_bytes())
        for place in np.linspace(0, len(content) - 1, 40).astype(int):
            altered = content.copy()
            altered[place] ^= 1
            path.write_bytes(altered)
            with pytest.raises(AutoDPQError):
                open_packed(path)

    def test_arrays_of_another_type_or_shape_are_refused(self) -> None:
        specs, tables, _ = pack_network(self.trained(self.choices[0]), (0, 0, 0))
        for name, array in tables["user"].items():
            for wrong in (array.astype("<i2"), array[:-1]):
                with pytest.raises(AutoDPQError, match=name):
                    PackedTable(specs[0], tables["user"] | {name: wrong})
            with pytest.raises(AutoDPQError, match=name):
                PackedTable(specs[0], {part: value for part, value in tables["user"].items() if part != name})

    def test_predictions_are_probabilities(self) -> None:
        for choice in self.choices:
            values = predict(self.trained(choice), make_trainer(self.dim).valid)
            assert np.isfinite(values).all() and 0 <= values.min() < values.max() <= 1, str(choice)
