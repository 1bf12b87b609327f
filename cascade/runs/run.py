"""
The run directory: written batch by batch, resumable, and readable with any Parquet or Zarr reader.

::

    RUN/                            a folder, or a URL such as s3://bucket/prefix
      run.json                      configuration, classes, status, counts, seconds per stage, versions
      inputs/part-00000.parquet     what the run was given, and a part for what was added by each later call
      exposures/part-00000.parquet, artifacts/, ccds/, failures/     one part per batch
      masks.zarr/mask               (exposure, y, x) uint8, one shard per batch
      ledger/batch-00000.json       counts of a batch and hashes of its files; written last, and only once
      lease/, logs/                 who is working on it; what happened, as JSON lines

A batch is done when its ledger entry is there. A run that was killed may leave parts that the ledger does not name:
`Run.table` skips them and a resumed run replaces them. Any number of processes may commit, even the same batch: the
same exposures give the same bytes, and one ledger entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import zarr

from cascade.core.errors import StoreError
from cascade.core.exposure import UInt8Array
from cascade.core.versions import installed_versions
from cascade.runs import begun, views
from cascade.runs.commit import commit
from cascade.runs.config import Batch, RunConfig, batches
from cascade.runs.create import create_or_resume
from cascade.runs.files import (
    COMPLETE,
    LedgerEntry,
    check_sha256,
    clear_half_written,
    entry_indices,
    entry_key,
    find_run_json,
    has_file_back,
    now,
    parse_config,
    parse_entry,
    part_key,
    read_listing,
    read_part,
    read_run_json,
    write_run_json,
)
from cascade.runs.mask_store import open_masks
from cascade.runs.tables import SCHEMAS, BatchCounts, BatchResult, RunSummary, schemas
from cascade.storage import Storage, open_storage

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes

logger = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """
    A run directory; make one with `Run.create_or_resume`, or open one with `open_run`.

    Attributes
    ----------
    storage
        Its location.
    config
        What determines its result.
    """

    storage: Storage
    config: RunConfig

    @property
    def path(self) -> Path | str:
        """The folder, or the URL on an object store."""
        return self.storage.path

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
        Create a run directory, or resume an existing one; a ``run.json`` of format 2 becomes one of format 3.

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
            Start over: delete the files of an earlier run of any configuration, and nothing else.
        details : mapping or None
            Provenance stored in ``run.json``, such as the command line; not compared on resume.

        Raises
        ------
        StoreError
            If the directory holds something else, a damaged ``run.json`` or a run of another configuration;
            nothing is changed then.
        """
        storage = open_storage(place)
        create_or_resume(storage, config, listing=listing, fresh=fresh, details=details)
        return cls(storage, config)

    def batches(self) -> list[Batch]:
        """All batches of the run."""
        return batches(self.config.n_exposures, self.config.batch_size, self.config.additions)

    def done(self) -> list[int]:
        """Numbers of the batches in the ledger, rising; whether their entries are whole is not looked at."""
        n_batches = len(self.batches())
        return [index for index in entry_indices(self.storage.names("ledger")) if index < n_batches]

    def pending(self) -> list[Batch]:
        """Batches that are not in the ledger, or whose entry there is damaged, in input order."""
        done = set(self._whole_entries())
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
            Those of `result`, with the seconds of this call added as stage ``store``; or, if the batch was already
            done, those stored.

        Raises
        ------
        StoreError
            If `result` does not match this batch of this run.
        """
        return commit(self, batch, result)

    def forget(self, index: int) -> None:
        """Remove a batch from the ledger, so that it is processed again; the run is no longer complete."""
        if read_run_json(self.storage)["status"] == COMPLETE:
            self.annotate(status="running")
        self.storage.delete(entry_key(index))

    def forget_failed(self, *, all_of_them: bool = True) -> None:
        """
        Remove the batches with failed exposures from the ledger, so that they are processed again.

        Parameters
        ----------
        all_of_them : bool
            False: only those with a file that was missing and is there now.
        """
        for index, entry in self._whole_entries().items():
            if entry.counts.n_failed and (all_of_them or has_file_back(self.storage, index)):
                self.forget(index)

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
        clear_half_written(self.storage)
        self.storage.delete_below(begun.FOLDER)
        summary = replace(self.summary(), status=COMPLETE)
        counts = asdict(summary.counts)
        outcome = {"status": COMPLETE, "finished": now(), "seconds": counts.pop("seconds"), "counts": counts}
        self.annotate(**outcome, versions=installed_versions())
        return summary

    def annotate(self, **values: object) -> None:
        """Write provenance or the outcome into ``run.json``."""
        write_run_json(self.storage, {**read_run_json(self.storage), **values})

    def summary(self) -> RunSummary:
        """
        Sum up the ledger; a batch whose entry is damaged is not done.

        Raises
        ------
        StoreError
            If ``run.json`` is damaged.
        """
        counts = [entry.counts for entry in self._whole_entries().values()]
        n_batches = len(self.batches())
        status = read_run_json(self.storage)["status"] if len(counts) == n_batches else "running"
        return RunSummary(status, n_batches, len(counts), BatchCounts.total(counts))

    def entries(self, indices: Iterable[int]) -> list[LedgerEntry]:
        """
        Read ledger entries.

        Raises
        ------
        StoreError
            If one is damaged.
        """
        indices = list(indices)
        keys = [entry_key(index) for index in indices]
        found = zip(indices, keys, self.storage.read_many(keys), strict=True)
        return [parse_entry(data, f"{self.storage.url}/{key}", index) for index, key, data in found]

    def _whole_entries(self) -> dict[int, LedgerEntry]:
        """The ledger entries that are not damaged, by batch."""
        done = self.done()
        entries = {}
        found = self.storage.read_many(map(entry_key, done))
        for index in done:
            try:  # of a disk, one that is no plain file is refused, and the next ones are read
                entries[index] = parse_entry(next(found), f"{self.storage.url}/{entry_key(index)}", index)
            except StoreError as error:
                logger.info("%s", error)
        return entries

    def table(self, name: str, *, check: bool = True) -> pa.Table:
        """
        Read a table: the parts of finished batches, in input order.

        Parameters
        ----------
        name : str
            ``exposures``, ``artifacts``, ``ccds`` or ``failures``.
        check : bool
            Compare the hash of each part with the ledger's; to leave it out saves the reading of the ledger.

        Raises
        ------
        StoreError
            If there is no such table, or a part or its ledger entry is missing or damaged.
        """
        parts = list(self.parts(name, check=check))
        return pa.concat_tables([schemas(self.config.labels)[name].empty_table(), *parts])

    def parts(self, name: str, *, check: bool = True) -> Iterator[pa.Table]:
        """Read a table as `table` does, a finished batch at a time."""
        if name not in SCHEMAS:
            msg = f"{self.path}: expected a table of {', '.join(SCHEMAS)}, got {name!r}"
            raise StoreError(msg)
        done = self.done()
        if check and len(done) < len(self.batches()) and read_run_json(self.storage)["status"] == COMPLETE:
            msg = f"{self.path}: expected all batches of a complete run, got some only; run `cascade verify`"
            raise StoreError(msg)
        keys = [part_key(name, index) for index in done]
        entries = self.entries(done) if check else [None] * len(done)
        try:
            for key, entry, data in zip(keys, entries, self.storage.read_many(keys), strict=True):
                if entry is not None:
                    check_sha256(data, entry.files[key], f"{self.storage.url}/{key}")
                yield read_part(data, schemas(self.config.labels)[name], f"{self.storage.url}/{key}")
        except OSError as error:
            msg = f"{self.path}: expected a part of the run, got {error}; run `cascade verify`"
            raise StoreError(msg) from error

    def listing(self) -> pa.Table:
        """
        Read the list of inputs, in the run's order.

        Raises
        ------
        StoreError
            If it is missing or damaged.
        """
        return read_listing(self.storage, 1 + len(self.config.additions))

    @property
    def masks(self) -> zarr.Array[Any]:
        """
        The (n_positions, 400, 400) uint8 mask planes, read as they are indexed.

        Plane k is that of the exposure with the value k in the column ``exposure`` of every table; planes of batches
        that are not done, and those that an addition skips, are zero.

        Raises
        ------
        StoreError
            If the array is missing, damaged or not what the run recorded; of a shard, when it is read.
        """
        return open_masks(self.storage)

    def frame(self, name: str) -> pandas.DataFrame:
        """
        Read a table as a pandas data frame; `table` gives it as a pyarrow table.

        Parameters
        ----------
        name : str
            ``exposures``, ``artifacts``, ``ccds`` or ``failures``.

        Raises
        ------
        StoreError
            If there is no such table, or it is damaged.
        ConfigError
            If pandas is not installed.
        """
        return views.frame(self, name)

    def dataset(self, *, check: bool = True) -> xarray.Dataset:
        """
        Give the masks as an xarray dataset, whose variable ``mask`` (exposure, y, x) is read as it is indexed.

        Its coordinates are ``exposure``, by which ``sel`` takes the column of that name of any table, and ``expnum``
        and ``mjd_obs`` along it: -1 and NaN where they are unknown, or where no exposure is. `masks` is the same as a
        Zarr array.

        Parameters
        ----------
        check : bool
            Compare the hash of each shard, when it is read, with the ledger's.

        Raises
        ------
        ConfigError
            If xarray is not installed.
        StoreError
            If the masks are missing, damaged or not what the run recorded; of a shard, when it is read.
        """
        return views.dataset(self, check=check)

    def mask(self, expnum: int) -> UInt8Array:
        """
        Read the (400, 400) uint8 mask plane of `Artifact.bit` flags of an exposure.

        Raises
        ------
        InputError
            If the run has no such exposure; of several, the first counts.
        """
        return views.mask(self, expnum)

    def plot(self, expnum: int, *, ax: Axes | None = None, inputs: Sequence[str] = ()) -> Axes:
        """
        Draw an exposure: its preview, if the inputs still exist, the masks by class and the vetoed CCDs.

        Parameters
        ----------
        expnum : int
            Exposure number; of several exposures, the first counts.
        ax : matplotlib Axes or None
            Where to draw; None: in a new figure.
        inputs : sequence of paths
            Where the inputs are now, if they were moved, see `cascade.runs.inputs.InputPlaces.of`.

        Returns
        -------
        Axes

        Raises
        ------
        InputError
            If the run has no such exposure.
        """
        return views.plot(self, expnum, ax, inputs)

    def _repr_html_(self) -> str:
        """HTML summary for notebooks."""
        return views.html(self)


def open_run(place: Storage | Path | str, *, check: bool = True) -> Run:
    """
    Open a run to read it; it may still be running.

    Parameters
    ----------
    place : Storage, Path or str
        The run directory, or its URL.
    check : bool
        Refuse a ``run.json`` that was changed.

    Raises
    ------
    StoreError
        If it is not a run, or its ``run.json`` is damaged.
    """
    storage = open_storage(place)
    return Run(storage, parse_config(read_run_json(storage), storage, check=check))


def find_run(place: Storage | Path | str) -> Run | None:
    """Open a run if there is one, else None; errors as `open_run`'s."""
    storage = open_storage(place)
    run_json = find_run_json(storage)
    return None if run_json is None else Run(storage, parse_config(run_json, storage, check=True))
