"""A progress bar on a terminal, log lines elsewhere, nothing with `--quiet`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 1.0

Advance = Callable[[int, str], None]
"""Called with the number of newly finished items, and a short status."""


@contextmanager
def progress(what: str, *, done: int, total: int, quiet: bool) -> Iterator[Advance]:
    """
    Show the progress of a job on standard error.

    Parameters
    ----------
    what : str
        What is counted, e.g. ``"exposures"``.
    done, total : int
        Already done at the start, and in all.
    quiet : bool
        Show nothing.
    """
    console = Console(stderr=True)
    if quiet:
        yield lambda _n, _words: None
    elif console.is_terminal:
        columns = (
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(what, total=total, completed=done, words="")
            yield lambda n, words: bar.update(task, advance=n, words=words)
    else:
        yield _plain_lines(console, what, done, total)


def _plain_lines(console: Console, what: str, done: int, total: int) -> Advance:
    """A line a second at most, with the time that is left at the speed until then."""
    first, started = done, monotonic()
    last_line = started

    def advance(n: int, words: str) -> None:
        nonlocal done, last_line
        done += n
        now = monotonic()
        if now - last_line >= _SECONDS_BETWEEN_LINES or done == total:
            last_line = now
            left = (now - started) / max(done - first, 1) * (total - done)
            parts = [
                f"{done} of {total} {what}",
                words,
                f"{timedelta(seconds=round(left))} left" if done < total else "",
            ]
            console.print(", ".join(filter(None, parts)), highlight=False, soft_wrap=True)

    return advance
