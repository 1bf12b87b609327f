"""The command line: parse, call the library, print."""

from __future__ import annotations


def main() -> None:
    """Run the `cascade` command."""
    from cascade.cli.app import app

    app()
