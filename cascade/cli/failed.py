"""How many failed exposures a command takes before its exit status says so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Self

import typer

from cascade.core.errors import InputError

_FORM = re.compile(r"(\d+)|(\d+(?:\.\d+)?|\.\d+)\s*%", re.ASCII)


@dataclass(frozen=True, slots=True)
class MaxFailed:
    """
    The most exposures that may fail.

    Attributes
    ----------
    number
        Of exposures, or of percent.
    is_share
        Whether it counts percent of all exposures.
    """

    number: float
    is_share: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``12`` or ``5%``, or raise typer.BadParameter."""
        found = _FORM.fullmatch(text.strip())
        if found is None or (found[2] and float(found[2]) > 100):
            msg = f"expected a number of exposures such as 12, or a share such as 5%, got {text!r}"
            raise typer.BadParameter(msg)
        return cls(float(found[1] or found[2]), found[1] is None)

    def allows(self, n_failed: int, n_exposures: int) -> bool:
        """Whether so many may fail."""
        return n_failed <= (self.number * n_exposures / 100 if self.is_share else self.number)

    def __str__(self) -> str:
        return f"{self.number:g}{'%' if self.is_share else ''}"


MaxFailedOption = Annotated[
    MaxFailed | None,
    typer.Option(
        parser=MaxFailed.parse,
        metavar="N|P%",
        help="Exit status 1 if more exposures fail, in number or percent; default: if all of them fail.",
    ),
]


def check_failed(where: object, n_failed: int, n_exposures: int, max_failed: MaxFailed | None, *, causes: str) -> None:
    """
    Refuse what failed too often; its results stay.

    Parameters
    ----------
    where : object
        Where they are.
    n_failed, n_exposures : int
        Exposures that failed, and all.
    max_failed : MaxFailed or None
        How many may; None: not all.
    causes : str
        Where a person finds the reasons.

    Raises
    ------
    InputError
        If too many did.
    """
    if max_failed is None and (n_failed < n_exposures or n_failed == 0):
        return
    if max_failed is not None and max_failed.allows(n_failed, n_exposures):
        return
    expected = "some exposures to be processed" if max_failed is None else f"at most {max_failed} failed"
    msg = f"{where}: expected {expected}, got {n_failed} failed of {n_exposures}; {causes}"
    raise InputError(msg)
