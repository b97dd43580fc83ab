"""The compressed models of a study: kept by every run, found again, taken away."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autodpq._version import __version__
from autodpq.errors import AutoDPQError
from autodpq.files import writing
from autodpq.records.folder import check_exists, entries, read_config, read_records
from autodpq.records.result import RECORD_COLUMNS
from reports.numbers.best import best_record

if TYPE_CHECKING:
    import pandas as pd

    from autodpq.calibration import Calibration
    from autodpq.data import EncodedDataset, Samples
    from autodpq.metrics import Metrics
    from autodpq.packed.manifest import ModelSpec
    from autodpq.training.network import Network


def best_compressed(records: pd.DataFrame) -> pd.Series[Any] | None:
    """The record of the best validation AUC among those whose plan compresses something; None where there is none.

    Raises:
        AutoDPQError: The records are of several data sets, as earlier versions let into one folder: none is the best.
    """
    datasets = list(dict.fromkeys(records["dataset"]))
    if len(datasets) > 1:
        raise AutoDPQError(f"{', '.join(datasets)}: no model is the best of several data sets; name a run")
    return best_record(records)


def model_path(study: Path, run: str) -> Path:
    """Where a study keeps the model of a run."""
    return study / "models" / f"{run}.safetensors"


def records_frame(study: Path) -> pd.DataFrame:
    """The records of a study, from the results of its runs: one row per finished run.

    Raises:
        AutoDPQError: A result is damaged.
    """
    import pandas as pd

    frame = pd.DataFrame([entries(record) for record in read_records(study).values()], columns=list(RECORD_COLUMNS))
    frame["error"] = frame["error"].astype("str")
    for column in ("vocabulary_bytes", "budget"):
        frame[column] = frame[column].astype(float)  # nan where there was none
    return frame


def run_of(path: Path) -> Path:
    """The folder of a run; of a study's folder, that of its best compressed model.

    Raises:
        AutoDPQError: No finished run of the study compresses anything.
    """
    if not (path / "study.json").is_file():
        return path
    best = best_compressed(records_frame(path))
    if best is None:
        raise AutoDPQError(f"{path}: no finished run compresses anything; name a run, {path / 'runs'}/RUN")
    return path / "runs" / str(best["run"])


def model_of(run: Path) -> Path:
    """The kept model of a run's folder.

    Raises:
        AutoDPQError: It is no folder of a run, or the run has not finished.
    """
    check_exists(run)
    if not (run / "config.json").is_file():
        raise AutoDPQError(f"{run}: this is no folder of a run (STUDY/runs/RUN)")
    path = model_path(run.parent.parent, run.name)
    if not path.is_file():
        reason = "was run by a version that kept no models" if (run / "result.json").exists() else "has not finished"
        raise AutoDPQError(f"{run}: this run {reason}; remove the folder and give the study's command again")
    return path


def offer(study: Path, records: pd.DataFrame) -> str | None:
    """A line that says how to take a model away: of those that compress, the one of the best validation AUC.

    Args:
        study: The study's folder.
        records: Its records; None is offered where no plan compresses anything.
    """
    best = best_compressed(records) if records["dataset"].nunique() == 1 else None
    if best is None:
        return None
    return (
        f"Of the compressed models, {best['strategy']} with {best['model']} on {best['dataset']}, seed {best['seed']}, "
        f"has the best validation AUC; to take it away: autodpq-study export {study} --out model.safetensors"
    )


def keep_model(
    study: Path,
    run: str,
    network: Network,
    calibration: Calibration | None,
    model: ModelSpec,
    source: EncodedDataset,
    about: Mapping[str, Any],
) -> int | None:
    """Keeps the final network of a run as it is taken away; runs of the same rows share a vocabulary.

    Args:
        study: The study's folder.
        run: The run's id.
        network: The network of its plan.
        model: Its click-through model.
        source: What ids stand for.
        about: What the file tells people.

    Returns:
        Bytes of the vocabulary; None where there is none.
    """
    path = model_path(study, run)
    with writing(path.parent):
        path.parent.mkdir(exist_ok=True)
    from autodpq.packed.file import write_packed
    from autodpq.packed.manifest import Manifest
    from autodpq.packed.network import fallback_ids, pack_network
    from autodpq.packed.vocabulary.side_file import write_vocabulary

    specs, tables, dense = pack_network(network, fallback_ids(network, source.uncounted()))
    side = None
    if source.folder is not None:
        vocabulary = path.with_name(f"{source.fingerprint[:16]}.vocabulary.parquet")
        side = write_vocabulary(vocabulary, source.vocabulary(), specs, source.missing)
    manifest = Manifest("network", specs, model, side, __version__, about, calibration, source.bags)
    write_packed(path, manifest, tables, dense)
    return None if side is None else vocabulary.stat().st_size


def export_run(
    run: Path,
    out: Path,
    *,
    head_dtype: str,
    hashed_vocabulary: bool,
    onnx: Path | None,
    data_dir: str | None,
    cache_dir: str | None,
) -> list[str]:
    """Writes the model of a run for those who serve it.

    Args:
        run: The run's folder.
        out: The packed file; the vocabulary goes beside it.
        head_dtype: How rows of their own are stored: float32, float16 or int8.
        hashed_vocabulary: Whether the vocabulary holds hashes of values, not their texts.
        onnx: Where an ONNX file goes too.
        data_dir: The folder of the publishers' files, if it is not the one of the run.
        cache_dir: The folder of encoded data, if it is not the one of the run.

    Returns:
        Lines that say what was written, and what it costs in test AUC where rows are not stored as they were trained.

    Raises:
        AutoDPQError: The run has no model, the data has changed or is gone, or a file cannot be written.
    """
    from autodpq.metrics import Metrics
    from autodpq.packed.export import export
    from autodpq.packed.load import installed_model
    from studies.workers.machine import torch_settings

    source, is_installed = model_of(run), True
    try:
        installed_model(source, read_config(run / "config.json").model)
    except AutoDPQError:
        if onnx is not None:  # before anything is written: its formulas go into the graph
            raise
        is_installed = False
    with torch_settings():
        # Before anything is written: without test rows the loss could not be told.
        test = None if head_dtype == "float32" else _test_rows(run, data_dir, cache_dir)
        packed = export(source, out, head_dtype=head_dtype, hashed_vocabulary=hashed_vocabulary)
        about, spec = packed.manifest.about, packed.manifest.model
        assert spec is not None, "a run's file holds a network"
        (stored_as,) = {
            table.head_dtype for table in packed.manifest.tables
        }  # whatever was asked for, where there are bands
        lines = [
            f"{about['strategy']} with {spec.name} on {about['data']['name']}, seed {about['seed']}, of {run}",
            f"{out}: {sum(packed.sizes.values()):,} bytes, {stored_as}",
        ]
        if packed.manifest.vocabulary is not None:
            vocabulary = out.with_name(packed.manifest.vocabulary.name)
            kind = ", hashed" if hashed_vocabulary else ""
            lines.append(f"{vocabulary}: {vocabulary.stat().st_size:,} bytes, what ids stand for{kind}")
        if onnx is not None:
            from autodpq.packed.onnx import export_onnx

            export_onnx(packed, onnx)
            lines.append(f"{onnx}: {onnx.stat().st_size:,} bytes, ONNX")
        trained = Metrics(*(about["metrics"][name] for name in ("test_auc", "test_logloss")))
        lines.append(f"test AUC {trained.auc:.5f}, logloss {trained.logloss:.5f} as trained")
        if test is not None:
            stored = _score(out, test)
            lines.append(
                f"test AUC {stored.auc:.5f} ({stored.auc - trained.auc:+.6f}), "
                f"logloss {stored.logloss:.5f} ({stored.logloss - trained.logloss:+.6f}) as {head_dtype}"
            )
        if not is_installed:
            lines.append(f"the model {spec.name!r} is no installed one: who scores with it gives --model FILE.py:Class")
        return lines


def _test_rows(run: Path, data_dir: str | None, cache_dir: str | None) -> Samples:
    from studies.prepared import LOADING, load_rows, prepare_for

    config = read_config(run / "config.json")
    given = {"data_dir": data_dir, "cache_dir": cache_dir}
    loading: dict[str, Any] = {option: given.get(option) or config.loading.get(option) for option in LOADING}
    if ":" in loading["dataset"] and not Path(loading["dataset"]).exists():
        raise AutoDPQError(
            f"{run / 'config.json'}: the data set {loading['dataset']!r} is code, which is not loaded because a file "
            "names it; install it as a plug-in, or export with --head-dtype float32"
        )
    dataset = load_rows(loading)
    if dataset.fingerprint != config.data.fingerprint:
        raise AutoDPQError(
            f"data set {dataset.name!r}: its rows are not those that {run} was measured on (fingerprint "
            f"{dataset.fingerprint[:12]}, not {config.data.fingerprint[:12]}); name their folder by --data-dir"
        )
    return prepare_for(lambda: dataset, entries(config.data)).test()


def _score(path: Path, test: Samples) -> Metrics:
    from autodpq.metrics import evaluate_predictions
    from autodpq.packed.load import PackedNetwork, load
    from autodpq.packed.scoring import probabilities

    network = load(path)
    assert isinstance(network, PackedNetwork), "a run's file holds one"
    return evaluate_predictions(probabilities(network.score(test.ids)), test.labels, test.weights)
