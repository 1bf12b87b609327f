"""`cascade status` and `cascade verify`: the progress of a run, and its integrity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli.progress import progress
from cascade.cli.run import Quiet

if TYPE_CHECKING:
    from cascade.runs.run import Run

_N_CAUSES = 10

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, or its URL (s3://, gs://, az://).")]

InputsOption = Annotated[
    list[str] | None,
    typer.Option("--inputs", metavar="DIR", help="Where the inputs of the run are now, if they were moved."),
]

PredictedOption = Annotated[
    Path | None,
    typer.Option(metavar="PREDICTED", help="Predictions of cascade raytrace for these exposures, to show beside."),
]


def status(run: RunArgument) -> None:
    """
    Show the progress and the failures of a run, while it is running or later.

    Example: cascade status RUN
    """
    from cascade.runs.lease import find_holder
    from cascade.runs.run import open_run

    opened = open_run(run)
    summary = opened.summary()
    counts, n_all = summary.counts, opened.config.n_exposures
    holder = find_holder(opened.storage)
    if summary.status == "complete":
        state = "complete"
    elif holder is None:
        state = "not running; `cascade run` with the same inputs resumes it"
    else:
        state = f"running on {holder.host} (pid {holder.pid})"
    share = 100 * counts.n_flagged / max(counts.n_exposures, 1)
    typer.echo(f"{opened.path}: {state}")
    typer.echo(f"exposures: {counts.n_exposures} of {n_all} done, in {summary.n_done} of {summary.n_batches} batches")
    typer.echo(f"flagged: {counts.n_flagged} ({share:.1f} %), ghosted: {counts.n_ghosted}, failed: {counts.n_failed}")
    per_exposure = (
        f"{stage} {1000 * spent / max(counts.n_exposures, 1):.2f}" for stage, spent in counts.seconds.items()
    )
    typer.echo(f"milliseconds per exposure, of one worker: {', '.join(per_exposure) or 'none yet'}")
    _print_causes(opened)


def verify(
    run: RunArgument,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget", help="Remove damaged batches from the ledger, so that `cascade run` processes them again."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """
    Verify hashes, rows and masks of a run, or a store of previews; list what to process again.

    Example: cascade verify RUN
    """
    if run.suffix == ".zarr":
        _verify_previews(run)
        return
    from cascade.core.errors import StoreError
    from cascade.runs.lease import hold_lease
    from cascade.runs.run import open_run
    from cascade.runs.verify import forget_damages, verify_run

    opened = open_run(run, check=False)  # verify says what differs
    summary = opened.summary()
    with progress("exposures", done=0, total=summary.counts.n_exposures, quiet=quiet) as advance:
        damages = verify_run(opened, on_batch=lambda n: advance(n, ""))
    for damage in damages:
        typer.echo(damage.problem if damage.batch is None else f"batch {damage.batch}: {damage.problem}")
    n_batches = len({damage.batch for damage in damages} - {None})
    if damages and forget:
        with hold_lease(opened.storage):
            forget_damages(opened, damages)
        typer.echo(
            f"{opened.path}: {n_batches} batches removed from the ledger; `cascade run` with the same inputs "
            "processes them again"
        )
    elif damages:
        files = len(damages) - n_batches
        others = f" and {files} other files" if files else ""
        msg = (
            f"{opened.path}: {n_batches} of {len(opened.done())} batches{others} are damaged; "
            "`cascade verify --forget` and the same `cascade run` process them again"
        )
        raise StoreError(msg)
    else:
        typer.echo(
            f"{opened.path}: {summary.counts.n_exposures} exposures in {summary.n_done} of {summary.n_batches} batches "
            "are complete and undamaged"
        )


def _verify_previews(path: Path) -> None:
    """Verify a store of previews."""
    from cascade.core.errors import StoreError
    from cascade.inputs.preview_store import header_table, verify_store

    problems = verify_store(path)
    for problem in problems:
        typer.echo(problem)
    if problems:
        msg = f"{path}: {len(problems)} things are damaged; `cascade preview` with the same FITS exposures mends it"
        raise StoreError(msg)
    typer.echo(f"{path}: {len(header_table(path))} previews are there and whole")


def unlock(run: RunArgument) -> None:
    """
    Release the lease of a run that has died elsewhere, or a damaged one; usually a lease expires by itself.

    Example: cascade unlock RUN
    """
    from cascade.runs.lease import take_away
    from cascade.runs.run import open_run

    opened = open_run(run)
    holder = take_away(opened.storage)
    of = "of nobody" if holder is None else f"of {holder.host} (pid {holder.pid}), which stops if it is still active"
    typer.echo(f"{opened.path}: unlocked; the lease was {of}")


def _print_causes(run: Run) -> None:
    """Failures by stage and cause, the most frequent first."""
    from collections import Counter

    causes: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for row in run.table("failures").to_pylist():
        cause = (row["stage"], row["error"].removeprefix(f"{row['path']}: "))
        causes[cause] += 1
        examples.setdefault(cause, row["path"])
    for (stage, error), n in causes.most_common(_N_CAUSES):
        typer.echo(f"  {n} failed at {stage}: {error} ({examples[stage, error]})")
    if len(causes) > _N_CAUSES:
        typer.echo(f"  and {len(causes) - _N_CAUSES} other causes; all are in the failures table")
