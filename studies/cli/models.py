"""The commands that price, take away, use and compare compressed models."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from autodpq.errors import AutoDPQError
from autodpq.files import write_whole
from studies.cli.options import COLUMNS, FOLDERS, is_given, takes
from studies.options import columns

RUN_FOLDER = "Folder of a run, STUDY/runs/RUN, RUN as in records.csv; of a STUDY, its best compressed model is taken."


Kinds = Annotated[
    str | None,
    typer.Option(help="Kinds of choices of your own that the model has: module:Class or file.py:Class, with commas."),
]


Model = Annotated[
    str | None,
    typer.Option(help="The click-through model's class, where it is your own: module:Class or file.py:Class."),
]


def know(kinds: str | None, model: str | None = None) -> None:
    """Makes code known that no installed package announces: no file may name code to load."""
    if model is not None:
        from autodpq.models import MODELS

        MODELS.find(model)
    if kinds is not None:
        from autodpq.choices import CHOICES
        from autodpq.plugins.options import split_names

        for reference in split_names(kinds):
            CHOICES.find(reference)


class HeadDtype(StrEnum):
    """How rows of their own can be stored."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


@takes("dataset", "threshold", "K", "D", "candidates", *FOLDERS, *COLUMNS)
def audit(
    context: typer.Context,
    run: Annotated[
        Path | None,
        typer.Argument(help=f"{RUN_FOLDER} Or an exported file. Else plans for --dataset are priced."),
    ] = None,
    *,
    kinds: Kinds = None,
    dataset: str,
    threshold: int | None,
    K: tuple[int, ...] | None,
    D: tuple[int, ...] | None,
    candidates: tuple[str, ...] | None,
    **loading: Any,
) -> None:
    """Print what a model's file holds, to the byte; or what FE, Others and every candidate for all would cost."""
    know(kinds)
    if run is not None:
        for option in context.params.keys() - {"run", "kinds"}:
            if is_given(context, option):
                raise AutoDPQError(f"{run} is priced as it is: leave out the run or the options of --dataset")
        from reports.tables.file_audit import file_audit_text
        from studies.folder.models import model_of, run_of

        print(file_audit_text(run if run.is_file() else model_of(run_of(run))))
        return
    from autodpq.data import dataset_spec
    from reports import audit_text
    from studies.config import study_candidates
    from studies.options import StudyConfig
    from studies.prepared import load_rows

    spec, loaded = dataset_spec(dataset), load_rows({"dataset": dataset, **loading})
    sizes = loaded.fields(spec.threshold if threshold is None else threshold)
    choices = study_candidates(StudyConfig(K=K, D=D, candidates=candidates), spec)
    print(audit_text(loaded.name, sizes, choices, spec.embedding_dim))


@takes(*FOLDERS)
def export(
    run: Annotated[Path, typer.Argument(help=RUN_FOLDER)],
    *,
    out: Annotated[Path, typer.Option(help="The file, NAME.safetensors; NAME.vocabulary.parquet goes beside it.")],
    head_dtype: Annotated[
        HeadDtype, typer.Option(help="How rows that are not quantized are stored; the loss in AUC is printed.")
    ] = HeadDtype.float32,
    hashed_vocabulary: Annotated[
        bool,
        typer.Option(
            "--hashed-vocabulary",
            help="NAME.vocabulary.safetensors instead: hashes of the values, which cannot be had back from it.",
        ),
    ] = False,
    onnx: Annotated[Path | None, typer.Option(help="An ONNX file, NAME.onnx, beside.")] = None,
    kinds: Kinds = None,
    model: Model = None,
    data_dir: str | None,
    cache_dir: str | None,
) -> None:
    """Take the compressed model of a run away: one packed file, to load, to serve, to predict with."""
    from studies.folder.models import export_run, run_of

    know(kinds, model)
    taken = run_of(run)
    lines = export_run(
        taken, out,
        head_dtype=head_dtype.value, hashed_vocabulary=hashed_vocabulary, onnx=onnx,
        data_dir=data_dir, cache_dir=cache_dir,
    )  # fmt: skip
    for line in lines:
        print(line)


def predict(
    file: Annotated[Path, typer.Argument(help="An exported file, NAME.safetensors.")],
    input: Annotated[Path, typer.Option(help="Data as --dataset takes it, with a column of raw values per field.")],
    out: Annotated[Path, typer.Option(help="CSV or parquet: columns that are no fields, and probability.")],
    kinds: Kinds = None,
    model: Model = None,
) -> None:
    """Write the click probability of every row of a file."""
    from studies.exported.predict import predict_file

    know(kinds, model)
    for line in predict_file(file, input, out).lines(out):
        print(line)


@takes("label")
def compare(
    old: Annotated[Path, typer.Argument(help="The exported file of the model in use, NAME.safetensors.")],
    new: Annotated[Path, typer.Argument(help="That of the model that is to take its place.")],
    *,
    input: Annotated[Path, typer.Option(help="Labelled rows as --dataset takes them, with the fields of both models.")],
    slices: Annotated[
        str | None, typer.Option("--slice", help="Columns whose values are looked at one by one, with commas.")
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(min=0, help="How much AUC the new model may lose; exit code 1 where it loses more."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A CSV of all numbers.")] = None,
    kinds: Kinds = None,
    model: Model = None,
    label: str,
) -> None:
    """Compare two exported models on the same rows: AUC, logloss, calibration, slices, bytes; a gate for releases."""
    from reports.tables.release import release_table
    from studies.exported.compare import compare_files, gate_line

    know(kinds, model)
    try:
        sliced = () if slices is None else columns(slices)
    except AutoDPQError as error:
        raise AutoDPQError(f"--slice: {error}") from None
    release = compare_files(old, new, input, label, sliced)
    table = release_table(release, str(input))
    if out is not None:
        write_whole(out, table.to_csv())
    print(table.to_text(), end="")
    if max_loss is not None:
        passes, line = gate_line(release, max_loss)
        print(line)
        if not passes:
            raise typer.Exit(1)
