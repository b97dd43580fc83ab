"""Plans that mix all kinds of choices: trained, kept, and looked up by torch, numpy and ONNX alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autodpq.choices import CHOICES, Choice
from autodpq.data.dataset import Samples
from autodpq.models import DeepFM
from autodpq.packed.file import open_packed
from autodpq.packed.onnx import export_onnx
from autodpq.plan import CompressionPlan, Field
from autodpq.serving import open_model
from autodpq.testing import RECIPE, examples_of
from autodpq.testing.choices import keep
from autodpq.training.network import Network
from autodpq.training.trainer import Trainer

DIM = 16
KINDS = sorted(name for name, kind in CHOICES.items() if kind.__module__.startswith("autodpq."))
CANDIDATES = [choice for name in KINDS for choice in examples_of(CHOICES[name], DIM)]


def network_of(fields: list[Field], choices: list[Choice], seed: int) -> tuple[Network, np.ndarray]:
    """A network of a plan with random weights, and ids of all values."""
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.integers(field.cardinality, size=64) for field in fields], 1).astype(np.int32)
    rows = Samples(ids, (np.arange(64) % 2).astype(np.uint8))
    recipe = replace(RECIPE, embedding_dim=DIM, initial_deviation=0.5)
    trainer = Trainer(fields, DeepFM, recipe, seed, torch.device("cpu"), rows, rows)
    network = trainer.build(CompressionPlan({f.name: choice for f, choice in zip(fields, choices, strict=True)}))
    trainer.start(network, None)
    assert network.embedding.first_order is not None
    torch.nn.init.normal_(network.embedding.first_order)
    return network.eval(), ids


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Field], list[Choice]]:
    n_fields = draw(st.integers(1, 6))
    sizes = [draw(st.tuples(st.integers(0, 9), st.integers(1, 40))) for _ in range(n_fields)]
    fields = [Field(f"f{number}", head + tail, head) for number, (head, tail) in enumerate(sizes)]
    return fields, [draw(st.sampled_from(CANDIDATES)) for _ in fields]


def check(fields: list[Field], choices: list[Choice], path: Path) -> tuple[torch.Tensor, np.ndarray]:
    """Torch gives the logits of the trained network to the bit, numpy within 1e-5."""
    network, ids = network_of(fields, choices, seed=len(fields))
    packed, served = keep(network, path), open_model(path)
    with torch.inference_mode(), network.embedding.settled():
        logits = network(network.embedding.flatten(torch.from_numpy(ids)))
        assert torch.equal(packed(torch.from_numpy(ids)), logits)
    assert np.array_equal(served.embed(ids), packed.embed(torch.from_numpy(ids)).numpy())
    assert np.allclose(served.score(ids), logits.numpy(), rtol=0, atol=1e-5)
    return logits, ids


@settings(deadline=None, max_examples=40)
@given(plans())
def test_any_mixture_is_looked_up_alike(tmp_path_factory: pytest.TempPathFactory, plan: tuple) -> None:
    check(*plan, tmp_path_factory.getbasetemp() / "mixed.safetensors")


def check_onnx(fields: list[Field], choices: list[Choice], tmp_path: Path) -> None:
    logits, ids = check(fields, choices, tmp_path / "model.safetensors")
    export_onnx(open_packed(tmp_path / "model.safetensors"), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"ids": ids.astype(np.int64)})
    assert np.allclose(found, logits.numpy(), rtol=0, atol=1e-5)
    with pytest.raises(Exception, match=r"(?i)out of|indices"):
        session.run(["logits"], {"ids": np.full((1, len(fields)), 10_000)})


@pytest.mark.slow  # test_onnx.py has all kinds in one graph
def test_a_graph_of_all_kinds(tmp_path: Path) -> None:
    choices = [examples_of(CHOICES[name], DIM)[-1] for name in KINDS]
    assert len(choices) >= 7
    fields = [Field(f"f{number}", 20 + number, number % 3) for number in range(len(choices))]
    check_onnx(fields, choices, tmp_path)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(plans())
def test_any_mixture_as_a_graph(tmp_path_factory: pytest.TempPathFactory, plan: tuple) -> None:
    check_onnx(*plan, tmp_path_factory.mktemp("graph"))
