"""One parser a header field, for FITS headers and tables alike: any usual name, text or number, its range."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from cascade.core.errors import printable
from cascade.core.exposure import MJD_RANGE, HeaderFields

NAMES: Mapping[str, tuple[str, ...]] = {
    "expnum": ("EXPNUM", "VISIT", "EXPID", "EXPOSURE_ID", "EXPOSURE_NUMBER"),
    **{f.name: f.metadata["keywords"] for f in fields(HeaderFields)},
}
"""What each field is called, the most trusted name first; case, blanks and the signs ``-_.`` do not count."""

RANGES: Mapping[str, tuple[float, float]] = {
    "expnum": (1, 2**63 - 1),  # what an int64 holds; visits of LSST have 13 digits
    "mjd_obs": MJD_RANGE,
    "ra": (0, 360),
    "dec": (-90, 90),
    "exptime": (0, 86_400),
}
"""The least and the largest value of the fields that are numbers."""

_UNKNOWN = frozenset({"", "nan", "none", "null", "n/a", "na", "unknown", "undefined", "-", "--"})
_SHOWN = 40  # characters of a value in a remark
_EXPNUM = re.compile(r"[Dd]?0*(\d{1,19})(?:\.0*)?", re.ASCII)
_UNIT = re.compile(r"\s*[\[(][^\])]*[\])]\s*$")
_SIGNS = re.compile(r"[\s\-_.\ufeff]+")


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """
    What a FITS header says of its exposure.

    Attributes
    ----------
    expnum
        Positive exposure number, or None.
    header
        The other fields; None where the header does not say.
    remarks
        One clause for each value that is there but cannot be used.
    """

    expnum: int | None
    header: HeaderFields
    remarks: tuple[str, ...]


def header_facts(header: Mapping[str, Any]) -> HeaderFacts:
    """The fields of a FITS header; one that makes no sense is unknown, and the exposure goes on."""
    found: dict[str, Any] = {}
    remarks = []
    for field, names in NAMES.items():
        for name in names:
            value = header.get(name)
            if not isinstance(value, str | int | float):  # a card may have no value
                continue
            try:
                found[field] = PARSERS[field](value)
            except ValueError as error:
                remarks.append(f"{name}: {error}: taken for unknown")
                continue
            if found[field] is not None:
                break
    return HeaderFacts(found.get("expnum"), HeaderFields.of(found), tuple(remarks))


def columns_of_fields(names: Sequence[str]) -> dict[str, str]:
    """
    Find the columns of a table that are header fields.

    Parameters
    ----------
    names : sequence of str
        Of all columns.

    Returns
    -------
    dict of str to str
        Name of the column by that of the field; a column called exactly as its field goes first.
    """
    found = {}
    for field, aliases in NAMES.items():
        wanted = dict.fromkeys((plain_name(field), *map(plain_name, aliases)))
        exact = [name for name in names if name == field]
        found[field] = next((name for alias in wanted for name in (*exact, *names) if plain_name(name) == alias), None)
    return {field: name for field, name in found.items() if name is not None}


def plain_name(name: str) -> str:
    """A name without case, blanks, the signs ``-_.`` and a unit in brackets at its end."""
    return _SIGNS.sub("", _UNIT.sub("", name)).casefold()


def parse_expnum(value: object) -> int | None:
    """A positive exposure number from 890123, 890123.0, ``"00890123"`` or ``"D00890123"``; None where unknown."""
    if _is_unknown(value) or value == -1 or value == "-1":  # what tables without nulls write
        return None
    number: int | None = None
    if isinstance(value, str) and (match := _EXPNUM.fullmatch(value.strip())):
        number = int(match[1])
    elif (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer()):
        number = int(value)
    if number is None or not RANGES["expnum"][0] <= number <= RANGES["expnum"][1]:
        raise ValueError(_expected("a positive whole number", value))
    return number


def whole_number(value: object) -> int | None:
    """A whole number that is written as one, as text or as 28.0; None for all else."""
    if isinstance(value, str):
        value = value.strip()
        return int(value) if re.fullmatch(r"[+-]?\d{1,18}", value, re.ASCII) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value)


def finite_number(value: object) -> float | None:
    """A finite number, or text that is one; None for all else."""
    try:
        return _number(value)
    except ValueError:
        return None


def parse_band(value: object) -> str | None:
    """The filter: the first word of a name such as ``g DECam SDSS c0001 4720.0 1520.0``, ``r_57``; None if unknown."""
    if _is_unknown(value):
        return None
    words = value.replace("_", " ").split() if isinstance(value, str) else []
    if not words:
        raise ValueError(_expected("the name of a filter", value))
    return words[0]


def parse_mjd(value: object) -> float | None:
    """A modified Julian date in `MJD_RANGE`, in days; None where unknown. A Julian date is refused, not converted."""
    return _within("mjd_obs", "an MJD", _number(value), value)


def parse_ra(value: object) -> float | None:
    """Degrees in [0, 360] from a number, or from hours as ``12:29:17.948``; None where unknown."""
    return _within("ra", "degrees", _angle(value, 15.0), value)


def parse_dec(value: object) -> float | None:
    """Degrees in [-90, 90] from a number, or from ``-00:28:40.296``; None where unknown."""
    return _within("dec", "degrees", _angle(value, 1.0), value)


def parse_exptime(value: object) -> float | None:
    """Seconds, from 0 to a day; None where unknown."""
    return _within("exptime", "seconds", _number(value), value)


def parse_gain(value: object) -> float | None:
    """Electrons a count, positive; None where unknown."""
    gain = _number(value)
    if gain is None or gain > 0:
        return gain
    raise ValueError(_expected("a positive number", value))


PARSERS: Mapping[str, Callable[[object], Any]] = {
    "expnum": parse_expnum,
    "band": parse_band,
    "mjd_obs": parse_mjd,
    "ra": parse_ra,
    "dec": parse_dec,
    "exptime": parse_exptime,
}
"""The parser of each field: its value, None where the value says unknown, ValueError where it makes no sense."""


def _is_unknown(value: object) -> bool:
    """Whether a value says that nothing is known."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip().casefold() in _UNKNOWN)


def _number(value: object) -> float | None:
    """A finite number; None where unknown, ValueError where it is none."""
    if _is_unknown(value):
        return None
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.inf
        if math.isfinite(number):
            return number
    raise ValueError(_expected("a number", value))


def _angle(value: object, unit: float) -> float | None:
    """Degrees from a number of degrees, or from sexagesimal text in `unit` degrees."""
    parts = re.split(r"[:\s]+", value.strip()) if isinstance(value, str) else []
    if len(parts) != 3:
        return _number(value)
    whole, minutes, seconds = (_number(part) for part in parts)
    if whole is None or minutes is None or seconds is None or not (0 <= minutes < 60 and 0 <= seconds < 60):
        raise ValueError(_expected("an angle", value))
    sign = -1.0 if parts[0].startswith("-") else 1.0
    return unit * sign * (abs(whole) + minutes / 60 + seconds / 3600)


def _within(field: str, what: str, number: float | None, value: object) -> float | None:
    """The number, if it is in the range of its field."""
    low, high = RANGES[field]
    if number is None or low <= number <= high:
        return number
    raise ValueError(_expected(f"{what} from {low:.0f} to {high:.0f}", value))


def _expected(what: str, value: object) -> str:
    """What is wrong with a value, in one clause."""
    return printable(f"expected {what}, got {str(value)[:_SHOWN]!r}")
