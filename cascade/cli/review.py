"""`cascade review`: a web page for reviewing the artifacts of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from cascade.cli.status import InputsOption, PredictedOption, RunArgument


def review(
    run: RunArgument,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines reach it, over plain HTTP.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 selects a free one.")] = 8765,
    predicted: PredictedOption = None,
    inputs: InputsOption = None,
) -> None:
    """
    Serve a page for one or several reviewers; every verdict is saved at once in RUN/verdicts.sqlite.

    The address that is printed holds a token, without which nobody gets in; whoever is given it can judge.

    Example: cascade review RUN, then cascade veto RUN --reviewed --out veto.csv
    """
    from contextlib import suppress

    from cascade.pages.review import ReviewSession, serve
    from cascade.runs.run import open_run

    session = ReviewSession(open_run(run), inputs or (), predicted=None if predicted is None else open_run(predicted))
    with suppress(KeyboardInterrupt):
        serve(session, host=host, port=port, on_ready=lambda address: typer.echo(f"review at {address} (Ctrl-C ends)"))
    typer.echo(f"{run}: {session.n_judged()} exposures reviewed")
