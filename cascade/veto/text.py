"""Veto lists that are text: lines of entries, and lines that stay as they stand."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cascade.camera import Camera
from cascade.core.csv_cells import with_formula
from cascade.core.errors import input_error, printable
from cascade.veto.entries import HAND, LISTED, Line, ReadList, is_ours
from cascade.veto.layouts import Layout, find_layout, is_comment
from cascade.veto.provenance import merged_names
from cascade.veto.rules import ANALYST, REASON
from cascade.veto.values import RowParser, words
from cascade.veto.writing import MERGED_MARK, OLD_DES_HINT, OWN_COMMENT, OWN_LINES, block_digest

logger = logging.getLogger(__name__)

# What the lists of DES call the reason that their file names begin with (its make_exclude_list.py).
_REASONS = {
    "streak": "Streak",
    "noise": "Noise",
    "readout": "Readout",
    "ccd": "Bad CCD",
    "processing": "Processing",
    "comet": "Comet",
}
_NAMED = re.compile(rf"({'|'.join(_REASONS)})\d*[-_]", re.IGNORECASE)
_OWN_DES = re.compile(r"(?:nan|\d{8}) \d+ nan (?!nan )\w+ \d+")
_OWN_LEGACY = re.compile(rf"(\d+) {ANALYST}: ghost/scatter on (\d+) CCDs: ([\w ]+)")
_ANALYST_AT_END = re.compile(r"(.*\S) \(analyst ([^()]+)\)")


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is wrong with the record that begins on line `number`, `at` its place; `scope` as for other lines."""

    number: int
    at: int
    scope: tuple[str, str] | None
    text: str


def read_text(text: str, path: Path, camera: Camera, form: str | None) -> ReadList:
    """
    Read a list that is text.

    Parameters
    ----------
    text : str
        With its line endings.
    path : Path
        Its name; what it begins with says the reason of the lists of DES.
    camera : Camera
    form : str or None
        What the user says that it is.

    Raises
    ------
    InputError
        If it may have more than one form, or a line is malformed.
    """
    marked = text.startswith("\ufeff")
    text = text.removeprefix("\ufeff")
    raw = list(io.StringIO(text, newline=""))
    named = _NAMED.match(path.name)
    reason = _REASONS[named[1].lower()] if named else REASON
    parser = RowParser(camera, reason, HAND, path.name)
    layout = find_layout([line.rstrip("\r\n") for line in raw], path, ccds=parser.ccds, form=form)
    lines = _parsed(raw, layout, parser, path)
    if layout.form == "des":
        lines = _with_own(lines)
    listing = [line for line in lines if line.entries]
    return ReadList(
        path,
        layout.form,
        len(listing),
        tuple(entry for line in listing for entry in line.entries),
        layout=layout,
        lines=tuple(lines),
        byte_order_mark=marked,
        merged=next((merged_names(line.text) for line in lines if OWN_COMMENT.match(line.text)), ()),
        note=_note(layout, reason if named else ""),
    )


def _note(layout: Layout, reason: str) -> str:
    """What a user should know of how a list was read."""
    notes = [f"reason {reason}, by its name"] if reason else []
    notes += ["whole exposures: no column names a CCD"] if layout.form == "csv" and not layout.has_ccds else []
    return f" ({'; '.join(notes)})" if notes else ""


def _parsed(raw: Sequence[str], layout: Layout, parser: RowParser, path: Path) -> list[Line]:
    """The lines with what they list; errors that many lines have are told once."""
    lines: list[Line] = []
    problems: list[_Problem] = []
    scope: tuple[str, str] | None = None
    for number, text in _records(raw, layout):
        if is_comment(text) or number - 1 == layout.header:
            mark = MERGED_MARK.match(text)
            scope = _scope(mark[1]) if mark and layout.form == "des" else None
            lines.append(Line(text, own=_is_own_comment(text, layout)))
            continue
        try:
            lines.append(_line(text, layout, parser, scope))
        except ValueError as error:
            problems.append(_Problem(number, len(lines), scope, str(error)))
            lines.append(Line(text))
    settled = _settled(lines, problems, layout, parser) if layout.form == "des" else {}
    left = [problem for problem in problems if problem.at not in settled]
    if left:
        more = f"; {len(left) - 1} more such lines" if len(left) > 1 else ""
        where = f"{path}:{left[0].number}"
        raise input_error(where, f"{left[0].text}{more}")
    for problem in problems:
        ccdnum = settled[problem.at].entries[0].ccdnum
        where, said = printable(f"{path}:{problem.number}"), problem.text.partition(";")[0]
        logger.warning("%s: %s; read as CCD %d: another line lists the other", printable(where), said, ccdnum)
    return [settled.get(k, line) for k, line in enumerate(lines)]


def _settled(lines: Sequence[Line], problems: Sequence[_Problem], layout: Layout, parser: RowParser) -> dict[int, Line]:
    """
    Lines of an exclude list whose number and name are of two CCDs, by their place, where no doubt is left.

    If another line lists the CCD of the name, only the number says something new: in the first list of DES, somebody
    copied a line and changed the number. Such a line is not copied to where that other line may be missing.
    """
    listed = {(entry.expnum, entry.ccdnum) for line in lines for entry in line.entries}
    settled = {}
    for problem in problems:
        text = lines[problem.at].text
        with suppress(ValueError):
            by_number, by_name = (
                _line(_without(text, column, layout), layout, parser, problem.scope) for column in ("detpos", "ccdnum")
            )
            if all((entry.expnum, entry.ccdnum) in listed for entry in by_name.entries):
                settled[problem.at] = replace(by_number, text=text, plain=False)
    return settled


def _without(text: str, column: str, layout: Layout) -> str:
    """A line of an exclude list with nan in a column."""
    cells = _cells(text, layout)
    cells[layout.columns.index(column)] = "nan"
    return layout.delimiter.join(cells)


def _records(raw: Sequence[str], layout: Layout) -> Iterator[tuple[int, str]]:
    """Lines, or the lines of a CSV that are one record, with the number of the first."""
    start, record = 0, ""
    for k, line in enumerate(raw):
        start = start if record else k + 1
        record += line
        inside_quotes = layout.form == "csv" and not is_comment(record) and record.count('"') % 2
        if not inside_quotes:
            yield start, record
            record = ""
    if record:
        yield start, record


def _scope(text: str) -> tuple[str, str] | None:
    """Reason and analyst of the lines that follow, from a comment of ours."""
    try:
        said = json.loads(text)
        return str(said["reason"]), str(said["analyst"])
    except (ValueError, KeyError, TypeError):
        return None


def _is_own_comment(text: str, layout: Layout) -> bool:
    """Whether a comment is one that every rewriting replaces."""
    ours = (OWN_COMMENT, OWN_LINES) if layout.form == "des" else (OWN_COMMENT,)
    return any(mark.match(text) for mark in ours) or text.rstrip("\r\n") == OLD_DES_HINT


def _line(text: str, layout: Layout, parser: RowParser, scope: tuple[str, str] | None) -> Line:
    """One line or record; ValueError says what is wrong with it."""
    line = text.strip()
    if layout.form == "legacy" and (ours := _OWN_LEGACY.fullmatch(line)):
        names = ours[3].split()
        found = tuple(
            entry for name in names for entry in parser.entries({"expnum": ours[1], "detpos": name}, whole=False)
        )
        # Somebody who took a CCD out of our line made it theirs.
        own = len(names) == int(ours[2])
        return Line(text, tuple(replace(e, reason=REASON, analyst=ANALYST if own else HAND) for e in found), own=own)
    values, extras = _values(text, layout)
    entries = parser.entries(values, whole=not layout.has_ccds, extras=extras)
    if layout.form == "des":
        reason, analyst = scope or ("", HAND if not values["detpos"] else LISTED)
        entries = tuple(replace(e, reason=reason or e.reason, analyst=analyst) for e in entries)
    own = layout.form == "csv" and all(is_ours(entry.analyst) for entry in entries)
    return Line(text, entries, own=own, plain=scope is None)


def _values(text: str, layout: Layout) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The values of a line by column, and those of other columns."""
    cells = _cells(text, layout)
    values = {column: cell for column, cell in zip(layout.columns, cells, strict=False) if column is not None}
    if layout.form == "legacy" and (said := _ANALYST_AT_END.fullmatch(words(values.get("reason")))):
        values |= {"reason": said[1], "analyst": said[2]}
    if layout.form == "des" and values["detpos"].lower() == "nan":
        values["detpos"] = ""
    others = zip(layout.names, layout.columns, cells, strict=False)
    extras = [(name, cell) for name, column, cell in others if column is None and layout.form == "csv"]
    return values, extras


def _cells(text: str, layout: Layout) -> list[str]:
    """What stands in the columns of a line."""
    line, n = text.strip(), len(layout.columns)
    free = layout.columns[-1] == "reason"
    if layout.delimiter != " ":
        record = text.rstrip("\r\n")
        try:
            cells = [cell.strip() for cell in next(csv.reader(io.StringIO(record), delimiter=layout.delimiter))]
        except csv.Error as error:
            msg = f"expected the {n} columns {layout.delimiter.join(layout.names)!r}, got a line with a {error}"
            raise ValueError(msg) from error
        if layout.form == "csv":
            cells = [with_formula(cell) for cell in cells]
        if layout.form != "csv" and len(cells) > n:
            cells = [*cells[: n - 1], layout.delimiter.join(cells[n - 1 :])]
        if len(cells) != n and not (layout.form != "csv" and len(cells) == n - 1):
            msg = f"expected the {n} columns {layout.delimiter.join(layout.names)!r}, got {len(cells)}: {line!r}"
            raise ValueError(msg)
        return cells
    cells = (line if free else line.partition("#")[0]).split(None, n - 1 if free else -1)
    if free:
        cells[-1] = cells[-1].lstrip("# \t") if len(cells) == n else cells[-1]
    if len(cells) != n and not (free and len(cells) == n - 1):
        msg = f"expected {' '.join(layout.names)!r}, got {line!r}"
        raise ValueError(msg)
    return cells


def _with_own(lines: Sequence[Line]) -> list[Line]:
    """Mark the lines of an exclude list that are ours: those that our comment counts, if nobody changed them."""
    result = list(lines)
    old = any(OWN_COMMENT.match(line.text) for line in lines) and not any(OWN_LINES.match(line.text) for line in lines)
    for k, line in enumerate(lines):
        mark = OWN_LINES.match(line.text)
        if mark is None and not (old and k == 0):
            continue
        rest = [n for n in range(k, len(lines)) if lines[n].entries]
        block = rest[: int(mark[1])] if mark else []
        if mark and block_digest(lines[n].text for n in block) == mark[2]:
            for n in block:
                ours = tuple(replace(entry, reason=REASON, analyst=ANALYST) for entry in lines[n].entries)
                result[n] = replace(lines[n], entries=ours, own=True, plain=False)
        else:
            for n in rest:
                if _OWN_DES.fullmatch(lines[n].text.strip()) and not result[n].own:
                    result[n] = replace(lines[n], doubtful=True)
    return result
