"""Previews of many FITS exposures into a store, in this process or several; what is there already is skipped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from time import perf_counter

from threadpoolctl import threadpool_limits

from cascade.camera import Camera
from cascade.core.errors import InputError, OutageError, StoreError, printable
from cascade.core.log_records import REPORTED_ELSEWHERE
from cascade.core.processes import results_in_order
from cascade.inputs.fits.entry import Entry
from cascade.inputs.fits.reader import FitsReader, find_fits, open_fits
from cascade.inputs.preview_store import PreviewStore, open_store
from cascade.inputs.time_limit import READ_LIMIT_S, time_limit
from cascade.storage import local_path

logger = getLogger(__name__)

COMMIT = 16
"""Exposures added to the store at a time: what a kill costs at most."""


@dataclass(frozen=True, slots=True)
class NightSummary:
    """
    What came of a night.

    Attributes
    ----------
    n_added, n_known, n_failed
        Exposures whose previews were added, were there before, or could not be made.
    n_bytes
        Bytes of the FITS files that were read.
    seconds
        Wall time.
    """

    n_added: int
    n_known: int
    n_failed: int
    n_bytes: int
    seconds: float


def preview_night(
    inputs: Sequence[str | os.PathLike[str]],
    out: Path | str,
    *,
    camera: str = "decam",
    cutouts: bool = False,
    n_workers: int = 1,
    on_start: Callable[[int], None] = lambda _: None,
    on_exposure: Callable[[str, str | None], None] = lambda _name, _error: None,
) -> NightSummary:
    """
    Make the previews of FITS exposures and add them to a store.

    Parameters
    ----------
    inputs : sequence of path
        FITS files, folders of them, or patterns.
    out : path
        The store, ``….zarr``; made if it is not there.
    camera : str
        See `Camera.load`.
    cutouts : bool
        Take images that are parts of a CCD, too.
    n_workers : int
        Processes that make previews; one process writes, so that no shard has two writers.
    on_start : callable
        Told the number of exposures.
    on_exposure : callable
        Told of each exposure: its name, and what is wrong with it or None.

    Returns
    -------
    NightSummary

    Raises
    ------
    InputError, StoreError, ConfigError
        If an input is no FITS, the store cannot be used, or the camera is unknown; a bad exposure is no error.
    """
    started = perf_counter()
    path = local_path(out)
    reader = open_fits(find_fits(inputs), camera=camera, cutouts=cutouts)
    on_start(len(reader))
    n_added = n_failed = 0
    with open_store(path, Camera.load(camera).name) as store:
        _restore(store, reader, path)
        new = [index for index in range(len(reader)) if not _is_known(reader, index, store)]
        for index in set(range(len(reader))) - set(new):
            on_exposure(reader.source(index).path, None)
        known = set(store.expnums)
        seen: set[tuple[int, float]] = set()
        waiting: list[Entry] = []
        for name, made in _made(reader, new, n_workers):
            if isinstance(made, str):
                n_failed += 1
                on_exposure(name, made)
                continue
            expnum, time = made.source.expnum, made.source.header.mjd_obs
            if expnum in known or (expnum is not None and time is not None and (expnum, time) in seen):
                logger.warning("%s: left out: exposure %d of the same time is among the previews", name, expnum)
            else:
                waiting.append(made)  # exposures of other times may have been given one number
                if expnum is not None and time is not None:
                    seen.add((expnum, time))
            if len(waiting) == COMMIT:
                store.append(waiting)
                n_added, waiting = n_added + len(waiting), []
            on_exposure(name, None)
        store.append(waiting)
        n_added += len(waiting)
    n_known = len(reader) - n_added - n_failed
    n_bytes = sum(reader.n_bytes(index) for index in new)
    return NightSummary(n_added, n_known, n_failed, n_bytes, perf_counter() - started)


def _restore(store: PreviewStore, reader: FitsReader, path: Path) -> None:
    """Make again what the store has lost, or raise StoreError: new previews in its place would take its rows."""
    wanted = store.lost_exposures()
    made: dict[int, Entry] = {}
    for index in range(len(reader)) if wanted else ():
        try:
            expnum = reader.peek(index).expnum
        except InputError:
            continue
        if expnum in wanted and wanted[expnum] not in made:
            made[wanted[expnum]] = reader.entry(index)
    missing = sorted(expnum for expnum, row in wanted.items() if row not in made)
    if missing:
        msg = (
            f"{path}: has lost previews or headers of {len(wanted)} exposures: expected their FITS among the inputs, "
            f"got none of {len(missing)}, such as {missing[0]}; `cascade verify {path}` names the files"
        )
        raise StoreError(msg)
    if made:
        store.restore(made)
        logger.warning("%s: made %d previews again that were lost", printable(str(path)), len(made))


def _is_known(reader: FitsReader, index: int, store: PreviewStore) -> bool:
    """Whether the store has an exposure, by its path or by the expnum in its first header."""
    if reader.source(index).path in store.paths:
        return True
    try:
        return reader.peek(index).expnum in store.expnums
    except Exception:  # one exposure must not stop a night; it will fail, and say why, when it is read
        return False


def _made(reader: FitsReader, indices: Sequence[int], n_workers: int) -> Iterator[tuple[str, Entry | str]]:
    """Each exposure's name with its preview or what is wrong with it, in order."""
    if n_workers == 1:
        for index in indices:
            yield reader.source(index).path, _make(reader, index)
        return
    left = list(indices)
    while left:
        try:
            for made in _made_in_processes(reader, left, n_workers):
                yield reader.source(left.pop(0)).path, made
        except BrokenProcessPool:
            # One of those under way killed its process, and all others of the pool went with it.
            for index in left[: 2 * n_workers]:
                yield reader.source(left.pop(0)).path, _make_isolated(reader, index)


def _made_in_processes(reader: FitsReader, indices: Sequence[int], n_workers: int) -> Iterator[Entry | str]:
    """Each exposure's preview or what is wrong with it, in order; twice as many as processes are under way."""
    return results_in_order(n_workers, _make, ((reader.part(index, index + 1), 0) for index in indices))


def _make_isolated(reader: FitsReader, index: int) -> Entry | str:
    """The preview of an exposure, or what is wrong with it, from a process that may die of it."""
    try:
        (made,) = _made_in_processes(reader, [index], 1)
    except BrokenProcessPool:
        return f"{reader.source(index).path}: the process that read it died: a damaged file, or too little memory"
    return made


def _make(reader: FitsReader, index: int) -> Entry | str:
    """The preview of an exposure, or what is wrong with it."""
    try:
        # Matrices are small: more threads only get in the way of other processes.
        with threadpool_limits(1), time_limit(READ_LIMIT_S):
            return reader.entry(index)
    except (InputError, OutageError) as error:  # one that could not be made is tried again by the next call
        return str(error)
    except Exception as error:  # as in a run, one exposure must not stop a night
        logger.warning("%s: reading failed", reader.source(index).path, exc_info=True, extra=REPORTED_ELSEWHERE)
        return f"{reader.source(index).path}: unexpected {error!r}"
