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
    min_area: Annotated[float, typer.Option(help="Smallest covered share of a CCD, in [0, 1].")] = 0.05,
    classes: Annotated[str, typer.Option(help="Classes that count.")] = "bright,faint,rays",
    min_score: Annotated[float, typer.Option(help="Smallest confidence, in [0, 1].")] = 0.0,
) -> None:
    """
    Write the list of CCDs that a survey should not use.

    Example: cascade veto RUN --min-area 0.05 --classes bright,rays --format des --out ghost-scatter.txt
    """
    from cascade.camera import Camera
    from cascade.exposure import Artifact
    from cascade.store import open_run
    from cascade.veto import VetoRule, veto_rows, write_veto

    rule = VetoRule(min_area, tuple(Artifact.from_label(label) for label in classes.split(",")), min_score)
    opened = open_run(run)
    vetoes = veto_rows(opened.table("ccds"), opened.table("exposures"), rule, Camera.decam())
    write_veto(vetoes, out, format.value)
    n_exposures = len(vetoes.table["expnum"].unique())
    unnamed = f"; {vetoes.n_unnamed} more have no expnum and were left out" if vetoes.n_unnamed else ""
    typer.echo(f"{out}: {vetoes.table.num_rows} CCDs of {n_exposures} exposures vetoed ({rule}){unnamed}")
