"""
The run directory: written batch by batch, resumable, and readable with any Parquet or Zarr reader.

::

    RUN/
      run.json                    configuration, status, counts, seconds per stage, versions
      exposures/part-00000.parquet, artifacts/, ccds/, failures/     one part per batch
      masks.zarr/mask             (exposure, y, x) uint8, one shard per batch
      ledger/batch-00000.json     what came of a batch; written last, so a batch is done when it is there

A run that was killed may leave parts that the ledger does not name: `Run.table` skips them and a resumed run
replaces them. One process may write a run at a time, or several that write different batches.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Self, cast

import pyarrow as pa
import zarr
from pyarrow import parquet
from zarr.codecs import ZstdCodec

from cascade.atomic import ASIDE_SUFFIX, read_json, sync, write_json, written_aside
from cascade.errors import ConfigError, StoreError
from cascade.exposure import PREVIEW_SHAPE, Artifact, UInt8Array
from cascade.run_config import Batch, RunConfig, batches
from cascade.tables import SCHEMAS, BatchCounts, BatchResult, RunSummary
from cascade.versions import installed_versions

FORMAT = "ghost-cascade run"
FORMAT_VERSION = 1

_ZSTD_LEVEL = 3  # higher levels gain little on masks: a plane is a few long runs
_LEDGER_ENTRY = re.compile(r"batch-(\d{5,})\.json")


@dataclass(frozen=True, slots=True)
class Run:
    """
    A run directory; make one with `Run.create_or_resume`, or open one with `open_run`.

    Attributes
    ----------
    path
        The directory.
    config
        What determines its result.
    """

    path: Path
    config: RunConfig

    @classmethod
    def create_or_resume(
        cls,
        path: Path | str,
        config: RunConfig,
        *,
        fresh: bool = False,
        details: Mapping[str, Any] | None = None,
    ) -> Self:
        """
        Create a run directory, or go on with the one that is there.

        Parameters
        ----------
        path : Path or str
            The directory: missing, empty, or a run of the same configuration.
        config : RunConfig
            What determines the result.
        fresh : bool
            Start anew: delete what an earlier run of any configuration wrote here, and nothing else.
        details : mapping or None
            Facts for people to keep in ``run.json``, such as the command line; not compared on resume.

        Raises
        ------
        StoreError
            If the directory holds something else, a damaged ``run.json`` or a run of another configuration;
            nothing is changed then.
        """
        path = Path(path)
        _check_usable(path)
        if not (path / "run.json").exists():
            path.mkdir(parents=True, exist_ok=True)
        elif fresh:
            _read_run_json(path)
            _delete_contents(path)
        else:
            run = cls(path, open_run(path).config)
            run._check_same(config)
            run._prepare()
            return run
        header = {"format": FORMAT, "format_version": FORMAT_VERSION, "status": "running", "started": _now()}
        header["versions"] = installed_versions()
        write_json(path / "run.json", {**header, "config": asdict(config), "details": dict(details or {})})
        run = cls(path, config)
        run._prepare()
        return run

    def pending(self) -> list[Batch]:
        """Batches that are not in the ledger, in input order."""
        done = self._ledger_paths()
        return [batch for batch in self._batches() if batch.index not in done]

    def commit(self, batch: Batch, result: BatchResult) -> BatchCounts:
        """
        Store a batch; it is done once this returns, and not before.

        Parameters
        ----------
        batch : Batch
            Which batch; no other process may be writing the same one.
        result : BatchResult
            Its B exposures.

        Returns
        -------
        BatchCounts
            Those of `result`, with the seconds spent here added as stage ``store``.

        Raises
        ------
        StoreError
            If `result` does not hold what belongs into this batch of this run.
        """
        self._check_result(batch, result)
        start = perf_counter()
        for name in SCHEMAS:
            with written_aside(self._part(name, batch.index)) as aside:
                parquet.write_table(result.tables[name], aside, compression="zstd")
        self._write_masks(batch, result.masks)
        seconds = {**result.counts.seconds, "store": perf_counter() - start}
        counts = replace(result.counts, seconds=seconds)
        write_json(self.path / "ledger" / f"batch-{batch.index:05d}.json", asdict(counts))
        return counts

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
        summary = replace(self.summary(), status="complete")
        counts = asdict(summary.counts)
        outcome = {
            "status": "complete",
            "finished": _now(),
            "seconds": counts.pop("seconds"),
            "counts": counts,
        }
        write_json(self.path / "run.json", {**_read_run_json(self.path), **outcome, "versions": installed_versions()})
        return summary

    def summary(self) -> RunSummary:
        """
        Sum up the ledger.

        Raises
        ------
        StoreError
            If a ledger entry or ``run.json`` is damaged.
        """
        counts = [_read_counts(path) for path in self._ledger_paths().values()]
        n_batches = len(self._batches())
        status = _read_run_json(self.path)["status"] if len(counts) == n_batches else "running"
        return RunSummary(status, n_batches, len(counts), BatchCounts.total(counts))

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
        if name not in SCHEMAS:
            msg = f"{self.path}: expected a table of {', '.join(SCHEMAS)}, got {name!r}"
            raise StoreError(msg)
        parts = [_read_part(self._part(name, index), SCHEMAS[name]) for index in self._ledger_paths()]
        return pa.concat_tables([SCHEMAS[name].empty_table(), *parts])

    @property
    def masks(self) -> zarr.Array[Any]:
        """
        The (n_exposures, 400, 400) uint8 mask planes, read as they are indexed.

        Raises
        ------
        StoreError
            If the array is missing or damaged.
        """
        return self._open_masks("r")

    def _batches(self) -> list[Batch]:
        """All batches of the run."""
        return batches(self.config.n_exposures, self.config.batch_size)

    def _ledger_paths(self) -> dict[int, Path]:
        """Ledger entries by batch, rising."""
        named = ((_LEDGER_ENTRY.fullmatch(path.name), path) for path in (self.path / "ledger").glob("*.json"))
        return dict(sorted((int(match[1]), path) for match, path in named if match))

    def _part(self, name: str, index: int) -> Path:
        """The part of a table that a batch writes."""
        return self.path / name / f"part-{index:05d}.parquet"

    def _prepare(self) -> None:
        """Make what is missing of a new or killed run, and clear away half-written files."""
        for name in (*SCHEMAS, "ledger"):
            (self.path / name).mkdir(exist_ok=True)
        for path in _half_written(self.path):
            path.unlink()
        if not (self.path / "masks.zarr" / "mask" / "zarr.json").exists():
            self._create_masks()

    def _create_masks(self) -> None:
        """Make the empty array of mask planes; Zarr writes its metadata last and whole."""
        bits = [class_.bit for class_ in Artifact]
        group = zarr.create_group(self.path / "masks.zarr", overwrite=True)
        group.create_array(
            "mask",
            shape=(self.config.n_exposures, *PREVIEW_SHAPE),
            chunks=(1, *PREVIEW_SHAPE),
            shards=(self.config.batch_size, *PREVIEW_SHAPE),
            dtype="uint8",
            fill_value=0,
            compressors=ZstdCodec(level=_ZSTD_LEVEL),
            dimension_names=("exposure", "y", "x"),
            # CF conventions, section 3.5: bits that may be set together.
            attributes={"flag_masks": bits, "flag_meanings": " ".join(class_.label for class_ in Artifact)},
        )

    def _open_masks(self, mode: str) -> zarr.Array[Any]:
        """The array of mask planes, for reading (``r``) or writing (``r+``)."""
        path = self.path / "masks.zarr" / "mask"
        try:
            # Without empty chunks a clean exposure takes no space.
            opened = zarr.open_array(path, mode=cast(Any, mode), config={"write_empty_chunks": False})
        except (OSError, ValueError, KeyError) as error:
            msg = f"{path}: expected the masks of a run, got {error!r}"
            raise StoreError(msg) from error
        return opened

    def _write_masks(self, batch: Batch, planes: UInt8Array | None) -> None:
        """Write the one shard of a batch, or remove what a killed attempt left of it."""
        array = self._open_masks("r+")
        shard = self.path / "masks.zarr" / "mask" / array.metadata.encode_chunk_key((batch.index, 0, 0))
        if planes is None:
            shard.unlink(missing_ok=True)
            return
        array[batch.start : batch.stop] = planes
        for path in (shard, *shard.parents[:4]) if shard.exists() else ():  # the file, and the folders that name it
            sync(path)

    def _check_same(self, config: RunConfig) -> None:
        """Refuse to go on with another configuration."""
        for f in fields(config):
            expected, got = getattr(self.config, f.name), getattr(config, f.name)
            if expected != got:
                msg = (
                    f"{self.path}: holds a run of another configuration: expected {f.name} {expected!r}, got {got!r}; "
                    "choose another directory, or --fresh to start anew"
                )
                raise StoreError(msg)

    def _check_result(self, batch: Batch, result: BatchResult) -> None:
        """Refuse a result that would damage the run."""
        if batch not in self._batches()[batch.index : batch.index + 1]:
            msg = f"{self.path}: expected a batch of this run, got {batch}"
            raise StoreError(msg)
        for name, schema in SCHEMAS.items():
            if not result.tables[name].schema.equals(schema):
                msg = f"{self.path}: expected the schema of {name}, got {result.tables[name].schema}"
                raise StoreError(msg)
        n_rows = result.tables["exposures"].num_rows
        shape = (n_rows, *PREVIEW_SHAPE) if result.masks is None else result.masks.shape
        if n_rows != len(batch) or shape != (len(batch), *PREVIEW_SHAPE):
            msg = f"{self.path}: expected {len(batch)} exposures in {batch}, got {n_rows} rows and masks {shape}"
            raise StoreError(msg)


def open_run(path: Path | str) -> Run:
    """
    Open a run to read it; it may still be running.

    Parameters
    ----------
    path : Path or str
        The run directory.

    Raises
    ------
    StoreError
        If it is not a run, or its ``run.json`` is damaged.
    """
    path = Path(path)
    content = _read_run_json(path)
    try:
        return Run(path, RunConfig.from_json(content["config"]))
    except (KeyError, TypeError, ConfigError) as error:
        msg = f"{path / 'run.json'}: expected the configuration of a run, got {error!r}"
        raise StoreError(msg) from error


def _check_usable(path: Path) -> None:
    """Refuse a path that is neither free nor a run, before anything is written."""
    if path.exists() and not path.is_dir():
        msg = f"{path}: expected a directory, got a file"
        raise StoreError(msg)
    if not path.exists() or (path / "run.json").exists():
        return
    # A run killed before its first file was renamed leaves only that file's temporary name.
    strangers = sorted(set(path.iterdir()) - set(path.glob(f".run.json.*{ASIDE_SUFFIX}")))
    if strangers:
        msg = f"{path}: expected a run or an empty directory, got {strangers[0].name} in it; choose another directory"
        raise StoreError(msg)


def _read_run_json(path: Path) -> dict[str, Any]:
    """Read ``run.json``, or raise StoreError if this is not a run."""
    file = path / "run.json"
    if not file.is_file():
        msg = f"{path}: expected a run directory, got no run.json in it"
        raise StoreError(msg)
    content = read_json(file)
    found = (content.get("format"), content.get("format_version"))
    if found != (FORMAT, FORMAT_VERSION) or "status" not in content:
        msg = f"{file}: expected format {FORMAT!r} version {FORMAT_VERSION}, got {found[0]!r} version {found[1]!r}"
        raise StoreError(msg)
    return content


def _read_counts(path: Path) -> BatchCounts:
    """Read a ledger entry, or raise StoreError."""
    content = read_json(path)
    try:
        return BatchCounts(**content)
    except TypeError as error:
        msg = f"{path}: expected the counts of a batch, got {error}; delete the file to process the batch again"
        raise StoreError(msg) from error


def _read_part(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a part, or raise StoreError."""
    try:
        # Not parquet.read_table: that would take a folder called "night=1" on the way for a column.
        with parquet.ParquetFile(path) as file:
            return file.read().cast(schema)
    except (OSError, ValueError) as error:
        msg = f"{path}: expected a part of the run, got {error}; delete its ledger entry to process the batch again"
        raise StoreError(msg) from error


def _half_written(path: Path) -> list[Path]:
    """Files that a killed run was writing."""
    folders = [path / name for name in SCHEMAS]
    ours = [file for folder in folders for file in folder.glob(f".part-*{ASIDE_SUFFIX}")]
    ours += (path / "ledger").glob(f".batch-*{ASIDE_SUFFIX}")
    ours += path.glob(f".run.json.*{ASIDE_SUFFIX}")
    return [*ours, *(path / "masks.zarr").rglob("*.partial")]  # Zarr's own temporary name


def _delete_contents(path: Path) -> None:
    """Delete what a run wrote except ``run.json``; the ledger first, so that no batch is named without its parts."""
    for file in [*(path / "ledger").glob("batch-*.json"), *_half_written(path)]:
        file.unlink()
    for name in SCHEMAS:
        for file in (path / name).glob("part-*.parquet"):
            file.unlink()
    if (path / "masks.zarr").exists():
        shutil.rmtree(path / "masks.zarr")


def _now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
