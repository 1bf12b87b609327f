"""`cascade demo`: a small synthetic season through the whole cascade."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli.run import Quiet, show_run

if TYPE_CHECKING:
    from cascade.camera import Camera
    from cascade.runs.run import Run
    from cascade.simulate import SimulatedExposure

_N_EXPOSURES = 32
_GHOSTED_SHARE = 0.375
_N_PANELS = 8
_MARK = ".cascade-demo"


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="The same seed gives the same season.")] = 1,
    quiet: Quiet = False,
) -> None:
    """
    Simulate a small season, run the cascade on it, and show the results.

    It needs no data, no network and no GPU, and takes about a minute.

    Example: cascade demo --out demo
    """
    from PIL import Image

    from cascade.camera import Camera
    from cascade.pages.report import write_report
    from cascade.runs.files import read_run_json
    from cascade.simulate import Simulator
    from cascade.simulate.dataset import manifest_row, write_manifest
    from cascade.simulate.sky_season import SkySeason
    from cascade.veto import Provenance, VetoRule, veto_rows, write_veto

    camera = Camera.decam()
    _claim(out)
    to_draw, simulator = SkySeason.like_des(_N_EXPOSURES, _GHOSTED_SHARE, seed), Simulator(camera)
    season = [to_draw.draw(n, simulator) for n in range(_N_EXPOSURES)]
    (out / "previews").mkdir(parents=True, exist_ok=True)
    rows = [manifest_row(exposure, f"previews/D{exposure.expnum:08d}.png") for exposure in season]
    for exposure, row in zip(season, rows, strict=True):
        Image.fromarray(exposure.image).save(out / row["path"])
    manifest = out / "manifest.csv"
    write_manifest(rows, manifest)

    run = show_run([str(manifest)], out / "run", quiet=quiet, fresh=True)
    vetoes = veto_rows(run.table("ccds"), run.table("exposures"), VetoRule(), camera)
    provenance = Provenance.of_run(read_run_json(run.storage), str(run.path))
    write_veto(vetoes, out / "veto.txt", "des", provenance=provenance)
    _print_nights(rows, camera)
    _print_truth(run, season)
    _print_vetoes(vetoes.table.to_pylist())
    seconds = run.summary().counts.seconds
    typer.echo("seconds: " + ", ".join(f"{stage} {spent:.1f}" for stage, spent in seconds.items()))
    _draw(run, season, vetoes.table.to_pylist(), out / "overview.png")
    write_report(run, out / "report")
    typer.echo(
        f"{out}: previews/, manifest.csv, run/ (tables and masks), veto.txt (DES exclude list), overview.png, "
        "report/index.html"
    )


def _claim(out: Path) -> None:
    """Reject a folder that holds anything but an earlier demo, since a demo replaces its content."""
    from cascade.core.errors import ConfigError

    mark = out / _MARK
    if out.exists() and not mark.is_file() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out}: expected a new folder or that of an earlier demo; choose another --out"
        raise ConfigError(msg)
    out.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _print_nights(rows: list[dict[str, Any]], camera: Camera) -> None:
    """The nights of the season, and how many exposures each has in which bands."""
    from collections import Counter

    from cascade.camera import night_of
    from cascade.simulate.conditions import BANDS

    taken = Counter((str(night_of(row["mjd_obs"], camera)), row["band"]) for row in rows)
    typer.echo("night        exposures by band")
    for night in sorted({night for night, _ in taken}):
        bands = "  ".join(f"{band} {taken[night, band]}" for band in BANDS if taken[night, band])
        typer.echo(f"{night}   {bands}")


def _print_truth(run: Run, season: list[SimulatedExposure]) -> None:
    """Compare with the truth."""
    flagged = run.table("exposures")["flagged"].to_pylist()
    drawn = [bool(exposure.artifacts) for exposure in season]
    hits = sum(f and d for f, d in zip(flagged, drawn, strict=True))
    typer.echo(
        f"drawn: {sum(drawn)} ghosted exposures, of which the screen flagged {hits}; "
        f"{len(drawn) - sum(drawn)} clean ones, of which it flagged {sum(flagged) - hits}"
    )


def _print_vetoes(rows: list[dict[str, Any]]) -> None:
    """The veto table, one line per exposure."""
    by_expnum: dict[int, list[str]] = {}
    for row in rows:
        by_expnum.setdefault(row["expnum"], []).append(f"{row['detpos']}({row['ccdnum']})")
    typer.echo("expnum   vetoed CCDs")
    for expnum, ccds in by_expnum.items():
        typer.echo(f"{expnum}   {' '.join(ccds)}")


def _draw(run: Run, season: list[SimulatedExposure], vetoes: list[dict[str, Any]], path: Path) -> None:
    """The overview picture: those with the largest artifacts."""
    import numpy as np

    from cascade.camera import Camera
    from cascade.pages.report import Panel, draw_overview

    rows = [row for row in run.table("exposures").to_pylist() if row["status"] == "ghosted"]
    rows = sorted(rows, key=lambda row: row["artifact_area"], reverse=True)[:_N_PANELS]
    panels, masks = [], run.masks
    for row in sorted(rows, key=lambda row: row["exposure"]):
        vetoed = [veto["ccdnum"] for veto in vetoes if veto["expnum"] == row["expnum"]]
        drawn = ", ".join(artifact.label for artifact in season[row["exposure"]].artifacts) or "nothing"
        title = f"{row['expnum']}  score {row['screen_score']:.2f}  {len(vetoed)} CCDs  (drawn: {drawn})"
        mask = np.asarray(masks[row["exposure"]], np.uint8)
        panels.append(Panel(title, season[row["exposure"]].image, mask, vetoed))
    title = "Synthetic season: flagged exposures, masks by class, vetoed CCDs"
    draw_overview(panels, Camera.decam(), path, title=title)
