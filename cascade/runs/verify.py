"""Verifying a run: is every batch in the ledger complete, undamaged and consistent?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cascade.core.errors import InputError, StoreError
from cascade.core.exposure import PREVIEW_SHAPE, UInt8Array
from cascade.runs.config import Batch
from cascade.runs.coordinates import coordinate_values
from cascade.runs.create import prepare
from cascade.runs.files import (
    COMPLETE,
    LedgerEntry,
    entry_indices,
    entry_key,
    has_coordinates,
    is_changed,
    is_whole,
    part_key,
    read_part,
    read_run_json,
    recorded_files,
)
from cascade.runs.mask_store import read_coordinates, read_planes
from cascade.runs.masks import FOLDER as MASKS
from cascade.runs.masks import OLDEST_METADATA, coordinate_keys, metadata_hashes, shard_key
from cascade.runs.migrate import migrate
from cascade.runs.rows import row_mask
from cascade.runs.run import Run
from cascade.runs.tables import SCHEMAS, schemas
from cascade.storage.atomic import is_aside


@dataclass(frozen=True, slots=True)
class Damage:
    """Files that differ from what was written: the number of their batch, or None for the run; and the problem."""

    batch: int | None
    problem: str


def verify_run(run: Run, *, on_batch: Callable[[int], None] | None = None) -> list[Damage]:
    """
    Verify a run, except its log.

    Files must have the hashes of the ledger and of ``run.json``; every exposure its one row, with the path that was
    given; statuses, artifacts, CCDs, failures and mask planes must agree. Pending batches are not damage.

    Parameters
    ----------
    run : Run
        It may still be running.
    on_batch : callable or None
        Called with the number of exposures after each batch that was read.

    Returns
    -------
    list of Damage
        Those of the run, then by batch; empty if there is no damage.

    Raises
    ------
    StoreError
        If ``run.json`` is damaged.
    OutageError
        If the store is unavailable.
    """
    header = read_run_json(run.storage)
    damages = _verify_run_files(run, header)
    described = not any(damage.problem.startswith(MASKS) for damage in damages)
    with_coordinates = has_coordinates(header)
    try:
        paths = run.listing()["path"]
    except StoreError:  # a run of predictions has no list; one that is lost was found above
        paths = None
    known = {batch.index: batch for batch in run.batches()}
    for index in entry_indices(run.storage.names("ledger")):
        batch = known.get(index)
        try:
            if batch is None:
                msg = f"expected a batch below {len(known)}"
                raise StoreError(msg)
            _verify_batch(run, batch, paths, with_planes=described, with_coordinates=with_coordinates)
        except (StoreError, InputError, OSError, ValueError, KeyError) as error:
            damages.append(Damage(index, str(error) or repr(error)))
        if on_batch is not None and batch is not None:
            on_batch(len(batch))
    return damages + _verify_complete(run, header)


def forget_damages(run: Run, damages: Iterable[Damage]) -> None:
    """
    Remove damaged batches and other files from the ledger, and create the metadata of the masks again.

    A lost list of inputs is restored by the next `Run.create_or_resume` with the same inputs.
    """
    for index in {damage.batch for damage in damages if damage.batch is not None}:
        run.forget(index)
    for key in _strangers(run):
        run.storage.delete(key)
    migrate(run.storage, read_run_json(run.storage), run.config)
    prepare(run.storage, run.config)
    run.annotate()  # with a new hash: the ledger does not depend on it


def _verify_run_files(run: Run, header: Mapping[str, Any]) -> list[Damage]:
    """Damage of the files that belong to no batch."""
    problems = [f"{key}: expected the entry of a batch, got another file" for key in _strangers(run)]
    if is_changed(header):
        expected = str(header["sha256"])
        problems.append(f"run.json: expected content of sha256 {expected[:12]}…, got another: it was changed")
    files = recorded_files(header)
    described = metadata_hashes(run.config)
    # A migration that was killed may have left some of those that an older format lacks.
    expected_keys = {*files, *(described if has_coordinates(header) else OLDEST_METADATA)}
    for key in sorted(expected_keys):
        written = key in described and is_whole(run.storage, key, described[key])
        if not written and not is_whole(run.storage, key, files.get(key)):
            mended = "the same `cascade run`" if key.startswith("inputs/") else "`cascade verify --forget`"
            problems.append(f"{key}: expected the file that the run wrote, got none or another; {mended} restores it")
    return [Damage(None, problem) for problem in problems]


def _verify_complete(run: Run, header: Mapping[str, Any]) -> list[Damage]:
    """Batches that a complete run lacks."""
    if header["status"] != COMPLETE:
        return []
    lost = {batch.index for batch in run.batches()} - set(run.done())
    return [
        Damage(index, f"{entry_key(index)}: expected a batch of a complete run, got none") for index in sorted(lost)
    ]


def _strangers(run: Run) -> list[str]:
    """Files in the ledger that are named like no entry of a batch."""
    names = [name for name in run.storage.names("ledger") if not is_aside(name)]
    entries = set(map(entry_key, entry_indices(names)))
    return [key for key in (f"ledger/{name}" for name in names) if key not in entries]


def _verify_batch(
    run: Run, batch: Batch, paths: pa.ChunkedArray | None, *, with_planes: bool, with_coordinates: bool
) -> None:
    """Raise StoreError if a batch is damaged; without the metadata of the masks, planes are not decoded."""
    (entry,) = run.entries([batch.index])
    coordinates = set(coordinate_keys(batch.index))
    if not with_coordinates:  # unless the migration was killed
        coordinates &= set(entry.files)
    content = _verified_files(run, batch, entry, coordinates)
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
    if not with_planes:
        return
    if with_coordinates:
        found = read_coordinates(run.storage, batch.start, batch.stop, check=False)
        for name, values in coordinate_values(exposures).items():
            got = found[name]
            wrong = np.flatnonzero((got != values) & ~(np.isnan(got) & np.isnan(values)))
            _expect(f"{name} beside the masks that differ from the exposures", [], (batch.start + wrong).tolist())
    planes = read_planes(run.storage, batch.start, batch.stop, check=False)
    wrong = np.flatnonzero((planes != _drawn(run, batch, tables["artifacts"])).any(axis=(1, 2)))
    _expect("masks that differ from the artifacts", [], (batch.start + wrong).tolist())


def _verified_files(run: Run, batch: Batch, entry: LedgerEntry, coordinates: set[str]) -> dict[str, bytes]:
    """The files of a batch, which must be those of the ledger: parts, these coordinates, and perhaps a shard."""
    shard = shard_key(batch.index)
    parts = {part_key(name, batch.index) for name in SCHEMAS}
    _expect("files in the ledger", sorted(parts | coordinates), sorted(set(entry.files) - {shard}))
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
