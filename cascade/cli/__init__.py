"""The command line: parse, call the library, print."""

from __future__ import annotations


def main() -> None:
    """Run the `cascade` command."""
    from cascade.cli.app import app
    from cascade.cli.signals import end_on_signals
    from cascade.cli.standard_error import let_standard_error_fail

    let_standard_error_fail()
    end_on_signals()
    app()
