"""`cascade preview`: FITS exposures in, a store of previews out."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.progress import Advance, progress
from cascade.cli.run import CameraName, Quiet


def preview(
    inputs: Annotated[
        list[str], typer.Argument(metavar="FITS", help="Files, folders of them, patterns: DECam ori, ooi or immasked.")
    ],
    out: Annotated[Path, typer.Option(help="Store to create or to extend, ending in .zarr.")],
    camera: CameraName = "decam",
    cutouts: Annotated[bool, typer.Option("--cutouts", help="Accept images of parts of CCDs, too.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes; 10 s per exposure each.")] = 1,
    quiet: Quiet = False,
) -> None:
    """
    Make previews of FITS exposures and store them; those already in the store are skipped.

    Example: cascade preview night/*.fits.fz --out previews.zarr && cascade run previews.zarr --out RUN
    """
    from cascade.inputs.preview_night import preview_night

    with ExitStack() as stack:
        bars: list[Advance] = []
        n_failed = 0

        def on_start(n_exposures: int) -> None:
            bars.append(stack.enter_context(progress("exposures", done=0, total=n_exposures, quiet=quiet)))

        def on_exposure(_name: str, error: str | None) -> None:
            nonlocal n_failed
            if error is not None:
                n_failed += 1
                typer.echo(f"failed: {error}", err=True)
            bars[0](1, f"{n_failed} failed")

        done = preview_night(
            inputs, out, camera=camera, cutouts=cutouts, n_workers=workers, on_start=on_start, on_exposure=on_exposure
        )
    speed = done.n_bytes / 1e6 / done.seconds
    typer.echo(
        f"{out}: {done.n_added} previews added, {done.n_known} already in the store, {done.n_failed} failed; "
        f"{done.n_bytes / 1e6:.0f} MB of FITS in {done.seconds:.1f} s, {speed:.0f} MB/s"
    )
