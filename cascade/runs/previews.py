"""The previews of a run's exposures, read from its inputs in its order."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from cascade.core.errors import CascadeError, InputError
from cascade.core.exposure import PREVIEW_SHAPE, UInt8Array
from cascade.inputs import Reader, open_inputs
from cascade.inputs.listing import list_inputs, rows_in
from cascade.runs.inputs import InputPlaces

if TYPE_CHECKING:
    from cascade.runs.run import Run

logger = logging.getLogger(__name__)


class RunPreviews:
    """
    Reads the previews of a run from its inputs, while they exist; thread-safe.

    Parameters
    ----------
    run : Run
        Names its inputs; nothing else is ever read.
    inputs : sequence of paths
        Where they are now, if they were moved, see `InputPlaces.of`.

    Raises
    ------
    InputError
        If `inputs` are given and none of the run's is there.
    """

    def __init__(self, run: Run, inputs: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._reader, self._rows = _inputs_of(run, inputs)
        self._lock = threading.Lock()
        # Positions that an addition to the run skips are empty.
        self._first_inputs = {batch.start: (batch.stop, batch.first_input) for batch in run.batches()}
        self._size = run.config.batch_size

    @property
    def available(self) -> bool:
        """Whether inputs of the run were found."""
        return self._reader is not None

    def read(self, exposure: int) -> UInt8Array | None:
        """Read the (400, 400) uint8 preview at a position of the run, or None if it cannot be read."""
        start = exposure - exposure % self._size
        stop, first_input = self._first_inputs.get(start, (start, 0))
        if self._reader is None or not start <= exposure < stop:
            return None
        row = self._rows[first_input + exposure - start].as_py()
        if row is None:
            return None
        try:
            with self._lock:  # archives and FITS keep files open
                image = self._reader.read(row).image
        except CascadeError as error:
            logger.info("preview unavailable: %s", error)
            return None
        return image if image.shape == PREVIEW_SHAPE else None


def _inputs_of(run: Run, inputs: Sequence[str | os.PathLike[str]]) -> tuple[Reader | None, pa.Array]:
    """The inputs of a run as they are now, None if none can be read, and the row there, or null, of each of its."""
    try:
        places = InputPlaces.of(run, inputs)
        if not places.names:
            return None, pa.array([], pa.int32())
        reader = open_inputs(places.names, camera=run.config.camera)
        known = run.listing()
        paths = pa.array(map(places.located, known["path"].to_pylist()), pa.large_string())
        rows = rows_in(known.set_column(0, "path", paths), list_inputs(reader))
        if inputs and rows.null_count == len(rows):
            msg = f"{places.names[0]}: expected exposures of {run.path}, such as {paths[0]}, found none"
            raise InputError(msg)
    except CascadeError as error:
        if inputs:
            raise
        logger.info("previews unavailable: %s", error)
        return None, pa.array([], pa.int32())
    return reader if rows.null_count < len(rows) else None, rows
