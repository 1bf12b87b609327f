"""Verifying a run: is every batch in the ledger complete, undamaged and consistent?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cascade.core.errors import InputError, StoreError
from cascade.core.exposure import PREVIEW_SHAPE, UInt8Array
from cascade.runs.config import Batch
from cascade.runs.files import LedgerEntry, part_key, read_part
from cascade.runs.masks import read_planes, shard_key
from cascade.runs.rows import row_mask
from cascade.runs.run import Run
from cascade.runs.tables import SCHEMAS, schemas


@dataclass(frozen=True, slots=True)
class Damage:
    """A batch in the ledger whose files differ from what was written: its number, and the problem."""

    batch: int
    problem: str


def verify_run(run: Run, *, on_batch: Callable[[int], None] | None = None) -> list[Damage]:
    """
    Verify the finished batches of a run.

    Files must have the hashes of the ledger; every exposure its one row, with the path that was given; statuses,
    artifacts, CCDs, failures and mask planes must agree. Pending batches are not damage.

    Parameters
    ----------
    run : Run
        It may still be running.
    on_batch : callable or None
        Called with the number of exposures after each batch that was read.

    Returns
    -------
    list of Damage
        By batch; empty if there is no damage.

    Raises
    ------
    StoreError
        If ``run.json`` is damaged.
    OutageError
        If the store is unavailable.
    """
    try:
        paths = run.listing()["path"]
    except StoreError:  # a run of predictions has no list
        paths = None
    known = {batch.index: batch for batch in run.batches()}
    damages = []
    for index in run.done():
        batch = known.get(index)
        try:
            if batch is None:
                msg = f"expected a batch below {len(known)}"
                raise StoreError(msg)
            _verify_batch(run, batch, paths)
        except (StoreError, InputError, OSError, ValueError, KeyError) as error:
            damages.append(Damage(index, str(error) or repr(error)))
        if on_batch is not None and batch is not None:
            on_batch(len(batch))
    return damages


def _verify_batch(run: Run, batch: Batch, paths: pa.ChunkedArray | None) -> None:
    """Raise StoreError if a batch is damaged."""
    (entry,) = run.entries([batch.index])
    content = _verified_files(run, batch, entry)
    tables = {}
    for name, schema in schemas(run.config.labels).items():
        key = part_key(name, batch.index)
        tables[name] = read_part(content[key], schema, key)
    exposures = tables["exposures"]
    _expect("exposures", list(range(batch.start, batch.stop)), exposures["exposure"].to_pylist())
    if paths is not None:
        given = paths.slice(batch.first_input, len(batch)).to_pylist()
        _expect("paths", given, exposures["path"].to_pylist())
    statuses = dict(zip(exposures["exposure"].to_pylist(), exposures["status"].to_pylist(), strict=True))
    of = {status: [e for e, s in statuses.items() if s == status] for status in ("ghosted", "failed")}
    _expect("exposures with artifacts", of["ghosted"], sorted(set(tables["artifacts"]["exposure"].to_pylist())))
    _expect("failures", of["failed"], tables["failures"]["exposure"].to_pylist())
    strays = sorted(set(tables["ccds"]["exposure"].to_pylist()) - set(of["ghosted"]))
    _expect("CCDs of clean exposures", [], strays)
    counts = entry.counts
    rows = (len(statuses), len(of["ghosted"]), len(of["failed"]), tables["artifacts"].num_rows)
    _expect("counts", (counts.n_exposures, counts.n_ghosted, counts.n_failed, counts.n_artifacts), rows)
    planes = read_planes(run.storage, batch.start, batch.stop)
    wrong = np.flatnonzero((planes != _drawn(run, batch, tables["artifacts"])).any(axis=(1, 2)))
    _expect("masks that differ from the artifacts", [], (batch.start + wrong).tolist())


def _verified_files(run: Run, batch: Batch, entry: LedgerEntry) -> dict[str, bytes]:
    """The files of a batch, which must be those of the ledger."""
    shard = shard_key(batch.index)
    parts = {part_key(name, batch.index) for name in SCHEMAS}
    _expect("files in the ledger", sorted(parts), sorted(set(entry.files) - {shard}))
    content = {}
    for key, sha256 in entry.files.items():
        data = run.storage.read(key)
        if hashlib.sha256(data).hexdigest() != sha256:
            msg = f"{key}: expected sha256 {sha256[:12]}…, got another: the file was changed"
            raise StoreError(msg)
        content[key] = data
    if shard not in entry.files and shard.rpartition("/")[2] in run.storage.names(shard.rpartition("/")[0]):
        msg = f"{shard}: expected no masks of a batch without artifacts, got some"
        raise StoreError(msg)
    return content


def _drawn(run: Run, batch: Batch, artifacts: pa.Table) -> UInt8Array:
    """The mask planes of a batch, from its artifacts table."""
    bits = {class_.label: class_.bit for class_ in run.config.classes}
    _expect("classes that the run does not have", [], sorted(set(artifacts["class"].unique().to_pylist()) - set(bits)))
    planes = np.zeros((len(batch), *PREVIEW_SHAPE), np.uint8)
    for row in artifacts.to_pylist():
        planes[row["exposure"] - batch.start][row_mask(row)] |= bits[row["class"]]
    return planes


def _expect(what: str, expected: Any, got: Any) -> None:  # noqa: ANN401
    """Raise StoreError unless both are equal, with the beginnings of what differs."""
    if expected != got:
        msg = f"{what}: expected {_short(expected)}, got {_short(got)}"
        raise StoreError(msg)


def _short(values: Any) -> str:  # noqa: ANN401
    """A few values, for a message."""
    text = repr(values)
    return text if len(text) <= 80 else f"{text[:77]}…"
