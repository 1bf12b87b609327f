"""The commands, their help and error handling."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import cascade
from cascade.cli.bench import bench_app
from cascade.cli.calibrate import calibrate
from cascade.cli.demo import demo
from cascade.cli.evaluate import agreement, evaluate, split
from cascade.cli.export import export
from cascade.cli.log import TerminalHandler
from cascade.cli.models import models_app
from cascade.cli.preview import preview
from cascade.cli.raytrace import raytrace
from cascade.cli.report import report
from cascade.cli.review import review
from cascade.cli.run import run
from cascade.cli.simulate import simulate
from cascade.cli.status import status, verify
from cascade.cli.train import train
from cascade.cli.veto import veto
from cascade.core.errors import CascadeError


class ErrorLineGroup(TyperGroup):
    """Turn errors into one line and exit status 1, unless `--debug` asks for the traceback."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("error: interrupted; `cascade run` and `cascade train` resume where they stopped", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            # Typer's own, such as a usage error, carry their exit status; recent versions ship a Click of their own.
            # It also handles a closed pipe.
            passed_on = isinstance(error, typer.Abort | BrokenPipeError) or hasattr(error, "exit_code")
            if passed_on or ctx.params["debug"]:
                raise
            typer.echo(f"error: {_line(error)}", err=True)
            raise typer.Exit(1) from None


def _line(error: Exception) -> str:
    """The error on one line."""
    text = " ".join(str(error).split())
    if isinstance(error, CascadeError | OSError):
        return text
    return f"unexpected {type(error).__name__}: {text} (cascade --debug … shows where)"


app = typer.Typer(
    name="cascade",
    cls=ErrorLineGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Find ghosts and scattered light in survey exposures.",
)


def _print_version(asked: bool) -> None:
    """End with the version, if it was asked for."""
    if asked:
        typer.echo(f"cascade {cascade.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug messages.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    handler = TerminalHandler(sys.stderr, debug=debug)
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler], force=True)


app.command("demo")(demo)
app.command("run")(run)
app.command("status")(status)
app.command("verify")(verify)
app.command("preview")(preview)
app.command("veto")(veto)
app.command("export")(export)
app.command("report")(report)
app.command("review")(review)
app.command("simulate")(simulate)
app.command("raytrace")(raytrace)
app.command("train")(train)
app.command("calibrate")(calibrate)
app.command("evaluate")(evaluate)
app.command("agreement")(agreement)
app.command("split")(split)
app.add_typer(models_app, name="models")
app.add_typer(bench_app, name="bench")
