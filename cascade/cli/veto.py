"""`cascade veto`: a run directory in, a list of CCDs out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """Formats of a veto list."""

    CSV = "csv"
    PARQUET = "parquet"
    DES = "des"


def veto(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    format: Annotated[
        Format, typer.Option(help="des: the DES exclude list, 'date expnum ccd id ccdnum'.")
    ] = Format.CSV,
    min_area: Annotated[float, typer.Option(min=0, max=1, help="Smallest covered share of a CCD.")] = 0.05,
    classes: Annotated[
        str, typer.Option(help="Classes that count; where two of them overlap, their shares add up.")
    ] = "bright,faint,rays",
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Smallest confidence.")] = 0.0,
) -> None:
    """
    Write the list of CCDs that a survey should not use.

    Example: cascade veto RUN --min-area 0.05 --classes bright,rays --format des --out ghost-scatter.txt
    """
    from cascade.camera import Camera
    from cascade.errors import InputError, StoreError
    from cascade.exposure import Artifact
    from cascade.store import open_run
    from cascade.veto import VetoRule, veto_rows, write_veto

    try:
        chosen = tuple(Artifact.from_label(label) for label in classes.split(","))
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint="--classes") from error
    rule = VetoRule(min_area, chosen, min_score)
    opened = open_run(run)
    summary = opened.summary()
    if summary.n_done < summary.n_batches:
        msg = f"{run}: expected a complete run, got {summary.n_done} of {summary.n_batches} batches; run it to the end"
        raise StoreError(msg)
    vetoes = veto_rows(opened.table("ccds"), opened.table("exposures"), rule, Camera.decam())
    write_veto(vetoes, out, format.value)
    n_exposures = len(vetoes.table["expnum"].unique())
    n_undated = vetoes.table["mjd_obs"].null_count if format is Format.DES else 0
    remarks = (
        (summary.counts.n_failed, "exposures failed and are not in it"),
        (vetoes.n_unnamed, "CCDs have no expnum and are not in it"),
        (n_undated, "lines have no date: the inputs give none, a manifest with mjd_obs does"),
    )
    typer.echo(
        f"{out}: {vetoes.table.num_rows} CCDs of {n_exposures} exposures vetoed ({rule})"
        + "".join(f"; {number} {remark}" for number, remark in remarks if number)
    )
