"""`cascade report`: a run directory in, an HTML report out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.cli.progress import progress
from cascade.cli.run import Quiet
from cascade.cli.status import InputsOption, PredictedOption, RunArgument


def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="Folder (or file) to write; default RUN/report.")] = None,
    single: Annotated[bool, typer.Option("--single", help="One HTML file, with small previews.")] = False,
    previews: Annotated[
        int | None, typer.Option(min=0, help="Maximum number of previews; default 5000, with --single 300.")
    ] = None,
    predicted: PredictedOption = None,
    inputs: InputsOption = None,
    quiet: Quiet = False,
) -> None:
    """
    Write an HTML report on a run, which opens from disk without a network: overview, gallery, tables, failures.

    Example: cascade report RUN && xdg-open RUN/report/index.html
    """
    from contextlib import ExitStack

    from cascade.core.errors import ConfigError
    from cascade.pages.report import write_report
    from cascade.runs.run import open_run

    opened = open_run(run)
    if out is None:
        if opened.storage.folder is None:
            msg = f"{opened.path}: expected --out, a local folder: browsers cannot open a report on an object store"
            raise ConfigError(msg)
        out = opened.storage.folder / ("report.html" if single else "report")
    with ExitStack() as stack:
        bars: list[Any] = []

        def on_previews(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress("previews", done=0, total=total, quiet=quiet)))
            bars[0](1, "")

        n_previews = write_report(
            opened,
            out,
            single=single,
            n_previews=previews,
            predicted=None if predicted is None else open_run(predicted),
            inputs=inputs or (),
            on_previews=on_previews,
        )
    page = out if single else out / "index.html"
    n_exposures = opened.summary().counts.n_exposures
    size = out.stat().st_size if single else sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    typer.echo(f"{page}: {n_exposures} exposures, {n_previews} previews, {size / 1e6:.1f} MB")
