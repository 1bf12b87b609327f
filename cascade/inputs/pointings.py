"""Tables of pointings: where exposures looked, without pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from cascade.core.errors import input_error, reason
from cascade.core.exposure import HeaderFields, Source
from cascade.inputs.fields import plain_name
from cascade.inputs.fits.structure import require_fits_extra
from cascade.inputs.headers import header_columns, to_arrow

POINTING_SUFFIXES = (".csv", ".parquet", ".fits", ".fit", ".fits.gz", ".ecsv")

_MAX_ROWS = 50_000_000
_NEEDED = ("ra", "dec", "band")


@dataclass(frozen=True, slots=True)
class Pointings:
    """
    The exposures of a table of pointings.

    Attributes
    ----------
    sources
        With the header fields of their rows; the path is ``table.csv[row]``, rows from 0.
    rotations_deg
        Rotation of the camera from north through east of each; 0 where the table says nothing.
    """

    sources: list[Source]
    rotations_deg: list[float]


def is_pointing_table(name: str | Path) -> bool:
    """Whether a name is that of a table that `read_pointings` reads."""
    return str(name).lower().endswith(POINTING_SUFFIXES)


def read_pointings(name: str | Path) -> Pointings:
    """
    Read a table of pointings: CSV, Parquet, FITS or ECSV.

    Parameters
    ----------
    name : str or Path
        With columns ra, dec (degrees, ICRS) and band, and if known expnum, mjd_obs, exptime, under any name of
        `cascade.inputs.fields.NAMES`, and rotation (degrees). A value that cannot be used counts as unknown; a warning
        says what was made of the columns.

    Raises
    ------
    InputError
        If it cannot be read, has no ra, dec or band, or no row.
    """
    file = Path(name)
    try:
        columns = _read(file)
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        raise input_error(name, f"expected a table of pointings: {reason(error)}") from error
    rotation = next((column for column in columns if plain_name(column) == "rotation"), None)
    turned = None if rotation is None else columns.pop(rotation)
    known = header_columns({column: values for column, values in columns.items() if column != "path"}, name)
    missing = [field for field in _NEEDED if field not in known]
    if missing:
        raise input_error(name, f"expected columns ra, dec and band, got {', '.join(columns) or 'none'}")
    n_rows = len(known["ra"])
    if not 0 < n_rows <= _MAX_ROWS:
        raise input_error(name, f"expected 1 to {_MAX_ROWS} rows, got {n_rows}")
    rows = pa.table(known).to_pylist()
    sources = [Source(f"{file}[{n}]", row.get("expnum"), HeaderFields.of(row)) for n, row in enumerate(rows)]
    return Pointings(sources, [0.0] * n_rows if turned is None else _rotations(turned, name))


def _read(file: Path) -> dict[str, pa.Array]:
    """The columns of a table, by name."""
    suffix = file.suffix.lower()
    if suffix in (".fits", ".fit", ".gz", ".ecsv"):
        return _read_astropy(file, "ascii.ecsv" if suffix == ".ecsv" else "fits")
    if suffix == ".parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(file)
    else:
        import pyarrow.csv

        table = pyarrow.csv.read_csv(file)
    table.validate(full=True)
    return {name: table[name].combine_chunks() for name in table.column_names}


def _read_astropy(file: Path, format_: str) -> dict[str, pa.Array]:
    """The one-dimensional columns of a FITS or ECSV table."""
    require_fits_extra()
    from astropy.table import MaskedColumn, Table

    table = Table.read(file, format=format_)
    columns = {}
    for name in table.colnames:
        column = table[name]
        if column.ndim == 1:
            values = to_arrow(
                column.filled() if isinstance(column, MaskedColumn) and column.dtype.kind == "S" else column.data
            )
            masked = getattr(column, "mask", None)
            columns[name] = values if masked is None else pa.array(values.to_pylist(), mask=masked)
    return columns


def _rotations(values: pa.Array, name: str | Path) -> list[float]:
    """Rotations in degrees; 0 where there is none."""
    try:
        rotations = [float(value or 0) for value in values.to_pylist()]
    except (TypeError, ValueError) as error:
        raise input_error(name, f"rotation: expected degrees, got {reason(error)}") from error
    bad = next((value for value in rotations if not math.isfinite(value)), None)
    if bad is not None:
        raise input_error(name, f"rotation: expected degrees, got {bad}")
    return rotations
