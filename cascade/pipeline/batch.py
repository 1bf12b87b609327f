"""
One batch of exposures through the cascade, and all of them serially: the reference for `cascade.pipeline.dask`.

A bad exposure never stops a run: it becomes a row with status ``failed`` and a row of the failures table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from logging import getLogger
from threading import Event
from time import perf_counter
from typing import TypeVar

import numpy as np

from cascade.camera import Camera
from cascade.core.errors import CascadeError, ConfigError, InputError, ModelError, OutageError, input_error, printable
from cascade.core.exposure import UInt8Array
from cascade.core.log_records import REPORTED_ELSEWHERE
from cascade.core.machine import machine_fault
from cascade.inputs import Reader
from cascade.inputs.focal_plane import check_focal_plane
from cascade.networks.screen import Screener
from cascade.networks.segment import Segmenter
from cascade.runs.begun import begun, mark_begun, unmark_begun
from cascade.runs.config import Batch
from cascade.runs.rows import Finding, Outcome, batch_counts, batch_tables, check_finite, finding_of, mask_planes
from cascade.runs.run import Run
from cascade.runs.tables import BatchCounts, BatchResult, RunSummary

logger = getLogger(__name__)

STAGES = ("read", "screen", "segment", "tables")
"""Stages of a batch, as its seconds name them; storing it adds ``store``."""

_N_OUTAGE = 8  # exposures of a batch that must all be unavailable to count as an outage
_N_AT_ONCE = 32  # exposures that go to a network in one call: their instance masks have 160 kB each

T = TypeVar("T")


class _Clock:
    """Adds up seconds by stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += perf_counter() - start


@dataclass(frozen=True, slots=True)
class Readings:
    """
    The exposures of a batch as they were read; picklable, so that one machine can read for another.

    Attributes
    ----------
    outcomes
        One an exposure, with its preview or its failure.
    seconds
        Time spent reading.
    """

    outcomes: list[Outcome]
    seconds: float


def read_batch(part: Reader, batch: Batch, camera: Camera, *, ended: Callable[[], bool] = lambda: False) -> Readings:
    """
    Read the exposures of one batch.

    Parameters
    ----------
    part : Reader
        The B exposures of the batch.
    batch : Batch
        Their place in the run.
    camera : Camera
        CCD layout on the preview's grid.
    ended : callable
        Asked before each exposure whether nobody waits for the batch any more.

    Raises
    ------
    CancelledError
        If `ended` said so.
    OutageError
        If none of many exposures is available, or one that was read no longer is, or a store is unavailable, so that
        these are not recorded as failures.
    """
    start = perf_counter()
    outcomes = []
    for index in range(len(batch)):
        if ended():
            raise CancelledError
        outcomes.append(_read(part, batch, index, camera))
    _check_reachable(outcomes, lambda index: _read(part, batch, index, camera))
    return Readings(outcomes, perf_counter() - start)


def process_readings(
    readings: Readings, screener: Screener | None, segmenter: Segmenter, camera: Camera, threshold: float | None
) -> BatchResult:
    """
    Screen and segment the exposures of one batch.

    Parameters
    ----------
    readings : Readings
        The B exposures of the batch.
    screener : Screener or None
        Scores every exposure; None flags all of them.
    segmenter : Segmenter
        Finds the artifacts of the flagged ones.
    camera : Camera
        CCD layout on the preview's grid.
    threshold : float or None
        Score from which an exposure is flagged; None without a screener.

    Returns
    -------
    BatchResult
        Every exposure has its row, failed or not.

    Raises
    ------
    ConfigError
        If there is a screener but no threshold, or the reverse.
    ModelError
        If a network fails on every one of several exposures.
    """
    if (screener is None) != (threshold is None):
        msg = f"threshold: expected one with a screener and none without, got {threshold} and {screener}"
        raise ConfigError(msg)
    clock = _Clock()
    clock.seconds["read"] = readings.seconds
    with clock("screen"):
        outcomes = _screened(readings.outcomes, screener, threshold)
    outcomes = _segmented(outcomes, segmenter, camera, clock)
    with clock("tables"):
        tables, masks = batch_tables(outcomes), mask_planes(outcomes, camera)
    return BatchResult(tables, masks, batch_counts(outcomes, clock.seconds))


def process_batch(
    part: Reader,
    batch: Batch,
    screener: Screener | None,
    segmenter: Segmenter,
    camera: Camera,
    threshold: float | None,
) -> BatchResult:
    """Read, screen and segment the exposures of one batch; see `read_batch` and `process_readings`."""
    return process_readings(read_batch(part, batch, camera), screener, segmenter, camera, threshold)


def run_serial(
    reader: Reader,
    run: Run,
    screener: Screener | None,
    segmenter: Segmenter,
    camera: Camera,
    *,
    on_batch: Callable[[BatchCounts], None] | None = None,
) -> RunSummary:
    """
    Process the pending batches of a run in this process, one after the other, reading the next one meanwhile.

    Parameters
    ----------
    reader : Reader
        All exposures of the run.
    run : Run
        Where results go; its configuration holds the threshold.
    screener : Screener or None
        Scores every exposure; None flags all of them.
    segmenter : Segmenter
        Finds the artifacts of the flagged ones.
    camera : Camera
        CCD layout on the preview's grid.
    on_batch : callable or None
        Called after each committed batch.

    Returns
    -------
    RunSummary
        Of the whole run, which is now complete.

    Raises
    ------
    ConfigError
        If the reader or the screener is not what the run's configuration says.
    """
    check_reader(reader, run)
    with closing(_read_ahead(reader, run, camera)) as ahead:
        for batch, readings in ahead:
            result = process_readings(readings, screener, segmenter, camera, run.config.threshold)
            counts = run.commit(batch, result)
            unmark_begun(run.storage, batch.index)
            if on_batch is not None:
                on_batch(counts)
    return run.finish()


def part_of(reader: Reader, batch: Batch) -> Reader:
    """The exposures of a batch."""
    return reader.part(batch.first_input, batch.first_input + len(batch))


def check_reader(reader: Reader, run: Run) -> None:
    """
    Reject a reader with another number of exposures than the run.

    Raises
    ------
    ConfigError
        If the numbers differ.
    """
    if len(reader) != run.config.n_exposures:
        msg = f"{run.path}: expected {run.config.n_exposures} exposures, got a reader of {len(reader)}"
        raise ConfigError(msg)


def _read_ahead(reader: Reader, run: Run, camera: Camera) -> Generator[tuple[Batch, Readings], None, None]:
    """Pending batches with their readings; while one is in use, the next is being read."""
    ahead: deque[tuple[Batch, Future[Readings]]] = deque()
    pool, ended = ThreadPoolExecutor(1, "read"), Event()
    try:
        for batch in run.pending():
            part = part_of(reader, batch)
            mark_begun(run.storage, batch.index)
            ahead.append((batch, pool.submit(read_batch, part, batch, camera, ended=ended.is_set)))
            if len(ahead) > 1:
                current, readings = ahead.popleft()
                yield current, readings.result()
        for current, readings in ahead:
            yield current, readings.result()
    finally:
        # Nobody waits for a batch of minutes when a signal ends the run: one exposure is read to its end at most.
        ended.set()
        pool.shutdown(wait=False, cancel_futures=True)
        with suppress(OSError, CascadeError):  # the store may be what ended it
            for index in begun(run.storage):
                unmark_begun(run.storage, index)


def _read(part: Reader, batch: Batch, index: int, camera: Camera) -> Outcome:
    """Read one exposure."""
    outcome = Outcome(batch.start + index, part.source(index))
    try:
        exposure = part.read(index)
        if exposure.image.shape != camera.shape or exposure.image.dtype != np.uint8:
            got = f"{exposure.image.dtype} {exposure.image.shape}"
            msg = f"{outcome.source.path}: expected a preview of uint8 {camera.shape}, got {got}"
            raise InputError(msg)
        check_focal_plane(exposure.image, camera, exposure.source.expnum, outcome.source.path)
    except (OutageError, ConfigError):  # not the exposure's fault
        raise
    except InputError as error:
        _check_machine(error, outcome.source.path)
        logger.warning("%s", printable(str(error)), extra=REPORTED_ELSEWHERE)
        cause = error.__cause__
        lost = isinstance(cause, OSError) and cause.errno is not None  # decoders raise OSError without a number
        return replace(outcome.failed("read", error), lost=lost or isinstance(cause, MemoryError))
    except MemoryError:  # perhaps not the exposure's fault
        logger.warning("%s: no memory was left", outcome.source.path, extra=REPORTED_ELSEWHERE)
        return replace(outcome.failed("read", input_error(outcome.source.path, "no memory was left")), lost=True)
    except Exception as error:
        # Decoders raise all sorts on damaged files, and one exposure must not stop a season.
        _check_machine(error, outcome.source.path)
        path = printable(outcome.source.path)
        logger.warning("%s: reading failed: %r", path, error, exc_info=True, extra=REPORTED_ELSEWHERE)
        return outcome.failed("read", error)
    return replace(outcome, source=exposure.source, image=exposure.image)


def _check_machine(error: Exception, path: str) -> None:
    """Raise OutageError where a machine short of memory or disk space is to blame, and not the exposure."""
    if (fault := machine_fault(error)) is not None:
        msg = printable(f"{path}: {fault}; the run can be resumed")
        raise OutageError(msg) from error


def _check_reachable(outcomes: list[Outcome], read_again: Callable[[int], Outcome]) -> None:
    """Raise OutageError if all of many exposures are unavailable, or the first that was read no longer is available."""
    lost = [k for k, outcome in enumerate(outcomes) if outcome.lost]
    if len(lost) == len(outcomes) >= _N_OUTAGE:
        msg = f"none of {len(outcomes)} exposures is available, got {outcomes[-1].failure}; the run can be resumed"
        raise OutageError(msg)
    # The first was read longest ago; the last may be on another disk, which is available.
    readable = [k for k, outcome in enumerate(outcomes) if outcome.image is not None]
    if lost and readable and (again := read_again(readable[0])).lost:
        msg = f"exposures that were read are no longer available, got {again.failure}; the run can be resumed"
        raise OutageError(msg)


def _screened(outcomes: list[Outcome], screener: Screener | None, threshold: float | None) -> list[Outcome]:
    """Score the exposures that could be read, and flag those at or above the threshold."""
    good = [k for k, outcome in enumerate(outcomes) if outcome.image is not None]
    if screener is None or threshold is None:
        return [replace(outcome, flagged=outcome.image is not None) for outcome in outcomes]
    screened = list(outcomes)
    lowest = float(np.float32(threshold))  # rounded like the scores, so that one equal to the threshold meets it
    for k, score in _found(partial(_scores, screener), outcomes, good):
        if isinstance(score, Exception):
            screened[k] = outcomes[k].failed("screen", score)
        else:
            screened[k] = replace(outcomes[k], score=score, flagged=score >= lowest)
    return screened


def _segmented(outcomes: list[Outcome], segmenter: Segmenter, camera: Camera, clock: _Clock) -> list[Outcome]:
    """Find the artifacts of the flagged exposures."""
    flagged = [k for k, outcome in enumerate(outcomes) if outcome.flagged]
    segmented = list(outcomes)
    for k, finding in _found(partial(_findings, segmenter, camera, clock), outcomes, flagged):
        if isinstance(finding, Exception):
            segmented[k] = outcomes[k].failed("segment", finding)
        else:
            segmented[k] = replace(outcomes[k], finding=finding)
    return segmented


def _found(
    network: Callable[[UInt8Array], Sequence[T]], outcomes: list[Outcome], chosen: list[int]
) -> Iterator[tuple[int, T | Exception]]:
    """Outputs of a network for the exposures that could be read, with their index, a few exposures at a time."""
    for start in range(0, len(chosen), _N_AT_ONCE):
        few = chosen[start : start + _N_AT_ONCE]
        images = np.array([outcomes[k].image for k in few], np.uint8)
        yield from zip(few, _each(network, images), strict=True)


def _each(network: Callable[[UInt8Array], Sequence[T]], images: UInt8Array) -> list[T | Exception]:
    """
    Apply a network to images, one by one if it raises on all of them; an error stands for its image's result.

    If it raises on each of several images, the network is at fault, and the error is raised: better to stop than to
    record a whole season as failed.
    """
    try:
        results = network(images)
        if len(results) != len(images):
            msg = f"expected {len(images)} results, got {len(results)}"
            raise InputError(msg)
    except Exception as error:
        _check_machine(error, "the network")
        if len(images) == 1:
            logger.warning("network failed on an exposure", exc_info=True, extra=REPORTED_ELSEWHERE)
            return [error]
        logger.warning(
            "network failed on %d exposures, trying them one by one: %r", len(images), error, extra=REPORTED_ELSEWHERE
        )
        alone = [result for image in images for result in _each(network, image[None])]
        if all(isinstance(result, Exception) for result in alone):
            msg = f"the network failed on each of {len(images)} exposures: {error!r}; the run can be resumed"
            raise ModelError(msg) from error
        return alone
    return list(results)


def _scores(screener: Screener, images: UInt8Array) -> list[float]:
    """Finite scores, or InputError."""
    scores = np.asarray(screener.score(images), np.float32)
    check_finite(scores)
    return [float(score) for score in scores]


def _findings(segmenter: Segmenter, camera: Camera, clock: _Clock, images: UInt8Array) -> list[Finding]:
    """Segment images and reduce the instances to the stored form."""
    with clock("segment"):
        found = segmenter.segment(images)
    with clock("tables"):
        return [finding_of(instances, camera) for instances in found]
