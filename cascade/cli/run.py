"""`cascade run`: exposures in, a run directory out."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli.failed import MaxFailed, MaxFailedOption, check_failed
from cascade.cli.progress import progress

if TYPE_CHECKING:
    from cascade.runs.run import Run

_EVENTS = {
    "suspect": "batch {batch}: an earlier call was killed at it, so it is processed in isolation",
    "cluster": "dashboard: {dashboard}",
    "retry": "batch {batch}: attempt {attempt} failed, retry in {pause_s:.0f} s: {cause}",
    "isolated": "batch {batch}: killed its workers, processed in isolation to find the exposure: {cause}",
    "scheduler lost": "the scheduler is unavailable, reconnecting: {cause}",
}

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
CameraName = Annotated[str, typer.Option("--camera", help="decam, lsstcam, or a layout file like decam.toml.")]
ModelsDir = Annotated[Path | None, typer.Option(help="Folder that is searched for models first.")]


def run(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Folder, glob, FITS, zip, image, .npy, .zarr of previews, manifest .csv or .parquet; or s3://, gs://, az://.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Run directory, or its URL: new, empty, or a run to resume.")],
    screen: Annotated[str | None, typer.Option(help="Screening model, by name or folder; default screen-v1.")] = None,
    segment: Annotated[
        str | None, typer.Option(help="Segmenting model, by name or folder; default segment-lite-v1.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Screen score from which to flag; default: that of the model.")
    ] = None,
    recall: Annotated[
        float | None, typer.Option(min=0, max=1, help="Flag at the threshold that guarantees this recall.")
    ] = None,
    no_screen: Annotated[bool, typer.Option("--no-screen", help="Segment every exposure.")] = False,
    engine: Annotated[str, typer.Option(help="auto: GPU if there is one, else OpenVINO; or keras, openvino.")] = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Exposures per batch: one task, one shard, one commit.")] = 256,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Local Dask workers, or jobs of a batch system; default: run in this process."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="tcp:// address of a Dask scheduler; or slurm, pbs, htcondor.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier run in --out and start over.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Process batches again in which an exposure failed.")
    ] = False,
    read_limit: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="CPU time that reading an exposure may take.")
    ] = 600,
    models_dir: ModelsDir = None,
    camera: CameraName = "decam",
    stub: Annotated[
        bool, typer.Option("--stub", help="For benchmarks only: stand-ins for the networks, see cascade.networks.stub.")
    ] = False,
    max_failed: MaxFailedOption = None,
    quiet: Quiet = False,
) -> None:
    """
    Screen every exposure, mask the flagged ones.

    The same command resumes a killed run with its pending batches; with inputs added since, it processes the new ones.

    Example: cascade run previews/ --out RUN && cascade veto RUN --format des --out veto.txt
    """
    from cascade.networks.models import DEFAULT_MODELS

    if no_screen and (screen or threshold is not None or recall is not None):
        msg = "--no-screen excludes --screen, --threshold and --recall"
        raise typer.BadParameter(msg)
    if threshold is not None and recall is not None:
        msg = "--threshold and --recall exclude each other"
        raise typer.BadParameter(msg)
    if workers and scheduler and "://" in scheduler:
        msg = "--workers and --scheduler tcp://… exclude each other: a running scheduler has its own workers"
        raise typer.BadParameter(msg)
    common: dict[str, Any] = {"batch_size": batch, "n_workers": workers, "scheduler": scheduler, "fresh": fresh}
    common |= {"retry_failed": retry_failed, "read_limit_s": read_limit}
    if stub:
        if no_screen or screen or segment or threshold is not None or recall is not None:
            msg = "--stub excludes --screen, --segment, --threshold, --recall and --no-screen"
            raise typer.BadParameter(msg)
        _check(show_run(inputs, out, quiet=quiet, stub=True, **common), max_failed)
        return
    done = show_run(
        inputs,
        out,
        quiet=quiet,
        screen=None if no_screen else screen or DEFAULT_MODELS["screen"],
        segment=segment or DEFAULT_MODELS["segment"],
        threshold=threshold,
        recall=recall,
        engine=engine,
        models_dir=models_dir,
        camera=camera,
        **common,
    )
    _check(done, max_failed)


def _check(run: Run, max_failed: MaxFailed | None) -> None:
    """Refuse a run of which too many exposures failed."""
    counts = run.summary().counts
    causes = f"`cascade status {run.path}` says why"
    check_failed(run.path, counts.n_failed, counts.n_exposures, max_failed, causes=causes)


def show_run(inputs: list[str], out: Path, *, quiet: bool, stub: bool = False, **options: Any) -> Run:  # noqa: ANN401
    """Run a season with a progress bar and print the summary line; `options` are those of `run_season`."""
    from contextlib import ExitStack

    from cascade.pipeline.season import run_season, run_stub
    from cascade.runs.tables import BatchCounts

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
            flagged = 100 * total.n_flagged / total.n_exposures
            bars[0](counts.n_exposures, f"{speed:.1f} exposures/s, {flagged:.1f} % flagged, {total.n_failed} failed")

        def on_event(event: str, **details: Any) -> None:  # noqa: ANN401
            if not quiet:
                typer.echo(_EVENTS[event].format(**details), err=True)

        run = run_stub if stub else run_season
        finished = run(inputs, out, on_start=on_start, on_batch=on_batch, on_event=on_event, **options)
    seconds = monotonic() - started
    counts = finished.summary().counts
    resumed = f" ({done_before} done before)" if done_before else ""
    typer.echo(
        f"{finished.path}: {counts.n_exposures} exposures{resumed}, {counts.n_flagged} flagged, "
        f"{counts.n_ghosted} ghosted, {counts.n_artifacts} artifacts, {counts.n_failed} failed, {seconds:.1f} s"
    )
    return finished
