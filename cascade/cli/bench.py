"""`cascade bench`: studies of the gain and loss of screening first, and of efficiency against the hardware's limits."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli.run import Quiet

if TYPE_CHECKING:
    from types import ModuleType

    from cascade.bench.seasons import Networks
    from cascade.bench.study import Progress

bench_app = typer.Typer(no_args_is_help=True, help="Measure the cascade: speed, losses, scaling, real exposures.")

Out = Annotated[Path, typer.Option(help="Folder for the JSON, the Markdown table and the figure.")]
Scale = Annotated[
    float,
    typer.Option(min=0.001, help="Scales the numbers of exposures: 1 is the full study, 0.01 takes about a minute."),
]
PoolFolder = Annotated[
    Path | None,
    typer.Option("--pool", help="Folder that caches the simulated exposures; default: simulate them again."),
]
ScreenModel = Annotated[str | None, typer.Option("--screen", help="Screening model; default that of `cascade run`.")]
SegmentModel = Annotated[str | None, typer.Option("--segment", help="Segmenting model; default that of `cascade run`.")]
EngineName = Annotated[str, typer.Option("--engine", help="As for `cascade run`.")]


@bench_app.command()
def seasons(
    out: Out,
    scale: Scale = 1.0,
    pool: PoolFolder = None,
    screen: ScreenModel = None,
    segment: SegmentModel = None,
    engine: EngineName = "auto",
    quiet: Quiet = False,
) -> None:
    """
    Compare the cascade with Mask R-CNN alone on seasons of 0.5 to 50 % ghosted exposures: time, losses, break-even.

    Example: cascade bench seasons --out benchmarks/results --pool pool
    """
    from cascade.bench import seasons_report as report
    from cascade.bench.seasons import study_seasons

    _measure(study_seasons, report, out, _networks(screen, segment, engine), pool, scale=scale, quiet=quiet)


@bench_app.command()
def roofline(
    out: Out,
    scale: Scale = 1.0,
    pool: PoolFolder = None,
    screen: ScreenModel = None,
    segment: SegmentModel = None,
    engine: EngineName = "auto",
    quiet: Quiet = False,
) -> None:
    """
    Compare networks with matrix products and plain convolutions, on every available engine and precision.

    Example: cascade bench roofline --out benchmarks/results --pool pool
    """
    from cascade.bench import roofline_report as report
    from cascade.bench.roofline import study_roofline

    _measure(study_roofline, report, out, _networks(screen, segment, engine), pool, scale=scale, quiet=quiet)


@bench_app.command()
def scaling(
    out: Out,
    scale: Scale = 1.0,
    pool: PoolFolder = None,
    screen: ScreenModel = None,
    segment: SegmentModel = None,
    engine: EngineName = "auto",
    quiet: Quiet = False,
) -> None:
    """
    Time seasons of a hundred to a hundred thousand exposures, with and without workers, and a simulated cluster.

    Example: cascade bench scaling --out benchmarks/results --pool pool
    """
    from cascade.bench import scaling_report as report
    from cascade.bench.scaling import study_scaling

    _measure(study_scaling, report, out, _networks(screen, segment, engine), pool, scale=scale, quiet=quiet)


@bench_app.command()
def real(
    out: Out,
    segment_folds: Annotated[
        Path | None, typer.Option(help="Output of `cascade train segment --cross-validate`, for a cross-validated row.")
    ] = None,
    screen_folds: Annotated[
        Path | None, typer.Option(help="Output of `cascade train screen --cross-validate`; needs --segment-folds.")
    ] = None,
    screen: ScreenModel = None,
    segment: SegmentModel = None,
    engine: EngineName = "auto",
    quiet: Quiet = False,
) -> None:
    """
    Compare the cascade, Mask R-CNN alone and human annotators on the annotated real exposures under $CASCADE_DATA.

    Example: cascade bench real --out benchmarks/results --segment-folds runs/segment-cv --screen-folds runs/screen-cv
    """
    from cascade.bench import real_report as report
    from cascade.bench.real import IMAGES, Folds, study_real
    from cascade.training.config import data_root

    if screen_folds is not None and segment_folds is None:
        msg = "--screen-folds: expected --segment-folds, too"
        raise typer.BadParameter(msg)
    if not (data_root() / IMAGES).is_dir():
        typer.echo(f"SKIPPED: no {IMAGES} under $CASCADE_DATA; nothing was measured or written", err=True)
        return
    networks = _networks(screen, segment, engine)
    about = _provenance(networks)
    study = study_real(networks, data_root(), Folds(segment_folds, screen_folds), progress=_progress(quiet))
    _write(out, about | study, report)


def _measure(
    study: Callable[..., dict[str, Any]],
    report: ModuleType,
    out: Path,
    networks: Networks,
    pool: Path | None,
    *,
    scale: float,
    quiet: bool,
) -> None:
    """Run a study on simulated exposures, and write its files."""
    about = _provenance(networks)
    with _pool(pool) as folder:
        found = study(networks, folder, scale=scale, progress=_progress(quiet))
    _write(out, about | found, report)


def _networks(screen: str | None, segment: str | None, engine: str) -> Networks:
    """Models to compare."""
    from cascade.bench.seasons import Networks
    from cascade.networks.models import DEFAULT_MODELS

    return Networks(screen or DEFAULT_MODELS["screen"], segment or DEFAULT_MODELS["segment"], engine)


@contextmanager
def _pool(folder: Path | None) -> Iterator[Path]:
    """The folder of simulated exposures, or a temporary one."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="cascade-pool-") as temporary:
        yield Path(temporary)


def _progress(quiet: bool) -> Progress:
    """Print a line for each measurement, which takes minutes."""
    from time import monotonic

    started = monotonic()

    def report(what: str) -> None:
        if not quiet:
            typer.echo(f"{monotonic() - started:6.0f} s  {what}", err=True)

    return report


def _provenance(networks: Networks) -> dict[str, Any]:
    """Machine and time of the study."""
    import sys

    from cascade.bench.study import provenance

    return {"provenance": provenance(["cascade", *sys.argv[1:]], [networks.screen, networks.segment])}


def _write(out: Path, study: dict[str, Any], report: ModuleType) -> None:
    """Write the three files."""
    from cascade.bench.study import write_study

    name = str(study["study"])
    write_study(out, name, study, report.lines(study), report.figure(study))
    typer.echo(f"{out}: {name}.md, {name}.json, {name}.png")
