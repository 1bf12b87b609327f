"""Log messages on the terminal."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from typing import TextIO

N_ALIKE = 20
"""Warnings shown of one kind, that is from one line of the code."""

_FORMAT = logging.Formatter("%(levelname)s %(name)s: %(message)s")


class TerminalHandler(logging.StreamHandler[TextIO]):
    """
    Show errors of all packages, and warnings of this one: a few of each kind, none that are reported elsewhere.

    Parameters
    ----------
    stream : text file
        Where to.
    debug : bool
        Show everything.
    """

    def __init__(self, stream: TextIO, *, debug: bool) -> None:
        super().__init__(stream)
        self.setFormatter(_FORMAT)
        self._n_shown: Counter[tuple[str, int]] = Counter()
        self._debug = debug
        if not debug:
            self.addFilter(is_for_people)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; after `N_ALIKE` of one kind a note that more are suppressed, and then none."""
        kind = (record.pathname, record.lineno)
        self._n_shown[kind] += 1
        if self._debug or record.levelno >= logging.ERROR or self._n_shown[kind] <= N_ALIKE:
            super().emit(record)
        elif self._n_shown[kind] == N_ALIKE + 1:
            last = copy.copy(record)
            last.msg, last.args, last.exc_info = (
                "more warnings like these are suppressed; --debug shows all",
                (),
                None,
            )
            super().emit(last)


def is_for_people(record: logging.LogRecord) -> bool:
    """Whether a record is an error, or a warning of this package that is not reported elsewhere; Dask warns a lot."""
    if record.levelno >= logging.ERROR:
        return True
    ours = record.name.partition(".")[0] == "cascade"
    return ours and record.levelno >= logging.WARNING and not getattr(record, "reported_elsewhere", False)
