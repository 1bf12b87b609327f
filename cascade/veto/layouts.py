"""Which form a text has: told by its header and by what stands in it, and never guessed."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from cascade.core.csv_cells import with_formula
from cascade.core.errors import InputError, input_error, printable

DES_HEADER = "#date expnum ccd id ccdnum"

FORMS: Mapping[str, str] = {
    "csv": "CSV",
    "parquet": "Parquet table",
    "des": "DES exclude list: date expnum ccd id ccdnum",
    "fits": "FITS table",
    "legacy": "list of bad exposures: expnum reason",
    "pairs": "list of CCDs: expnum ccdnum",
    "nights": "DES list of bad exposures: nite exposure problem",
}
"""Forms that can be read."""

EXPOSURE = re.compile(r"[Dd]?(\d+)(?:\.0*)?")
"""An exposure number as text: ``158776``, ``D00158776``, ``158776.0``."""

JOINED = re.compile(r"[Dd]?(\d+)[-_](\w+)")
"""An exposure and a CCD, as the Legacy Surveys write them: ``754142-S29``."""

# Names without "_", in lower case. What a list calls it, by what we call it; the first that is there counts.
_NAMES: Mapping[str, Sequence[str]] = {
    "expnum": ("expnum", "expid", "exposure", "expnumber", "exposurenumber"),
    "ccdnum": ("ccdnum", "ccdnumber", "ccd", "chip"),
    "detpos": ("detpos", "ccdname"),
    "reason": ("reason", "problem", "comment", "comments"),
    "analyst": ("analyst",),
    "mjd_obs": ("mjdobs",),
    "area_fraction": ("areafraction",),
    "max_score": ("maxscore",),
    "date": ("date", "nite", "night"),
}
_OTHER_WORDS = {"id", "flag", "flags"}
_KNOWN_WORDS = {word for words in _NAMES.values() for word in words} | _OTHER_WORDS
_DES_COLUMNS = ("date", "expnum", "ccd", "id", "ccdnum")
_LARGEST_FLAG = 9  # a second column of such small numbers may be the flags of a list of bad exposures
_SEPARATORS = re.compile(r"[-,;:/+&]|(?<=ccd)(?=\d)")  # between CCDs, and in ccd34
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?|[Nn][Aa][Nn]")


@dataclass(frozen=True, slots=True)
class Layout:
    """
    How the lines of a text are read.

    Attributes
    ----------
    form
        One of `FORMS`.
    columns
        What each column is, as in `VETO` or ``date``; None for others.
    names
        What the header calls the columns.
    delimiter
        Between columns; a space stands for any white space.
    header
        Position of the header among the lines, None without.
    """

    form: str
    columns: tuple[str | None, ...]
    names: tuple[str, ...]
    delimiter: str = " "
    header: int | None = None

    @property
    def has_ccds(self) -> bool:
        """Whether it names CCDs, rather than whole exposures."""
        return "ccdnum" in self.columns or "detpos" in self.columns


_PLAIN: Mapping[str, Layout] = {
    "des": Layout("des", ("date", "expnum", None, "detpos", "ccdnum"), _DES_COLUMNS),
    "pairs": Layout("pairs", ("expnum", "ccdnum", "reason"), ("expnum", "ccdnum", "reason")),
    "legacy": Layout("legacy", ("expnum", "reason"), ("expnum", "reason")),
    "nights": Layout("nights", ("date", "expnum", "reason"), ("date", "expnum", "reason")),
}


def is_comment(line: str) -> bool:
    """Whether a line lists nothing."""
    return not line.strip() or line.lstrip().startswith("#")


def find_layout(lines: Sequence[str], path: Path, *, ccds: Container[str], form: str | None) -> Layout:
    """
    Tell the layout of a text.

    Parameters
    ----------
    lines : sequence of str
        Without their line endings.
    path : Path
        For errors.
    ccds : container of str
        Numbers and names of the camera's CCDs, in lower case.
    form : str or None
        What the user says that it is; None: told by header and content.

    Raises
    ------
    InputError
        If it may be of more than one form, or of none.
    """
    header = _header(lines)
    data = [(k, line) for k, line in enumerate(lines) if not is_comment(line) and k != header]
    found = None
    if header is not None and form not in _PLAIN:
        return _by_header(lines, header, [line for _, line in data], path)
    if header is not None:
        with suppress(InputError):
            found = _by_header(lines, header, [line for _, line in data], path)
    if form is not None and form in _PLAIN:
        delimiter = "," if _has_commas(line for _, line in data) else " "
        return found if found and found.form == form else replace(_PLAIN[form], delimiter=delimiter, header=header)
    if form == "csv" and not (data and _has_commas(line for _, line in data)):
        if data:
            where = f"{path}:{data[0][0] + 1}"
            raise input_error(where, f"expected a CSV with a header that names expnum, got {data[0][1].strip()!r}")
        return Layout("csv", (), (), ",")
    return _by_content(data, path, ccds)


def columns_of(names: Iterable[str], *, dates: bool = False) -> tuple[str | None, ...]:
    """What each column of a table is, by the names that lists give it; nights only where asked for."""
    words = [_word(name) for name in names]
    columns: list[str | None] = [None] * len(words)
    for column, choices in _NAMES.items():
        found = next((word for word in choices if word in words), None)
        if found is not None and (dates or column != "date"):
            columns[words.index(found)] = column
    if {"ccd", "ccdnum", "id"} <= set(words):
        columns[words.index("id")] = "detpos"  # as in exclude lists, where ccd is an index of the ray tracer
    return tuple(columns)


def _word(name: str) -> str:
    """A name of a column, without what does not distinguish it."""
    return name.strip().lstrip("#").strip().strip("\"'").replace("_", "").lower()


def _cells(line: str, delimiter: str) -> list[str]:
    """The names of a header."""
    text = line.strip().lstrip("#").strip()
    if delimiter == " ":
        return text.split()
    return [printable(with_formula(cell.strip().strip('"'))) for cell in text.split(delimiter)]


def _delimiter(line: str) -> str:
    """What separates the names of a header."""
    return next((mark for mark in (",", ";", "\t") if mark in line), " ")


def _header(lines: Sequence[str]) -> int | None:
    """Which line names the columns: the first that is no comment, or the last comment before it."""
    first = next((k for k, line in enumerate(lines) if not is_comment(line)), len(lines))
    if first < len(lines) and "expnum" in columns_of(_cells(lines[first], _delimiter(lines[first]))):
        return first
    for k in reversed(range(first)):
        words = [_word(cell) for cell in _cells(lines[k], _delimiter(lines[k]))]
        if "expnum" in columns_of(words) and _KNOWN_WORDS.issuperset(words):
            return k
    return None


def _by_header(lines: Sequence[str], header: int, data: Sequence[str], path: Path) -> Layout:
    """The layout that a header gives."""
    mark = _delimiter(lines[header])
    names = tuple(_cells(lines[header], mark))
    columns = columns_of(names, dates=True)
    where = f"{path}:{header + 1}"
    for column in ("expnum", "ccdnum"):
        if sum(_word(name) == column for name in names) > 1:
            raise input_error(where, f"expected one column {column}, got {', '.join(names)}")
    delimiter = _delimiter_of(mark, data, len(names), is_comment(lines[header]))
    has_ccds = "ccdnum" in columns or "detpos" in columns
    if not has_ccds and (delimiter != " " and None in columns):
        raise input_error(where, f"expected columns expnum and ccdnum, got {', '.join(names)}")
    if delimiter != " ":
        return Layout("csv", columns_of(names), names, delimiter, header)
    if tuple(_word(name) for name in names) == _DES_COLUMNS:
        return Layout("des", columns, names, " ", header)
    if has_ccds:
        return Layout("pairs", columns, names, " ", header)
    if columns[0] == "expnum":
        return replace(_PLAIN["legacy"], header=header)
    if columns == _PLAIN["nights"].columns:
        return Layout("nights", columns, names, " ", header)
    raise input_error(where, f"expected columns expnum and ccdnum, got {', '.join(names)}")


def _delimiter_of(mark: str, data: Sequence[str], n_columns: int, commented: bool) -> str:
    """What separates the columns of the data, which may be other than in the header."""
    if mark == "\t":
        return mark if data and all(line.count(mark) == n_columns - 1 for line in data) else " "
    if mark == " ":
        return "," if _has_commas(data) else " "
    return mark if not commented or all(mark in line for line in data) else " "


def _has_commas(lines: Iterable[str]) -> bool:
    """Whether every line begins with an exposure number and a comma."""
    firsts = [line.partition(",") for line in lines]
    return bool(firsts) and all(comma and EXPOSURE.fullmatch(first.strip()) for first, comma, _ in firsts)


def _by_content(data: Sequence[tuple[int, str]], path: Path, ccds: Container[str]) -> Layout:
    """The layout that the lines of a text without a header can have."""
    commas = _has_commas(line for _, line in data)
    if commas:
        rows = [[cell.strip() for cell in line.split(",")] for _, line in data]
    else:
        rows = [line.partition("#")[0].split() for _, line in data]
    delimiter = "," if commas else " "
    for (number, line), row in zip(data, rows, strict=True):
        if row and not any(form.fullmatch(row[0]) for form in (EXPOSURE, JOINED, _NUMBER)):
            where = f"{path}:{number + 1}"
            raise input_error(where, f"expected a line that begins with an expnum or a night, got {line.strip()!r}")
    if rows and all(_is_dated(row) for row in rows):
        return _dated(data, rows, path)
    numbered = [_may_be_ccd(row, ccds, alone=commas) for row in rows]
    if not any(numbered):
        return replace(_PLAIN["legacy"], delimiter=delimiter)
    named = all(len(row) > 1 and row[1].lower() in ccds and not row[1].isdecimal() for row in rows)
    exact = all((commas or len(row) == 2) and len(row) > 1 and _NUMBER.fullmatch(row[1]) for row in rows)
    large = any(len(row) > 1 and _number(row[1]) > _LARGEST_FLAG for row in rows)
    if all(numbered) and (named or (exact and large)):
        return replace(_PLAIN["pairs"], delimiter=delimiter)
    number, line = data[numbered.index(True)]
    where = f"{path}:{number + 1}"
    raise input_error(
        where,
        f"{line.strip()!r} may be 'expnum ccdnum' (one CCD) or 'expnum reason' (all CCDs); say which: pairs:{path} or "
        f"legacy:{path}, or give the list a header such as '# expnum ccdnum'",
    )


def _dated(data: Sequence[tuple[int, str]], rows: Sequence[Sequence[str]], path: Path) -> Layout:
    """The layout of lines that begin with a night and an exposure number."""
    if all(len(row) == len(_DES_COLUMNS) and _NUMBER.fullmatch(row[4]) for row in rows):
        return _PLAIN["des"]
    if all(len(row) > 2 and not _NUMBER.fullmatch(row[2]) for row in rows):
        return _PLAIN["nights"]
    lines = zip(data, rows, strict=True)
    number, line = next((place for place, row in lines if len(row) != len(_DES_COLUMNS)), data[0])
    where = f"{path}:{number + 1}"
    raise input_error(
        where,
        f"expected {' '.join(_DES_COLUMNS)!r} or 'nite exposure problem', got {line.strip()!r}; "
        f"say which: des:{path} or nights:{path}",
    )


def _is_dated(words: Sequence[str]) -> bool:
    """Whether a line begins with a night, or nan for one, and an exposure number."""
    if len(words) < 2 or not EXPOSURE.fullmatch(words[1]):
        return False
    if words[0].lower() == "nan":
        return True
    try:
        return len(words[0]) == 8 and words[0][:2] in ("19", "20") and bool(date.fromisoformat(words[0]))
    except ValueError:
        return False


def _may_be_ccd(words: Sequence[str], ccds: Container[str], *, alone: bool) -> bool:
    """Whether what follows the exposure may be a CCD, or several; any number may be one if it stands alone."""
    if len(words) < 2:
        return False
    parts = [part for part in _SEPARATORS.split(words[1].lower()) if part]
    if any(part in ccds for part in parts) or parts[:1] == ["ccd"]:
        return True
    return (alone or len(words) == 2) and bool(_NUMBER.match(words[1]))


def _number(word: str) -> float:
    """A number, 0 for what is none."""
    return float(word) if _NUMBER.fullmatch(word) and word.lower() != "nan" else 0.0
