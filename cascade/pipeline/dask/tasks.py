"""The tasks that run on a worker."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from threading import BoundedSemaphore, Lock

from cascade.camera import Camera
from cascade.inputs import Reader
from cascade.networks.screen import Screener
from cascade.networks.segment import Segmenter
from cascade.pipeline.batch import Readings, process_readings, read_batch
from cascade.pipeline.isolated import process_isolated
from cascade.pipeline.loader import Loader
from cascade.runs.config import Batch
from cascade.runs.run import open_run
from cascade.runs.tables import BatchCounts
from cascade.storage import Storage

# However many threads a worker has, the networks process one batch at a time, and one more is read or stored meanwhile.
_NETWORKS = Lock()
_TWO_BATCHES = BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class Job:
    """What all batches of a run share."""

    storage: Storage
    loader: Loader
    camera: Camera


def run_whole(part: Reader, batch: Batch, job: Job) -> BatchCounts:
    """Read, process and commit a batch."""
    with _TWO_BATCHES:
        return run_networks(read_batch(part, batch, job.camera), batch, job)


def read_only(part: Reader, batch: Batch, job: Job) -> Readings:
    """Read a batch for another worker."""
    with _TWO_BATCHES:
        return read_batch(part, batch, job.camera)


def run_networks(readings: Readings, batch: Batch, job: Job) -> BatchCounts:
    """Process and commit a batch that was read."""
    run = open_run(job.storage)
    with _NETWORKS:
        result = process_readings(readings, *_loaded(job.loader), job.camera, run.config.threshold)
    return run.commit(batch, result)


def run_isolated(part: Reader, batch: Batch, job: Job) -> BatchCounts:
    """Process a batch that killed workers in an isolated process, and commit it."""
    run = open_run(job.storage)
    with _TWO_BATCHES:
        result = process_isolated(part, batch, job.loader, job.camera, run.config.threshold)
    return run.commit(batch, result)


@lru_cache(maxsize=1)
def _loaded(loader: Loader) -> tuple[Screener | None, Segmenter]:
    """Networks of this worker process; those of an earlier run on the same worker are released."""
    return loader()
