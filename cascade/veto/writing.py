"""Veto lists in the formats of surveys; each says the rule and the run that made it."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from cascade.camera import Camera, night_of
from cascade.core.csv_cells import without_formula
from cascade.core.errors import ConfigError
from cascade.storage import local_path
from cascade.storage.atomic import written_aside
from cascade.veto.entries import HAND, LISTED, Entry, Kept, Line, Listing, is_ours, table_entries
from cascade.veto.layouts import DES_HEADER, Layout, columns_of
from cascade.veto.provenance import Provenance
from cascade.veto.rules import ANALYST, REASON, STAR, VETO, VetoList
from cascade.veto.tables import check_columns, fits_bytes, missing_columns, parquet_bytes

LEGACY_MARK = f"{ANALYST}:"
"""How the reasons begin that we give in a list of bad exposures."""

OWN_COMMENT = re.compile("# cascade veto min_area=")
"""The comment that says the rule and the run."""

OWN_LINES = re.compile(r"# the next (\d+) lines are cascade's \(sha256 ([0-9a-f]{16})\)")
"""The comment of an exclude list that says which lines are ours: its lines have no column for it."""

MERGED_MARK = re.compile(r"# merged (\{.*\})")
"""The comment of an exclude list that says reason and analyst of the lines after it."""

OLD_DES_HINT = "# add CCDs by hand with nan as their ccd and id: such lines stay when cascade writes this list anew"
"""What exclude lists said before they marked our lines."""

SUFFIXES: Mapping[str, str] = {".csv": "csv", ".parquet": "parquet", ".fits": "fits", ".fit": "fits"}
"""Formats that the name of a file gives away; any text may end otherwise."""


_WITH_STARS = ("csv", "parquet")  # the others have the columns of the surveys


def write_veto(
    vetoes: VetoList,
    path: Path | str,
    format: str,
    *,
    provenance: Provenance | None = None,
    kept: Kept | None = None,
) -> None:
    """
    Write a veto list; an interrupted write leaves the old file or none.

    Parameters
    ----------
    vetoes : VetoList
        What to write.
    path : Path or str
        Where to; a list that lies there is replaced, see `kept`.
    format : str
        ``csv``, with the rule in a comment line; ``parquet``, with the rule in its metadata; both with a column
        ``star`` if stars are known; ``des``, the exclude list
        of DES and DELVE; ``fits``, the compiled table of DES (EXPNUM, CCDNUM, REASON, ANALYST); ``legacy``, exposures
        and reasons like the Legacy Surveys' ``bad_expid``.
    provenance : Provenance or None
        What made the list, which it then says.
    kept : Kept or None
        What others wrote and stays as it stands, see `cascade.veto.merge_lists`.

    Raises
    ------
    ConfigError
        If the format is unknown, is not the one that the name ends in, or needs a package that is not installed; or if
        the path is a URL.
    """
    check_format(path, format)
    data = veto_bytes(vetoes, format, provenance=provenance, kept=kept)
    with written_aside(local_path(path)) as aside:
        aside.write_bytes(data)


def veto_bytes(
    vetoes: VetoList, format: str, *, provenance: Provenance | None = None, kept: Kept | None = None
) -> bytes:
    """Give what `write_veto` writes."""
    entries = table_entries(vetoes.table)
    own = tuple(entry for entry in entries if is_ours(entry.analyst))
    if format in _WITH_STARS:
        own = tuple(_with_star(entry, vetoes.stars) for entry in own)
    others = tuple(entry for entry in entries if not is_ours(entry.analyst))
    listing = Listing(own, kept.added if kept else others, vetoes.rule, provenance, vetoes.camera, kept or Kept())
    return FORMATS[format](listing)


def _with_star(entry: Entry, stars: Mapping[tuple[int, int], str]) -> Entry:
    """An entry of ours with its star, if that is known."""
    star = stars.get((entry.expnum, entry.ccdnum))
    return entry if star is None else replace(entry, extras=((STAR, star),))


def check_format(path: Path | str, format: str) -> None:
    """Refuse formats that are unknown, or not what the name of the file says."""
    if format not in FORMATS:
        msg = f"veto format: expected one of {', '.join(FORMATS)}, got {format!r}"
        raise ConfigError(msg)
    expected = SUFFIXES.get(Path(path).suffix.lower())
    if Path(path).suffix.lower() == ".gz":
        msg = f"{path}: expected a list that is not compressed, such as {Path(path).with_suffix('')}"
        raise ConfigError(msg)
    if expected is not None and expected != format:
        msg = f"{path}: expected format {expected}, which its name says, got {format}"
        raise ConfigError(msg)


def block_digest(lines: Iterable[str]) -> str:
    """What tells whether somebody changed lines of ours; their line endings do not count."""
    return hashlib.sha256("".join(f"{line.strip()}\n" for line in lines).encode()).hexdigest()[:16]


def _comment(listing: Listing) -> str:
    """The line that says the rule, and the run if it is known."""
    rule = f"# cascade veto {listing.rule}"
    return rule if listing.provenance is None else f"{rule} | {listing.provenance}"


def _text_bytes(listing: Listing, head: Sequence[str], tail: Sequence[str]) -> bytes:
    """A text: lines before those that stay, these as they stand, and lines after them."""
    earlier = listing.kept.earlier
    stay = [line.text for line in listing.kept.lines]
    newline = "\r\n" if stay and stay[0].endswith("\r\n") else "\n"
    # The last line of a file that people wrote, or one that was copied, may lack its ending.
    stay = [text if text.endswith("\n") else text + newline for text in stay]
    mark = "\ufeff" if earlier and earlier.byte_order_mark else ""
    parts = (*(line + newline for line in head), *stay, *(line + newline for line in tail))
    return (mark + "".join(parts)).encode()


def _csv_bytes(listing: Listing) -> bytes:
    """Comma-separated values; unknown values are empty."""
    earlier, entries = listing.kept.earlier, (*listing.added, *listing.own)
    layout = earlier.layout if earlier else None
    if earlier is None or layout is None or layout.header is None:
        names = (*VETO.names, *missing_columns(VETO.names, VETO.names, entries))
        rows = _csv_rows(entries, names, ",")
        return _text_bytes(listing, (_comment(listing), ",".join(map(without_formula, names))), rows)
    columns = check_columns(layout.names, listing)
    more = missing_columns(layout.names, columns, entries)
    rows = _csv_rows(entries, (*layout.names, *more), layout.delimiter)
    lines = tuple(_widened(earlier.lines, layout, more)) if more else earlier.lines
    stay = replace(listing.kept, earlier=replace(earlier, lines=lines))
    return _text_bytes(replace(listing, kept=stay), (_comment(listing),), rows)


def _csv_rows(entries: Sequence[Entry], names: Sequence[str], delimiter: str) -> list[str]:
    """Entries as lines of a CSV; no cell is a formula."""
    columns = columns_of(names)
    types = {column: VETO.field(column).type for column in columns if column in VETO.names}
    arrays = [
        pa.array([without_formula(entry.value(column, name)) for entry in entries], types.get(column, pa.string()))
        for name, column in zip(names, columns, strict=True)
    ]
    stream = io.BytesIO()
    table = pa.Table.from_arrays(arrays, names=list(names))
    options = csv.WriteOptions(include_header=False, quoting_style="needed", delimiter=delimiter)
    csv.write_csv(table, stream, options)
    return stream.getvalue().decode().removesuffix("\n").split("\n") if entries else []


def _widened(lines: Iterable[Line], layout: Layout, names: Sequence[str]) -> Iterator[Line]:
    """Lines of a CSV with further columns at their end."""
    for k, line in enumerate(lines):
        text = line.text.rstrip("\r\n")
        if line.entries:
            values = _csv_rows([replace(line.entries[0], extras=())], names, layout.delimiter)[0]
            text += layout.delimiter + values
        elif k == layout.header:
            text += layout.delimiter + layout.delimiter.join(map(without_formula, names))
        yield replace(line, text=text + line.text[len(line.text.rstrip("\r\n")) :])


def _des_bytes(listing: Listing) -> bytes:
    """An exclude list; ``ccd``, an index of the ray tracer that made the first lists, is unknown to us."""
    tail = []
    others = [_des_other(entry, listing.camera) for entry in listing.added]
    for comment, entry_lines in groupby(sorted(others, key=lambda pair: pair[0]), key=lambda pair: pair[0]):
        tail += [*([comment] if comment else []), *(line for _, line in entry_lines)]
    own = [_des_line(entry, entry.detpos, listing.camera) for entry in listing.own]
    mark = f"# the next {len(own)} lines are cascade's (sha256 {block_digest(own)}): "
    mark += "it rewrites them, and leaves all others as they are"
    return _text_bytes(listing, _head(listing, DES_HEADER), [*tail, _comment(listing), mark, *own])


def _des_other(entry: Entry, camera: Camera) -> tuple[str, str]:
    """A comment with what an exclude list has no column for, if that must be said, and the line of an entry."""
    # The lists mark what people added by leaving out the name of the CCD.
    line = _des_line(entry, "nan", camera)
    if not entry.origin and entry.reason == REASON and entry.analyst in (HAND, LISTED):
        return "", line
    said = {"reason": entry.reason, "analyst": entry.analyst} | ({"from": entry.origin} if entry.origin else {})
    return f"# merged {json.dumps(said, ensure_ascii=False)}", line


def _des_line(entry: Entry, detpos: str, camera: Camera) -> str:
    """A line of an exclude list."""
    night = night_of(entry.mjd_obs, camera)
    day = "nan" if night is None else f"{night:%Y%m%d}"
    return f"{day} {entry.expnum} nan {detpos} {entry.ccdnum}"


def _head(listing: Listing, header: str) -> list[str]:
    """The header of a text that is new; one that people wrote without stays without."""
    earlier = listing.kept.earlier
    return [] if earlier and any(not line.own for line in earlier.lines) else [header]


def _legacy_bytes(listing: Listing) -> bytes:
    """One line an exposure, with the reason and the CCDs; what people listed is a line each."""
    tail = [*_legacy_others(listing), _comment(listing)]
    for expnum, group in groupby(listing.own, key=lambda entry: entry.expnum):
        names = [entry.detpos for entry in group]
        tail.append(f"{expnum} {LEGACY_MARK} ghost/scatter on {len(names)} CCDs: {' '.join(names)}")
    return _text_bytes(listing, _head(listing, "# expnum reason"), tail)


def _legacy_others(listing: Listing) -> Iterator[str]:
    """Lines of entries of others: ``expnum-ccd reason``, or ``expnum reason`` for all CCDs."""
    said = sorted(listing.added, key=lambda entry: (entry.expnum, entry.reason, entry.analyst))
    for (expnum, reason, analyst), group in groupby(said, key=lambda e: (e.expnum, e.reason, e.analyst)):
        why = reason if analyst == HAND else f"{reason} (analyst {analyst})"
        names = [entry.detpos for entry in group]
        if len(names) == listing.kept.n_ccds:
            yield f"{expnum} {why}"
        else:
            yield from (f"{expnum}-{name} {why}" for name in names)


FORMATS: Mapping[str, Callable[[Listing], bytes]] = {
    "csv": _csv_bytes,
    "parquet": parquet_bytes,
    "des": _des_bytes,
    "fits": fits_bytes,
    "legacy": _legacy_bytes,
}
"""What writes each format."""
