"""Header fields in columns: exposure number, band, time and pointing, from any table to one set of types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from logging import getLogger
from pathlib import Path
from typing import get_type_hints

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cascade.core.errors import printable
from cascade.core.exposure import HeaderFields
from cascade.inputs.fields import PARSERS, RANGES, columns_of_fields

logger = getLogger(__name__)

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
    Convert the columns that are header fields; one warning tells of the others, and of values that cannot be used.

    Parameters
    ----------
    columns : mapping of str to pyarrow.Array
        By name, see `cascade.inputs.fields.NAMES`; see there for the values, too.
    path : str or Path
        How the warning names the table.

    Returns
    -------
    dict of str to pyarrow.Array
        As in `HEADER_SCHEMA`, but text is large. Null where a value says unknown or cannot be used.
    """
    given = columns_of_fields(list(columns))
    notes = [f"{name!r} read as {field}" for field, name in given.items() if name != field]
    notes += [f"{name!r} not used" for name in columns if name not in given.values()]
    converted = {}
    for field, name in given.items():
        converted[field], note = _converted(field, columns[name])
        if note:
            notes.append(note)
    if notes:
        logger.warning("%s", printable(f"{path}: {'; '.join(notes)}"))
    return converted


def to_arrow(values: npt.NDArray[np.generic]) -> pa.Array:
    """A 1-D array in Arrow's memory; it takes no foreign byte order, and of damaged text it raises."""
    if values.dtype.kind in "iuf":
        return pa.array(values.astype(values.dtype.newbyteorder("=")))
    array = pa.array(values.tolist())
    array.validate(full=True)  # NumPy's text may hold characters that there are not
    return array


def _converted(field: str, values: pa.Array) -> tuple[pa.Array, str | None]:
    """A column in the type of its field, and a remark on the values that cannot be used."""
    type_ = _COLUMN_TYPES[field]
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if type_ != pa.large_string() and (numbers := _all_good(field, values, type_)) is not None:
        return numbers, None
    coded = values.dictionary_encode()
    parsed, refused = [], {}
    for code, value in enumerate(coded.dictionary.to_pylist()):
        try:
            parsed.append(PARSERS[field](_decoded(value)))
        except ValueError as error:
            parsed.append(None)
            refused[code] = str(error)
    column = pa.array(parsed, type_).take(coded.indices)
    if not refused:
        return column, None
    rows = pc.indices_nonzero(pc.is_in(coded.indices, value_set=pa.array(list(refused), coded.indices.type)))
    first = rows[0].as_py()
    said = refused[coded.indices[first].as_py()]
    return (
        column,
        f"{field}: {len(rows)} of {len(column)} values taken for unknown, the first in row {first + 1}: {said}",
    )


def _all_good(field: str, values: pa.Array, type_: pa.DataType) -> pa.Array | None:
    """Numbers of which all are in range or empty, for a season has millions; None if each must be looked at."""
    try:
        if _is_text(values):
            text = pc.utf8_trim_whitespace(values.cast(pa.large_string()))
            if type_ == pa.int64():
                # The fraction is pandas' doing: a column of integers with a gap is written as 158776.0.
                text = pc.replace_substring_regex(text, r"^[Dd]?(\d+)(?:\.0*)?$", r"\1")
            values = pc.if_else(pc.equal(text, ""), None, text)
        elif not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            return None
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), None, values)
        numbers = values.cast(type_)
    except pa.ArrowException:
        return None
    if type_ == pa.float64():
        numbers = pc.if_else(pc.is_nan(numbers), None, numbers)
    low, high = RANGES[field]
    inside = pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high))
    return numbers if pc.all(inside).as_py() is not False else None


def _decoded(value: object) -> object:
    """A value, as text if it is bytes."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _is_text(values: pa.Array) -> bool:
    """Whether a column is text, plain or as bytes."""
    type_ = values.type
    return bool(pa.types.is_large_unicode(type_) or pa.types.is_unicode(type_) or pa.types.is_binary(type_))


_COLUMN_TYPES = {field.name: pa.large_string() if field.type == pa.string() else field.type for field in HEADER_SCHEMA}
