"""`cascade export`: a run directory in, masks, regions, annotations and maps out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.status import InputsOption


class ExportFormat(StrEnum):
    """Formats of export."""

    FITS_MASK = "fits-mask"
    LSST = "lsst"
    DS9 = "ds9"
    COCO = "coco"
    VIA = "via"
    HEALSPARSE = "healsparse"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")],
    format: Annotated[ExportFormat, typer.Option(help="fits-mask and lsst: masks of CCDs; ds9: regions; maps; JSON.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    fits: Annotated[
        list[str] | None, typer.Option(metavar="FITS", help="Files or folders with the WCS, if the inputs lack it.")
    ] = None,
    onto: Annotated[
        list[str] | None,
        typer.Option(metavar="FITS", help="Masks (ood, BADPIX) to mark in copies, with fits-mask: files or folders."),
    ] = None,
    bit: Annotated[int, typer.Option(help="Bit of ghost pixels, with fits-mask.")] = 32768,
    code: Annotated[int, typer.Option(help="Code of ghost pixels where masks hold codes, with --onto.")] = 9,
    reviewed: Annotated[
        bool, typer.Option("--reviewed", help="Reviewed exposures, as corrected, for training; with via.")
    ] = False,
    inputs: InputsOption = None,
) -> None:
    """
    Write masks, regions, annotations or sky maps of a run.

    Example: cascade export RUN --format fits-mask --onto 'night/*_ood_*' --out masks
    """
    from cascade.export import export_run
    from cascade.inputs.fits.reader import find_fits
    from cascade.runs.run import open_run

    written = export_run(
        open_run(run),
        format.value,
        out,
        fits=find_fits(fits or ()),
        onto=find_fits(onto or ()),
        bit=bit,
        code=code,
        reviewed=reviewed,
        inputs=inputs or (),
    )
    remarks = "".join(f"; {number} {reason}" for reason, number in written.skipped.items() if number)
    typer.echo(
        f"{out}: {written.n_exposures} exposures in {written.n_files} files, {written.n_bytes / 1e6:.1f} MB{remarks}"
    )
