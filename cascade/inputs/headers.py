"""Header fields in columns: exposure number, band, time and pointing, from any table to one set of types."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cascade.core.errors import input_error, reason

HEADER_COLUMNS = ("expnum", "band", "mjd_obs", "ra", "dec", "exptime")


def header_columns(columns: Mapping[str, pa.Array], path: str | Path) -> dict[str, pa.Array]:
    """
    Convert the columns that are header fields; others are dropped.

    Parameters
    ----------
    columns : mapping of str to pyarrow.Array
        By name; `HEADER_COLUMNS` are the names known. An expnum may be a number or a text like ``D00158776``.
    path : str or Path
        How errors name the table.

    Returns
    -------
    dict of str to pyarrow.Array
        ``expnum`` int64, ``band`` text, all others float64. Empty text, NaN and negative expnums are null.

    Raises
    ------
    InputError
        If a value cannot be converted.
    """
    converted = {}
    for name in HEADER_COLUMNS:
        if name in columns:
            try:
                converted[name] = _CONVERTERS.get(name, _floats)(columns[name])
            except (pa.ArrowException, ValueError) as error:
                raise input_error(path, f"column {name}: {reason(error)}") from error
    return converted


def to_arrow(values: npt.NDArray[np.generic]) -> pa.Array:
    """A 1-D array in Arrow's memory; it takes no foreign byte order and not every kind of text."""
    if values.dtype.kind in "iuf":
        return pa.array(values.astype(values.dtype.newbyteorder("=")))
    return pa.array(values.tolist())


def _texts(values: pa.Array) -> pa.Array:
    """Trimmed text, null where empty."""
    text = pc.utf8_trim_whitespace(values.cast(pa.large_string()))
    return pc.if_else(pc.equal(text, ""), None, text)


def _floats(values: pa.Array) -> pa.Array:
    """Float64, null where NaN or empty."""
    numbers = (_texts(values) if _is_text(values) else values).cast(pa.float64())
    return pc.if_else(pc.is_nan(numbers), None, numbers)


def _expnums(values: pa.Array) -> pa.Array:
    """Int64, null where empty, NaN or negative."""
    if _is_text(values):
        # The fraction is pandas' doing: a column of integers with a gap is written as 158776.0.
        values = pc.replace_substring_regex(_texts(values), r"^[Dd]?(\d+)(?:\.0*)?$", r"\1")
    elif pa.types.is_floating(values.type):
        values = _floats(values)
    numbers = values.cast(pa.int64())
    return pc.if_else(pc.less(numbers, 0), None, numbers)


def _is_text(values: pa.Array) -> bool:
    """Whether a column is text, plain, as bytes or as categories."""
    type_ = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    return bool(pa.types.is_large_unicode(type_) or pa.types.is_unicode(type_) or pa.types.is_binary(type_))


_CONVERTERS = {"expnum": _expnums, "band": _texts}
