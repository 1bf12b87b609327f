"""`cascade simulate`: a season of synthetic exposures with labels and truth."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli.progress import progress
from cascade.cli.run import Quiet

if TYPE_CHECKING:
    from cascade.simulate.synthetic_season import Season

_N_PANELS = 12


class PreviewFormat(StrEnum):
    """Formats of the previews."""

    ZARR = "zarr"
    JPEG = "jpeg"


def simulate(
    n_exposures: Annotated[int, typer.Argument(metavar="N", min=1, help="Number of exposures.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same season.")] = 1,
    ghosted_share: Annotated[
        float, typer.Option("--ghosted-share", min=0, max=1, help="Share of exposures with artifacts.")
    ] = 0.5,
    sky: Annotated[
        bool, typer.Option("--sky", help="Real stars, bands and dates, at pointings of a survey like DES.")
    ] = False,
    pointings: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help="The same at pointings of a table: CSV, Parquet, FITS, ECSV."),
    ] = None,
    format: Annotated[PreviewFormat, typer.Option(help="zarr: one store; jpeg: many files.")] = PreviewFormat.ZARR,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the result does not depend on it.")] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier season in --out.")] = False,
    gallery: Annotated[bool, typer.Option("--gallery", help="Plot gallery.png, of the first exposures.")] = False,
    quiet: Quiet = False,
) -> None:
    """
    Simulate exposures: previews, labels as VIA and COCO, and tables of the truth.

    Ghosts are ray-traced, Rays and sky follow an empirical model of DES previews. With --sky or --pointings, the stars
    are those of the catalogue, and which ghosts and Rays there are follows from them as in real exposures.

    Example: cascade simulate 1000 --out season --seed 1 --sky --gallery
    """
    from time import perf_counter

    from cascade.simulate.dataset import write_season

    season = _season(n_exposures, ghosted_share, seed, sky=sky, pointings=pointings)
    started = perf_counter()
    with progress("exposures", done=0, total=n_exposures, quiet=quiet) as advance:
        write_season(
            season, out, format=format.value, n_workers=workers, fresh=fresh, advance=lambda n: advance(n, "drawn")
        )
    seconds = perf_counter() - started
    if gallery:
        _draw_gallery(season, out / "gallery.png")
    rate = n_exposures / seconds
    typer.echo(f"{out}: {n_exposures} exposures, {rate:.0f} a second; previews, via.json, coco.json, truth.parquet")


def _season(n_exposures: int, ghosted_share: float, seed: int, *, sky: bool, pointings: Path | None) -> Season:
    """The season to draw."""
    from cascade.simulate.sky_season import SkySeason
    from cascade.simulate.survey import TableSurvey
    from cascade.simulate.synthetic_season import Season

    if pointings is not None:
        return SkySeason(n_exposures, ghosted_share, seed, survey=TableSurvey.read(pointings))
    return SkySeason.like_des(n_exposures, ghosted_share, seed) if sky else Season(n_exposures, ghosted_share, seed)


def _draw_gallery(season: Season, path: Path) -> None:
    """The first exposures with their labels."""
    from cascade.camera import Camera
    from cascade.pages.report import Panel, draw_overview
    from cascade.simulate.synthetic_exposure import Simulator

    simulator = Simulator()
    panels = []
    for n in range(min(_N_PANELS, season.n_exposures)):
        exposure = season.draw(n, simulator)
        labels = ", ".join(label.region.artifact.label for label in exposure.labels[:6]) or "clean"
        panels.append(Panel(f"{exposure.expnum}  {labels}", exposure.image, exposure.instances.bit_mask(), ()))
    draw_overview(panels, Camera.decam(), path, title=f"Synthetic season, seed {season.seed}")
