"""
The pipeline over Dask: the same batches as `cascade.pipeline.run_serial`, on many processes or machines.

A worker process loads the networks once, processes whole batches and commits them itself, so that one task writes one
shard and only counts travel back. A bounded number of batches is in flight, so that a scheduler never holds a season.
"""

# mypy: allow-untyped-calls
# distributed ships types, but not for its clients and clusters.

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from uuid import uuid4

from dask.system import CPU_COUNT
from distributed import Client, Future, LocalCluster, as_completed

from cascade.camera import Camera
from cascade.errors import ConfigError
from cascade.pipeline import check_reader, run_batch
from cascade.readers import Reader
from cascade.run_config import Batch
from cascade.screen import Screener
from cascade.segment import Segmenter
from cascade.store import Run, open_run
from cascade.tables import BatchCounts, RunSummary

Loader = Callable[[], tuple[Screener | None, Segmenter]]
"""Loads the networks; picklable and hashable, such as a module's function or a frozen dataclass with ``__call__``."""

_ONE_BATCH_AT_A_TIME = Lock()  # in a worker with several threads, so that networks load once and do not compete
_IN_FLIGHT_PER_WORKER = 2  # one is processed while the next waits; more would only fill the scheduler


def run_dask(
    reader: Reader,
    run: Run,
    loader: Loader,
    camera: Camera,
    *,
    n_workers: int | None = None,
    scheduler: str | None = None,
    on_batch: Callable[[BatchCounts], None] | None = None,
) -> RunSummary:
    """
    Process the pending batches of a run on Dask workers; the run becomes the same as with `run_serial`.

    Workers are spawned, never forked, so a script that calls this needs ``if __name__ == "__main__":``.

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
    n_workers : int or None
        Worker processes to start on this machine, with one batch each at a time; None for one a core.
    scheduler : str or None
        Address of a running Dask scheduler to use instead, such as ``"tcp://head:8786"``.
    on_batch : callable or None
        Told of every batch that was committed, in the order they finish.

    Returns
    -------
    RunSummary
        Of the whole run, which is now complete.

    Raises
    ------
    ConfigError
        If `n_workers` is below 1 or given together with `scheduler`, or the reader is not that of the run.
    Exception
        Whatever a batch raised as a whole, after the other batches were cancelled; the run can be resumed.
    """
    if scheduler is not None and n_workers is not None:
        msg = f"n_workers: expected none with a scheduler, which has its own, got {n_workers}"
        raise ConfigError(msg)
    if n_workers is not None and n_workers < 1:
        msg = f"n_workers: expected at least 1, got {n_workers}"
        raise ConfigError(msg)
    check_reader(reader, run)
    pending = run.pending()
    if pending:
        path = run.path.resolve()
        with _client(n_workers or CPU_COUNT, scheduler) as client:

            def submit(batch: Batch) -> Future[BatchCounts]:
                part = reader.part(batch.start, batch.stop)
                key = f"cascade-batch-{batch.index}-{uuid4().hex}"
                return client.submit(_run_batch, part, batch, path, loader, camera, key=key, pure=False)

            _run_all(client, pending, submit, on_batch)
    return run.finish()


def _run_all(
    client: Client,
    pending: list[Batch],
    submit: Callable[[Batch], Future[BatchCounts]],
    on_batch: Callable[[BatchCounts], None] | None,
) -> None:
    """Keep the workers busy until all batches are committed; on an error, cancel what is in flight."""
    waiting = iter(pending)
    in_flight: set[Future[BatchCounts]] = set()
    finished = as_completed(loop=client.loop)

    def top_up() -> None:
        # Asked anew each time, because a cluster may grow and shrink.
        limit = _IN_FLIGHT_PER_WORKER * max(1, len(client.nthreads()))
        while len(in_flight) < limit and (batch := next(waiting, None)) is not None:
            future = submit(batch)
            in_flight.add(future)
            finished.add(future)

    try:
        top_up()
        for future in finished:
            counts = future.result()
            in_flight.remove(future)
            top_up()
            if on_batch is not None:
                on_batch(counts)
    finally:
        client.cancel(list(in_flight))


def _run_batch(part: Reader, batch: Batch, path: Path, loader: Loader, camera: Camera) -> BatchCounts:
    """Process and commit one batch on a worker."""
    with _ONE_BATCH_AT_A_TIME:
        return run_batch(part, batch, open_run(path), *_loaded(loader), camera)


@lru_cache(maxsize=1)
def _loaded(loader: Loader) -> tuple[Screener | None, Segmenter]:
    """Networks of this worker process; those of an earlier run on the same worker are let go."""
    return loader()


@contextmanager
def _client(n_workers: int, scheduler: str | None) -> Iterator[Client]:
    """A client of a running scheduler, or of a cluster of processes on this machine that ends with it."""
    if scheduler is not None:
        with Client(scheduler) as client:
            yield client
        return
    # Batches hold what they need and no results stay, so Dask's pausing and killing on memory would do only harm.
    with (
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",  # None would still take port 8787
            memory_limit=0,
            env=_worker_environment(n_workers),
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _worker_environment(n_workers: int) -> dict[str, str]:
    """Environment that makes the networks of several workers share the cores and the GPU of one machine."""
    n_threads = str(max(1, CPU_COUNT // n_workers))
    return {
        "OMP_NUM_THREADS": n_threads,
        "TF_NUM_INTRAOP_THREADS": n_threads,
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # else the first worker takes all of the GPU's memory
    }
