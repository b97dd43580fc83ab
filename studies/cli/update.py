"""The commands that go on with an exported model when new rows have come."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from studies.cli.models import Kinds, Model, know
from studies.cli.options import takes


@takes("label", "device")
def update(
    file: Annotated[Path, typer.Argument(help="An exported file, NAME.safetensors.")],
    *,
    input: Annotated[Path, typer.Option(help="New rows as --dataset takes them, with labels and the model's fields.")],
    out: Annotated[Path, typer.Option(help="The new file, NAME.safetensors; vocabulary and delta go beside it.")],
    time_column: Annotated[
        str | None, typer.Option(help="Column that says when: the newest tenth is held out; else any tenth.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="How it is trained, as run takes it; else the recipe that the file names.")
    ] = None,
    kinds: Kinds = None,
    model: Model = None,
    label: str,
    device: str,
) -> None:
    """Train an exported model on with new rows; values that are new get rows or codes. Writes a delta beside it."""
    from studies.exported.update import update_file, updated_lines, updated_table

    know(kinds, model)
    done = update_file(file, input, out, label=label, time_column=time_column, recipe=recipe, device=device)
    print(updated_table(done).to_text())
    for line in updated_lines(done):
        print(line)


def patch(
    file: Annotated[Path, typer.Argument(help="The exported file that the delta was made for.")],
    *,
    delta: Annotated[Path, typer.Option(help="What update wrote, NAME.delta.safetensors.")],
    out: Annotated[Path | None, typer.Option(help="Where the new file goes; else in place of the old one.")] = None,
    kinds: Kinds = None,
) -> None:
    """Make the updated file of the old one and a delta, byte for byte."""
    from autodpq.packed.updating.delta import apply_delta

    know(kinds)
    made = apply_delta(delta, file, file if out is None else out)
    side = made.manifest.vocabulary
    beside = "" if side is None else f"; its vocabulary: {made.path.with_name(side.name)}"
    print(f"{made.path}: {made.path.stat().st_size:,} bytes{beside}")
