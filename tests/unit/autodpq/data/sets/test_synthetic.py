from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autodpq.choices import DPQ, Full
from autodpq.data import EncodedDataset, bayes_auc, dataset_spec, load_dataset, split_dataset
from autodpq.data.sets.synthetic import LATENT_DIM, N_ROWS, SHAPES, THRESHOLD, Generated, generate

IDS_DIGEST = "bb472b836c88015c"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EncodedDataset:
    return load_dataset("synthetic", cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def generated() -> Generated:
    return generate()


def digest(dataset: EncodedDataset) -> str:
    return hashlib.sha256(np.asarray(dataset.ids, "<i4").tobytes()).hexdigest()[:16]


def test_the_rows_are_the_same_everywhere(dataset: EncodedDataset) -> None:
    assert digest(dataset) == IDS_DIGEST


def test_another_process_generates_the_same(dataset: EncodedDataset, tmp_path: Path) -> None:
    program = (
        "import hashlib, sys, numpy as np; from autodpq.data import load_dataset;"
        "d = load_dataset('synthetic', cache_dir=sys.argv[1]);"
        "print(d.fingerprint, *(hashlib.sha256(np.ascontiguousarray(a)).hexdigest() for a in"
        "(d.ids, d.labels, d.truth.probabilities)))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONHASHSEED"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    assert dataset.truth is not None
    arrays = (dataset.ids, dataset.labels, dataset.truth.probabilities)
    here = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
    assert ran.stdout.split() == [dataset.fingerprint, *here]


def test_the_truth_is_known_and_within_reach(dataset: EncodedDataset) -> None:
    assert dataset.truth is not None
    probabilities = dataset.truth.probabilities
    assert probabilities.dtype == np.float32
    assert 0.80 < bayes_auc(probabilities, dataset.labels) < 0.82
    assert abs(dataset.labels.mean() - 0.5) < 0.01
    split = split_dataset(dataset, 2023, dataset_spec("synthetic").split_method)
    assert 0.80 < bayes_auc(probabilities[split.test], dataset.labels[split.test]) < 0.82
    # Calibrated: where the truth says p, about p of the rows are clicks.
    for low in np.arange(0.0, 1.0, 0.1):
        rows = (probabilities >= low) & (probabilities < low + 0.1)
        error = abs(dataset.labels[rows].mean() - probabilities[rows].mean())
        assert error < 4 * 0.5 / np.sqrt(rows.sum())


def test_the_truth_comes_back_from_the_cache(dataset: EncodedDataset) -> None:
    assert dataset.folder is not None
    again = load_dataset("synthetic", cache_dir=dataset.folder.parent.parent)
    assert again.truth is not None
    assert dataset.truth is not None
    assert again.truth.plan == dataset.truth.plan
    assert np.array_equal(again.truth.probabilities, dataset.truth.probabilities)


def test_the_fields_are_those_of_the_truth_s_plan(dataset: EncodedDataset) -> None:
    assert dataset.truth is not None
    spec = dataset_spec("synthetic")
    fields = dataset.fields(spec.threshold)
    assert [field.name for field in fields] == [shape.name for shape in SHAPES]
    assert len({choice for choice in dataset.truth.plan.values() if choice != Full()}) == 5
    for field in fields:
        choice = dataset.truth.plan[field.name]
        if field.tail:
            assert isinstance(choice, DPQ)
            assert choice.K in spec.K
            assert choice.D in spec.D
        else:
            assert choice == Full()
    heads = np.array([field.head for field in fields])
    share = (dataset.ids >= heads).any(axis=1).mean()
    assert 0.3 < share < 0.45


def test_rare_values_are_combinations_of_prototypes(generated: Generated) -> None:
    for shape, field in zip(SHAPES, generated.fields, strict=True):
        counts = np.bincount(field.values, minlength=shape.cardinality)
        assert np.array_equal(field.is_rare, counts < THRESHOLD)
        assert field.is_rare.any() == isinstance(shape.choice, DPQ)
        if not isinstance(shape.choice, DPQ):
            continue
        D, K, width = field.prototypes.shape
        assert (K, D, width) == (shape.choice.K, shape.choice.D, LATENT_DIM // shape.choice.D)
        parts = field.latent.reshape(-1, D, width)
        distances = np.abs(parts[:, :, None, :] - field.prototypes[None]).max(axis=-1).min(axis=-1).max(axis=-1)
        assert np.array_equal(distances == 0, field.is_rare)


def test_what_is_true_of_a_rare_value_follows_from_its_vector(generated: Generated) -> None:
    for field in generated.fields:
        if field.is_rare.sum() > LATENT_DIM:
            latent, effects = field.latent[field.is_rare], field.first_order[field.is_rare]
            _, residual, *_ = np.linalg.lstsq(latent, effects)
            assert np.allclose(residual, 0)


def test_rare_values_matter(generated: Generated) -> None:
    # Replace each field's rare values by their mean: on rows that hold one, the truth's order gets worse.
    rare = np.zeros(N_ROWS, bool)
    for field in generated.fields:
        rare |= field.is_rare[field.values]
    latent_sum, square_sum, first_order = np.zeros((N_ROWS, LATENT_DIM)), np.zeros(N_ROWS), np.zeros(N_ROWS)
    for field in generated.fields:
        latent, effects = field.latent.copy(), field.first_order.copy()
        if field.is_rare.any():
            latent[field.is_rare] = latent[field.is_rare].mean(axis=0)
            effects[field.is_rare] = effects[field.is_rare].mean()
        latent_sum += latent[field.values]
        square_sum += (latent**2).sum(axis=1)[field.values]
        first_order += effects[field.values]
    shared = 0.53 * first_order + 0.037 * ((latent_sum**2).sum(axis=1) - square_sum) / 2
    known = bayes_auc(generated.probabilities[rare], generated.labels[rare])
    assert known - bayes_auc(shared[rare], generated.labels[rare]) > 0.02
