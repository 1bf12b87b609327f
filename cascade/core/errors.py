"""
The exceptions that cascade raises deliberately.

::

    CascadeError
    ├── InputError    an exposure or annotation that cannot be used: unreadable, wrong shape, wrong camera
    ├── ModelError    a model folder that is missing, incomplete or does not match its hash
    ├── StoreError    a run directory that is missing, damaged or belongs to another configuration
    ├── OutageError   a store or scheduler that is temporarily unavailable; a later retry may work
    └── ConfigError   an invalid option or configuration file

The command line prints them as one ``error: …`` line; anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import re
from pathlib import Path

# What breaks a line, a terminal or a UTF-8 table: control characters, line separators, undecodable bytes.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONGEST = 1500  # characters of a message; a file may hold a name of megabytes
_LINE_ENDS = re.compile(r"\s*\n\s*")


class CascadeError(Exception):
    """Base of every error raised deliberately; its message is one line for the user, whatever it quotes."""

    def __init__(self, message: str) -> None:
        line = printable(_LINE_ENDS.sub(" ", message.strip()))
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}")


class InputError(CascadeError):
    """An input that cannot be used; a run records it in the failures table and continues."""


class ModelError(CascadeError):
    """A model that cannot be found, verified or loaded."""


class StoreError(CascadeError):
    """A run directory that cannot be used as requested."""


class OutageError(CascadeError):
    """A store or scheduler that is temporarily unavailable; the request itself is valid."""


class ConfigError(CascadeError):
    """An invalid configuration or option."""


def printable(text: str) -> str:
    """The text on one line and valid UTF-8: control characters and undecodable bytes become escapes."""
    return _UNPRINTABLE.sub(lambda found: ascii(found.group())[1:-1], text)


def input_error(path: str | Path, problem: str) -> InputError:
    """The one-line error about an input."""
    return InputError(printable(f"{path}: {problem}"))


def reason(error: Exception) -> str:
    """The message of an exception, without the path and errno of an OSError."""
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__
