"""SIGTERM and SIGHUP, which batch systems and closed terminals send: they end a command as Ctrl-C does."""

from __future__ import annotations

import signal
from types import FrameType

EXIT_SIGNAL = 128
"""What shells add to the number of the signal that ended a process."""


class EndedBySignal(KeyboardInterrupt):
    """
    A signal asks the process to end; whatever cleans up after Ctrl-C cleans up after this.

    Parameters
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.exit_code = EXIT_SIGNAL + number


def end_on_signals() -> None:
    """Raise `EndedBySignal` in the main thread at the first SIGTERM or SIGHUP; later ones let it clean up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    """Raise in the main thread."""
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, _clean_up)
    raise EndedBySignal(number)


def _clean_up(_number: int, _frame: FrameType | None) -> None:
    """Go on cleaning up; unlike SIG_IGN, this is not handed on to other programs."""
