"""
A batch in an isolated process: if that dies, the batch is halved until the exposure that kills it is isolated.

So an exposure is blamed only if it was alone in the process, and the worker survives.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, Self

import cloudpickle

from cascade.camera import Camera
from cascade.core.errors import CascadeError, InputError, ModelError, OutageError
from cascade.core.machine import machine_fault
from cascade.core.processes import exit_reason
from cascade.inputs import Reader
from cascade.pipeline.batch import part_of, process_batch
from cascade.pipeline.loader import Loader
from cascade.runs.begun import begun, unmark_begun
from cascade.runs.config import Batch
from cascade.runs.rows import Outcome, batch_counts, batch_tables, joined
from cascade.runs.run import Run
from cascade.runs.tables import BatchCounts, BatchResult

_N_DEATHS = 2  # of an exposure alone, before it is blamed: the first may have another cause
_START = "from cascade.pipeline.isolated import work; work()"


def process_isolated(
    part: Reader, batch: Batch, loader: Loader, camera: Camera, threshold: float | None
) -> BatchResult:
    """
    Process a batch as `cascade.pipeline.batch.process_batch` does, but in an isolated process.

    Parameters
    ----------
    part : Reader
        The B exposures of the batch.
    batch : Batch
        Their place in the run.
    loader : callable
        Loads the networks in the other process.
    camera : Camera
        CCD layout on the preview's grid.
    threshold : float or None
        Score from which an exposure is flagged; None without a screener.

    Returns
    -------
    BatchResult
        Exposures that killed the process have failed at the stage ``worker``.

    Raises
    ------
    ModelError
        If each of several exposures kills it: then the exposures are not the cause.
    OutageError
        If it dies before it has seen any exposure.
    Exception
        Any other error of processing.
    """
    results: dict[int, BatchResult] = {}
    blamed = 0
    todo = [(0, len(batch), 0)]
    with _Process((loader, camera, threshold)) as process:
        while todo:
            start, stop, n_deaths = todo.pop()
            piece = Batch(batch.index, batch.start + start, batch.start + stop)
            result = process.ask((part.part(start, stop), piece))
            if result is not None:
                results[start] = result
            elif stop - start > 1:
                middle = (start + stop) // 2
                todo += [(middle, stop, 0), (start, middle, 0)]
            elif n_deaths + 1 < _N_DEATHS:
                todo.append((start, stop, n_deaths + 1))
            else:
                blamed += 1
                results[start] = _blame(part, start, piece, process.death())
    if blamed == len(batch) > 1:
        msg = f"each of {blamed} exposures killed the process of the networks: {process.death()}"
        raise ModelError(msg)
    return joined([results[start] for start in sorted(results)])


def process_suspects(
    reader: Reader,
    run: Run,
    loader: Loader,
    camera: Camera,
    *,
    on_batch: Callable[[BatchCounts], None],
    on_event: Callable[..., None],
) -> None:
    """
    Process in isolation the batches at which an earlier call was killed, and commit them; see `cascade.runs.begun`.

    Parameters
    ----------
    reader : Reader
        All exposures of the run.
    run : Run
        Where results go.
    loader, camera
        As `process_isolated` takes them.
    on_batch : callable
        Called after each committed batch.
    on_event : callable
        Called with ``"suspect"`` and the number of each batch.

    Raises
    ------
    ModelError, OutageError
        As `process_isolated`.
    """
    suspects = begun(run.storage)
    for batch in run.pending() if suspects else ():
        if batch.index in suspects:
            on_event("suspect", batch=batch.index)
            result = process_isolated(part_of(reader, batch), batch, loader, camera, run.config.threshold)
            counts = run.commit(batch, result)
            unmark_begun(run.storage, batch.index)
            on_batch(counts)


def _blame(part: Reader, index: int, piece: Batch, death: str) -> BatchResult:
    """The result of an exposure that killed the process."""
    source = part.source(index)
    error = InputError(f"{source.path}: the process that worked on it alone {death}, {_N_DEATHS} times")
    outcomes = [Outcome(piece.start, source).failed("worker", error)]
    return BatchResult(batch_tables(outcomes), None, batch_counts(outcomes, {}))


class _Process:
    """A Python process that answers requests, restarted after it has died."""

    def __init__(self, setting: tuple[Any, ...]) -> None:
        self._setting = setting
        self._process: subprocess.Popen[bytes] | None = None
        self._last: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, request: tuple[Reader, Batch]) -> BatchResult | None:
        """The answer, or None if the process died of it; what it raised is raised."""
        if self._process is None:
            self._start()
        answer: BatchResult | Exception | None = self._exchange(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def death(self) -> str:
        """How the last one died."""
        return exit_reason(self._last.returncode if self._last is not None else None)

    def _start(self) -> None:
        """Start a process and let it load the networks."""
        # Not multiprocessing: workers of Dask are daemons, which may have no children of that kind.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START],  # -P: nothing is imported from the current folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        answer = self._exchange(self._setting)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            msg = f"a process that was to load the networks {self.death()}"
            raise OutageError(msg)

    def _exchange(self, message: tuple[Any, ...]) -> Any:  # noqa: ANN401
        """Send a message and wait for the answer; None if there is none because the process is gone."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return None
        try:
            _send(message, process.stdin)
            return pickle.load(process.stdout)  # from our own process
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            self._end()
            return None

    def _end(self) -> None:
        """Terminate the process, whatever its state."""
        process, self._process = self._process, None
        if process is not None:
            self._last = process
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()
            try:
                process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def work() -> None:
    """Answer requests on standard input until it ends; what others print goes to standard error."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    loader, camera, threshold = pickle.load(requests)  # from the process that started this one
    try:
        screener, segmenter = loader()
    except Exception as error:
        _send(_portable(error), answers)
        return
    _send("ready", answers)
    while True:
        try:
            part, piece = pickle.load(requests)  # as above
        except EOFError:
            return
        try:
            answer: object = process_batch(part, piece, screener, segmenter, camera, threshold)
        except Exception as error:
            answer = _portable(error)
        _send(answer, answers)


def _send(message: object, pipe: IO[bytes]) -> None:
    """Write a message whole."""
    cloudpickle.dump(message, pipe)
    pipe.flush()


def _portable(error: Exception) -> Exception:
    """An error that can be pickled, as not all can; lack of memory and the like as an outage."""
    if (fault := machine_fault(error)) is not None:
        return OutageError(f"{fault}; the run can be resumed")
    return error if isinstance(error, CascadeError | OSError) else RuntimeError(repr(error))
