"""Cells of CSV files that a spreadsheet takes for text."""

from __future__ import annotations

import re
from typing import TypeVar

T = TypeVar("T")

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)")


def without_formula(cell: T) -> T | str:
    """
    Put an apostrophe before a text that a spreadsheet would run as a formula; all else stays.

    What begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return is one, unless it is a number. A text with
    apostrophes before one gets a further one, so that `with_formula` gives every text back.

    References
    ----------
    OWASP, CSV Injection.
    """
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def with_formula(cell: str) -> str:
    """Give back the text that `without_formula` took."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
