"""
The run directory: written batch by batch, resumable, and readable with any Parquet or Zarr reader.

::

    RUN/                            a folder, or s3://bucket/prefix
      run.json                      configuration, classes, status, counts, seconds per stage, versions
      inputs/part-00000.parquet     what the run was given, and a part for what was added by each later call
      exposures/part-00000.parquet, artifacts/, ccds/, failures/     one part per batch
      masks.zarr/mask               (exposure, y, x) uint8, one shard per batch
      ledger/batch-00000.json       what came of a batch and the hashes of its files; written last, and only once
      lease/, logs/                 who is working on it; what happened, as JSON lines

A batch is done when its ledger entry is there. A run that was killed may leave parts that the ledger does not name:
`Run.table` skips them and a resumed run replaces them. Any number of processes may commit, even the same batch: the
same exposures give the same bytes, and one ledger entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import pyarrow as pa
import zarr

from cascade.core.errors import ConfigError, StoreError
from cascade.core.exposure import PREVIEW_SHAPE
from cascade.core.versions import installed_versions
from cascade.runs.config import Batch, RunConfig, batches
from cascade.runs.files import (
    FORMAT,
    FORMAT_VERSION,
    Entry,
    check_usable,
    delete_contents,
    entry_indices,
    entry_key,
    find_run_json,
    half_written,
    listing_key,
    parse_entry,
    part_bytes,
    part_key,
    read_part,
    read_run_json,
)
from cascade.runs.masks import create_masks, encode_shard, is_created, open_masks, shard_key
from cascade.runs.tables import SCHEMAS, BatchCounts, BatchResult, RunSummary, in_classes, schemas
from cascade.storage.atomic import json_bytes
from cascade.storage.places import LocalStorage, Storage, open_storage

_OF_A_FINISHED_RUN = {"finished", "seconds", "counts", "last_session"}


@dataclass(frozen=True, slots=True)
class Run:
    """
    A run directory; make one with `Run.create_or_resume`, or open one with `open_run`.

    Attributes
    ----------
    storage
        Where it lies.
    config
        What determines its result.
    """

    storage: Storage
    config: RunConfig

    @property
    def path(self) -> Path | str:
        """The folder, or the URL on an object store."""
        return self.storage.folder if isinstance(self.storage, LocalStorage) else self.storage.url

    @classmethod
    def create_or_resume(
        cls,
        place: Storage | Path | str,
        config: RunConfig,
        *,
        listing: pa.Table | None = None,
        fresh: bool = False,
        details: Mapping[str, Any] | None = None,
    ) -> Self:
        """
        Create a run directory, or go on with the one that is there; a ``run.json`` of format 2 becomes one of format 3.

        Parameters
        ----------
        place : Storage, Path or str
            The directory or URL: missing, empty, or a run of the same configuration, or of one to which `config`
            only adds inputs.
        config : RunConfig
            What determines the result.
        listing : pyarrow.Table or None
            The inputs in the order of the run, see `cascade.inputs.listing`; without it, no inputs can be added later.
        fresh : bool
            Start anew: delete what an earlier run of any configuration wrote here, and nothing else.
        details : mapping or None
            What people may want to know, kept in ``run.json``, such as the command line; not compared on resume.

        Raises
        ------
        StoreError
            If the directory holds something else, a damaged ``run.json`` or a run of another configuration;
            nothing is changed then.
        """
        storage = open_storage(place)
        check_usable(storage)
        header = find_run_json(storage)
        if header is not None and not fresh:
            old, run = open_run(storage), cls(storage, config)
            kept = {**header, "format_version": FORMAT_VERSION, "config": asdict(config)}
            if config != old.config:
                old._check_grown(config)
                run._write_listing(listing)
                kept = {key: kept[key] for key in kept.keys() - _OF_A_FINISHED_RUN}
                kept |= {"status": "running", "details": dict(details or kept.get("details", {}))}
            if config != old.config or header["format_version"] != FORMAT_VERSION:
                storage.write("run.json", json_bytes(kept))
            run._prepare()
            return run
        if header is not None:
            delete_contents(storage)
        run = cls(storage, config)
        run._write_listing(listing)
        header = {"format": FORMAT, "format_version": FORMAT_VERSION, "status": "running", "started": _now()}
        header |= {"versions": installed_versions(), "config": asdict(config), "details": dict(details or {})}
        storage.write("run.json", json_bytes(header))
        run._prepare()
        return run

    def batches(self) -> list[Batch]:
        """All batches of the run."""
        return batches(self.config.n_exposures, self.config.batch_size, self.config.additions)

    def done(self) -> list[int]:
        """Numbers of the batches in the ledger, rising."""
        return entry_indices(self.storage.names("ledger"))

    def pending(self) -> list[Batch]:
        """Batches that are not in the ledger, in input order."""
        done = set(self.done())
        return [batch for batch in self.batches() if batch.index not in done]

    def commit(self, batch: Batch, result: BatchResult) -> BatchCounts:
        """
        Store a batch; it is done once this returns, and not before.

        Parameters
        ----------
        batch : Batch
            Which batch. Should another process be writing the same one, both end with one entry for it.
        result : BatchResult
            Its B exposures.

        Returns
        -------
        BatchCounts
            Those of `result`, with the seconds spent here added as stage ``store``; or, if the batch was already
            done, those it was done with.

        Raises
        ------
        StoreError
            If `result` does not hold what belongs into this batch of this run.
        """
        result = replace(result, tables=in_classes(result.tables, self.config.labels, self.path))
        self._check_result(batch, result)
        if (entry := self._find_entry(batch.index)) is not None:
            return entry.counts
        start = perf_counter()
        written = {part_key(name, batch.index): part_bytes(result.tables[name]) for name in SCHEMAS}
        if result.masks is None:
            self.storage.delete(shard_key(batch.index))  # which a killed attempt may have left
        else:
            written[shard_key(batch.index)] = encode_shard(result.masks, self.config.batch_size)
        for key, data in written.items():
            self.storage.write(key, data)
        counts = replace(result.counts, seconds={**result.counts.seconds, "store": perf_counter() - start})
        entry = Entry(counts, {key: hashlib.sha256(data).hexdigest() for key, data in written.items()})
        if self.storage.create(entry_key(batch.index), json_bytes(asdict(entry))):
            return counts
        first = self._find_entry(batch.index)
        if first is not None and first.files == entry.files:
            return first.counts
        # Another process came first, and engines that round otherwise made its files differ from ours, which now lie
        # there: so the entry must be ours, too.
        self.forget(batch.index)
        return self.commit(batch, result)

    def forget(self, index: int) -> None:
        """Take a batch out of the ledger, so that it is processed again."""
        self.storage.delete(entry_key(index))

    def finish(self) -> RunSummary:
        """
        Mark the run as complete in ``run.json``, with counts, seconds, versions and the time.

        Raises
        ------
        StoreError
            If a batch is not in the ledger yet.
        """
        n_pending = len(self.pending())
        if n_pending:
            msg = f"{self.path}: expected every batch to be done, got {n_pending} pending; resume the run"
            raise StoreError(msg)
        self._clear_half_written()
        summary = replace(self.summary(), status="complete")
        counts = asdict(summary.counts)
        outcome = {"status": "complete", "finished": _now(), "seconds": counts.pop("seconds"), "counts": counts}
        self.annotate(**outcome, versions=installed_versions())
        return summary

    def annotate(self, **values: object) -> None:
        """Write values for people, or the outcome, into ``run.json``."""
        self.storage.write("run.json", json_bytes({**read_run_json(self.storage), **values}))

    def summary(self) -> RunSummary:
        """
        Sum up the ledger.

        Raises
        ------
        StoreError
            If a ledger entry or ``run.json`` is damaged.
        """
        done = self.done()
        counts = [entry.counts for entry in self.entries(done)]
        n_batches = len(self.batches())
        status = read_run_json(self.storage)["status"] if len(counts) == n_batches else "running"
        return RunSummary(status, n_batches, len(counts), BatchCounts.total(counts))

    def entries(self, indices: Iterable[int]) -> list[Entry]:
        """
        Read ledger entries.

        Raises
        ------
        StoreError
            If one is damaged.
        """
        keys = [entry_key(index) for index in indices]
        found = zip(keys, self.storage.read_many(keys), strict=True)
        return [parse_entry(data, f"{self.storage.url}/{key}") for key, data in found]

    def table(self, name: str) -> pa.Table:
        """
        Read a table: the parts of finished batches, in input order.

        Parameters
        ----------
        name : str
            ``exposures``, ``artifacts``, ``ccds`` or ``failures``.

        Raises
        ------
        StoreError
            If there is no such table, or a part is missing or damaged.
        """
        parts = list(self.parts(name))
        return pa.concat_tables([schemas(self.config.labels)[name].empty_table(), *parts])

    def parts(self, name: str) -> Iterator[pa.Table]:
        """Read a table as `table` does, a finished batch at a time."""
        if name not in SCHEMAS:
            msg = f"{self.path}: expected a table of {', '.join(SCHEMAS)}, got {name!r}"
            raise StoreError(msg)
        keys = [part_key(name, index) for index in self.done()]
        try:
            for key, data in zip(keys, self.storage.read_many(keys), strict=True):
                yield read_part(data, schemas(self.config.labels)[name], f"{self.storage.url}/{key}")
        except OSError as error:
            msg = f"{self.path}: expected a part of the run, got {error}; `cascade verify` says what to process again"
            raise StoreError(msg) from error

    def listing(self) -> pa.Table:
        """
        Read what the run was given, in its order.

        Raises
        ------
        StoreError
            If it is not there or damaged.
        """
        keys = [listing_key(k) for k in range(1 + len(self.config.additions))]
        try:
            found = zip(keys, self.storage.read_many(keys), strict=True)
            parts = [read_part(data, None, f"{self.storage.url}/{key}") for key, data in found]
        except OSError as error:
            msg = f"{self.path}: expected the list of its inputs, got {error}; inputs cannot be added to this run"
            raise StoreError(msg) from error
        return pa.concat_tables(parts)

    @property
    def masks(self) -> zarr.Array[Any]:
        """
        The (n_exposures, 400, 400) uint8 mask planes, read as they are indexed.

        Raises
        ------
        StoreError
            If the array is missing or damaged.
        """
        return open_masks(self.storage)

    def _find_entry(self, index: int) -> Entry | None:
        """The ledger entry of a batch, or None if it is not done."""
        key = entry_key(index)
        try:
            data = self.storage.read(key)
        except FileNotFoundError:
            return None
        return parse_entry(data, f"{self.storage.url}/{key}")

    def _prepare(self) -> None:
        """Make what is missing of a new or killed run, and clear away half-written files."""
        self._clear_half_written()
        n_positions = self.batches()[-1].stop
        if not is_created(self.storage, n_positions):
            create_masks(self.storage, n_positions, self.config.batch_size, self.config.classes)

    def _clear_half_written(self) -> None:
        """Delete what killed processes were writing."""
        for key in half_written(self.storage):
            self.storage.delete(key)

    def _write_listing(self, listing: pa.Table | None) -> None:
        """Keep the inputs that the newest addition, or the first call, brought."""
        if listing is not None:
            n_new = self.config.additions[-1] if self.config.additions else self.config.n_exposures
            data = part_bytes(listing.slice(len(listing) - n_new))
            self.storage.write(listing_key(len(self.config.additions)), data)

    def _check_grown(self, config: RunConfig) -> None:
        """Refuse to go on with another configuration, unless it only adds inputs."""
        n_more = config.n_exposures - self.config.n_exposures
        grown = config.additions == (*self.config.additions, n_more)
        for f in fields(config):
            if grown and f.name in ("inputs", "n_exposures", "additions"):
                continue
            expected, got = getattr(self.config, f.name), getattr(config, f.name)
            if expected != got:
                msg = (
                    f"{self.path}: holds a run of another configuration: expected {f.name} {expected!r}, got {got!r}; "
                    "choose another directory, or --fresh to start anew"
                )
                raise StoreError(msg)

    def _check_result(self, batch: Batch, result: BatchResult) -> None:
        """Refuse a result that would damage the run."""
        if batch not in self.batches()[batch.index : batch.index + 1]:
            msg = f"{self.path}: expected a batch of this run, got {batch}"
            raise StoreError(msg)
        for name, schema in schemas(self.config.labels).items():
            if not result.tables[name].schema.equals(schema):
                msg = f"{self.path}: expected the schema of {name}, got {result.tables[name].schema}"
                raise StoreError(msg)
        n_rows = result.tables["exposures"].num_rows
        shape = (n_rows, *PREVIEW_SHAPE) if result.masks is None else result.masks.shape
        if n_rows != len(batch) or shape != (len(batch), *PREVIEW_SHAPE):
            msg = f"{self.path}: expected {len(batch)} exposures in {batch}, got {n_rows} rows and masks {shape}"
            raise StoreError(msg)


def open_run(place: Storage | Path | str) -> Run:
    """
    Open a run to read it; it may still be running.

    Parameters
    ----------
    place : Storage, Path or str
        The run directory, or its URL.

    Raises
    ------
    StoreError
        If it is not a run, or its ``run.json`` is damaged.
    """
    storage = open_storage(place)
    content = read_run_json(storage)
    try:
        return Run(storage, RunConfig.from_json(content["config"]))
    except (KeyError, TypeError, ConfigError) as error:
        msg = f"{storage.url}/run.json: expected the configuration of a run, got {error!r}"
        raise StoreError(msg) from error


def find_run(place: Storage | Path | str) -> Run | None:
    """Open a run if there is one, else None; errors as `open_run`'s."""
    storage = open_storage(place)
    return None if find_run_json(storage) is None else open_run(storage)


def _now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
