"""Veto lists that exist already, ours and those of others."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from cascade.camera import Camera
from cascade.core.errors import ConfigError, InputError, input_error, reason
from cascade.core.plain_files import open_plain
from cascade.core.text import decode_text
from cascade.veto.entries import HAND, Entry, ReadList, is_ours
from cascade.veto.layouts import DES_HEADER, FORMS, columns_of
from cascade.veto.rules import REASON
from cascade.veto.tables import fits_rows, parquet_rows, read_fits, read_parquet
from cascade.veto.text import read_text
from cascade.veto.values import RowParser
from cascade.veto.writing import SUFFIXES

DES_LIST = pa.schema(
    [
        pa.field("date", pa.date32()),
        pa.field("expnum", pa.int64(), nullable=False),
        pa.field("ccd", pa.int64()),
        pa.field("detpos", pa.string()),
        pa.field("ccdnum", pa.int16(), nullable=False),
    ]
)
"""Columns of a DES exclude list; null where the list says ``nan``."""

_MAX_BYTES = 64 * 2**20  # the largest real list, DELVE's, is under 1 MB
_MAGIC: Mapping[bytes, str] = {b"PAR1": "parquet", b"SIMPLE  =": "fits"}
_GZIP = b"\x1f\x8b"


def open_list(spec: Path | str, camera: Camera, form: str | None = None) -> ReadList:
    """
    Read a veto list of any form.

    Parameters
    ----------
    spec : Path or str
        The file, compressed by gzip or not; what it is may stand before it, as in ``pairs:list.txt``.
    camera : Camera
        Names the CCDs, and says when a night begins; an entry for a whole exposure becomes one for each CCD.
    form : str or None
        One of `FORMS`; None: told by header and content.

    Returns
    -------
    ReadList
        Entries that people added to an exclude list (those without a name of the CCD), and those of lists that name
        nobody, have the analyst ``hand``.

    Raises
    ------
    InputError
        If the file cannot be read, is too large or malformed, may be of more than one form, or names a CCD that the
        camera does not have, or two CCDs in one line; in an exclude list, the number counts and a warning says so if
        another line lists the CCD of the name.
    ConfigError
        If the form is unknown.
    """
    said, path = split_form(spec)
    form = form or said
    if form is not None and form not in FORMS:
        msg = f"veto format: expected one of {', '.join(FORMS)}, got {form!r}"
        raise ConfigError(msg)
    data = _content(path)
    inner = Path(path.stem) if path.suffix.lower() == ".gz" else path
    by_content = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    table = by_content or SUFFIXES.get(inner.suffix.lower())
    if form in ("parquet", "fits") or (form is None and table in ("parquet", "fits")):
        return _read_table(data, path, form or str(table), camera)
    try:
        text = decode_text(data, keep_mark=True)
    except ValueError as error:
        raise input_error(path, str(error)) from error
    return read_text(text, path, camera, form or ("csv" if table == "csv" else None))


def read_list(path: Path | str, camera: Camera, format: str | None = None) -> pa.Table:
    """
    Read a veto list of any form as a table.

    Parameters
    ----------
    path, camera, format
        As `open_list` takes them.

    Returns
    -------
    pyarrow.Table
        Columns of `VETO`, rising; each (expnum, ccdnum) once for each reason and analyst.

    Raises
    ------
    InputError, ConfigError
        As `open_list`.
    """
    return open_list(path, camera, format).table


def split_form(spec: Path | str) -> tuple[str | None, Path]:
    """The form that stands before a file, as in ``pairs:list.txt``, and the file."""
    said, colon, rest = str(spec).partition(":")
    if colon and said in FORMS and not Path(spec).exists():
        return said, Path(rest)
    return None, Path(spec)


def read_des(path: Path | str) -> pa.Table:
    """
    Read an exclude list in the format of DES and DELVE.

    Parameters
    ----------
    path : Path or str
        Lines of ``date expnum ccd id ccdnum``; ``#`` comments may stand anywhere, ``nan`` for date, ccd and id.

    Returns
    -------
    pyarrow.Table
        Columns of `DES_LIST`, in the order of the file.

    Raises
    ------
    InputError
        If the file is too large to be such a list, is not text, or a line is malformed.
    """
    path = Path(path)
    try:
        text = decode_text(_content(path))
    except ValueError as error:
        raise input_error(path, str(error)) from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        values = line.partition("#")[0].split()
        if values:
            rows.append(_parse_des(values, f"{path}:{number}"))
    return pa.Table.from_pylist(rows, DES_LIST)


def _content(path: Path) -> bytes:
    """What a file holds, unpacked, or InputError."""
    try:
        with open_plain(path) as file:
            data = file.read(_MAX_BYTES + 1)
            if data.startswith(_GZIP):
                file.seek(0)
                with gzip.open(file) as unpacked:
                    data = unpacked.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise input_error(path, reason(error)) from error
    if len(data) > _MAX_BYTES:
        raise input_error(path, f"expected a veto list of at most {_MAX_BYTES} bytes, got more")
    return data


def _read_table(data: bytes, path: Path, form: str, camera: Camera) -> ReadList:
    """Read a list that is a table."""
    if form == "parquet":
        table, merged = read_parquet(data, path)
        names, rows = table.column_names, parquet_rows(table)
    else:
        table, merged = read_fits(data, path)
        names, rows = table.colnames, fits_rows(table)
    columns = columns_of(names)
    if "expnum" not in columns or not {"ccdnum", "detpos"} & set(columns):
        raise input_error(path, f"expected columns expnum and ccdnum, got {', '.join(names)}")
    parser = RowParser(camera, REASON, HAND, path.name)
    found = [_row_entries(row, columns, parser, f"{path}: row {k}") for k, row in enumerate(rows, start=1)]
    return ReadList(
        path,
        form,
        len(rows),
        tuple(entry for entries in found for entry in entries),
        rows=table,
        is_own=tuple(all(is_ours(entry.analyst) for entry in entries) for entries in found),
        source=data,
        merged=merged,
    )


def _row_entries(
    row: Mapping[str, Any], columns: Sequence[str | None], parser: RowParser, where: str
) -> tuple[Entry, ...]:
    """Entries of a row of a table."""
    values = {column: value for column, value in zip(columns, row.values(), strict=True) if column is not None}
    others = zip(row.items(), columns, strict=True)
    extras = [(name, "" if value is None else str(value)) for (name, value), column in others if column is None]
    try:
        return parser.entries(values, whole=False, extras=extras)
    except ValueError as error:
        raise input_error(where, str(error)) from error


def _parse_des(values: list[str], where: str) -> dict[str, object]:
    """One line of an exclude list."""
    if len(values) != len(DES_LIST):
        msg = f"{where}: expected {DES_HEADER.removeprefix('#')!r}, got {' '.join(values)!r}"
        raise InputError(msg)
    day, expnum, ccd, detpos, ccdnum = (None if value.lower() == "nan" else value for value in values)
    try:
        return {
            "date": None if day is None else _day(day),
            "expnum": _number(expnum, 2**63),
            "ccd": None if ccd is None else _number(ccd, 2**63),
            "detpos": detpos,
            "ccdnum": _number(ccdnum, 2**15),
        }
    except ValueError as error:
        msg = f"{where}: expected {DES_HEADER.removeprefix('#')!r}, got {' '.join(values)!r} ({error})"
        raise InputError(msg) from error


def _day(text: str) -> date:
    """A date written YYYYMMDD, or ValueError."""
    if len(text) == 8 and text.isdecimal():
        with suppress(ValueError):
            return date.fromisoformat(text)
    msg = f"expected a date YYYYMMDD, got {text!r}"
    raise ValueError(msg)


def _number(text: str | None, limit: int) -> int:
    """A whole number in [0, limit), or ValueError."""
    if text is None or not text.isdecimal() or int(text) >= limit:
        msg = f"expected a number below {limit}, got {text or 'nan'!r}"
        raise ValueError(msg)
    return int(text)
