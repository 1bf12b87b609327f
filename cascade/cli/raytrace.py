"""`cascade raytrace`: pointings and a bright-star catalogue in, predicted ghosts and Rays out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli.failed import MaxFailedOption, check_failed
from cascade.cli.progress import progress
from cascade.cli.run import Quiet

if TYPE_CHECKING:
    from cascade.inputs.pointings import Pointings
    from cascade.runs.run import Run


def raytrace(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|TABLE]", help="Run directory, or table of pointings: CSV, Parquet, FITS, ECSV."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory to write; needed with RUN and TABLE.")] = None,
    ra: Annotated[float | None, typer.Option(help="Of a single pointing, degrees.")] = None,
    dec: Annotated[float | None, typer.Option(help="Of a single pointing, degrees.")] = None,
    band: Annotated[str | None, typer.Option(help="u, g, r, i, z, Y or VR.")] = None,
    date: Annotated[str | None, typer.Option(help="Night of a single pointing, YYYY-MM-DD.")] = None,
    mjd: Annotated[float | None, typer.Option(help="Time of a single pointing, MJD.")] = None,
    expnum: Annotated[int | None, typer.Option(help="Exposure number of a single pointing.")] = None,
    rotation: Annotated[
        float, typer.Option(help="Rotation of the camera from north to east, degrees, of a single pointing.")
    ] = 0.0,
    min_probability: Annotated[
        float | None,
        typer.Option(help="Probability from which on ghosts and Rays are predicted; default: of the highest CCD F1."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Smallest sky score of exposures of which anything is predicted.")
    ] = 0.01,
    des: Annotated[Path | None, typer.Option(help="DES exclude list to write, too.")] = None,
    min_area: Annotated[float, typer.Option(min=0, max=1, help="Smallest covered share of a CCD in that list.")] = 0.05,
    workers: Annotated[int, typer.Option(min=1, help="Processes that predict.")] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier run in --out and start over.")] = False,
    max_failed: MaxFailedOption = None,
    quiet: Quiet = False,
) -> None:
    """
    Predict ghosts and Rays from the bright stars around pointings, without pixels.

    A table has the columns ra, dec and band, and if known expnum, mjd_obs, exptime and rotation.

    Example: cascade raytrace pointings.csv --out PREDICTED --des exclude.txt
    """
    from tempfile import TemporaryDirectory

    from cascade.pipeline.predict import Predictor, predict_run

    exposures = _exposures(source, out, (ra, dec, band), _mjd(date, mjd), expnum, rotation)
    predictor = Predictor.load(min_probability, threshold)
    with TemporaryDirectory() as aside:
        with progress("exposures", done=0, total=len(exposures.sources), quiet=quiet or source is None) as advance:
            predicted = predict_run(
                exposures.sources,
                aside if out is None else out,
                predictor,
                rotations_deg=exposures.rotations_deg,
                n_workers=workers,
                fresh=fresh,
                on_batch=lambda counts: advance(counts.n_exposures, f"{counts.n_ghosted} ghosted"),
            )
        if source is None:
            _print_pointing(predicted)
        counts = predicted.summary().counts
        remarks = [
            f"{counts.n_ghosted} of {counts.n_exposures} exposures with {counts.n_artifacts} predicted ghosts and Rays"
        ]
        if counts.n_failed:
            remarks.append(f"{counts.n_failed} failed")
        if des is not None:
            remarks.append(f"{_write_list(predicted, des, min_area, out)} CCDs in {des}")
        typer.echo(f"{'raytrace' if out is None else out}: " + "; ".join(remarks))
    if out is not None:
        causes = f"`cascade status {out}` says why"
        check_failed(out, counts.n_failed, counts.n_exposures, max_failed, causes=causes)


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


def _exposures(
    source: str | None,
    out: Path | None,
    pointing: tuple[float | None, float | None, str | None],
    mjd: float | None,
    expnum: int | None,
    rotation: float,
) -> Pointings:
    """What to predict: the exposures of a run or of a table, or one pointing."""
    from cascade.core.exposure import HeaderFields, Source
    from cascade.inputs.pointings import Pointings, is_pointing_table, read_pointings
    from cascade.pipeline.predict import sources_of
    from cascade.runs.run import open_run

    ra, dec, band = pointing
    if source is not None:
        if pointing != (None, None, None) or mjd is not None or expnum is not None or rotation:
            msg = "RUN and TABLE exclude --ra, --dec, --band, --date, --mjd, --expnum and --rotation"
            raise typer.BadParameter(msg)
        if out is None or out.absolute() == Path(source).absolute():
            msg = "expected another directory to write, --out"
            raise typer.BadParameter(msg, param_hint="[RUN|TABLE]")
        if is_pointing_table(source):
            return read_pointings(source)
        sources = sources_of(open_run(source).table("exposures"))
        return Pointings(sources, [0.0] * len(sources))
    if ra is None or dec is None or band is None:
        msg = "expected RUN or TABLE, or --ra, --dec and --band"
        raise typer.BadParameter(msg)
    return Pointings([Source(f"ra={ra:g} dec={dec:g} {band}", expnum, HeaderFields(band, mjd, ra, dec))], [rotation])


def _print_pointing(predicted: Run) -> None:
    """The ghosts of a single pointing, and the affected CCDs."""
    from cascade.core.errors import InputError
    from cascade.core.star_names import star_name

    for row in predicted.table("failures").to_pylist():
        raise InputError(row["error"])
    (exposure,) = predicted.table("exposures").to_pylist()
    typer.echo(f"sky score: {exposure['sky_score']:.3f}, the probability that an exposure of a survey is ghosted")
    typer.echo("class   probability  rows      columns   area_px  magnitude  star")
    for row in predicted.table("artifacts").to_pylist():
        rows, columns = f"{row['y0']}-{row['y1']}", f"{row['x0']}-{row['x1']}"
        star = f"{row['star_mag']:9.2f}  {star_name(row['hip'])}" + (f", surfaces {row['pair']}" if row["pair"] else "")
        typer.echo(f"{row['class']:7} {row['score']:11.2f}  {rows:9} {columns:9} {row['area_px']:7}  {star}")
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
