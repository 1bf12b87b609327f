"""Header fields in columns: exposure number, band, time and pointing, from any table to one set of types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cascade.core.errors import input_error, reason
from cascade.core.exposure import HeaderFields

_KINDS = get_type_hints(HeaderFields)
_ARROW_TYPES = {str | None: pa.string(), float | None: pa.float64()}

HEADER_SCHEMA = pa.schema(
    [
        pa.field("expnum", pa.int64(), metadata={"meaning": "exposure number; null if unknown, may repeat"}),
        *(
            pa.field(f.name, _ARROW_TYPES[_KINDS[f.name]], metadata={"meaning": f.metadata["meaning"]})
            for f in fields(HeaderFields)
        ),
    ]
)
"""Columns of the exposure number and of the fields of `HeaderFields`, with their meanings."""


def header_columns(columns: Mapping[str, pa.Array], path: str | Path) -> dict[str, pa.Array]:
    """
    Convert the columns that are header fields; others are dropped.

    Parameters
    ----------
    columns : mapping of str to pyarrow.Array
        By name; those of `HEADER_SCHEMA` are known. An expnum may be a number or a text like ``D00158776``.
    path : str or Path
        How errors name the table.

    Returns
    -------
    dict of str to pyarrow.Array
        As in `HEADER_SCHEMA`, but text is large. Empty text, NaN and negative expnums are null.

    Raises
    ------
    InputError
        If a value cannot be converted.
    """
    converted = {}
    for field in HEADER_SCHEMA:
        if field.name in columns:
            try:
                converted[field.name] = _CONVERTERS[field.type](columns[field.name])
            except (pa.ArrowException, ValueError) as error:
                raise input_error(path, f"column {field.name}: {reason(error)}") from error
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


_CONVERTERS = {pa.int64(): _expnums, pa.string(): _texts, pa.float64(): _floats}
