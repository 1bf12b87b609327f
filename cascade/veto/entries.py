"""What a veto list holds: entries, the lines that they stand on, and what is not ours and stays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from cascade.camera import Camera
from cascade.core.errors import printable
from cascade.veto.layouts import FORMS, Layout
from cascade.veto.provenance import Provenance
from cascade.veto.rules import ANALYST, VETO, VetoRule

HAND = "hand"
"""Analyst of entries that people added to a list that names nobody."""

LISTED = "listed"
"""Analyst of entries of an exclude list that name their CCD, as a ray tracer does."""


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One CCD of one exposure, for one reason.

    Attributes
    ----------
    expnum, ccdnum, detpos, area_fraction, max_score, mjd_obs, reason, analyst
        As in `VETO`.
    extras
        Other columns of its list, by name, as text.
    origin
        Name of the list that it was read from; empty where there is none.
    """

    expnum: int
    ccdnum: int
    detpos: str
    reason: str
    analyst: str
    area_fraction: float | None = None
    max_score: float | None = None
    mjd_obs: float | None = None
    extras: tuple[tuple[str, str], ...] = ()
    origin: str = ""

    @property
    def key(self) -> tuple[int, int, str, str]:
        """What makes two entries the same; in ASCII, which is all that FITS holds."""
        return self.expnum, self.ccdnum, ascii_text(self.reason), ascii_text(self.analyst)

    def value(self, column: str | None, name: str) -> Any:  # noqa: ANN401
        """Its value in a column that is one of `VETO`, or in another one of that name; None if there is none."""
        if column in _COLUMNS:
            return getattr(self, str(column))
        wanted = column_name(name)
        return next((value for extra, value in self.extras if column_name(extra) == wanted), None)


@dataclass(frozen=True, slots=True)
class Line:
    """
    A line of a text, or a record of a CSV, as it stands.

    Attributes
    ----------
    text
        With its line ending.
    entries
        What it lists; none for comments, blank lines and headers.
    own
        Whether cascade wrote it, and will replace it.
    doubtful
        Whether cascade may have written it: a line of our form where the list was edited, or an old list.
    plain
        Whether the line alone says all that its entries say, wherever it is copied to.
    """

    text: str
    entries: tuple[Entry, ...] = ()
    own: bool = False
    doubtful: bool = False
    plain: bool = True


@dataclass(frozen=True, slots=True)
class ReadList:
    """
    A veto list that was read.

    Attributes
    ----------
    path
        Where it lies.
    form
        One of `FORMS`.
    n_lines
        Lines or rows that list something.
    entries
        All that is listed, in its order.
    layout, lines, byte_order_mark
        Of a text.
    rows, is_own, source
        Of Parquet or FITS: the table as it stands, which of its rows are ours, and the bytes of a FITS file.
    merged
        Names of the lists that it says were merged into it.
    note
        What was concluded from its name.
    """

    path: Path
    form: str
    n_lines: int
    entries: tuple[Entry, ...]
    layout: Layout | None = None
    lines: tuple[Line, ...] = ()
    byte_order_mark: bool = False
    rows: Any = None
    is_own: tuple[bool, ...] = ()
    source: bytes = b""
    merged: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        if not self.entries:
            return f"{self.path}: read as an empty list"
        n_exposures = len({entry.expnum for entry in self.entries})
        n_ccds = len({(entry.expnum, entry.ccdnum) for entry in self.entries})
        read = f"{self.path}: read as {FORMS[self.form]}, {self.n_lines} lines"
        return f"{read}: {n_ccds} CCDs of {n_exposures} exposures{self.note}"

    @property
    def table(self) -> pa.Table:
        """Columns of `VETO`, rising; each (expnum, ccdnum) once for each reason and analyst."""
        return entries_table(self.entries)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that `VETO` does not have."""
        return tuple(dict.fromkeys(name for entry in self.entries for name, _ in entry.extras))


@dataclass(frozen=True, slots=True)
class Kept:
    """
    What a list that is written holds beside the entries of cascade.

    Attributes
    ----------
    earlier
        The list that lay there before; what is not ours in it stays as it is.
    dropped
        Texts of its doubtful lines that our entries replace.
    copied
        Lines of merged lists of the same form.
    added
        Entries of other merged lists.
    n_ccds
        CCDs of the camera: as many entries of an exposure for one reason are one for the whole exposure.
    """

    earlier: ReadList | None = None
    dropped: frozenset[str] = frozenset()
    copied: tuple[Line, ...] = ()
    added: tuple[Entry, ...] = ()
    n_ccds: int = 0

    @property
    def lines(self) -> tuple[Line, ...]:
        """Lines that stay, and those that were copied."""
        before = self.earlier.lines if self.earlier else ()
        stay = (line for line in before if not line.own and not (line.doubtful and line.text in self.dropped))
        return (*stay, *self.copied)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What the earlier list holds that is not ours."""
        if self.earlier is None:
            return ()
        if self.earlier.rows is not None:
            return tuple(entry for entry in self.earlier.entries if not is_ours(entry.analyst))
        return tuple(entry for line in replace(self, copied=()).lines for entry in line.entries)

    @property
    def n_doubtful(self) -> int:
        """Lines that stay although they may be ours."""
        return sum(line.doubtful for line in self.lines)


@dataclass(frozen=True, slots=True)
class Listing:
    """
    What is written.

    Attributes
    ----------
    own
        Entries of cascade, rising.
    added
        Entries of others that stand on no line or row yet.
    rule, provenance
        What made the list; the latter is None where nobody said.
    camera
        Says when a night begins.
    kept
        What is there and stays.
    """

    own: tuple[Entry, ...]
    added: tuple[Entry, ...]
    rule: VetoRule
    provenance: Provenance | None
    camera: Camera
    kept: Kept


_COLUMNS = frozenset(f.name for f in fields(Entry)) - {"extras", "origin"}


def ascii_text(text: str) -> str:
    r"""The text in ASCII, other characters as escapes such as ``\xf3``."""
    return text if text.isascii() else text.encode("ascii", "backslashreplace").decode()


def column_name(name: str) -> str:
    """A name of a column as it is compared with others: as FITS would hold it, in lower case."""
    return ascii_text(printable(name)).lower()


def table_entries(table: pa.Table) -> list[Entry]:
    """Entries of a table with the columns of `VETO`."""
    return [Entry(**row) for row in table.to_pylist()]


def entries_table(entries: Iterable[Entry]) -> pa.Table:
    """The columns of `VETO`, rising; each (expnum, ccdnum) once for each reason and analyst."""
    unique: dict[tuple[int, int, str, str], Entry] = {}
    for entry in entries:
        unique.setdefault(entry.key, entry)
    ordered = [unique[key] for key in sorted(unique)]
    return pa.table({f.name: pa.array([getattr(e, f.name) for e in ordered], f.type) for f in VETO}, schema=VETO)


def is_ours(analyst: str) -> bool:
    """Whether an entry is one of cascade."""
    return analyst == ANALYST
