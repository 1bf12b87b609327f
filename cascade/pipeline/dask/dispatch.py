"""Dispatching batches to workers, and retrying those that fail."""

# mypy: allow-untyped-calls
# distributed ships types, but not for its clients and clusters.

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from uuid import uuid4

from distributed import Client, Future, KilledWorker

from cascade.core.errors import OutageError
from cascade.inputs import Reader
from cascade.pipeline.batch import part_of
from cascade.pipeline.dask.tasks import Job, read_only, run_isolated, run_networks, run_whole
from cascade.runs.config import Batch
from cascade.runs.tables import BatchCounts

NETWORK_RESOURCE = "GPU"
"""Workers with this resource run the networks, if there are others to read for them."""

_IN_FLIGHT_PER_WORKER = 3  # one is computed, one is read or stored, one waits; more would only fill the scheduler
_N_RETRIES = 20  # of a batch, after transient errors: a full disk, an unavailable store or file system
_LONGEST_PAUSE_S = 60.0
_TICK_S = 1.0
_WORKERS_ASKED_EVERY_S = 2.0


class SchedulerLostError(Exception):
    """The connection to the scheduler is lost, or it has dropped tasks."""


@dataclass(slots=True)
class _Task:
    """A batch in flight."""

    batch: Batch
    isolated: bool = False
    n_failures: int = 0
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class _Workers:
    """How many workers there are, and the addresses of those that only read; none if all do everything."""

    n: int
    readers: tuple[str, ...]


class Dispatcher:
    """
    Keeps workers busy with batches until all are committed.

    Parameters
    ----------
    client : Client
        Of the scheduler.
    reader : Reader
        All exposures of the run.
    job : Job
        What all batches share.
    on_batch : callable
        Called after each committed batch.
    on_event : callable
        Called with the name and the details of an event: a retry, a batch that kills workers.
    """

    def __init__(
        self,
        client: Client,
        reader: Reader,
        job: Job,
        *,
        on_batch: Callable[[BatchCounts], None],
        on_event: Callable[..., None],
    ) -> None:
        self._client, self._reader, self._job = client, reader, job
        self._on_object_store = job.storage.folder is None
        self._on_batch, self._on_event = on_batch, on_event
        self._waiting: deque[_Task] = deque()
        self._resting: list[_Task] = []
        self._in_flight: dict[object, tuple[_Task, Future[BatchCounts]]] = {}
        self._ended: SimpleQueue[Future[BatchCounts]] = SimpleQueue()
        self._workers = _Workers(0, ())
        self._workers_asked = float("-inf")

    def run(self, batches: list[Batch]) -> None:
        """
        Have batches processed and committed.

        Raises
        ------
        SchedulerLostError
            If the scheduler becomes unavailable; committed batches remain done.
        Exception
            Any permanent error of a batch, after the others were cancelled.
        """
        self._waiting.extend(map(_Task, batches))
        try:
            while self._waiting or self._resting or self._in_flight:
                self._wake()
                self._top_up()
                try:
                    future = self._ended.get(timeout=_TICK_S)
                except Empty:
                    if self._client.status != "running":
                        raise SchedulerLostError from None
                    continue
                self._settle(future)
        finally:
            if self._client.status == "running":
                self._client.cancel([future for _, future in self._in_flight.values()])

    def _wake(self) -> None:
        """Move batches whose retry is due to the front of the queue."""
        now = time.monotonic()
        for task in [task for task in self._resting if task.not_before <= now]:
            self._resting.remove(task)
            self._waiting.appendleft(task)

    def _top_up(self) -> None:
        """Submit as many batches as the workers can use."""
        self._ask_workers()
        while self._waiting and len(self._in_flight) < _IN_FLIGHT_PER_WORKER * max(1, self._workers.n):
            task = self._waiting.popleft()
            future = self._submit(task)
            self._in_flight[future.key] = (task, future)
            future.add_done_callback(self._ended.put)

    def _ask_workers(self) -> None:
        """Refresh the list of workers periodically, because a cluster may grow and shrink."""
        if time.monotonic() - self._workers_asked < _WORKERS_ASKED_EVERY_S:
            return
        self._workers_asked = time.monotonic()
        try:
            found = self._client.scheduler_info(n_workers=-1)["workers"]  # some versions list five by default
        except OSError as error:
            raise SchedulerLostError from error
        readers = tuple(address for address, info in found.items() if not info["resources"].get(NETWORK_RESOURCE))
        self._workers = _Workers(len(found), readers if len(readers) < len(found) else ())

    def _submit(self, task: _Task) -> Future[BatchCounts]:
        """Submit a batch as one task; as two where some workers read for others."""
        batch, readers = task.batch, list(self._workers.readers)
        part = part_of(self._reader, batch)
        key = f"batch-{batch.index}-{uuid4().hex}"
        network = {NETWORK_RESOURCE: 1} if readers else {}
        if task.isolated:
            return self._client.submit(run_isolated, part, batch, self._job, key=f"isolated-{key}", resources=network)
        if not readers:
            return self._client.submit(run_whole, part, batch, self._job, key=f"cascade-{key}")
        readings = self._client.submit(
            read_only, part, batch, self._job, key=f"read-{key}", workers=readers, allow_other_workers=True
        )
        return self._client.submit(run_networks, readings, batch, self._job, key=f"network-{key}", resources=network)

    def _settle(self, future: Future[BatchCounts]) -> None:
        """Handle a finished or failed task."""
        if future.key not in self._in_flight:
            return
        task, _ = self._in_flight.pop(future.key)
        if future.status in ("pending", "lost"):  # its worker was lost with the result
            # A new task, and this one is released: a lost future calls back at once, again and again.
            self._waiting.appendleft(task)
            return
        try:
            counts = future.result()
        except (CancelledError, SchedulerLostError) as error:
            raise SchedulerLostError from error
        except Exception as error:
            self._retry(task, error)
        else:
            self._on_batch(counts)

    def _retry(self, task: _Task, error: Exception) -> None:
        """Schedule a retry of a batch, or raise a permanent error."""
        index = task.batch.index
        if isinstance(error, KilledWorker) and not task.isolated:
            task.isolated = True
            self._waiting.appendleft(task)
            self._on_event("isolated", batch=index, cause=str(error))
            return
        if not isinstance(error, OSError | OutageError | KilledWorker):
            raise error
        # Who is refused now is refused later, too; and on an object store only a bucket can be missing.
        if isinstance(error, PermissionError) or (isinstance(error, FileNotFoundError) and self._on_object_store):
            raise error
        task.n_failures += 1
        if task.n_failures > _N_RETRIES:
            msg = f"batch {index}: failed after {task.n_failures} attempts: {error}; the run can be resumed"
            raise OutageError(msg) from error
        pause = min(2.0**task.n_failures, _LONGEST_PAUSE_S)
        task.not_before = time.monotonic() + pause
        self._resting.append(task)
        self._on_event("retry", batch=index, attempt=task.n_failures, pause_s=pause, cause=str(error) or repr(error))
