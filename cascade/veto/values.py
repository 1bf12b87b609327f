"""Values of a veto list as people and programs write them: exposure numbers, CCDs, nights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date

from cascade.camera import Camera, Ccd, mjd_of_night
from cascade.core.errors import printable
from cascade.core.exposure import is_mjd
from cascade.veto.entries import Entry
from cascade.veto.layouts import EXPOSURE, JOINED

_MAX_EXPNUM = 2**63
_MAX_DIGITS = 30  # with leading zeros; Python refuses thousands
_MAX_FLOAT = 3.4e38  # of the 32 bits in which lists hold fractions and scores
_PADDING = re.compile(r"^([ns]?)0+(?=\d)|\.0*$")  # of 05, n05 and 5.0
_UNKNOWN = {"", "nan", "null", "none"}
_FLOATS = ("mjd_obs", "area_fraction", "max_score")


@dataclass(frozen=True)
class RowParser:
    """
    What turns the values of a row into entries.

    Attributes
    ----------
    camera
        Names the CCDs, and says when a night begins.
    reason, analyst
        Those of rows that give none.
    origin
        Name of the list.
    ccds
        By number and by name, in lower case.
    """

    camera: Camera
    reason: str
    analyst: str
    origin: str
    ccds: Mapping[str, Ccd] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        numbers = {str(ccd.ccdnum): ccd for ccd in self.camera.ccds}
        object.__setattr__(self, "ccds", numbers | {ccd.detpos.lower(): ccd for ccd in self.camera.ccds})

    def entries(
        self, values: Mapping[str, object], *, whole: bool, extras: Sequence[tuple[str, str]] = ()
    ) -> tuple[Entry, ...]:
        """
        Entries of a row.

        Parameters
        ----------
        values : mapping
            By column of `VETO`, or ``date``.
        whole : bool
            Whether a row without a CCD means all of them.
        extras : sequence of (str, str)
            Other columns.

        Raises
        ------
        ValueError
            If a value makes no sense, or two of them name different CCDs.
        """
        expnum, joined = self._exposure(values.get("expnum"))
        said = {name: self._ccd(name, values.get(name)) for name in ("ccdnum", "detpos")}
        known = [ccd for ccd in (joined, *said.values()) if ccd is not None]
        if len(set(known)) > 1:
            columns = "/".join(name for name, ccd in (("expnum", joined), *said.items()) if ccd is not None)
            problem = f"expected number and name of one CCD, got {_both(known)}"
            msg = f"{columns}: {problem}; correct it, or write nan for the wrong one"
            raise ValueError(msg)
        if not known and not whole:
            msg = "ccdnum: expected a CCD, got none"
            raise ValueError(msg)
        floats = {name: _float(name, values[name]) for name in _FLOATS if name in values}
        if not is_unknown(values.get("date")):
            floats["mjd_obs"] = mjd_of_night(day_of(str(values["date"])), self.camera)
        reason, analyst = (words(values.get(name)) for name in ("reason", "analyst"))
        return tuple(
            Entry(
                expnum,
                ccd.ccdnum,
                ccd.detpos,
                reason or self.reason,
                analyst or self.analyst,
                **floats,
                extras=tuple(extras),
                origin=self.origin,
            )
            for ccd in (known[:1] or self.camera.ccds)
        )

    def _exposure(self, value: object) -> tuple[int, Ccd | None]:
        """An exposure number, and the CCD that may be joined to it."""
        if is_unknown(value):
            msg = "expnum: expected a number in every row, got none"
            raise ValueError(msg)
        text = str(value).strip()
        joined = JOINED.fullmatch(text)
        found = joined or EXPOSURE.fullmatch(text)
        if found is None or len(found[1]) > _MAX_DIGITS or not 0 < int(found[1]) < _MAX_EXPNUM:
            msg = f"expnum: expected a number from 1 to {_MAX_EXPNUM - 1}, got {text!r}"
            raise ValueError(msg)
        if joined and joined[2].isdecimal() and int(joined[2]) > self.camera.ccds[-1].ccdnum:
            msg = f"expnum: expected one exposure, or one CCD of it, got {text!r}; write a range as a line for each"
            raise ValueError(msg)
        return int(found[1]), self._ccd("expnum", joined[2]) if joined else None

    def _ccd(self, column: str, value: object) -> Ccd | None:
        """A CCD by number or name, None if it is unknown; errors name the column."""
        if is_unknown(value):
            return None
        text = str(value).strip().lower()
        if text not in self.ccds:
            text = _PADDING.sub(r"\1", text)
        if text not in self.ccds:
            names = f"{self.camera.ccds[0].detpos} to {self.camera.ccds[-1].detpos}"
            numbers = f"{self.camera.ccds[0].ccdnum} to {self.camera.ccds[-1].ccdnum}"
            msg = f"{column}: {self.camera.instrument} has no CCD {value}: expected {numbers}, or {names}"
            raise ValueError(msg)
        return self.ccds[text]


def is_unknown(value: object) -> bool:
    """Whether a value says nothing."""
    if isinstance(value, str):
        return value.strip().lower() in _UNKNOWN
    return value is None or (isinstance(value, float) and math.isnan(value))


def words(value: object) -> str:
    """A text on one line, without the blanks that pad it; empty if unknown."""
    return "" if is_unknown(value) else printable(" ".join(str(value).split()))


def day_of(text: str) -> date:
    """A date written YYYYMMDD or YYYY-MM-DD, or ValueError."""
    digits = text.strip().replace("-", "")
    if len(digits) == 8 and digits.isdecimal():
        with suppress(ValueError):
            return date.fromisoformat(digits)
    msg = f"date: expected YYYYMMDD, got {text!r}"
    raise ValueError(msg)


def _float(name: str, value: object) -> float | None:
    """A number, None if it is unknown; a time that no exposure can have is."""
    if is_unknown(value):
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = math.inf
    if not abs(number) <= _MAX_FLOAT:
        msg = f"{name}: expected a number, got {str(value)!r}"
        raise ValueError(msg)
    return number if name != "mjd_obs" or is_mjd(number) else None


def _both(ccds: Sequence[Ccd]) -> str:
    """Two CCDs that ought to be one."""
    return " and ".join(f"CCD {ccd.ccdnum} ({ccd.detpos})" for ccd in dict.fromkeys(ccds))
