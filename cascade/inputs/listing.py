"""The inputs of a run by path and expnum, in the run's order: kept beside it, so that a season can grow."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cascade.core.errors import StoreError
from cascade.inputs import Reader
from cascade.inputs.headers import HEADER_SCHEMA

LISTING = pa.schema(
    [
        pa.field(
            "path", pa.large_string(), nullable=False, metadata={"meaning": "the input, as a person would name it"}
        ),
        HEADER_SCHEMA.field("expnum"),
    ],
    metadata={"table": "inputs", "rows": "one per input, in the order of the run"},
)

_ROWS_AT_A_TIME = 65536  # held as Python objects


def list_inputs(reader: Reader) -> pa.Table:
    """
    List the inputs of a reader by path and expnum; no pixel is read.

    Returns
    -------
    pyarrow.Table
        With the schema `LISTING`.
    """
    chunks = []
    for start in range(0, len(reader), _ROWS_AT_A_TIME):
        sources = [reader.source(index) for index in range(start, min(start + _ROWS_AT_A_TIME, len(reader)))]
        # A file name need not be valid text.
        paths = [source.path.encode("utf-8", "backslashreplace").decode() for source in sources]
        chunks.append(pa.table([paths, [source.expnum for source in sources]], schema=LISTING))
    return pa.concat_tables(chunks) if chunks else LISTING.empty_table()


def fingerprint(listing: pa.Table) -> str:
    """
    Hash a listing, in order.

    Returns
    -------
    str
        sha256, in hex.
    """
    digest = hashlib.sha256()
    for chunk in listing.to_batches(max_chunksize=_ROWS_AT_A_TIME):
        for row in zip(*(column.to_pylist() for column in chunk.columns), strict=True):
            digest.update(json.dumps(row).encode())  # unambiguous, whatever the path holds
    return digest.hexdigest()


def order_as(known: pa.Table, now: pa.Table, run: str) -> npt.NDArray[np.intp]:
    """
    Put the inputs of today into the order of a run: first those it knows, then those added since.

    Parameters
    ----------
    known, now : pyarrow.Table
        Listings of the run and of today; an input that is listed twice counts twice.
    run : str
        How errors name the run.

    Returns
    -------
    ndarray of int, shape (len(now),)
        Rows of `now`.

    Raises
    ------
    StoreError
        If an input that the run knows is no longer there.
    """
    found = rows_in(known, now)
    if found.null_count:
        missing = known["path"][pc.index(pc.is_null(found), value=True).as_py()].as_py()
        msg = (
            f"{run}: holds a run of other inputs: expected {missing!r} and {found.null_count - 1} more among them, got "
            "none of these; give all inputs of the run, new ones may be added, or choose another directory"
        )
        raise StoreError(msg)
    order = found.to_numpy(zero_copy_only=False).astype(np.intp)
    added = np.ones(len(now), bool)
    added[order] = False
    return np.concatenate([order, np.flatnonzero(added)])


def rows_in(known: pa.Table, now: pa.Table) -> pa.Array:
    """Rows of `now` of the inputs of `known`, null where one is not there; one that is listed twice counts twice."""
    return pc.index_in(_keys(known), value_set=_keys(now))


def _keys(listing: pa.Table) -> pa.Array:
    """Path, expnum and how often they came before, as one text a row."""
    separator = pa.scalar("\0", pa.large_string())
    expnums = pc.fill_null(listing["expnum"].cast(pa.large_string()), "")
    names = pc.binary_join_element_wise(listing["path"], expnums, separator).combine_chunks()
    codes = names.dictionary_encode().indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    ranks = np.arange(len(codes))
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    before = np.empty(len(codes), np.int64)
    before[order] = ranks - np.repeat(starts, np.diff(starts, append=len(codes)))
    return pc.binary_join_element_wise(names, pa.array(before).cast(pa.large_string()), separator)
