"""The compressed models of a study: kept by every run, taken away by ``export``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autodpq import __version__
from autodpq.data import EncodedDataset, Samples
from autodpq.errors import AutoDPQError
from autodpq.files import writing
from autodpq.metrics import Metrics, evaluate_predictions
from autodpq.network import Network
from autodpq.packed.export import export
from autodpq.packed.file import write_packed
from autodpq.packed.load import PackedNetwork, load
from autodpq.packed.manifest import Manifest, ModelSpec
from autodpq.packed.network import fallback_ids, pack_network
from autodpq.packed.vocabulary import write_vocabulary
from autodpq.serving import probabilities
from studies.files import read_json
from studies.kept import model_of, model_path
from studies.machine import torch_settings
from studies.prepared import LOADING, load_rows, prepare_for


def keep_model(
    study: Path, run: str, network: Network, model: ModelSpec, source: EncodedDataset, about: Mapping[str, Any]
) -> None:
    """Keeps the final network of a run as it is taken away; runs of the same rows share a vocabulary.

    Args:
        study: The study's folder.
        run: The run's id.
        network: The network of its plan.
        model: Its click-through model.
        source: What ids stand for.
        about: What the file tells people.
    """
    path = model_path(study, run)
    with writing(path.parent):
        path.parent.mkdir(exist_ok=True)
    specs, tables, dense = pack_network(network, fallback_ids(network, source.uncounted()))
    side = None
    if source.folder is not None:
        vocabulary = path.with_name(f"{source.fingerprint[:16]}.vocabulary.parquet")
        side = write_vocabulary(vocabulary, source.vocabulary(), specs)
    write_packed(path, Manifest("network", specs, model, side, __version__, about), tables, dense)


@torch_settings()
def export_run(
    run: Path, out: Path, *, head_dtype: str, onnx: Path | None, data_dir: Path | None, cache_dir: Path | None
) -> list[str]:
    """Writes the model of a run for those who serve it.

    Args:
        run: The run's folder.
        out: The packed file; the vocabulary goes beside it.
        head_dtype: How rows of their own are stored: float32, float16 or int8.
        onnx: Where an ONNX file goes too.
        data_dir: The folder of the publishers' files, if it is not the one of the run.
        cache_dir: The folder of encoded data, if it is not the one of the run.

    Returns:
        Lines that say what was written, and what it costs in test AUC where rows are not stored as they were trained.

    Raises:
        AutoDPQError: The run has no model, the data has changed or is gone, or a file cannot be written.
    """
    source = model_of(run)
    # Before anything is written: without test rows the loss could not be told.
    test = None if head_dtype == "float32" else _test_rows(run, data_dir, cache_dir)
    packed = export(source, out, head_dtype=head_dtype)
    lines = [f"{out}: {sum(packed.sizes.values()):,} bytes, {head_dtype}"]
    if packed.manifest.vocabulary is not None:
        vocabulary = out.with_name(packed.manifest.vocabulary.name)
        lines.append(f"{vocabulary}: {vocabulary.stat().st_size:,} bytes, what ids stand for")
    if onnx is not None:
        from autodpq.packed.onnx import export_onnx

        export_onnx(packed, onnx)
        lines.append(f"{onnx}: {onnx.stat().st_size:,} bytes, ONNX")
    trained = Metrics(*(packed.manifest.about["metrics"][name] for name in ("test_auc", "test_logloss")))
    lines.append(f"test AUC {trained.auc:.5f}, logloss {trained.logloss:.5f} as trained")
    if test is not None:
        stored = _score(out, test)
        lines.append(
            f"test AUC {stored.auc:.5f} ({stored.auc - trained.auc:+.6f}), "
            f"logloss {stored.logloss:.5f} ({stored.logloss - trained.logloss:+.6f}) as {head_dtype}"
        )
    return lines


def _test_rows(run: Path, data_dir: Path | None, cache_dir: Path | None) -> Samples:
    config = read_json(run / "config.json")
    given = {"data_dir": data_dir, "cache_dir": cache_dir}
    loading: dict[str, Any] = {option: given.get(option) or config["loading"].get(option) for option in LOADING}
    if ":" in loading["dataset"] and not Path(loading["dataset"]).exists():
        raise AutoDPQError(
            f"{run / 'config.json'}: the data set {loading['dataset']!r} is code, which is not loaded because a file "
            "names it; install it as a plug-in, or export with --head-dtype float32"
        )
    dataset = load_rows(loading)
    if dataset.fingerprint != config["data"]["fingerprint"]:
        raise AutoDPQError(
            f"data set {dataset.name!r}: its rows are not those that {run} was measured on (fingerprint "
            f"{dataset.fingerprint[:12]}, not {config['data']['fingerprint'][:12]}); name their folder by --data-dir"
        )
    return prepare_for(dataset, config["data"]).test


def _score(path: Path, test: Samples) -> Metrics:
    network = load(path)
    assert isinstance(network, PackedNetwork), "a run's file holds one"
    return evaluate_predictions(probabilities(network.score(test.ids)), test.labels)
