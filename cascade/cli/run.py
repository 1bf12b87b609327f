"""`cascade run`: exposures in, a run directory out."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli.progress import progress

if TYPE_CHECKING:
    from cascade.store import Run

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
CameraName = Annotated[str, typer.Option("--camera", help="decam, lsstcam, or a layout file like decam.toml.")]
ModelsDir = Annotated[Path | None, typer.Option(help="Folder searched for models before the others.")]


def run(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Folder, glob, FITS, zip, image, .npy stack, .zarr of previews, manifest .csv or .parquet.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Run directory: new, empty, or a run to go on with.")],
    screen: Annotated[str | None, typer.Option(help="Screening model, by name or folder; default screen-v0.")] = None,
    segment: Annotated[
        str | None, typer.Option(help="Segmenting model, by name or folder; default segment-v0.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Screen score from which to flag; default the model's own.")
    ] = None,
    recall: Annotated[
        float | None, typer.Option(min=0, max=1, help="Flag from the threshold that promises this recall.")
    ] = None,
    no_screen: Annotated[bool, typer.Option("--no-screen", help="Segment every exposure.")] = False,
    engine: Annotated[str, typer.Option(help="auto: GPU if there is one, else OpenVINO; or keras, openvino.")] = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Exposures a batch: one task, one shard, one commit.")] = 256,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Local Dask worker processes; default: work in this process.")
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler to work on.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier run in --out and start anew.")] = False,
    models_dir: ModelsDir = None,
    camera: CameraName = "decam",
    quiet: Quiet = False,
) -> None:
    """
    Screen every exposure, mask the flagged ones.

    The same command after a kill goes on with the batches that are missing.

    Example: cascade run previews/ --out RUN && cascade veto RUN --format des --out veto.txt
    """
    from cascade.models import DEFAULT_MODELS

    if no_screen and (screen or threshold is not None or recall is not None):
        msg = "--no-screen goes with none of --screen, --threshold and --recall"
        raise typer.BadParameter(msg)
    if threshold is not None and recall is not None:
        msg = "--threshold and --recall exclude each other"
        raise typer.BadParameter(msg)
    if workers and scheduler:
        msg = "--workers starts local workers; --scheduler has its own"
        raise typer.BadParameter(msg)
    show_run(
        inputs,
        out,
        quiet=quiet,
        screen=None if no_screen else screen or DEFAULT_MODELS["screen"],
        segment=segment or DEFAULT_MODELS["segment"],
        threshold=threshold,
        recall=recall,
        engine=engine,
        batch_size=batch,
        n_workers=workers,
        scheduler=scheduler,
        fresh=fresh,
        models_dir=models_dir,
        camera=camera,
    )


def show_run(inputs: list[str], out: Path, *, quiet: bool, **options: Any) -> Run:  # noqa: ANN401
    """Run a season with a progress bar and print the summary line; `options` are those of `run_season`."""
    from contextlib import ExitStack

    from cascade.season import run_season
    from cascade.tables import BatchCounts

    started = monotonic()
    with ExitStack() as stack:
        bars: list[Any] = []
        total = BatchCounts()
        done_before = 0

        def on_start(run: Run) -> None:
            nonlocal done_before
            done_before = run.summary().counts.n_exposures
            bars.append(
                stack.enter_context(progress("exposures", done=done_before, total=run.config.n_exposures, quiet=quiet))
            )

        def on_batch(counts: BatchCounts) -> None:
            nonlocal total
            total = BatchCounts.total((total, counts))
            speed = total.n_exposures / (monotonic() - started)
            words = f"{total.n_flagged} flagged, {total.n_failed} failed, {speed:.1f} exposures/s"
            bars[0](counts.n_exposures, words)

        finished = run_season(inputs, out, on_start=on_start, on_batch=on_batch, **options)
    seconds = monotonic() - started
    counts = finished.summary().counts
    resumed = f" ({done_before} done before)" if done_before else ""
    typer.echo(
        f"{out}: {counts.n_exposures} exposures{resumed}, {counts.n_flagged} flagged, {counts.n_ghosted} ghosted, "
        f"{counts.n_artifacts} artifacts, {counts.n_failed} failed, {seconds:.1f} s"
    )
    return finished
