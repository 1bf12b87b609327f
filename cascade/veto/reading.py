"""Veto lists that exist already, ours and those of others."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from cascade.camera import Camera, mjd_of_night
from cascade.core.errors import ConfigError, InputError, input_error, reason
from cascade.veto.rules import ANALYST, REASON, VETO
from cascade.veto.writing import DES_HEADER, FORMATS, HAND, LEGACY_MARK

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

LISTED = "listed"
"""Analyst of entries of an exclude list that a ray tracer made."""

_MAX_BYTES = 64 * 2**20  # the largest real list, DELVE's, is under 1 MB


def read_list(path: Path | str, camera: Camera, format: str | None = None) -> pa.Table:
    """
    Read a veto list of any format.

    Parameters
    ----------
    path : Path or str
    camera : Camera
        Names the CCDs, and says when a night begins; an entry for a whole exposure becomes one for each CCD.
    format : str or None
        One of `FORMATS`; None: by the ending (.csv, .parquet, .fits), else a text, whose first line tells.

    Returns
    -------
    pyarrow.Table
        Columns of `VETO`, rising, each (expnum, ccdnum) once. Entries that people added to an exclude list (those
        without a name of the CCD), and those of lists that name nobody, have the analyst ``hand``.

    Raises
    ------
    InputError
        If the file cannot be read, is too large or malformed, or names a CCD that the camera does not have.
    ConfigError
        If the format is unknown.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        msg = f"veto format: expected one of {', '.join(FORMATS)}, got {format!r}"
        raise ConfigError(msg)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise input_error(path, reason(error)) from error
    if size > _MAX_BYTES:
        raise input_error(path, f"expected a veto list of at most {_MAX_BYTES} bytes, got {size}")
    rows = _READERS[format or _format_of(path)](path)
    return _listed(rows, camera, path)


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
    size = path.stat().st_size
    if size > _MAX_BYTES:
        msg = f"{path}: expected an exclude list of at most {_MAX_BYTES} bytes, got {size}"
        raise InputError(msg)
    rows = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        values = line.partition("#")[0].split()
        if values:
            rows.append(_parse_des(values, f"{path}:{number}"))
    return pa.Table.from_pylist(rows, DES_LIST)


def _format_of(path: Path) -> str:
    """The format of a file by its ending or, of a text, by its first line."""
    by_ending = {".csv": "csv", ".parquet": "parquet", ".fits": "fits"}.get(path.suffix.lower())
    if by_ending is not None:
        return by_ending
    text = _text(path)
    if DES_HEADER in text:
        return "des"
    first = next((line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")), [])
    # A date or nan, where a list of exposures has an exposure number.
    return "des" if first and (first[0] == "nan" or (len(first[0]) == 8 and first[0][:2] in ("19", "20"))) else "legacy"


def _rows_of_des(path: Path) -> Iterable[dict[str, Any]]:
    """Entries of an exclude list."""
    for row in read_des(path).to_pylist():
        yield {
            "expnum": row["expnum"],
            "ccdnum": row["ccdnum"],
            "night": row["date"],
            "reason": REASON,
            "analyst": HAND if row["detpos"] is None else ANALYST if row["ccd"] is None else LISTED,
        }


def _rows_of_legacy(path: Path) -> Iterable[dict[str, Any]]:
    """Entries of a list of bad exposures; ours name their CCDs at the end."""
    for number, line in enumerate(_text(path).splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            expnum = _number(words[0], 2**63)
        except ValueError as error:
            where = f"{path}:{number}"
            raise input_error(where, f"expected 'expnum reason', got {line.strip()!r} ({error})") from error
        if words[1:2] == [LEGACY_MARK]:
            named = " ".join(words).rpartition(": ")[2].split()
            yield from ({"expnum": expnum, "detpos": name, "reason": REASON, "analyst": ANALYST} for name in named)
        else:
            yield {"expnum": expnum, "reason": " ".join(words[1:]) or REASON, "analyst": HAND}


def _rows_of_csv(path: Path) -> Iterable[dict[str, Any]]:
    """Rows of a CSV; comment lines may stand anywhere."""
    lines = [line for line in _text(path).splitlines() if line.strip() and not line.startswith("#")]
    try:
        table = csv.read_csv(io.BytesIO("".join(f"{line}\n" for line in lines).encode()))
    except (pa.ArrowException, ValueError) as error:
        raise input_error(path, f"expected a CSV: {reason(error)}") from error
    return _rows_of_table(table, path)


def _rows_of_parquet(path: Path) -> Iterable[dict[str, Any]]:
    """Rows of a Parquet file."""
    try:
        with parquet.ParquetFile(path) as file:
            return _rows_of_table(file.read(), path)
    except (OSError, ValueError) as error:
        raise input_error(path, f"expected a Parquet file: {reason(error)}") from error


def _rows_of_fits(path: Path) -> Iterable[dict[str, Any]]:
    """Rows of the compiled table of DES."""
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path, memmap=False) as file:
                data = file[1].data
                columns = {name.lower(): data[name].tolist() for name in data.names}
    except Exception as error:  # astropy raises nearly anything on damaged files
        raise input_error(path, f"expected a FITS table: {reason(error)}") from error
    return _rows_of_table(pa.table(columns), path)


def _rows_of_table(table: pa.Table, path: Path) -> list[dict[str, Any]]:
    """Rows by the columns that count, in any case."""
    names = {name.lower(): name for name in table.column_names}
    if not {"expnum", "ccdnum"} <= names.keys():
        raise input_error(path, f"expected columns expnum and ccdnum, got {', '.join(table.column_names)}")
    known = table.select([names[name] for name in VETO.names if name in names])
    known = known.rename_columns([name.lower() for name in known.column_names])
    try:
        for k, name in enumerate(known.column_names):
            known = known.set_column(k, name, known[name].cast(VETO.field(name).type))
    except (pa.ArrowException, ValueError) as error:
        raise input_error(path, f"column {name}: {reason(error)}") from error
    rows: list[dict[str, Any]] = known.to_pylist()
    if any(row["expnum"] is None for row in rows):
        raise input_error(path, "expected an expnum in every row")
    return [
        {**row, "reason": row.get("reason") or REASON, "analyst": (row.get("analyst") or HAND).strip()} for row in rows
    ]


def _listed(rows: Iterable[dict[str, Any]], camera: Camera, path: Path) -> pa.Table:
    """Entries with CCD numbers and names, each pair once; entries for whole exposures spread over all CCDs."""
    by_number = {ccd.ccdnum: ccd for ccd in camera.ccds}
    by_name = {ccd.detpos: ccd for ccd in camera.ccds}
    listed: dict[tuple[int, int], dict[str, Any]] = {}
    for row in rows:
        if row.get("night") is not None:
            row["mjd_obs"] = mjd_of_night(row["night"], camera)
        if row.get("ccdnum") is not None:
            ccds = [by_number.get(row["ccdnum"])]
        elif row.get("detpos") is not None:
            ccds = [by_name.get(row["detpos"])]
        else:
            ccds = list(camera.ccds)
        for ccd in ccds:
            if ccd is None:
                got = row.get("ccdnum") or row.get("detpos")
                raise input_error(path, f"exposure {row['expnum']}: {camera.instrument} has no CCD {got}")
            entry = {name: row.get(name) for name in VETO.names} | {"ccdnum": ccd.ccdnum, "detpos": ccd.detpos}
            before = listed.get((row["expnum"], ccd.ccdnum))
            # What a person said of a CCD stays, whoever else says so.
            if before is None or before["analyst"] == ANALYST:
                listed[row["expnum"], ccd.ccdnum] = entry
    return pa.Table.from_pylist([listed[key] for key in sorted(listed)], VETO)


def _text(path: Path) -> str:
    """The text of a file, or InputError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise input_error(path, reason(error)) from error
    except UnicodeDecodeError as error:
        raise input_error(path, f"expected text, got {error}") from error


_READERS: Mapping[str, Callable[[Path], Iterable[dict[str, Any]]]] = {
    "csv": _rows_of_csv,
    "parquet": _rows_of_parquet,
    "des": _rows_of_des,
    "fits": _rows_of_fits,
    "legacy": _rows_of_legacy,
}


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
    if len(text) != 8 or not text.isdecimal():
        msg = f"{text} is not a date"
        raise ValueError(msg)
    return date.fromisoformat(text)


def _number(text: str | None, limit: int) -> int:
    """A whole number in [0, limit), or ValueError."""
    if text is None or not text.isdecimal() or int(text) >= limit:
        msg = f"{text} is not a number below {limit}"
        raise ValueError(msg)
    return int(text)
