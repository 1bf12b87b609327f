"""A new veto list with what others listed, and two lists side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from cascade.camera import Camera
from cascade.core.errors import InputError, input_error, printable
from cascade.veto.entries import Entry, Kept, Line, ReadList, entries_table, is_ours, table_entries
from cascade.veto.layouts import FORMS
from cascade.veto.reading import open_list
from cascade.veto.rules import ANALYST, VetoList
from cascade.veto.writing import FORMATS

_COPIED = ("des", "legacy")  # forms whose lines may be copied from one list to another


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    Two lists side by side, by (expnum, ccdnum).

    Attributes
    ----------
    n_both, n_first, n_second
        Entries in both, in the first alone, and in the second alone.
    """

    n_both: int
    n_first: int
    n_second: int

    def __str__(self) -> str:
        return f"{self.n_both} CCDs in both, {self.n_first} in ours alone, {self.n_second} in theirs alone"


def earlier_list(path: Path, camera: Camera, format: str | None) -> ReadList | None:
    """
    Read the list that is about to be rewritten; None if there is no such file.

    Parameters
    ----------
    path : Path
    camera : Camera
    format : str or None
        One of `FORMATS`; None: the one that the list has.

    Raises
    ------
    InputError
        If there is a file that is no list of this format, so that nothing else is overwritten.
    """
    if not path.exists():
        return None
    try:
        found = open_list(path, camera)
    except InputError:
        if format is None:
            raise
        found = open_list(path, camera, format)
    if found.layout is not None and found.layout.header is None and not found.entries:
        found = open_list(path, camera, format or "csv")
    fits_in = found.form not in _COPIED or _has_blanks(found)
    if found.form not in FORMATS or not fits_in or (format is not None and found.form != format):
        raise input_error(
            path,
            f"expected a list of format {format or ', '.join(FORMATS)} to rewrite, got a {FORMS[found.form]}; "
            "write another file, and merge this one into it",
        )
    return found


def merge_lists(
    vetoes: VetoList, earlier: ReadList | None, others: Sequence[ReadList], camera: Camera, format: str
) -> tuple[VetoList, Kept]:
    """
    Add what others listed.

    Parameters
    ----------
    vetoes : VetoList
        Of cascade alone.
    earlier : ReadList or None
        The list that is rewritten: its entries that are not ours, and their lines, stay.
    others : sequence of ReadList
        Their entries are added. Those of another list of cascade get its name beside the analyst, so that they stay
        when this list is rewritten.
    camera : Camera
    format : str
        One of `FORMATS`.

    Returns
    -------
    VetoList
        Each (expnum, ccdnum) once for each reason and analyst, rising; for the same reason an entry of others stands
        rather than ours.
    Kept
        For `write_veto`.
    """
    fresh = {(entry.expnum, entry.ccdnum) for entry in table_entries(vetoes.table)}
    # Whether a line of our form where the list was edited is ours cannot be known: it goes only if we say the same.
    lines = earlier.lines if earlier else ()
    dropped = frozenset(
        line.text for line in lines if line.doubtful and fresh.issuperset((e.expnum, e.ccdnum) for e in line.entries)
    )
    kept = Kept(earlier, dropped, n_ccds=len(camera.ccds))
    staying = kept.entries
    known = {entry.key for entry in staying}
    copied: list[Line] = []
    added: list[Entry] = []
    for other in others:
        # A name such as streak-y1.txt says what its lines do not.
        if other.form == format and format in _COPIED and _has_blanks(other) and not other.note:
            copied += _copied(other, known)
        for entry in map(_merged, other.entries):
            if entry.key not in known:
                known.add(entry.key)
                added.append(entry)
    kept = replace(kept, copied=tuple(copied), added=tuple(sorted(added, key=lambda entry: entry.key)))
    theirs = [*staying, *(entry for line in copied for entry in line.entries), *added]
    said = {(entry.expnum, entry.ccdnum, entry.reason) for entry in theirs}
    ours = [e for e in table_entries(vetoes.table) if (e.expnum, e.ccdnum, e.reason) not in said]
    return replace(vetoes, table=entries_table([*ours, *theirs])), kept


def compare_lists(first: pa.Table, second: pa.Table) -> Comparison:
    """Count the entries of two lists that agree."""
    a, b = (set(zip(t["expnum"].to_pylist(), t["ccdnum"].to_pylist(), strict=True)) for t in (first, second))
    return Comparison(len(a & b), len(a - b), len(b - a))


def _has_blanks(listed: ReadList) -> bool:
    """Whether blanks are between the columns, as in what we write in that form."""
    return listed.layout is not None and listed.layout.delimiter == " "


def _merged(entry: Entry) -> Entry:
    """An entry of another list; what another list of cascade says stays as what others say."""
    return replace(entry, analyst=f"{ANALYST}:{entry.origin}") if is_ours(entry.analyst) else entry


def _copied(other: ReadList, known: set[tuple[int, int, str, str]]) -> list[Line]:
    """Lines of a list of the same form that say something new, with the comments before them."""
    lines: list[Line] = []
    comments: list[Line] = []
    header = other.layout.header if other.layout else None
    for k, line in enumerate(other.lines):
        if not line.entries:
            comments += [] if line.own or k == header else [line]
            continue
        new = {entry.key for entry in line.entries} - known
        if new and line.plain and not line.own:
            lines += [*comments, line]
            known |= new
        comments = []
    # A comment, so that the lines are not taken for those of what was merged before.
    return [Line(f"# merged from {printable(other.path.name)}\n"), *lines] if lines else []
