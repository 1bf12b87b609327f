"""`cascade raytrace`: pointings and a bright-star catalogue in, predicted ghosts out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli.progress import progress
from cascade.cli.run import Quiet

if TYPE_CHECKING:
    from cascade.core.exposure import Source
    from cascade.runs.run import Run


def raytrace(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Run directory whose exposures have ra, dec and band.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory to write; needed with RUN.")] = None,
    ra: Annotated[float | None, typer.Option(help="Of a single pointing, degrees.")] = None,
    dec: Annotated[float | None, typer.Option(help="Of a single pointing, degrees.")] = None,
    band: Annotated[str | None, typer.Option(help="u, g, r, i, z, Y or VR.")] = None,
    date: Annotated[
        str | None, typer.Option(help="Night of a single pointing, YYYY-MM-DD, for proper motions.")
    ] = None,
    mjd: Annotated[float | None, typer.Option(help="Time of a single pointing, MJD.")] = None,
    expnum: Annotated[int | None, typer.Option(help="Exposure number of a single pointing.")] = None,
    rotation: Annotated[float, typer.Option(help="Rotation of the camera from north to east, degrees.")] = 0.0,
    min_contrast: Annotated[
        float, typer.Option(help="Minimum surface brightness of a ghost, as a fraction of the sky's.")
    ] = 0.03,
    filter_offset: Annotated[
        float, typer.Option(help="Shift of the filter from its position in batoid's model, mm, in [-200, 50].")
    ] = 0.0,
    des: Annotated[Path | None, typer.Option(help="DES exclude list to write, too.")] = None,
    min_area: Annotated[float, typer.Option(min=0, max=1, help="Smallest covered share of a CCD in that list.")] = 0.05,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier run in --out and start over.")] = False,
    quiet: Quiet = False,
) -> None:
    """
    Predict ghosts from the positions of bright stars, without pixels.

    Example: cascade raytrace --ra 84.05 --dec -1.2 --band g --date 2013-11-20
    """
    from tempfile import TemporaryDirectory

    from cascade.pipeline.predict import Predictor, predict_run
    from cascade.sky.raytrace import RaytraceRule

    sources = _sources(run, out, (ra, dec, band), _mjd(date, mjd), expnum)
    predictor = Predictor.load(RaytraceRule(min_contrast=min_contrast, filter_offset_mm=filter_offset), rotation)
    with TemporaryDirectory() as aside:
        with progress("exposures", done=0, total=len(sources), quiet=quiet or run is None) as advance:
            predicted = predict_run(
                sources,
                aside if out is None else out,
                predictor,
                fresh=fresh,
                on_batch=lambda counts: advance(counts.n_exposures, f"{counts.n_ghosted} ghosted"),
            )
        if run is None:
            _print_pointing(predicted)
        counts = predicted.summary().counts
        remarks = [f"{counts.n_ghosted} of {counts.n_exposures} exposures with {counts.n_artifacts} predicted ghosts"]
        if counts.n_failed:
            remarks.append(f"{counts.n_failed} failed, without ra, dec or band")
        if des is not None:
            remarks.append(f"{_write_list(predicted, des, min_area, out)} CCDs in {des}")
        typer.echo(f"{'raytrace' if out is None else out}: " + "; ".join(remarks))


def _mjd(date: str | None, mjd: float | None) -> float | None:
    """The date of a pointing."""
    from datetime import date as calendar

    from cascade.camera import Camera, mjd_of_night

    if date is None or mjd is not None:
        return mjd
    try:
        return mjd_of_night(calendar.fromisoformat(date), Camera.decam())
    except ValueError as error:
        msg = f"expected YYYY-MM-DD, got {date!r}"
        raise typer.BadParameter(msg, param_hint="--date") from error


def _sources(
    run: Path | None,
    out: Path | None,
    pointing: tuple[float | None, float | None, str | None],
    mjd: float | None,
    expnum: int | None,
) -> list[Source]:
    """What to predict: the exposures of a run, or one pointing."""
    from cascade.core.exposure import HeaderFields, Source
    from cascade.pipeline.predict import sources_of
    from cascade.runs.run import open_run

    ra, dec, band = pointing
    if run is not None:
        if pointing != (None, None, None) or mjd is not None or expnum is not None:
            msg = "RUN excludes --ra, --dec, --band, --date, --mjd and --expnum"
            raise typer.BadParameter(msg)
        if out is None or out.absolute() == run.absolute():
            msg = "RUN: expected another directory to write, --out"
            raise typer.BadParameter(msg)
        return sources_of(open_run(run).table("exposures"))
    if ra is None or dec is None or band is None:
        msg = "expected RUN, or --ra, --dec and --band"
        raise typer.BadParameter(msg)
    return [Source(f"ra={ra:g} dec={dec:g} {band}", expnum, HeaderFields(band, mjd, ra, dec))]


def _print_pointing(predicted: Run) -> None:
    """The ghosts of a single pointing, and the affected CCDs."""
    from cascade.core.errors import InputError

    for row in predicted.table("failures").to_pylist():
        raise InputError(row["error"])
    typer.echo("class   score  rows      columns   area_px")
    for row in predicted.table("artifacts").to_pylist():
        rows, columns = f"{row['y0']}-{row['y1']}", f"{row['x0']}-{row['x1']}"
        typer.echo(f"{row['class']:7} {row['score']:.2f}   {rows:9} {columns:9} {row['area_px']}")
    ccds = predicted.table("ccds").to_pylist()
    typer.echo("CCDs: " + (" ".join(f"{row['detpos']}({row['area_fraction']:.0%})" for row in ccds) or "none"))


def _write_list(predicted: Run, path: Path, min_area: float, out: Path | None) -> int:
    """Write the DES exclude list, in which what others wrote stays; returns its number of CCDs."""
    from cascade.camera import Camera
    from cascade.runs.files import read_run_json
    from cascade.veto import Provenance, VetoRule, earlier_list, merge_lists, veto_rows, write_veto

    camera = Camera.decam()
    found = veto_rows(predicted.table("ccds"), predicted.table("exposures"), VetoRule(min_area), camera)
    vetoes, kept = merge_lists(found, earlier_list(path, camera, "des"), [], camera, "des")
    provenance = Provenance.of_run(read_run_json(predicted.storage), "raytrace" if out is None else f"raytrace {out}")
    write_veto(vetoes, path, "des", provenance=provenance, kept=kept)
    return int(vetoes.table.num_rows)
