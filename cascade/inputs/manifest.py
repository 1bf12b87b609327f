"""A table that lists images: a manifest in CSV or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cascade.core.errors import input_error, reason
from cascade.core.plain_files import read_plain
from cascade.inputs.base import Reader
from cascade.inputs.fields import columns_of_fields, plain_name
from cascade.inputs.headers import header_columns
from cascade.inputs.images import FileReader
from cascade.inputs.remote import RemoteReader
from cascade.storage import URL_START, is_url, open_bucket

_MAX_BYTES = 2**30  # of a manifest on an object store, which is held in memory


def open_manifest(name: str) -> Reader:
    """
    Open a manifest.

    Parameters
    ----------
    name : str
        A .csv or .parquet table, local or a URL, with a column ``path`` (a relative one starts at the
        manifest's folder; all or none are URLs) and, if known, ``expnum``, ``band``, ``mjd_obs``, ``ra``,
        ``dec``, ``exptime``, under any name of `cascade.inputs.fields.NAMES`. Where expnum is empty, the file name
        gives it. A value that cannot be used counts as unknown; a warning says what was made of the columns.

    Raises
    ------
    InputError
        If it cannot be read, has no ``path`` column or no rows, or a path is missing.
    """
    file = Path(name)
    read = _read_parquet if file.suffix.lower() == ".parquet" else _read_csv
    try:
        # Held in memory, for Arrow opens no file with a name that is not UTF-8.
        table = read(pa.BufferReader(_download(name) if is_url(name) else read_plain(file)))
        table.validate(full=True)  # a Parquet file may hold text that is none
        columns = {column: table[column].combine_chunks() for column in table.column_names}
        path = _path_column(table.column_names)
        paths = None if path is None else columns.pop(path).cast(pa.large_string())
        if any(column != column.strip() for column in columns):  # written with a blank after each comma
            paths = pc.utf8_trim_whitespace(paths)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise input_error(name, f"expected a manifest: {reason(error)}") from error
    if paths is None:
        got = ", ".join(columns) or "none"
        raise input_error(name, f"expected columns 'expnum' and 'path', got {got}")
    if not len(paths):
        raise input_error(name, "expected a manifest of images, got no rows")
    blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(paths), ""), fill_value=True)
    if (row := pc.index(blank, value=True).as_py()) >= 0:
        raise input_error(name, f"expected a path in every row, got none in row {row + 1}")
    rows = pa.record_batch({"name": paths.cast(pa.large_binary()), **header_columns(columns, name)})
    remote = pc.match_substring_regex(paths, URL_START)
    if not pc.any(remote).as_py():
        if is_url(name):
            return RemoteReader(rows, name.rpartition("/")[0])
        return FileReader(rows, str(file.parent), file.parent.absolute())
    if (row := pc.index(remote, value=False).as_py()) >= 0:
        raise input_error(name, f"expected URLs in all rows or none, got {paths[row].as_py()} in row {row + 1}")
    return RemoteReader(rows, "")


def _download(url: str) -> bytes:
    """A manifest from an object store."""
    bucket, key = open_bucket(url)
    return bucket.read(key, max_bytes=_MAX_BYTES)


def _read_csv(file: pa.BufferReader) -> pa.Table:
    """Read the columns that a manifest may have, as text: a path of digits is a path."""
    import pyarrow.csv  # here and below, since a run without a manifest needs neither

    with pyarrow.csv.open_csv(file) as start:
        schema = start.schema
    file.seek(0)
    types = {column: pa.large_string() for column in _known(schema)}
    options = pyarrow.csv.ConvertOptions(column_types=types, include_columns=list(types))
    return _named(pyarrow.csv.read_csv(file, convert_options=options) if types else schema.empty_table(), schema)


def _read_parquet(file: pa.BufferReader) -> pa.Table:
    """Read the columns that a manifest may have."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as parquet:
        schema = parquet.schema_arrow
        known = _known(schema)
        return _named(parquet.read(columns=known) if known else schema.empty_table(), schema)


def _known(schema: pa.Schema) -> list[str]:
    """The columns to read; none at all, and so no rows, if there is no path."""
    path = _path_column(schema.names)
    known = [name for name in (path, *columns_of_fields(schema.names).values()) if name is not None]
    for name in known:
        if schema.names.count(name) > 1:
            msg = f"the column {name!r} occurs more than once"
            raise ValueError(msg)
    return known if path is not None else []


def _named(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with empty columns in place of those that were not read, so that they can be named."""
    for name in dict.fromkeys(schema.names):
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows))
    return table


def _path_column(names: Sequence[str]) -> str | None:
    """The column of paths: ``path``, or else the first that is called so but for case, blanks and signs."""
    named = [name for name in names if plain_name(name) == "path"]
    return "path" if "path" in named else next(iter(named), None)
