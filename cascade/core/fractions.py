"""Columns of the CCDs table that hold the covered fraction of a CCD, by class of artifact and for all together."""

from __future__ import annotations

import pyarrow as pa

_ENDING = "_fraction"

ANY_CLASS = f"area{_ENDING}"
"""The column of all classes together."""


def fraction_column(label: str) -> str:
    """The column of the CCDs table with the covered fraction of a CCD by artifacts of a class."""
    return f"{label}{_ENDING}"


def fraction_labels(ccds: pa.Table | pa.Schema) -> list[str]:
    """Labels of the classes that have a column in a CCDs table."""
    schema = ccds.schema if isinstance(ccds, pa.Table) else ccds
    return [name.removesuffix(_ENDING) for name in schema.names if name.endswith(_ENDING) and name != ANY_CLASS]
