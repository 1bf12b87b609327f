"""Committing a batch to a run directory: its files first, then the ledger entry that marks it as done."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from logging import getLogger
from time import perf_counter
from typing import TYPE_CHECKING

from cascade.core.errors import StoreError
from cascade.core.exposure import PREVIEW_SHAPE
from cascade.runs.config import Batch
from cascade.runs.files import LedgerEntry, entry_bytes, entry_key, parse_entry, part_bytes, part_key
from cascade.runs.masks import coordinate_files, encode_shard, shard_key
from cascade.runs.tables import SCHEMAS, BatchCounts, BatchResult, in_classes, schemas
from cascade.storage import Storage

if TYPE_CHECKING:
    from cascade.runs.run import Run

logger = getLogger(__name__)


def commit(run: Run, batch: Batch, result: BatchResult) -> BatchCounts:
    """Implementation of `Run.commit`."""
    result = replace(result, tables=in_classes(result.tables, run.config.labels, run.path))
    _check_result(run, batch, result)
    storage = run.storage
    if (done := _find_entry(storage, batch)) is not None:
        return done.counts
    start = perf_counter()
    files = _write_files(run, batch, result)
    counts = replace(result.counts, seconds={**result.counts.seconds, "store": perf_counter() - start})
    if storage.create(entry_key(batch.index), entry_bytes(counts, files)):
        return counts
    first = _find_entry(storage, batch)
    if first is not None and first.files == files:
        return first.counts
    # Another process was first, and other rounding of its engine made its files differ from ours, which now lie
    # there: so the entry must be ours, too.
    run.forget(batch.index)
    return commit(run, batch, result)


def _write_files(run: Run, batch: Batch, result: BatchResult) -> dict[str, str]:
    """Write the parts, the coordinates and the shard of a batch; their sha256 by key."""
    written = {part_key(name, batch.index): part_bytes(result.tables[name]) for name in SCHEMAS}
    written |= coordinate_files(result.tables["exposures"], batch.index, run.config.batch_size)
    if result.masks is None:
        run.storage.delete(shard_key(batch.index))  # which a killed attempt may have left
    else:
        written[shard_key(batch.index)] = encode_shard(result.masks, run.config.batch_size)
    for key, data in written.items():
        run.storage.write(key, data)
    return {key: hashlib.sha256(data).hexdigest() for key, data in written.items()}


def _find_entry(storage: Storage, batch: Batch) -> LedgerEntry | None:
    """The ledger entry of a batch, or None if there is none or it is damaged: then the batch is not done."""
    key = entry_key(batch.index)
    try:
        return parse_entry(storage.read(key), f"{storage.url}/{key}", batch.index)
    except FileNotFoundError:
        return None
    except StoreError as error:
        logger.warning("%s", error)
        return None


def _check_result(run: Run, batch: Batch, result: BatchResult) -> None:
    """Reject a result that would damage the run."""
    if batch not in run.batches()[batch.index : batch.index + 1]:
        msg = f"{run.path}: expected a batch of this run, got {batch}"
        raise StoreError(msg)
    for name, schema in schemas(run.config.labels).items():
        if not result.tables[name].schema.equals(schema):
            msg = f"{run.path}: expected the schema of {name}, got {result.tables[name].schema}"
            raise StoreError(msg)
    n_rows = result.tables["exposures"].num_rows
    shape = (n_rows, *PREVIEW_SHAPE) if result.masks is None else result.masks.shape
    if n_rows != len(batch) or shape != (len(batch), *PREVIEW_SHAPE):
        msg = f"{run.path}: expected {len(batch)} exposures in {batch}, got {n_rows} rows and masks {shape}"
        raise StoreError(msg)
