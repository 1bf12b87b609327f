"""A run over Dask, robust against the loss of workers and schedulers."""

from __future__ import annotations

import time
from collections.abc import Callable

from cascade.camera import Camera
from cascade.core.errors import ConfigError, OutageError
from cascade.inputs import Reader
from cascade.pipeline.batch import check_reader
from cascade.pipeline.dask.clusters import JOB_QUEUES, connect
from cascade.pipeline.dask.dispatch import Dispatcher, SchedulerLostError
from cascade.pipeline.dask.tasks import Job
from cascade.pipeline.loader import Loader
from cascade.pipeline.workers import Workers
from cascade.runs.run import Run
from cascade.runs.tables import BatchCounts, RunSummary

_PATIENCE_S = 600.0  # with an unavailable scheduler, reset whenever a batch is committed
_PAUSE_S = 5.0


def run_dask(
    reader: Reader,
    run: Run,
    loader: Loader,
    camera: Camera,
    workers: Workers,
    *,
    on_batch: Callable[[BatchCounts], None] | None = None,
    on_event: Callable[..., None] | None = None,
) -> RunSummary:
    """
    Process the pending batches of a run on Dask workers; the run becomes the same as with `run_serial`.

    Workers are spawned, never forked, so a script that calls this needs ``if __name__ == "__main__":``. A batch whose
    worker dies is processed again by another; after the scheduler's ``allowed-failures`` (2 deaths on local workers) it
    is processed in isolation, and an exposure that kills that process is recorded as failed. Full disks and unavailable
    stores are retried, and so is a lost connection to the scheduler.

    Parameters
    ----------
    reader : Reader
        All exposures of the run; its parts must be picklable.
    run : Run
        Where results go; every worker must see the directory under the same path.
    loader : callable
        Gives the screener, or None, and the segmenter; called once a worker process.
    camera : Camera
        CCD layout on the preview's grid.
    workers : Workers
        Who computes.
    on_batch : callable or None
        Called after each committed batch, in the order they finish.
    on_event : callable or None
        Called with the name and the details of an event: the dashboard, a retry, a lost scheduler.

    Returns
    -------
    RunSummary
        Of the whole run, which is now complete.

    Raises
    ------
    ConfigError
        If the number of workers is below 1, given with an address or missing with a batch system, or the reader is not
        that of the run.
    OutageError
        If a scheduler, store or file system stays unavailable; the run can be resumed.
    Exception
        Any error of a batch as a whole, after the other batches were cancelled; the run can be resumed.
    """
    _check_workers(workers)
    check_reader(reader, run)
    job = Job(run.storage.absolute(), loader, camera)
    tell = on_event or _ignore
    last_sign = time.monotonic()

    def committed(counts: BatchCounts) -> None:
        nonlocal last_sign
        last_sign = time.monotonic()
        if on_batch is not None:
            on_batch(counts)

    lost = False
    while pending := run.pending():
        try:
            with connect(workers) as client:
                tell("cluster", dashboard=client.dashboard_link)
                Dispatcher(client, reader, job, on_batch=committed, on_event=tell).run(pending)
        except (SchedulerLostError, OutageError) as error:
            unreachable = isinstance(error, OutageError) and not lost  # never reached, or not a scheduler
            if workers.scheduler is None or unreachable or time.monotonic() - last_sign > _PATIENCE_S:
                msg = str(error) or f"{workers.scheduler}: the scheduler is unavailable; the run can be resumed"
                raise OutageError(msg) from error
            lost = True
            tell("scheduler lost", cause=str(error) or "the connection broke")
            time.sleep(_PAUSE_S)
    return run.finish()


def _check_workers(workers: Workers) -> None:
    """Reject an invalid number of workers."""
    n_workers, scheduler = workers.n_workers, workers.scheduler
    if n_workers is not None and n_workers < 1:
        msg = f"n_workers: expected at least 1, got {n_workers}"
        raise ConfigError(msg)
    if scheduler in JOB_QUEUES and n_workers is None:
        msg = f"n_workers: expected how many jobs to queue on {scheduler}, got none"
        raise ConfigError(msg)
    if scheduler is not None and scheduler not in JOB_QUEUES and n_workers is not None:
        msg = f"n_workers: expected none with a scheduler, which has its own, got {n_workers}"
        raise ConfigError(msg)


def _ignore(_event: str, **_details: object) -> None:
    """Ignore the event."""
