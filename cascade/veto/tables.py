"""Veto lists that are tables: Parquet, and the compiled FITS table of DES."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from cascade.core.errors import ConfigError, input_error, reason
from cascade.veto.entries import HAND, Entry, Listing, ascii_text, column_name
from cascade.veto.layouts import columns_of
from cascade.veto.provenance import merged_names
from cascade.veto.rules import REASON, VETO

if TYPE_CHECKING:
    from astropy.table import Table

_TEXT_WIDTH = 30  # of REASON and ANALYST in the compiled table of DES
_MAX_NAME = 60  # of a column; a card holds it in quotes
_CARD_TEXT = 72  # characters of a COMMENT card
_DES_COLUMNS = {"EXPNUM": ">i4", "CCDNUM": ">i2", "REASON": f"S{_TEXT_WIDTH}", "ANALYST": f"S{_TEXT_WIDTH}"}
_RULE_CARD = "CASCRULE"
_CARDS: Mapping[str, str] = {
    "cascade": "CASCVER",
    "run": "CASCRUN",
    "completed": "CASCDATE",
    "screen": "SCRNAME",
    "screen_sha256": "SCRSHA",
    "segment": "SEGNAME",
    "segment_sha256": "SEGSHA",
    "merged": "CASCMRGD",
}
_DEFAULTS = {"reason": REASON, "analyst": HAND}


def read_parquet(data: bytes, path: Path) -> tuple[pa.Table, tuple[str, ...]]:
    """A Parquet table, and the lists that it says were merged into it."""
    try:
        table = parquet.read_table(io.BytesIO(data))
        table.validate(full=True)  # it may hold text that is none
    except (OSError, ValueError, pa.ArrowException) as error:
        raise input_error(path, f"expected a Parquet file: {reason(error)}") from error
    return table, merged_names((table.schema.metadata or {}).get(b"merged", b"").decode("utf-8", "replace"))


def parquet_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of a Parquet table by name."""
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def parquet_bytes(listing: Listing) -> bytes:
    """Parquet with the rule and what made the list as metadata; columns that others added stay."""
    earlier = listing.kept.earlier
    base = VETO.empty_table()
    if earlier is not None:
        base = earlier.rows.filter(pa.array([not own for own in earlier.is_own], pa.bool_()))
    entries = (*listing.added, *listing.own)
    columns = check_columns(base.column_names, listing)
    for name in missing_columns(base.column_names, columns, entries):
        value = _DEFAULTS.get(name)
        base = base.append_column(name, pa.array([value] * len(base), pa.string()))
    columns = columns_of(base.column_names)
    arrays = [
        _array([entry.value(column, name) for entry in entries], base.schema.field(name).type, name)
        for name, column in zip(base.column_names, columns, strict=True)
    ]
    fields = [
        field.with_nullable(field.nullable or array.null_count > 0)
        for field, array in zip(base.schema, arrays, strict=True)
    ]
    schema = pa.schema(fields)
    added = pa.table(dict(zip(base.column_names, arrays, strict=True)))
    metadata = {"rule": str(listing.rule)} | (listing.provenance.items() if listing.provenance else {})
    others = {key: value for key, value in (base.schema.metadata or {}).items() if key.decode() not in _METADATA}
    table = pa.concat_tables([base.cast(schema), added.cast(schema)])
    sink = pa.BufferOutputStream()
    parquet.write_table(table.replace_schema_metadata(others | metadata), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_fits(data: bytes, path: Path) -> tuple[Table, tuple[str, ...]]:
    """The first table of a FITS file, and the lists that it says were merged into it."""
    try:
        from astropy.io import fits
        from astropy.table import Table

        with warnings.catch_warnings(), fits.open(io.BytesIO(data), memmap=False) as file:
            warnings.simplefilter("ignore")
            table = Table.read(file[1], format="fits")
            merged = merged_names(str(file[1].header.get(_CARDS["merged"], "")))
    except ImportError as error:
        raise _no_astropy() from error
    except Exception as error:  # astropy raises nearly anything on damaged files
        raise input_error(path, f"expected a FITS table: {reason(error)}") from error
    return table, merged


def fits_rows(table: Table) -> list[dict[str, Any]]:
    """Rows of a FITS table by name; text without the blanks that pad it, None where nothing is known."""
    columns = {name: [_plain(value) for value in table[name]] for name in table.colnames}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def fits_bytes(listing: Listing) -> bytes:
    """The compiled table of DES, with cards that say what made it; columns, cards and HDUs of others stay."""
    if find_spec("astropy") is None:
        raise _no_astropy()
    from astropy.io import fits
    from astropy.table import Table, vstack

    earlier = listing.kept.earlier
    base = Table({name: np.empty(0, dtype) for name, dtype in _DES_COLUMNS.items()})
    others: list[Any] = [fits.PrimaryHDU()]
    if earlier is not None:
        with fits.open(io.BytesIO(earlier.source), memmap=False) as file:
            others = [file[0].copy(), *(hdu.copy() for hdu in file[2:])]
            header = file[1].header.copy(strip=True)
        base = earlier.rows[np.array([not own for own in earlier.is_own], bool)]
    else:
        header = fits.Header()
    base.meta = {}
    entries = (*listing.added, *listing.own)
    columns = check_columns(base.colnames, listing)
    for name in missing_columns(base.colnames, columns, entries):
        if len(column_name(name)) > _MAX_NAME:
            msg = f"veto format fits: expected columns with names of at most {_MAX_NAME} characters, got {name!r}"
            raise ConfigError(msg)
        base[column_name(name).upper()] = np.array([_DEFAULTS.get(name, "")] * len(base), f"S{_TEXT_WIDTH}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about descriptions and units of columns, which are those of the first
        table = vstack([base, _fits_entries(base, entries)], metadata_conflicts="silent") if entries else base
        _set_nulls(table, base)
        hdu = fits.table_to_hdu(table)
    hdu.header.extend(_fits_header(header, listing), unique=True)
    hdus = fits.HDUList([others[0], hdu, *others[1:]])
    for part in hdus[:2]:
        part.add_checksum(when="by cascade")  # astropy's own words are the time, and no two files would be the same
    stream = io.BytesIO()
    hdus.writeto(stream)
    return stream.getvalue()


def check_columns(names: Sequence[str], listing: Listing) -> tuple[str | None, ...]:
    """What each column is; refuses tables in which no CCD can be written."""
    columns = columns_of(names)
    if "ccdnum" not in columns and "detpos" not in columns:
        where = listing.kept.earlier.path if listing.kept.earlier else "veto list"
        msg = f"{where}: expected a column ccdnum to write CCDs into, got {', '.join(names)}; write another list"
        raise ConfigError(msg)
    return columns


def missing_columns(names: Sequence[str], columns: Sequence[str | None], entries: Iterable[Entry]) -> list[str]:
    """Columns that a table needs to say who made an entry and why, and those of merged lists."""
    extras = dict.fromkeys(name for entry in entries for name, _ in entry.extras)
    there = set(map(column_name, names))
    more = (name for name in extras if column_name(name) not in there)
    return [*(name for name in _DEFAULTS if name not in columns), *more]


def _array(values: list[Any], type_: pa.DataType, name: str) -> pa.Array:
    """Values as a column of a Parquet table."""
    try:
        if pa.types.is_string(type_) or pa.types.is_large_string(type_):
            return pa.array([None if value is None else str(value) for value in values], type_)
        if any(isinstance(value, str) for value in values):
            return pa.array(values, pa.string()).cast(type_)
        return pa.array(values).cast(type_) if values else pa.array([], type_)
    except (pa.ArrowException, ValueError, TypeError) as error:
        msg = f"veto format parquet: column {name}: {reason(error)}"
        raise ConfigError(msg) from error


def _fits_entries(base: Table, entries: Sequence[Entry]) -> Table:
    """Entries as rows of a FITS table; only columns that are known are filled."""
    from astropy.table import MaskedColumn, Table

    columns = {}
    for name, column in zip(base.colnames, columns_of(base.colnames), strict=True):
        kind = base[name].dtype
        values = [entry.value(column, name) for entry in entries]
        if kind.kind in "SU":
            texts = [ascii_text(str("" if value is None else value)).encode() for value in values]
            width = kind.itemsize // np.dtype(f"{kind.kind}1").itemsize
            columns[name] = np.array(texts, f"S{max([width, 1, *map(len, texts)])}")
        elif any(value is not None for value in values):
            columns[name] = _numbers(values, kind, name)
        elif base[name].ndim == 1 and kind.kind in "iufb":
            columns[name] = MaskedColumn(np.zeros(len(values), kind), mask=True)
    return Table(columns)


def _numbers(values: Sequence[Any], kind: np.dtype[Any], name: str) -> Any:  # noqa: ANN401
    """Numbers as a column of a FITS table."""
    from astropy.table import MaskedColumn

    largest = np.iinfo(kind).max if kind.kind in "iu" else np.inf
    if any(value is not None and float(value) > largest for value in values):
        what = "exposure numbers" if name.lower() == "expnum" else f"values of {name}"
        msg = f"veto format fits: expected {what} of at most {largest}, which is what its columns hold"
        raise ConfigError(msg)
    filled = np.array([0 if value is None else value for value in values]).astype(kind)
    unknown = [value is None for value in values]
    return MaskedColumn(filled, mask=unknown) if any(unknown) else filled


def _set_nulls(table: Table, base: Table) -> None:
    """Choose what stands for null in whole numbers: as it was, or a value that nobody gives; astropy takes 999999."""
    for name in table.colnames:
        kind = table[name].dtype
        if kind.kind == "i" and hasattr(table[name], "fill_value"):
            before = getattr(base[name], "fill_value", None)
            table[name].fill_value = np.iinfo(kind).min if before is None else before


def _fits_header(header: Any, listing: Listing) -> Any:  # noqa: ANN401
    """The cards of others, and ours."""
    comments = list(header.get("COMMENT", ()))
    for line in _card_lines(f"cascade veto {header.get(_RULE_CARD, '')}") if _RULE_CARD in header else ():
        if line in comments:
            comments.remove(line)
    for keyword in ("COMMENT", _RULE_CARD, *_CARDS.values(), "CHECKSUM", "DATASUM"):
        while keyword in header:
            del header[keyword]
    for comment in comments:
        header["COMMENT"] = comment
    header["COMMENT"] = f"cascade veto {listing.rule}"
    header[_RULE_CARD] = str(listing.rule)
    for name, value in (listing.provenance.items() if listing.provenance else {}).items():
        header[_CARDS[name]] = ascii_text(value)
    return header


def _card_lines(text: str) -> list[str]:
    """A comment as its cards hold it."""
    return [text[k : k + _CARD_TEXT].rstrip() for k in range(0, len(text), _CARD_TEXT)]


def _plain(value: Any) -> Any:  # noqa: ANN401
    """A value of astropy's as one of Python's."""
    if isinstance(value, np.ma.core.MaskedConstant):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return value.strip() if isinstance(value, str) else getattr(value, "tolist", lambda: value)()


def _no_astropy() -> ConfigError:
    """The error about a package that is not there."""
    return ConfigError("veto format fits: expected the package astropy: pip install 'ghost-cascade[fits]'")


_METADATA = {"rule", *_CARDS}
